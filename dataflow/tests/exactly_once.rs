//! The graph against an independent oracle: a plain loop over the same records.
//!
//! The oracle takes two things from the run: the epoch that each record was read in (from the archive), and the watermark
//! at the end of each epoch (from the manifests, which are checked on their own). Everything else (rejected, future, late,
//! duplicate, counted, every click's region, every window's count and users) it works out by itself, in a way that shares
//! no code with the graph.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use support::{Growth, Log, LogRecord, MemorySink, MemorySource, MemoryStore, SeenRow, TIME, job};
use weir_checkpoints::{Manifest, Totals};
use weir_dataflow::{EpochSettings, Job, Layout, RowKind, run};

const START_MS: i64 = 1_736_952_000_000;

/// Records that a partition gives at once: few, so that a run has many epochs, and attempts fail between them.
const POLLED: usize = 40;

/// What the test knows of a record it made.
#[derive(Debug, Clone)]
enum Made {
    Click { id: String, ad: String, user: String, event_time_ms: i64, log_time_ms: i64, label: Option<String> },
    Poison,
}

struct World {
    /// The job's own region.
    home: Option<&'static str>,
    log: Arc<Log>,
    made: Vec<Vec<Made>>,
}

/// A random stream: skewed, out of order, late, from the future, duplicated (also under another timestamp, also across
/// partitions), with poison, from several regions, and with partitions that have nothing or lag behind.
fn world(rng: &mut StdRng) -> World {
    let partitions = rng.random_range(1..=5);
    let records = rng.random_range(0..4000);
    let step_ms = *[10, 200, 2_000].choose(rng).unwrap();
    let ads = rng.random_range(1..60_u32);
    let skew = rng.random_range(0.0..1.0_f64);
    let home = *[None, Some("eu-1")].choose(rng).unwrap();
    let labelled = *[0.0, 0.7, 1.0].choose(rng).unwrap();
    let mut made: Vec<Vec<Made>> = vec![Vec::new(); partitions];
    let mut clicks: Vec<Made> = Vec::new();
    let mut now_ms = START_MS;
    for number in 0..records {
        now_ms += rng.random_range(0..=step_ms * 2);
        let partition = if rng.random_bool(skew) { 0 } else { rng.random_range(0..partitions) };
        let record = match rng.random_range(0..100) {
            0 => Made::Poison,
            1..=12 if !clicks.is_empty() => again(rng, &clicks, now_ms, labelled),
            kind => {
                let event_time_ms = match kind {
                    13..=17 => now_ms - rng.random_range(0..600_000),
                    18 => now_ms + rng.random_range(300_001..900_000),
                    _ => now_ms - rng.random_range(0..TIME.out_of_orderness_ms),
                };
                let ad = format!("ad-{}", (rng.random_range(0.0..1.0_f64).powi(3) * f64::from(ads)) as u32);
                let user = format!("user-{}", rng.random_range(0..500));
                let id = format!("click-{number}");
                Made::Click { id, ad, user, event_time_ms, log_time_ms: now_ms, label: label(rng, labelled) }
            }
        };
        if matches!(record, Made::Click { .. }) {
            clicks.push(record.clone());
        }
        made[partition].push(record);
    }
    let log = made.iter().map(|records| records.iter().map(|record| written(rng, record)).collect()).collect();
    World { home, log: Arc::new(log), made }
}

/// What a record says of its region: nothing, mostly a name, now and then something that is none.
fn label(rng: &mut StdRng, labelled: f64) -> Option<String> {
    let labels = ["eu-1", "eu-1", "us-1", "us-1", "Asia_south.2", "", "no name", "ü"];
    rng.random_bool(labelled).then(|| (*labels.choose(rng).unwrap()).to_owned())
}

/// What the region of a click with this label must be.
fn region<'a>(label: Option<&'a str>, home: Option<&'a str>) -> Option<&'a str> {
    label.filter(|label| !["", "no name", "ü"].contains(label)).or(home)
}

/// An earlier click once more, every other time under another timestamp, from any region.
fn again(rng: &mut StdRng, clicks: &[Made], now_ms: i64, labelled: f64) -> Made {
    // Most are within the dedup horizon, some are not.
    let back = if rng.random_bool(0.3) { 4_000 } else { 400 };
    let recent = clicks.len() - rng.random_range(1..=clicks.len().min(back));
    let Made::Click { id, ad, user, event_time_ms, .. } = clicks[recent].clone() else { unreachable!() };
    let event_time_ms = if rng.random_bool(0.5) { now_ms - rng.random_range(0..5_000) } else { event_time_ms };
    Made::Click { id, ad, user, event_time_ms, log_time_ms: now_ms, label: label(rng, labelled) }
}

