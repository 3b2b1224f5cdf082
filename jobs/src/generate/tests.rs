use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::*;

const MINUTE_MS: i64 = 60_000;
const BOUND_MS: u64 = 4_000;

fn options(seed: u64) -> StreamOptions {
    StreamOptions {
        seed,
        generation: 0,
        records: 60_000,
        partitions: 4,
        partition_by: PartitionBy::Ad,
        ads: 50,
        ad_skew: 1.05,
        users: 300,
        start_ms: 1_736_952_000_000,
        log_start_ms: 1_736_952_000_000,
        events_per_second: 200.0,
        record_bytes: 400,
        out_of_order_ms: BOUND_MS,
        shares: Shares { duplicates: 0.05, late: 0.01, future: 0.01, poison: 0.02, without_click_id: 0.1 },
        tombstones: false,
    }
}

/// Generates into a new folder; returns it, the lines of each partition, and the oracle's path.
fn run(parts: &[StreamOptions]) -> (tempfile::TempDir, Vec<Vec<Vec<u8>>>, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let oracle = folder.path().join("oracle.ndjson");
    for (number, part) in parts.iter().enumerate() {
        let target = Target::Folder(log.clone());
        generate(part, &parts[..number], number > 0, &target, Some(&oracle), None, |_| {}).unwrap();
    }
    let segment = |partition: u32| log.join(partition.to_string()).join("00000000000000000000.ndjson");
    let lines = |partition: u32| -> Vec<Vec<u8>> {
        let bytes = std::fs::read(segment(partition)).unwrap();
        let mut lines: Vec<Vec<u8>> = bytes.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        assert_eq!(lines.pop(), Some(Vec::new()), "the last line is whole");
        // The log's own lines say when it took the others.
        lines.retain(|line| !line.starts_with(b"{\"weir_log_time_ms\":"));
        lines
    };
    let partitions = (0..parts[0].partitions).map(lines).collect();
    (folder, partitions, oracle)
}

/// A click as a plain JSON reader sees it.
#[derive(serde::Deserialize)]
struct Plain {
    ad_id: String,
    user_id: String,
    timestamp: i64,
    click_id: Option<String>,
    ip_address: Option<std::net::IpAddr>,
    user_agent: Option<String>,
}

impl Plain {
    fn parse(line: &[u8]) -> Option<Self> {
        if line.len() > 65_536 {
            return None;
        }
        let click: Self = serde_json::from_str(std::str::from_utf8(line).ok()?).ok()?;
        let fits = |id: &str, most: usize| (1..=most).contains(&id.len());
        let valid = fits(&click.ad_id, 256)
            && fits(&click.user_id, 256)
            && click.timestamp >= 0
            && click.click_id.as_deref().is_none_or(|id| fits(id, 128));
        valid.then_some(click)
    }

    fn time_ms(&self) -> i64 {
        if self.timestamp < 100_000_000_000 { self.timestamp * 1000 } else { self.timestamp }
    }

    fn key(&self) -> String {
        match &self.click_id {
            Some(id) => id.clone(),
            None => format!(
                "{}|{}|{}|{:?}|{:?}",
                self.ad_id,
                self.user_id,
                self.time_ms(),
                self.ip_address,
                self.user_agent
            ),
        }
    }
}

#[derive(Default)]
struct Recount {
    totals: ExpectedTotals,
    windows: BTreeMap<(String, String, i64), Counted>,
}

#[derive(Default)]
struct Counted {
    clicks: u64,
    users: BTreeSet<String>,
    late: u64,
}

/// Counts the lines by the plain rules: what is hours before the start is late, what is an hour behind the end is future.
fn recount(partitions: &[Vec<Vec<u8>>], start_ms: i64, end_ms: i64) -> Recount {
    let mut found = Recount::default();
    let mut seen: HashMap<String, i64> = HashMap::new();
    for line in partitions.iter().flatten() {
        found.totals.read += 1;
        let Some(click) = Plain::parse(line) else {
            found.totals.rejected += 1;
            continue;
        };
        let time_ms = click.time_ms();
        if time_ms > end_ms + 30 * MINUTE_MS {
            found.totals.future += 1;
            continue;
        }
        let late = time_ms < start_ms - 30 * MINUTE_MS;
        if let Some(first_ms) = seen.insert(click.key(), time_ms) {
            assert!(!late, "a late click has a copy");
            assert_eq!(first_ms.div_euclid(MINUTE_MS), time_ms.div_euclid(MINUTE_MS), "a copy is in another minute");
            found.totals.duplicate += 1;
            continue;
        }
        found.totals.late += u64::from(late);
        found.totals.counted += u64::from(!late);
        for (name, length_ms) in [("1m", MINUTE_MS), ("5m", 5 * MINUTE_MS), ("1h", 60 * MINUTE_MS)] {
            let start = time_ms.div_euclid(length_ms) * length_ms;
            let window = found.windows.entry((name.to_owned(), click.ad_id.clone(), start)).or_default();
            if late {
                window.late += 1;
            } else {
                window.clicks += 1;
                window.users.insert(click.user_id.clone());
            }
        }
    }
    found
}

