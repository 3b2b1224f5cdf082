//! What the reader answers, against the plain loop.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_dataflow::{TopAd, TopQuery, Window, WindowQuery};

use crate::clickhouse_engines::Server;
use crate::job::{ADS, Job, Key, REGIONS, START_MS, block_on, everything, key_of};
use crate::on_both;

#[test]
fn questions_are_answered_as_a_plain_loop_would() {
    on_both(|engine| {
        let server = Server::start(engine);
        let mut job = Job::start(server.config("weir", "clicks"), 11);
        job.steps(40);
        job.assert_all_there(&server);
        for ad in ADS {
            check_windows(&job, &[ad], None, (0, 60));
        }
        check_windows(&job, ADS, None, (0, 60));
        check_windows(&job, &["no such ad", "ad-1"], Some("eu-1"), (10, 20));
        check_windows(&job, &[], Some("us-1"), (5, 6));
        check_windows(&job, &[], Some("x' OR 'x'='x"), (0, 60));
        check_windows(&job, &[], None, (20, 20));
        for region in REGIONS {
            for minute in [0, 5, 17, 39, 50] {
                check_top(&job, *region, START_MS + minute * 60_000);
            }
        }
        check_top(&job, Some("' OR 1"), START_MS);
        check_top(&job, None, i64::MAX);
    });
}

/// Windows that start in these minutes.
fn check_windows(job: &Job, ads: &[&str], region: Option<&str>, minutes: (i64, i64)) {
    let of = |minute: i64| START_MS + minute * 60_000;
    for window in Window::ALL {
        let query = WindowQuery {
            ads: ads.iter().map(|ad| Arc::from(*ad)).collect(),
            start_ms: of(minutes.0),
            end_ms: of(minutes.1),
            region: region.map(Arc::from),
            sketches: false,
            ..everything(window)
        };
        let wanted = |(of, start_ms, ad, place): &Key| {
            *of == window
                && (query.start_ms..query.end_ms).contains(start_ms)
                && (ads.is_empty() || ads.contains(ad))
                && region.is_none_or(|region| region == *place)
        };
        let expected: BTreeMap<Key, (u64, u64, bool)> = job
            .right()
            .into_iter()
            .filter(|(key, _)| wanted(key))
            .map(|(key, right)| (key, (right.clicks, right.users, right.is_final)))
            .collect();
        let answer = job.ask(&query);
        assert!(answer.iter().all(|row| row.user_sketch.is_empty()));
        let found: BTreeMap<Key, (u64, u64, bool)> =
            answer.iter().map(|row| (key_of(row), (row.click_count, row.unique_users, row.is_final))).collect();
        assert_eq!(found.len(), answer.len());
        assert_eq!(found, expected, "{query:?}");
    }
}

fn check_top(job: &Job, region: Option<&str>, start_ms: i64) {
    for window in Window::ALL {
        for limit in [0, 3, 100] {
            let query = TopQuery { window, start_ms, region: region.map(Arc::from), limit };
            let mut clicks: BTreeMap<&str, u64> = BTreeMap::new();
            for ((of, start, ad, place), right) in job.right() {
                if of == window && start == start_ms && region.is_none_or(|region| region == place) {
                    *clicks.entry(ad).or_default() += right.clicks;
                }
            }
            let mut expected: Vec<TopAd> =
                clicks.into_iter().map(|(ad, click_count)| TopAd { ad_id: Arc::from(ad), click_count }).collect();
            TopAd::rank(&mut expected, limit);
            assert_eq!(block_on(job.reader().top(&query)).unwrap(), expected, "{query:?}");
        }
    }
}
