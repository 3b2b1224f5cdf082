//! The windows that a running job can be asked for, against what its sinks and manifests say.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[allow(dead_code, reason = "this test needs less of it than others")]
mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use support::{Log, LogRecord, MemorySink, MemoryStore, SeenRow, TIME, job};
use weir_checkpoints::{Created, ObjectInfo, Store, StoreError};
use weir_dataflow::{
    HotSettings, HotWindows, Job, Layout, RowKind, TimeSettings, TopAd, TopQuery, Window, WindowQuery, WindowStats, run,
};

const START_MS: i64 = 1_736_952_000_000;

const fn settings(retention_ms: i64, memory_bytes: usize) -> HotSettings {
    HotSettings { retention_ms, memory_bytes, readers_lag: Duration::ZERO }
}

type Key = (String, Option<String>, i64);

/// Every window of a length, of all ads.
fn all(window: Window) -> WindowQuery {
    WindowQuery { ads: Vec::new(), window, start_ms: 0, end_ms: i64::MAX, region: None, sketches: false }
}

fn key(row: &WindowStats) -> Key {
    (row.ad_id.to_string(), row.region.as_deref().map(str::to_owned), row.start_ms)
}

/// Some hours of clicks on a few ads in three regions.
fn log(rng: &mut StdRng, records: usize) -> Log {
    let mut log: Log = vec![Vec::new(), Vec::new(), Vec::new()];
    for number in 0..records {
        let time_ms = START_MS + number as i64 * 3 * 3_600_000 / records as i64;
        let (ad, user) = (rng.random_range(0..12), rng.random_range(0..400));
        let text = format!(r#"{{"click_id":"c{number}","ad_id":"ad-{ad}","user_id":"u{user}","timestamp":{time_ms}}}"#);
        let region = [None, Some("eu-1"), Some("us-1")][rng.random_range(0..3)];
        log[number % 3].push(LogRecord {
            payload: Some(text.into_bytes()),
            log_time_ms: time_ms,
            region: region.map(str::to_owned),
        });
    }
    log
}

/// What the sink shows of a length of windows at the moment.
fn in_tables(tables: &MemorySink, length: Window) -> BTreeMap<Key, u64> {
    let of_length = tables.rows().into_iter().filter_map(|row| match row {
        SeenRow::Window { ad, region, window, start_ms, clicks, .. } if window == length.as_str() => {
            Some(((ad, region, start_ms), clicks))
        }
        _ => None,
    });
    of_length.collect()
}

/// Looks, again and again while the job runs, first here and then in the tables for what starts earlier than is complete
/// here.
fn watch(hot: &HotWindows, tables: &MemorySink, done: &AtomicBool) -> u64 {
    let mut last: BTreeMap<(Window, Key), (u64, bool)> = BTreeMap::new();
    let mut looks = 0;
    while !done.load(Ordering::Acquire) {
        for length in Window::ALL {
            let answer = hot.windows(&all(length));
            let mut seen: BTreeMap<Key, (u64, bool)> = BTreeMap::new();
            for (key, clicks) in in_tables(tables, length) {
                if key.2 < answer.progress.complete_from_ms {
                    seen.insert(key, (clicks, true));
                }
            }
            for row in &answer.found {
                assert!(
                    !row.is_final
                        || row.start_ms + length.length_ms()
                            <= answer.progress.closed_until_ms.max(hot.progress().closed_until_ms)
                );
                let known = seen.insert(key(row), (row.click_count, row.is_final));
                assert!(
                    known.is_none_or(|(clicks, _)| clicks == row.click_count),
                    "{row:?} is {known:?} in the tables"
                );
            }
            for (key, (clicks, is_final)) in &seen {
                if let Some((before, was_final)) = last.get(&(length, key.clone())) {
                    assert!(clicks >= before, "{key:?} had {before} clicks, now {clicks}");
                    assert!(
                        !was_final || (*is_final && clicks == before),
                        "{key:?} was final with {before}, now {clicks}"
                    );
                }
            }
            let lost = last.keys().find(|(window, key)| *window == length && !seen.contains_key(key));
            assert_eq!(lost, None, "a window is neither here nor in the tables");
            last.extend(seen.into_iter().map(|(key, value)| ((length, key), value)));
        }
        looks += 1;
    }
    looks
}

fn check(seed: u64, settings: HotSettings) -> Arc<HotWindows> {
    println!("seed {seed}, {settings:?}");
    let rng = &mut StdRng::seed_from_u64(seed);
    let log = Arc::new(log(rng, 60_000));
    let store = Arc::new(MemoryStore::default());
    let tables = MemorySink::new("tables", &[RowKind::Window]);
    let hot = Arc::new(HotWindows::new(Some("eu-1"), settings));
    let job = Job {
        region: Some("eu-1".to_owned()),
        hot: Arc::clone(&hot),
        ..job(&log, &store, std::slice::from_ref(&tables), 500)
    };
    let done = AtomicBool::new(false);
    let looks = std::thread::scope(|scope| {
        let watching = scope.spawn(|| watch(&hot, &tables, &done));
        let ended = run(job, Layout::Threads(rng.random_range(1..=3)));
        done.store(true, Ordering::Release);
        ended.unwrap();
        watching.join().unwrap()
    });
    assert!(looks > 0, "the job was over before it was looked at");
    for length in Window::ALL {
        let tables = in_tables(&tables, length);
        let answer = hot.windows(&all(length));
        let from_ms = answer.progress.complete_from_ms;
        for row in &answer.found {
            assert!(row.is_final);
            assert_eq!(tables.get(&key(row)), Some(&row.click_count), "{row:?}");
        }
        let expected = tables.keys().filter(|(_, _, start_ms)| *start_ms >= from_ms).count();
        assert_eq!(answer.found.iter().filter(|row| row.start_ms >= from_ms).count(), expected);
        check_questions(rng, &hot, &answer.found, length);
    }
    hot
}

/// Smaller questions have the same answers as all windows filtered.
fn check_questions(rng: &mut StdRng, hot: &HotWindows, all: &[WindowStats], window: Window) {
    for _ in 0..50 {
        let start_ms = START_MS + rng.random_range(-10..200) * 60_000;
        let end_ms = start_ms + rng.random_range(0..200) * 60_000;
        let region = [None, Some("eu-1"), Some("us-1"), Some("nowhere")][rng.random_range(0..4)];
        let ads: Vec<Arc<str>> =
            (0..rng.random_range(1..4)).map(|_| format!("ad-{}", rng.random_range(0..15)).into()).collect();
        let mut ads = ads;
        ads.sort();
        ads.dedup();
        let query = WindowQuery { ads, window, start_ms, end_ms, region: region.map(Into::into), sketches: false };
        let matches = |row: &&WindowStats| {
            query.ads.contains(&row.ad_id)
                && (start_ms..end_ms).contains(&row.start_ms)
                && region.is_none_or(|region| row.region.as_deref() == Some(region))
        };
        let mut expected: Vec<&WindowStats> = all.iter().filter(matches).collect();
        let found = hot.windows(&query).found;
        let mut found: Vec<&WindowStats> = found.iter().collect();
        expected.sort_by_key(|row| key(row));
        found.sort_by_key(|row| key(row));
        assert_eq!(found, expected, "{query:?}");

        let start_ms = window.start_of(start_ms);
        let query = TopQuery { window, start_ms, region: region.map(Into::into), limit: rng.random_range(0..15) };
        let mut sums: BTreeMap<&Arc<str>, u64> = BTreeMap::new();
        let of_region = |row: &&WindowStats| region.is_none_or(|region| row.region.as_deref() == Some(region));
        for row in all.iter().filter(|row| row.start_ms == start_ms).filter(of_region) {
            *sums.entry(&row.ad_id).or_default() += row.click_count;
        }
        let mut expected: Vec<TopAd> =
            sums.into_iter().map(|(ad, click_count)| TopAd { ad_id: Arc::clone(ad), click_count }).collect();
        expected.sort_by(|one, other| other.click_count.cmp(&one.click_count).then(one.ad_id.cmp(&other.ad_id)));
        expected.truncate(query.limit);
        assert_eq!(hot.top(&query).found, expected, "{query:?}");
    }
}

#[test]
fn what_is_kept_for_ever_is_all_there_is() {
    for seed in 0..3 {
        let hot = check(seed, settings(i64::MAX, usize::MAX));
        assert!(hot.progress().complete_from_ms <= 0);
    }
}

/// How much is dropped depends on how far the checkpoints are when windows close; that something is, does not.
fn check_dropping(seeds: std::ops::Range<u64>, settings: HotSettings) {
    let dropped = seeds.filter(|seed| check(*seed, settings).progress().complete_from_ms > START_MS);
    assert!(dropped.count() > 0, "nothing was dropped");
}

#[test]
fn what_is_dropped_is_in_the_tables() {
    check_dropping(10..14, settings(30 * 60_000, usize::MAX));
}

#[test]
fn too_little_memory_drops_windows_early() {
    check_dropping(20..24, settings(30 * 86_400_000, 300_000));
}

#[test]
fn windows_of_an_earlier_process_are_taken_up() {
    let hot = check(30, settings(i64::MAX, usize::MAX));
    let later = HotWindows::new(Some("eu-1"), settings(i64::MAX, usize::MAX));
    for length in Window::ALL {
        for row in &hot.windows(&WindowQuery { sketches: true, ..all(length) }).found {
            let row = weir_dataflow::WindowRow {
                ad_id: &row.ad_id,
                region: row.region.as_deref(),
                window: row.window,
                start_ms: row.start_ms,
                click_count: row.click_count,
                unique_users: row.unique_users,
                user_sketch: &row.user_sketch,
                epoch: weir_checkpoints::Epoch(row.epoch),
            };
            later.restore(&row).unwrap();
            // Once from a table and once from what was held back for it.
            later.restore(&row).unwrap();
        }
        let query = WindowQuery { sketches: true, ..all(length) };
        let [mut before, mut after] = [hot.windows(&query).found, later.windows(&query).found];
        before.sort_by_key(key);
        after.sort_by_key(key);
        after.iter_mut().for_each(|row| row.is_final = true);
        assert_eq!(before, after);
        assert!(!after.is_empty());
    }
    assert_eq!(hot.closed_bytes(), later.closed_bytes());
}

/// A store that takes its time to read.
struct Slow(Arc<MemoryStore>);

impl Store for Slow {
    fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
        self.0.put(name, bytes)
    }

    fn put_if_absent(&self, name: &str, bytes: Vec<u8>) -> Result<Created, StoreError> {
        self.0.put_if_absent(name, bytes)
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        std::thread::sleep(Duration::from_millis(20));
        self.0.get(name)
    }

    fn get_range(&self, name: &str, range: std::ops::Range<u64>) -> Result<Vec<u8>, StoreError> {
        std::thread::sleep(Duration::from_millis(20));
        self.0.get_range(name, range)
    }

    fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        self.0.list(prefix)
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.0.delete(name)
    }
}

