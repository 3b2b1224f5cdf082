//! Both paths say the same of every record, and `serde_json`'s own `Value` says the same of its syntax.
//!
//! The records are written by structure, so that most come near to a click, and then damaged or not. A failure prints
//! its seed, which gives the record again.

use proptest::prelude::*;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::{Map, Value};

use super::is_fast;
use super::records::{damage, likely, record_of};
use crate::click::Click;
use crate::decode::{Decoder, RejectReason};

const CASES: u64 = 300_000;

#[test]
fn random_records() {
    let mut decoder = Decoder::new();
    let mut strict_decoder = Decoder::new();
    let (mut accepted, mut fast) = (0, 0);
    for seed in 0..CASES {
        let record = record_of(seed);
        let strict = strict_decoder.decode_strict(Some(&record));
        let shown = || format!("seed {seed}: {}", String::from_utf8_lossy(&record));
        assert_eq!(decoder.decode(Some(&record)), strict, "{}", shown());
        assert_syntax(&record, strict.as_ref().err().map(|rejection| rejection.reason), &shown);
        if let Ok(click) = &strict {
            accepted += 1;
            assert_fields(&record, click, &shown);
        }
        fast += u64::from(is_fast(&record));
    }
    // Records that are all rejected, or never fast, would prove nothing.
    assert!(accepted > CASES / 10, "only {accepted} of {CASES} were accepted");
    assert!(fast > CASES / 20 && fast < accepted, "{fast} of {accepted} took the fast path");
}

/// A click, and what becomes of it by damage: most keep its shape, which the decoder then knows.
#[test]
fn records_alike() {
    let mut strict_decoder = Decoder::new();
    for seed in 0..CASES / 10 {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut decoder = Decoder::new();
        let click = likely(&mut random);
        let mut record = click.clone();
        for variant in 0..10 {
            let shown = || format!("seed {seed}, variant {variant}: {}", String::from_utf8_lossy(&record));
            let strict = strict_decoder.decode_strict(Some(&record));
            assert_eq!(decoder.decode(Some(&record)), strict, "{}", shown());
            if random.random_bool(0.7) {
                record.clone_from(&click);
            }
            damage(&mut record, &mut random);
        }
    }
}

/// A rejection for syntax comes exactly where `serde_json` reads no object.
fn assert_syntax(record: &[u8], reason: Option<RejectReason>, shown: &dyn Fn() -> String) {
    let read = !record.is_empty() && serde_json::from_slice::<Map<String, Value>>(record).is_ok();
    assert_eq!(reason == Some(RejectReason::InvalidJson), !read, "{}", shown());
}

fn assert_fields(record: &[u8], click: &Click<'_>, shown: &dyn Fn() -> String) {
    let object: Map<String, Value> = serde_json::from_slice(record).unwrap();
    let text = |name: &str| object.get(name).map(|value| value.as_str().unwrap());
    let wanted = Click {
        ad_id: text("ad_id").unwrap(),
        user_id: text("user_id").unwrap(),
        timestamp: object["timestamp"].as_i64().unwrap(),
        click_id: text("click_id"),
        ip_address: text("ip_address"),
        user_agent: text("user_agent"),
    };
    assert_eq!(*click, wanted, "{}", shown());
}

fn json_value() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        any::<u64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| format!("{number:e}")),
        "-?[0-9]{1,20}(\\.[0-9]{0,20})?([eE][-+]?[0-9]{0,4})?",
        any::<String>().prop_map(|text| Value::String(text).to_string()),
        "\"[ -~]{0,80}\"",
        "\\PC{0,12}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_members(members in prop::collection::vec(("[a-z_]{0,9}|ad_id|user_id|timestamp|click_id", json_value()), 0..6)) {
        let members: Vec<String> = members.into_iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
        let record = super::with(&members.join(","));
        let mut decoder = Decoder::new();
        let strict = decoder.decode_strict(Some(record.as_bytes()));
        let mut other = Decoder::new();
        prop_assert_eq!(other.decode(Some(record.as_bytes())), strict);
    }

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut decoder = Decoder::new();
        let strict = decoder.decode_strict(Some(&bytes));
        let mut other = Decoder::new();
        prop_assert_eq!(other.decode(Some(&bytes)), strict);
    }
}