fn written(rng: &mut StdRng, record: &Made) -> LogRecord {
    let (log_time_ms, region, payload) = match record {
        Made::Poison => {
            let poison: [Option<&[u8]>; 6] =
                [None, Some(b""), Some(b"{"), Some(b"{\"ad_id\":\"a\"}"), Some(&[0xFF, 0xFE]), Some(b"[1]")];
            (START_MS, label(rng, 0.5), poison.choose(rng).unwrap().map(<[u8]>::to_vec))
        }
        Made::Click { id, ad, user, event_time_ms, log_time_ms, label } => {
            let text = format!(
                r#"{{"click_id":"{id}","ad_id":"{ad}","user_id":"{user}","timestamp":{event_time_ms},"page":"p"}}"#
            );
            (*log_time_ms, label.clone(), Some(text.into_bytes()))
        }
    };
    LogRecord { log_time_ms, region, payload }
}

type WindowKey = (i64, Option<String>, String, i64);

/// What the oracle expects.
#[derive(Default)]
struct Expected {
    totals: Vec<Totals>,
    /// (window in minutes, region, ad, start) → clicks, users.
    windows: BTreeMap<WindowKey, (u64, BTreeSet<String>)>,
    late: BTreeMap<(u32, u64), &'static str>,
    regions: BTreeMap<(u32, u64), Option<String>>,
    rejected: BTreeSet<(u32, u64)>,
}

fn oracle(world: &World, epochs: &HashMap<(u32, u64), u64>, manifests: &[Manifest], horizon_ms: i64) -> Expected {
    let ends: BTreeMap<u64, &Manifest> = manifests.iter().map(|manifest| (manifest.epoch.0, manifest)).collect();
    let mut expected = Expected { totals: vec![Totals::default(); world.made.len()], ..Expected::default() };
    let mut by_epoch: BTreeMap<u64, Vec<(u32, u64)>> = BTreeMap::new();
    for (partition, records) in world.made.iter().enumerate() {
        for (offset, record) in records.iter().enumerate() {
            let place = (partition as u32, offset as u64);
            expected.totals[partition].read += 1;
            match record {
                Made::Poison => {
                    expected.totals[partition].rejected += 1;
                    expected.rejected.insert(place);
                }
                Made::Click { .. } => by_epoch.entry(epochs[&place]).or_default().push(place),
            }
        }
    }
    // id → the watermark at the end of the epoch of its first click, or the end of that click's minute, in whole seconds.
    let mut seen: HashMap<String, i64> = HashMap::new();
    for (epoch, mut places) in by_epoch {
        places.sort_unstable();
        let (before, end) = (ends[&(epoch - 1)], ends[&epoch]);
        for place in places {
            let Made::Click { id, ad, user, event_time_ms, log_time_ms, label } =
                &world.made[place.0 as usize][place.1 as usize]
            else {
                unreachable!()
            };
            let region = region(label.as_deref(), world.home).map(str::to_owned);
            expected.regions.insert(place, region.clone());
            let totals = &mut expected.totals[place.0 as usize];
            let minute_end_ms = event_time_ms / 60_000 * 60_000 + 60_000;
            if event_time_ms - log_time_ms > TIME.max_future_skew_ms {
                totals.future += 1;
                expected.late.insert(place, "future");
                continue;
            }
            if before.closed_until_ms.is_some_and(|closed| minute_end_ms <= closed) {
                totals.late += 1;
                expected.late.insert(place, "late");
                continue;
            }
            let oldest = before.watermark_ms.map_or(0, seconds) - horizon_ms / 1000;
            if seen.get(id).is_some_and(|first| *first >= oldest) {
                totals.duplicate += 1;
                continue;
            }
            seen.insert(id.clone(), end.watermark_ms.map_or(0, seconds).max(minute_end_ms / 1000));
            totals.counted += 1;
            for minutes in [1, 5, 60] {
                let start_ms = event_time_ms / (minutes * 60_000) * (minutes * 60_000);
                let window = expected.windows.entry((minutes, region.clone(), ad.clone(), start_ms)).or_default();
                window.0 += 1;
                window.1.insert(user.clone());
            }
        }
    }
    expected
}

/// Whole seconds; the end of time is as late as dedup can say.
fn seconds(ms: i64) -> i64 {
    (ms / 1000).min(0xF000_0000 - 1)
}

fn minutes_of(window: &str) -> i64 {
    match window {
        "1m" => 1,
        "5m" => 5,
        "1h" => 60,
        other => panic!("window {other}"),
    }
}

/// What happens to a run.
#[derive(Debug, Clone, Copy, Default)]
struct Trouble {
    /// The store fails now and then, and other workers go on.
    crashes: bool,
    /// The log has fewer partitions at first.
    grows: bool,
}