#[test]
fn nothing_is_complete_before_all_of_it_is_restored() {
    let rng = &mut StdRng::seed_from_u64(40);
    let log = Arc::new(log(rng, 60_000));
    let store = Arc::new(MemoryStore::default());
    // Told to stop from the start, a job takes one epoch.
    let one_epoch = |hot: &Arc<HotWindows>, store: Arc<dyn Store>, sinks: &MemorySink| {
        let job = Job {
            region: Some("eu-1".to_owned()),
            hot: Arc::clone(hot),
            store,
            // Nothing closes.
            time: TimeSettings { allowed_lateness_ms: 86_400_000, ..TIME },
            ..job(&log, &Arc::default(), std::slice::from_ref(sinks), 4_000)
        };
        job.stop.store(true, Ordering::Relaxed);
        run(job, Layout::Threads(3)).unwrap().manifest.unwrap().totals().counted
    };
    let tables = MemorySink::new("tables", &[RowKind::Window]);
    let hot = || Arc::new(HotWindows::new(Some("eu-1"), settings(i64::MAX, usize::MAX)));
    let mut counted = one_epoch(&hot(), Arc::clone(&store) as Arc<dyn Store>, &tables);
    for _ in 0..3 {
        assert!(counted > 1_000);
        let (hot, done) = (hot(), AtomicBool::new(false));
        counted = std::thread::scope(|scope| {
            let watching = scope.spawn(|| {
                let mut looks = 0;
                while !done.load(Ordering::Acquire) {
                    let answer = hot.windows(&all(Window::OneHour));
                    let whole = answer.progress.epoch.is_some();
                    let clicks: u64 = answer.found.iter().map(|row| row.click_count).sum();
                    assert!(
                        !whole || clicks >= counted,
                        "{clicks} of {counted} clicks, and nothing is said to be missing"
                    );
                    looks += u32::from(!whole);
                }
                looks
            });
            let counted = one_epoch(&hot, Arc::new(Slow(Arc::clone(&store))), &tables);
            done.store(true, Ordering::Release);
            assert!(watching.join().unwrap() > 0, "it was never looked at while it was restored");
            counted
        });
    }
}
