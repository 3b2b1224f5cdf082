//! What cannot match is not read: each step is seen at work.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use weir_checkpoints::{Created, ObjectInfo, Store, StoreError};
use weir_connectors::delta::{DeltaReader, DeltaReaderLimits, ReadError, ReadFigures};
use weir_dataflow::{TopQuery, Window, WindowQuery, WindowStats};

use crate::foreign;
use crate::oracle::{DAY_MS, all_of};
use crate::table::{Place, TableWriter};

const ADS: u64 = 20_000;

/// Three days with 20,000 ads; all of a day in one commit, so in a file for each worker.
fn three_days(place: &Place) {
    let mut writer = TableWriter::open(&place.store());
    for day in 0..3 {
        let row = |ad: u64| WindowStats {
            ad_id: format!("ad-{ad:06}").into(),
            region: None,
            window: Window::OneHour,
            start_ms: DAY_MS + day * 86_400_000 + (ad % 24) as i64 * 3_600_000,
            click_count: ad,
            unique_users: 1,
            user_sketch: vec![7; 32],
            is_final: true,
            epoch: day as u64 + 1,
        };
        writer.commit(&(0..ADS).map(row).collect::<Vec<_>>());
    }
}

/// What one question adds to the figures.
fn cost<T>(reader: &DeltaReader, question: impl FnOnce(&DeltaReader) -> T) -> (T, ReadFigures) {
    let before = reader.figures();
    let answer = question(reader);
    (answer, reader.figures() - before)
}

#[test]
fn each_step_leaves_out_what_cannot_match() {
    let place = Place::local();
    three_days(&place);
    let reader = place.reader();
    let ask = |query: &WindowQuery| cost(&reader, |reader| reader.windows(query).unwrap().len());

    let (rows, figures) = ask(&all_of(&["ad-004711"], Window::FiveMinutes));
    assert_eq!((rows, figures.files, figures.files_by_partition), (0, 6, 6), "another window");
    let day = WindowQuery {
        start_ms: DAY_MS + 86_400_000,
        end_ms: DAY_MS + 2 * 86_400_000,
        ..all_of(&["ad-004711"], Window::OneHour)
    };
    let (rows, figures) = ask(&day);
    assert_eq!((rows, figures.files_by_partition, figures.footers_read), (1, 4, 2), "another day");

    let (rows, figures) = ask(&all_of(&["ad-999999"], Window::OneHour));
    assert_eq!((rows, figures.files_by_log_ranges, figures.row_groups), (0, 6, 0), "ads beyond the files'");

    // Half of the files are the other worker's, and each has a bloom filter.
    let (rows, figures) = ask(&all_of(&["ad-004711"], Window::OneHour));
    assert_eq!((rows, figures.row_groups, figures.row_groups_by_bloom), (3, 6, 3), "the other worker's");
    assert_eq!(figures.rows, 3 * ADS / 2);
    assert!(figures.rows_by_page_index > figures.rows * 3 / 4, "{figures:?}");
    let (_, again) = ask(&all_of(&["ad-004711"], Window::OneHour));
    assert_eq!((again.footers_read, again.data_bytes), (0, figures.data_bytes), "footers are cached");

    let everything: u64 = place.files().iter().map(|file| place.folder().join(file).metadata().unwrap().len()).sum();
    assert!(figures.data_bytes < everything / 2, "{} of {everything} bytes", figures.data_bytes);
    let (_, sketches) = ask(&WindowQuery { sketches: true, ..all_of(&["ad-004711"], Window::OneHour) });
    assert!(sketches.data_bytes > figures.data_bytes, "sketches are read only when asked for");
}

#[test]
fn row_groups_are_left_out_for_their_ranges() {
    let place = Place::local();
    TableWriter::open(&place.store());
    let ads: Vec<String> = (0..4_000).map(|ad| format!("ad-{ad:04}")).collect();
    foreign::add(&place, &foreign::File { row_group_rows: 1_000, page_index: false, ..foreign::File::of(&ads) });
    let reader = place.reader();
    let (rows, figures) = cost(&reader, |reader| reader.windows(&all_of(&["ad-2500"], Window::OneHour)).unwrap().len());
    assert_eq!((rows, figures.row_groups, figures.row_groups_by_ranges), (1, 4, 3));
}

#[test]
fn a_footer_that_does_not_fit_the_cache_is_read_again() {
    let place = Place::local();
    three_days(&place);
    let reader = DeltaReader::open(place.store(), DeltaReaderLimits { cache_bytes: 1_000, ..place.limits() });
    for _ in 0..2 {
        let (rows, figures) =
            cost(&reader, |reader| reader.windows(&all_of(&["ad-000001"], Window::OneHour)).unwrap().len());
        assert_eq!((rows, figures.footers_read), (3, 6));
    }
}

#[test]
fn a_question_for_too_much_is_refused_with_the_limit() {
    let place = Place::local();
    three_days(&place);
    let reader = DeltaReader::open(place.store(), DeltaReaderLimits { query_bytes: 150_000, ..place.limits() });
    let all = all_of(&[], Window::OneHour);
    let refusal = reader.windows(&all).unwrap_err();
    assert!(matches!(refusal, ReadError::TooMuch { limit_bytes: 150_000 }), "{refusal}");
    assert!(refusal.to_string().contains("150000 bytes"), "{refusal}");
    assert_eq!(reader.windows(&all_of(&["ad-000001"], Window::OneHour)).unwrap().len(), 3);
    let mut rows = 0;
    reader.for_each(&all, None, |_| rows += 1).unwrap();
    assert_eq!(rows, 3 * ADS, "a scan is bounded by itself");
}

#[test]
fn a_top_list_reads_only_files_of_its_day() {
    let place = Place::local();
    three_days(&place);
    let reader = place.reader();
    let query = TopQuery { window: Window::OneHour, start_ms: DAY_MS + 86_400_000, region: None, limit: 1 };
    let (top, figures) = cost(&reader, |reader| reader.top(&query).unwrap());
    assert_eq!((&*top[0].ad_id, figures.files_by_partition), ("ad-019992", 4));
}

/// A store that counts how often the log is looked at.
struct Counting {
    store: Arc<dyn Store>,
    looks: Arc<AtomicU64>,
}

impl Store for Counting {
    fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
        self.store.put(name, bytes)
    }

    fn put_if_absent(&self, name: &str, bytes: Vec<u8>) -> Result<Created, StoreError> {
        self.store.put_if_absent(name, bytes)
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.looks.fetch_add(1, Ordering::Relaxed);
        self.store.get(name)
    }

    fn get_range(&self, name: &str, range: std::ops::Range<u64>) -> Result<Vec<u8>, StoreError> {
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
fn questions_share_one_look_at_the_log() {
    let place = Place::local();
    three_days(&place);
    let looks = Arc::new(AtomicU64::new(0));
    let store = Arc::new(Counting { store: place.store(), looks: looks.clone() });
    let limits = DeltaReaderLimits { refresh_interval: Duration::from_secs(3_600), ..place.limits() };
    let reader = DeltaReader::open(store, limits);
    reader.version().unwrap();
    let first = looks.load(Ordering::Relaxed);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                (0..20).for_each(|_| drop(reader.windows(&all_of(&["ad-000001"], Window::OneHour)).unwrap()))
            });
        }
    });
    assert_eq!(looks.load(Ordering::Relaxed), first);
}
