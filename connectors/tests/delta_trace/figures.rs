//! How much of a table is read.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rand::SeedableRng;
use rand::rngs::SmallRng;
use weir_checkpoints::{Created, ObjectInfo, Store, StoreError};
use weir_connectors::delta::{AdTrace, ClicksOf, ClicksTable};

use crate::table::{DAY_MS, Place, click};

/// Counts what is read of data files, and refuses to read one whole.
struct Counting {
    store: Arc<dyn Store>,
    bytes: AtomicU64,
    reads: AtomicU64,
}

impl Store for Counting {
    fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
        self.store.put(name, bytes)
    }

    fn put_if_absent(&self, name: &str, bytes: Vec<u8>) -> Result<Created, StoreError> {
        self.store.put_if_absent(name, bytes)
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        assert!(name.contains("_delta_log"), "{name} is read whole");
        self.store.get(name)
    }

    fn get_range(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        self.bytes.fetch_add(range.end - range.start, Ordering::Relaxed);
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.store.get_range(name, range)
    }

    fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        self.store.list(prefix)
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.store.delete(name)
    }
}

#[test]
fn little_is_read_of_a_table_with_many_rows() {
    let random = &mut SmallRng::seed_from_u64(1);
    let mut place = Place::new(ClicksTable::Archive);
    for _ in 0..2 {
        let rows = (0..150_000).map(|number| {
            let row = click(random, ClicksTable::Archive, number, 1);
            crate::table::Written { ad_id: format!("ad-{:06}", number * 7_919 % 20_000), ..row }
        });
        let rows = rows.collect();
        place.write(rows, true);
    }
    let stored: u64 = place.store().list("clicks_raw/").unwrap().iter().map(|object| object.size_bytes).sum();
    let check = |ad_id: &str, hours: i64, most_reads: u64, share: u64| {
        let store = Counting { store: place.store(), bytes: AtomicU64::new(0), reads: AtomicU64::new(0) };
        let store = Arc::new(store);
        let of = ClicksOf { ad_id, from_ms: DAY_MS, until_ms: DAY_MS + hours * 3_600_000 };
        let mut found = 0;
        let trace = AdTrace::new(store.clone(), &place.url());
        trace.clicks(ClicksTable::Archive, &of, None, |_| found += 1).unwrap();
        assert_eq!(found, place.expected(&of).len());
        let (bytes, reads) = (store.bytes.load(Ordering::Relaxed), store.reads.load(Ordering::Relaxed));
        assert!(reads <= most_reads, "{ad_id}: {reads} reads");
        assert!(bytes <= stored / share, "{ad_id}: {bytes} bytes of {stored}");
    };
    // Two files of that hour: footer, bloom filter, ads and times, the other columns' pages.
    check("ad-010000", 1, 32, 4);
    // Between the first and the last, but not there: the bloom filter says so.
    check("ad-010000x", 1, 4, 20);
    // Beyond the last, and an hour without files: the log says so.
    check("zz", 1, 0, u64::MAX >> 40);
    check("ad-010000", 0, 0, u64::MAX >> 40);
}
