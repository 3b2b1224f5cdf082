//! A table that is compacted while it is read.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use weir_connectors::delta::{CompactOutcome, CompactSettings, Compactor, DeltaReader, DeltaReaderLimits, Table};
use weir_dataflow::Window;

use crate::contract::check_one;
use crate::oracle::{Oracle, all_of};
use crate::table::{Place, TableWriter};
use crate::versions::{ADS, rows_of, watch};

const SETTINGS: CompactSettings =
    CompactSettings { target_bytes: 1 << 20, min_files: 2, settled_until_ms: i64::MAX, dates: None };

fn open(place: &Place) -> Compactor {
    Compactor::open(Table::Agg, place.store(), SETTINGS).unwrap().unwrap()
}

/// Merges all that there is now; how many merges were committed.
fn compact(compactor: &mut Compactor) -> usize {
    let mut committed = 0;
    for merge in compactor.plan().unwrap() {
        let written = compactor.write(merge).unwrap();
        let outcome = written.compacted.map(|compacted| compactor.commit(&compacted).unwrap());
        committed += usize::from(outcome == Some(CompactOutcome::Committed));
    }
    committed
}

#[test]
fn answers_are_the_same_before_and_after() {
    for (place, commits) in [(Place::local(), 12), (Place::s3(), 5)] {
        let mut writer = TableWriter::open(&place.store());
        // One follows the log, and has footers in its cache; the other begins anew.
        let reader = place.reader();
        let mut oracle = Oracle::default();
        for seed in 0..commits {
            let mut random = SmallRng::seed_from_u64(seed);
            let rows = random.random_range(1..200);
            writer.commit(&oracle.add(&mut random, rows, writer.next_epoch()));
            check_one(&reader, &oracle, &mut random, seed);
            if seed % 3 == 2 {
                assert!(compact(&mut open(&place)) > 0);
            }
            if seed % 6 == 5 {
                // What it would read next is gone.
                assert!(open(&place).delete_replaced(i64::MAX, None, false).unwrap().files > 0);
            }
            for _ in 0..10 {
                check_one(&reader, &oracle, &mut random, seed);
                check_one(&place.reader(), &oracle, &mut random, seed);
            }
        }
    }
}

#[test]
fn readers_see_whole_epochs_while_two_compactors_are_at_work() {
    let place = Place::local();
    let epochs = 120;
    let mut writer = TableWriter::open(&place.store());
    let limits = DeltaReaderLimits { refresh_interval: Duration::from_millis(1), ..place.limits() };
    let reader = DeltaReader::open(place.store(), limits);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let readers: Vec<_> = (0..2).map(|_| scope.spawn(|| watch(&reader, &done, epochs))).collect();
        let compactors = [(); 2].map(|()| {
            scope.spawn(|| {
                let (mut compactor, mut committed) = (open(&place), 0);
                while !done.load(Ordering::Relaxed) {
                    committed += compact(&mut compactor);
                }
                committed
            })
        });
        for epoch in 1..=epochs {
            writer.commit(&rows_of(epoch));
            thread::sleep(Duration::from_millis(2));
        }
        done.store(true, Ordering::Relaxed);
        assert!(readers.into_iter().all(|watching| watching.join().unwrap() > 3));
        assert!(compactors.into_iter().map(|compactor| compactor.join().unwrap()).sum::<usize>() > 3);
    });
}

/// Whoever hands the newest manifest along would find its files again, although others have their rows by now.
#[test]
fn files_of_a_manifest_that_were_compacted_are_not_read_beside_what_has_their_rows() {
    let place = Place::local();
    let mut writer = TableWriter::open(&place.store());
    writer.commit(&rows_of(1));
    let manifest = writer.stage(&rows_of(2));
    let count = |what: &str, expect: usize| {
        let mut rows = 0;
        place.reader().for_each(&all_of(&[], Window::OneMinute), Some(&manifest), |_| rows += 1).unwrap();
        assert_eq!(rows, expect, "{what}");
    };
    count("listed", 2 * ADS.len());
    writer.show(&manifest);
    count("shown", 2 * ADS.len());
    assert_eq!(compact(&mut open(&place)), 1);
    count("compacted", 2 * ADS.len());
}