/// Runs the world to its end with some number of workers at each attempt, and compares. Returns its totals, and how many
/// attempts went on with a watermark.
fn check(seed: u64, Trouble { crashes, grows }: Trouble) -> (Totals, usize) {
    let rng = &mut StdRng::seed_from_u64(seed);
    let world = world(rng);
    let store = Arc::new(MemoryStore::default());
    let tables = MemorySink::new("tables", &[RowKind::Window]);
    let clicks = MemorySink::new("clicks", &[RowKind::Archive, RowKind::Late, RowKind::DeadLetter]);
    let live = MemorySink::new("live", &[RowKind::Window, RowKind::Provisional]);
    let sinks = [tables.clone(), clicks.clone(), live.clone()];
    let max_records = *[50, 700, 1_000_000].choose(rng).unwrap();
    let horizon_ms = 120_000;
    let growth = if grows { Growth::new(rng.random_range(1..=2), rng.random_range(1..=8)) } else { Growth::done() };
    // Nothing but time ends an epoch while a log that is read to its end grows.
    let interval = Duration::from_millis(if grows { 4 } else { 200 });
    let mut attempts = 0;
    let last = loop {
        attempts += 1;
        let fails = crashes && attempts < 8;
        store.fail_after(fails.then(|| rng.random_range(0..40)));
        let workers = rng.random_range(1..=4);
        let job = Job {
            region: world.home.map(str::to_owned),
            source: Arc::new(MemorySource { log: Arc::clone(&world.log), growth: Arc::clone(&growth), polled: POLLED }),
            epoch: EpochSettings { interval, max_records },
            ..job(&world.log, &store, &sinks, max_records)
        };
        match run(job, Layout::Threads(workers)) {
            Ok(finished) => break finished.manifest.unwrap(),
            Err(error) => assert!(fails, "seed {seed}, attempt {attempts}: {error}"),
        }
    };
    let message = format!("seed {seed}, {attempts} attempts");
    let manifests = store.manifests();
    let empty = world.log.iter().all(Vec::is_empty);
    assert!(last.ended || empty, "{message}");
    check_chain(&manifests, &message);

    let mut epochs = HashMap::new();
    let (mut late, mut rejected) = (BTreeMap::new(), BTreeSet::new());
    let (mut regions, mut late_regions) = (BTreeMap::new(), BTreeMap::new());
    for row in clicks.rows() {
        let unique = match row {
            SeenRow::Archive { partition, offset, epoch, region } => {
                regions.insert((partition, offset), region);
                epochs.insert((partition, offset), epoch).is_none()
            }
            SeenRow::Late { partition, offset, reason, region, .. } => {
                late_regions.insert((partition, offset), region);
                late.insert((partition, offset), reason).is_none()
            }
            SeenRow::DeadLetter { partition, offset, .. } => rejected.insert((partition, offset)),
            SeenRow::Window { .. } => false,
        };
        assert!(unique, "{message}: a row twice");
    }
    let expected = oracle(&world, &epochs, &manifests, horizon_ms);
    let totals: Vec<Totals> = last.partitions.values().map(|cut| cut.totals).collect();
    assert_eq!(totals, expected.totals, "{message}");
    assert_eq!(rejected, expected.rejected, "{message}");
    let late: BTreeMap<_, _> = late.iter().map(|(place, reason)| (*place, reason.as_str())).collect();
    assert_eq!(late, expected.late, "{message}");
    assert_eq!(regions, expected.regions, "{message}");
    assert!(late_regions.iter().all(|(place, region)| regions[place] == *region), "{message}");
    check_windows(&tables.rows(), &expected, &manifests, &message);
    check_live(&live.rows(), &tables.rows(), &manifests, &message);
    let goes_on = |pair: &&[Manifest]| pair[0].attempt != pair[1].attempt && pair[0].watermark_ms.is_some();
    (last.totals(), manifests.windows(2).filter(goes_on).count())
}

fn check_chain(manifests: &[Manifest], message: &str) {
    for (number, pair) in manifests.windows(2).enumerate() {
        let (before, after) = (&pair[0], &pair[1]);
        assert_eq!(after.sequence.0, number as u64 + 1, "{message}");
        assert_eq!(after.previous.as_ref(), Some(&Manifest::hash(&before.to_bytes().unwrap())), "{message}");
        assert!(after.watermark_ms >= before.watermark_ms, "{message}: the watermark went back");
        assert!(after.closed_until_ms >= before.closed_until_ms, "{message}");
        for (partition, cut) in &before.partitions {
            assert!(after.partitions[partition].position.next_offset >= cut.position.next_offset, "{message}");
        }
        assert!(after.totals().conserved(), "{message}");
    }
}

