//! Days that are restated from their index, against recounts of the same rows.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use weir_checkpoints::{Created, ObjectInfo, Store, StoreError};
use weir_dataflow::reconcile::{
    AdBefore, AdDay, BilledWindow, BilledWindows, DayCount, DayIndex, IndexTo, InvalidTraffic, Reason, Restated,
    Restatement,
};

use crate::rows::{DAY_MS, Row, Rows, START_MS, counted_by_a_right_stream, generate, run, run_with_index};

/// Objects in memory.
#[derive(Default)]
struct Objects(Mutex<BTreeMap<String, Vec<u8>>>);

impl Store for Objects {
    fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
        self.0.lock().unwrap().insert(name.to_owned(), bytes);
        Ok(())
    }

    fn put_if_absent(&self, name: &str, bytes: Vec<u8>) -> Result<Created, StoreError> {
        self.put(name, bytes).map(|()| Created::New)
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.0.lock().unwrap().get(name).cloned())
    }

    fn get_range(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        let missing = || StoreError::NotFound { name: name.to_owned() };
        let bytes = self.get(name)?.ok_or_else(missing)?;
        Ok(bytes.get(range.start as usize..range.end as usize).ok_or_else(missing)?.to_vec())
    }

    fn list(&self, _prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        Ok(Vec::new())
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.0.lock().unwrap().remove(name);
        Ok(())
    }
}

/// What is taken out.
#[derive(Debug, Clone, Default)]
struct Lists {
    clicks: BTreeSet<String>,
    users: BTreeSet<String>,
    addresses: BTreeSet<IpAddr>,
}

impl Lists {
    /// Sometimes nothing.
    fn random(random: &mut StdRng, rows: &Rows) -> Self {
        let mut lists = Self::default();
        if rows.clicks.is_empty() || random.random_bool(0.2) {
            return lists;
        }
        for _ in 0..random.random_range(0..8) {
            let row = &rows.clicks[random.random_range(0..rows.clicks.len())];
            match random.random_range(0..4) {
                0 => lists.users.extend([row.user.clone()]),
                1 => lists.addresses.extend(row.address.as_deref().and_then(address)),
                _ => lists.clicks.extend([id(row)]),
            }
        }
        lists
    }

    fn has(&self, row: &Row) -> bool {
        self.users.contains(&row.user)
            || self.clicks.contains(&id(row))
            || row.address.as_deref().and_then(address).is_some_and(|address| self.addresses.contains(&address))
    }

    fn traffic(&self) -> InvalidTraffic {
        let mut traffic = InvalidTraffic::default();
        self.clicks.iter().for_each(|click_id| traffic.add_click(click_id));
        self.users.iter().for_each(|user_id| traffic.add_user(user_id));
        if !self.addresses.is_empty() {
            let addresses = self.addresses.clone();
            traffic.set_addresses(Arc::new(move |address| addresses.contains(&address)));
        }
        traffic
    }

    /// The rows, with those marked that are on a list.
    fn mark(&self, rows: &Rows) -> Rows {
        let mut rows = rows.clone();
        rows.clicks.iter_mut().for_each(|row| row.excluded = self.has(row));
        rows
    }
}