fn check_oracle(parts: &[StreamOptions]) {
    let (_folder, partitions, path) = run(parts);
    let end_ms = parts.iter().map(StreamOptions::end_ms).max().unwrap();
    let found = recount(&partitions, parts[0].start_ms, end_ms);
    let oracle = OracleReader::open(&path).unwrap();
    let seed = parts[0].seed;
    assert_eq!(oracle.header().totals, found.totals, "seed {seed}");
    assert_eq!(oracle.header().parts, parts, "seed {seed}");
    let expected: Vec<ExpectedWindow> = oracle.map(Result::unwrap).collect();
    assert_eq!(expected.len(), found.windows.len(), "seed {seed}");
    for window in expected {
        let key = (window.window.clone(), window.ad_id.clone(), window.start_ms);
        let counted = &found.windows[&key];
        assert_eq!(
            (window.clicks, window.users, window.late),
            (counted.clicks, counted.users.len() as u64, counted.late),
            "seed {seed} {key:?}"
        );
    }
    for kind in [found.totals.rejected, found.totals.future, found.totals.late, found.totals.duplicate] {
        assert!(kind > 100, "seed {seed}: {:?}", found.totals);
    }
}

#[test]
fn the_oracle_agrees_with_a_plain_recount() {
    for seed in 1..4 {
        check_oracle(&[options(seed)]);
    }
}

#[test]
fn an_appended_part_is_counted_together_with_the_first() {
    let first = options(7);
    let start_ms = first.end_ms();
    let second = StreamOptions { generation: 1, records: 20_000, start_ms, ..first.clone() };
    check_oracle(&[first, second]);
}

#[test]
fn the_same_options_give_the_same_bytes_and_another_seed_others() {
    let (_first_folder, first, first_oracle) = run(&[options(1)]);
    let (_second_folder, second, second_oracle) = run(&[options(1)]);
    let (_other_folder, other, _) = run(&[options(2)]);
    assert!(first == second);
    assert!(first != other);
    assert_eq!(std::fs::read(first_oracle).unwrap(), std::fs::read(second_oracle).unwrap());
}

#[test]
fn no_click_is_further_out_of_order_than_promised() {
    for seed in 1..4 {
        let options = options(seed);
        let (_folder, partitions, _) = run(std::slice::from_ref(&options));
        let end_ms = options.start_ms + 300_000;
        for (number, partition) in partitions.iter().enumerate() {
            let mut newest_ms = i64::MIN;
            for click in partition.iter().filter_map(|line| Plain::parse(line)) {
                let time_ms = click.time_ms();
                if time_ms < options.start_ms - 30 * MINUTE_MS || time_ms > end_ms + 30 * MINUTE_MS {
                    continue;
                }
                newest_ms = newest_ms.max(time_ms);
                assert!(
                    time_ms >= newest_ms - BOUND_MS as i64,
                    "seed {seed}, partition {number}: {time_ms} < {newest_ms}"
                );
            }
        }
    }
}

#[test]
fn records_have_the_size_asked_for() {
    let plain = StreamOptions { shares: Shares::default(), record_bytes: 500, records: 5_000, ..options(3) };
    let (_folder, partitions, _) = run(&[plain]);
    let sizes: Vec<usize> = partitions.iter().flatten().map(Vec::len).collect();
    assert!(sizes.iter().all(|size| *size == 500), "{:?}", sizes.iter().max());
}

#[test]
fn a_folder_with_a_log_in_it_is_not_written_to_unasked() {
    let folder = tempfile::tempdir().unwrap();
    let target = Target::Folder(folder.path().to_owned());
    let small = StreamOptions { records: 100, ..options(1) };
    generate(&small, &[], false, &target, None, None, |_| {}).unwrap();
    let message = generate(&small, &[], false, &target, None, None, |_| {}).unwrap_err().to_string();
    assert!(message.contains("give another folder, or --append"), "{message}");
}