fn check_windows(rows: &[SeenRow], expected: &Expected, manifests: &[Manifest], message: &str) {
    let mut found = HashSet::new();
    let mut errors = Vec::new();
    for row in rows {
        let SeenRow::Window { ad, region, window, start_ms, clicks, users, epoch } = row else {
            panic!("{message}: {row:?}")
        };
        let key = (minutes_of(window), region.clone(), ad.clone(), *start_ms);
        assert!(found.insert(key.clone()), "{message}: window {key:?} twice");
        let (count, distinct) =
            expected.windows.get(&key).unwrap_or_else(|| panic!("{message}: window {key:?} is too much"));
        assert_eq!(clicks, count, "{message}: window {key:?}");
        errors.push((*users as f64 - distinct.len() as f64) / distinct.len() as f64);
        // It closed in the first epoch whose closing passed its end.
        let end_ms = start_ms + key.0 * 60_000;
        let closed_in = manifests.iter().find(|manifest| manifest.closed_until_ms >= Some(end_ms)).unwrap().epoch.0;
        assert_eq!(*epoch, closed_in, "{message}: window {key:?} closed in another epoch");
    }
    assert_eq!(found.len(), expected.windows.len(), "{message}: windows are missing");
    for error in errors {
        assert!(error.abs() <= 3.0 * 0.0163, "{message}: distinct users off by {error}");
    }
}

/// With the open windows' rows the newest value of each window says at every checkpoint what was counted until then.
fn check_live(rows: &[SeenRow], closed: &[SeenRow], manifests: &[Manifest], message: &str) {
    let mut by_epoch: BTreeMap<u64, Vec<&SeenRow>> = BTreeMap::new();
    for row in rows {
        let SeenRow::Window { epoch, .. } = row else { panic!("{message}: {row:?}") };
        by_epoch.entry(*epoch).or_default().push(row);
    }
    let mut newest: BTreeMap<_, &SeenRow> = BTreeMap::new();
    for manifest in manifests {
        for row in by_epoch.remove(&manifest.epoch.0).into_iter().flatten() {
            let SeenRow::Window { ad, region, window, start_ms, clicks, .. } = row else { continue };
            if let Some(SeenRow::Window { clicks: before, .. }) = newest.insert((window, region, ad, start_ms), row) {
                assert!(clicks >= before, "{message}: {row:?} had {before} clicks before");
            }
        }
        for length in ["1m", "5m", "1h"] {
            let of_length = newest.values().filter_map(|row| match row {
                SeenRow::Window { window, clicks, .. } if window == length => Some(*clicks),
                _ => None,
            });
            assert_eq!(of_length.sum::<u64>(), manifest.totals().counted, "{message}: {length} at {}", manifest.epoch);
        }
    }
    assert!(by_epoch.is_empty(), "{message}: rows of epochs without a manifest");
    let mut newest: Vec<_> = newest.values().map(|row| format!("{row:?}")).collect();
    let mut closed: Vec<_> = closed.iter().map(|row| format!("{row:?}")).collect();
    newest.sort_unstable();
    closed.sort_unstable();
    assert_eq!(newest, closed, "{message}: the last value is not the final one");
}

/// So many attempts that failed must have gone on in the middle of their log.
const RESUMED: usize = 20;

/// More worlds than asked for, where a busy machine has read most logs in one epoch: then hardly an attempt fails between two.
const MORE_WORLDS: u64 = 600;

/// Checks many worlds, and that together they held every kind of record.
fn check_all(seeds: std::ops::Range<u64>, trouble: Trouble) {
    let (mut sum, mut resumed) = (Totals::default(), 0);
    for seed in seeds.start..seeds.end + MORE_WORLDS {
        let is_enough = !trouble.crashes || resumed > RESUMED;
        if seed >= seeds.end && is_enough {
            break;
        }
        let (totals, more) = check(seed, trouble);
        sum = sum.plus(&totals);
        resumed += more;
    }
    assert!(!trouble.crashes || resumed > RESUMED, "only {resumed} attempts went on in the middle");
    let Totals { read, rejected, future, late, duplicate, counted } = sum;
    assert!([read, rejected, future, late, duplicate, counted].iter().all(|count| *count > 100), "{sum:?}");
}

#[test]
fn every_record_is_accounted_for_and_every_window_is_exact() {
    check_all(0..60, Trouble::default());
}

#[test]
fn nothing_changes_when_attempts_fail_and_others_go_on_with_other_workers() {
    check_all(1000..1060, Trouble { crashes: true, ..Trouble::default() });
}

#[test]
fn partitions_that_come_up_are_read_from_their_start() {
    check_all(2000..2040, Trouble { grows: true, ..Trouble::default() });
}

#[test]
fn partitions_that_come_up_are_read_once_when_attempts_fail() {
    check_all(3000..3060, Trouble { crashes: true, grows: true });
}
