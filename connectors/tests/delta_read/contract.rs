//! Random tables and questions against the oracle.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use weir_connectors::delta::DeltaReader;
use weir_dataflow::{Window, WindowQuery, WindowStats};

use crate::oracle::{Oracle, all_of};
use crate::table::{JOB, Place, TableWriter};

#[test]
fn answers_are_those_of_a_plain_loop_on_a_local_disk() {
    check(&Place::local(), 12, 40);
}

#[test]
fn answers_are_those_of_a_plain_loop_on_s3() {
    check(&Place::s3(), 5, 10);
}

fn check(place: &Place, commits: u64, questions: u64) {
    let store = place.store();
    let reader = place.reader();
    let mut writer = TableWriter::open(&store);
    let mut oracle = Oracle::default();
    for seed in 0..commits {
        let mut random = SmallRng::seed_from_u64(seed);
        let rows = random.random_range(1..200);
        let rows = oracle.add(&mut random, rows, writer.next_epoch());
        writer.commit(&rows);
        assert_eq!(reader.version().unwrap().epochs.get(JOB), Some(&(writer.next_epoch() - 1)), "seed {seed}");
        for _ in 0..questions {
            check_one(&reader, &oracle, &mut random, seed);
        }
    }
}

pub(crate) fn check_one(reader: &DeltaReader, oracle: &Oracle, random: &mut SmallRng, seed: u64) {
    let query = oracle.window_query(random);
    let expect = oracle.windows(&query);
    assert_eq!(reader.windows(&query).unwrap(), expect, "seed {seed}: {query:?}");
    assert_eq!(each_row(reader, &query).len(), expect.len(), "seed {seed}: {query:?}");
    let query = oracle.top_query(random);
    assert_eq!(reader.top(&query).unwrap(), oracle.top(&query), "seed {seed}: {query:?}");
}

fn each_row(reader: &DeltaReader, query: &WindowQuery) -> Vec<(String, i64)> {
    let mut rows = Vec::new();
    reader.for_each(query, None, |row| rows.push((row.ad_id.to_owned(), row.start_ms))).unwrap();
    rows
}

#[test]
fn a_table_that_is_not_there_yet_has_no_rows() {
    for place in [Place::local(), Place::s3()] {
        let reader = place.reader();
        assert_eq!(reader.windows(&all_of(&[], Window::OneHour)).unwrap(), []);
        assert_eq!(reader.version().unwrap().number, None);
        let mut writer = TableWriter::open(&place.store());
        assert_eq!(reader.version().unwrap().number, Some(0));
        let mut oracle = Oracle::default();
        writer.commit(&oracle.add(&mut SmallRng::seed_from_u64(1), 50, 1));
        let query = all_of(&[], Window::OneHour);
        assert_eq!(reader.windows(&query).unwrap(), oracle.windows(&query));
    }
}

/// Large enough for several pieces, pages and helpers, with more regions than one.
#[test]
fn large_files_are_read_in_pieces() {
    let place = Place::local();
    let mut writer = TableWriter::open(&place.store());
    let mut oracle = Oracle::default();
    for epoch in 1..4 {
        let row = |number: u64| WindowStats {
            ad_id: format!("ad-{:05}", number % 9_000).into(),
            region: [None, Some("eu-1".into())][(number / 9_000) as usize % 2].clone(),
            window: Window::OneMinute,
            start_ms: crate::oracle::DAY_MS + (number / 18_000 + epoch * 3) as i64 * 60_000,
            click_count: number % 7,
            unique_users: number % 5,
            user_sketch: number.to_le_bytes().repeat(1 + number as usize % 4),
            is_final: true,
            epoch,
        };
        let rows: Vec<WindowStats> = (0..54_000).map(row).collect();
        writer.commit(&rows);
        oracle.rows.extend(rows);
    }
    let reader = place.reader();
    let mut query = WindowQuery { sketches: true, ..all_of(&[], Window::OneMinute) };
    assert!(reader.windows(&query).unwrap() == oracle.windows(&query));
    query.start_ms = crate::oracle::DAY_MS + 5 * 60_000;
    query.end_ms = query.start_ms + 60_000;
    query.region = Some("eu-1".into());
    assert!(reader.windows(&query).unwrap() == oracle.windows(&query));
    for ads in [&["ad-00000"][..], &["ad-08999", "ad-04711", "ad-0471", "absent"]] {
        let query = WindowQuery { sketches: true, ..all_of(ads, Window::OneMinute) };
        assert_eq!(reader.windows(&query).unwrap(), oracle.windows(&query));
    }
}
