//! Searches in tables as Weir writes them.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use weir_connectors::delta::{AdTrace, ClicksOf, ClicksTable};

use crate::table::{DAY_MS, Place, ad_id, click, times};

fn random_table(table: ClicksTable, random: &mut SmallRng) -> Place {
    let mut place = Place::new(table);
    for _ in 0..4 {
        let rows = (0..random.random_range(0..1_500)).map(|number| click(random, table, number, 6)).collect();
        place.write(rows, true);
    }
    place
}

#[test]
fn searches_find_what_a_plain_loop_finds() {
    let mut found = 0;
    for seed in 0..6 {
        let random = &mut SmallRng::seed_from_u64(seed);
        let table = if seed % 2 == 0 { ClicksTable::Archive } else { ClicksTable::Late };
        let place = random_table(table, random);
        for _ in 0..60 {
            let (ad, (from_ms, until_ms)) = (ad_id(random), times(random));
            found += place.check(&ClicksOf { ad_id: &ad, from_ms, until_ms });
        }
        assert_eq!(place.check(&ClicksOf { ad_id: "absent", from_ms: 0, until_ms: i64::MAX }), 0);
        assert_eq!(place.check(&ClicksOf { ad_id: "", from_ms: 0, until_ms: i64::MAX }), 0);
    }
    assert!(found > 2_000, "{found}");
}

/// Several pages, and more rows of one ad than are in memory at once.
#[test]
fn an_ad_with_many_clicks_is_found_over_pages_and_pieces() {
    let random = &mut SmallRng::seed_from_u64(7);
    let mut place = Place::new(ClicksTable::Archive);
    let rows = (0..180_000).map(|number| {
        let mut row = click(random, ClicksTable::Archive, number, 1);
        row.ad_id = if number % 5 < 4 { "hot".to_owned() } else { row.ad_id };
        // Hardly a click without an id, so that some pieces have none.
        row.click_id.get_or_insert_with(|| format!("click-{number}"));
        row.click_id = row.click_id.filter(|_| number != 77_777);
        row
    });
    let rows = rows.collect();
    place.write(rows, true);
    let all = ClicksOf { ad_id: "hot", from_ms: DAY_MS - 3_600_000, until_ms: DAY_MS + 3_600_000 };
    assert_eq!(place.check(&all), 144_000);
    for minute in [0, 17, 59] {
        let from_ms = DAY_MS + minute * 60_000;
        assert!(place.check(&ClicksOf { ad_id: "hot", from_ms, until_ms: from_ms + 60_000 }) > 500);
        assert!(place.check(&ClicksOf { ad_id: "ad-7", from_ms, until_ms: from_ms + 60_000 }) < 100);
    }
}

#[test]
fn files_that_only_a_manifest_lists_are_read_with_it_and_once() {
    let random = &mut SmallRng::seed_from_u64(3);
    let mut place = Place::new(ClicksTable::Archive);
    let rows = |random: &mut SmallRng| (0..300).map(|number| click(random, ClicksTable::Archive, number, 2)).collect();
    let first = rows(random);
    let shown = place.write(first, true);
    let before = place.rows.len();
    let second = rows(random);
    let pending = place.write(second, false);
    let of = ClicksOf { ad_id: "ad-7", from_ms: 0, until_ms: i64::MAX };
    assert_eq!(place.find(&of, Some(&pending)).unwrap(), place.expected(&of));
    let mut pending_rows = 0;
    AdTrace::new(place.store(), &place.url())
        .clicks(ClicksTable::Archive, &of, Some(&pending), |copy| {
            pending_rows += usize::from(copy.file.unwrap().is_pending)
        })
        .unwrap();
    assert!(pending_rows > 0);
    place.rows.truncate(before);
    assert_eq!(place.find(&of, Some(&shown)).unwrap(), place.expected(&of));
    assert_eq!(place.find(&of, None).unwrap(), place.expected(&of));
}

#[test]
fn a_table_that_does_not_exist_has_no_rows() {
    let place = Place::new(ClicksTable::Archive);
    assert_eq!(place.check(&ClicksOf { ad_id: "ad-7", from_ms: 0, until_ms: i64::MAX }), 0);
    let trace = AdTrace::new(place.store(), &place.url());
    let of = weir_connectors::delta::LedgerOf { ad_id: "ad-7", from_ms: 0, until_ms: i64::MAX };
    assert_eq!(trace.ledger("corrections", &of).unwrap(), None);
}