fn address(text: &str) -> Option<IpAddr> {
    text.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

/// A time of the day, as far from its edge as this one.
fn mirrored(time_ms: i64) -> i64 {
    let after_end_ms = time_ms - START_MS - DAY_MS;
    if after_end_ms >= 0 { START_MS + DAY_MS - 1 - after_end_ms } else { START_MS + (time_ms - START_MS).abs() }
}

/// A click without an id of its own is known by what it is.
fn id(row: &Row) -> String {
    row.id.clone().unwrap_or_else(|| row.archived().click.key().to_click_id())
}

/// The windows of a revision: its own, and those that were restated before.
fn windows(rows: &Rows, day: &DayCount, before: &[BilledWindow]) -> Vec<BilledWindow> {
    let mut windows = BilledWindows::of(&day.ads, START_MS, START_MS + DAY_MS);
    for known in before {
        windows.add(&known.ad_id, known.region.as_deref(), known.window, known.start_ms);
    }
    windows.count(rows, 2).unwrap()
}

/// A day of three revisions, and the index of the first.
struct Days {
    rows: Rows,
    lists: [Lists; 3],
    store: Arc<Objects>,
    index: DayIndex,
    before: DayCount,
    windows_before: Vec<BilledWindow>,
}

impl Days {
    fn new(random: &mut StdRng) -> Self {
        let mut rows = generate(random);
        if random.random_bool(0.3) {
            // So many clicks of one ad that parts of its tree are kept.
            for row in &mut rows.clicks {
                row.time_ms = mirrored(row.time_ms);
                row.ad = if row.ad == "ad-3" { "ad-3" } else { "ad-1" }.to_owned();
            }
            rows.streamed = counted_by_a_right_stream(&rows, random);
        }
        let lists = std::array::from_fn(|_| Lists::random(random, &rows));
        let [indexed, before, _] = &lists;
        let store = Arc::new(Objects::default());
        let to = IndexTo { store: Arc::clone(&store) as Arc<dyn Store>, prefix: "index/".to_owned() };
        let (workers, passes) = (random.random_range(1..4), random.random_range(1..4));
        let marked = indexed.mark(&rows);
        let first = run_with_index(&marked, workers, passes, false, Some(to)).unwrap();
        assert_eq!(first.root, run(&marked, 1, 1, false).unwrap().root, "an index changes nothing");
        let windows_first = windows(&marked, &first, &[]);
        let marked = before.mark(&rows);
        let day = run(&marked, 2, 1, false).unwrap();
        let windows_before = windows(&marked, &day, &windows_first);
        Self { rows, store, index: first.index.unwrap().unwrap(), before: day, windows_before, lists }
    }

    fn restate(&self, threads: usize, keep_bytes: u64) -> Result<Restated, String> {
        let [indexed, before, now] = self.lists.each_ref().map(Lists::traffic);
        let ads = self.before.ads.iter().map(|ad| AdBefore { ad_id: &ad.ad_id, clicks: ad.clicks });
        let restatement = Restatement {
            start_ms: START_MS,
            end_ms: START_MS + DAY_MS,
            index: &DayIndex::parse("index/day", &self.index.to_bytes()).unwrap(),
            store: self.store.as_ref(),
            indexed: &indexed,
            before: &before,
            now: &now,
            ads: &ads.collect::<Vec<_>>(),
            windows: self.windows_before.clone(),
            threads,
            keep_bytes,
        };
        restatement.run().map_err(|error| error.to_string())
    }
}

#[test]
fn a_restated_day_is_what_a_recount_makes_of_it() {
    let (mut changed, mut by_parts) = (0, 0);
    for seed in 300..420 {
        let mut random = StdRng::seed_from_u64(seed);
        let days = Days::new(&mut random);
        let marked = days.lists[2].mark(&days.rows);
        let recounted = run(&marked, 2, 1, false).unwrap();
        let keep_bytes = if random.random_bool(0.5) { u64::MAX } else { 0 };
        let restated = days.restate(random.random_range(1..4), keep_bytes).unwrap();
        let what = format!("seed {seed}: {:?}", days.lists);
        let expected = windows(&marked, &recounted, &days.windows_before);
        assert_eq!(restated.windows, expected, "{what}");
        let mut now = restated.ads.iter().peekable();
        for (at, (before, recounted)) in days.before.ads.iter().zip(&recounted.ads).enumerate() {
            assert_eq!(before.ad_id, recounted.ad_id, "{what}");
            let figures = |ad: &AdDay| (ad.clicks, ad.unique_users, ad.root.clone());
            let Some(restated) = now.next_if(|ad| ad.at == at) else {
                assert_eq!(figures(before), figures(recounted), "{what}: {}", before.ad_id);
                continue;
            };
            let found = (restated.clicks, restated.unique_users, restated.root.clone());
            assert_eq!(found, figures(recounted), "{what}: {}", before.ad_id);
            let invalid = recounted.corrections.iter().find(|correction| correction.reason == Reason::InvalidTraffic);
            assert_eq!(restated.invalid, invalid.map(|found| found.offsets.clone()).unwrap_or_default(), "{what}");
            changed += 1;
        }
        assert!(now.next().is_none(), "{what}");
        by_parts += usize::from(days.before.ads.iter().any(|ad| ad.clicks > 256));
    }
    assert!(changed > 100 && by_parts > 3, "{changed} {by_parts}");
}

#[test]
fn an_index_that_is_not_what_it_was_is_refused() {
    let mut random = StdRng::seed_from_u64(5);
    let days = std::iter::repeat_with(|| Days::new(&mut random))
        .find(|days| days.rows.clicks.len() > 300 && !days.lists[2].users.is_empty())
        .unwrap();
    days.restate(2, 0).unwrap();
    let segments: Vec<String> = days.index.segments().map(str::to_owned).collect();
    for name in &segments {
        let right = days.store.get(name).unwrap().unwrap();
        // Every byte is in a column or the footer. Not every column is looked at, so some are flipped in vain.
        let mut refused = 0;
        for at in (0..right.len()).step_by(97) {
            let mut wrong = right.clone();
            wrong[at] ^= 0x10;
            days.store.put(name, wrong).unwrap();
            if let Err(error) = days.restate(1, 0) {
                assert!(error.contains(name.as_str()), "{error}");
                refused += 1;
            }
        }
        assert!(refused > right.len() / 97 / 2, "{refused} of {}", right.len() / 97);
        days.store.put(name, right[..right.len() - 1].to_vec()).unwrap();
        assert!(days.restate(1, 0).is_err());
        days.store.delete(name).unwrap();
        assert!(days.restate(1, 0).unwrap_err().contains(name.as_str()));
        days.store.put(name, right).unwrap();
    }
}

#[test]
fn an_index_of_other_clicks_is_refused() {
    let mut random = StdRng::seed_from_u64(6);
    let mut days = std::iter::repeat_with(|| Days::new(&mut random)).find(|days| days.rows.clicks.len() > 300).unwrap();
    days.lists[2].users.extend(days.rows.clicks.iter().map(|row| row.user.clone()));
    days.before.ads.iter_mut().for_each(|ad| ad.clicks += 1);
    let error = days.restate(1, 0).unwrap_err();
    assert!(error.contains("by subtraction"), "{error}");
    days.before.ads.clear();
    let error = days.restate(1, 0).unwrap_err();
    assert!(error.contains("no row in billing_daily"), "{error}");
}
