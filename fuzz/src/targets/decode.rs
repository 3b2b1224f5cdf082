//! Records: the fast path of the decoder against the strict one, and what is kept of unknown fields.
//!
//! ```text
//!   record │ 0 │ record │ 0 │ …      one decoder reads them all: what it remembers of one must not show in the next
//! ```
//!
//! - Both paths say the same of every record: the same click, or the same reason why it is none.
//! - The unknown fields of a click are those of its object, and never more.

use serde_json::{Map, Value};
use weir_dataflow::{Decoder, MAX_EVENT_TIME_MS, extra_fields};

use crate::seeds::clicks;

const FIELDS: [&str; 6] = ["ad_id", "user_id", "timestamp", "click_id", "ip_address", "user_agent"];

/// See the module.
pub fn check(data: &[u8]) {
    let (mut decoder, mut strict) = (Decoder::new(), Decoder::new());
    for record in data.split(|&byte| byte == 0) {
        let expected = strict.decode_strict(Some(record));
        assert_eq!(decoder.decode(Some(record)), expected, "the fast path and the strict one differ");
        let extra = extra_fields(record);
        let Ok(click) = expected else { continue };
        assert!((0..=MAX_EVENT_TIME_MS).contains(&click.event_time_ms()));
        let mut unknown: Map<String, Value> = serde_json::from_slice(record).expect("a click is an object");
        unknown.retain(|name, _| !FIELDS.contains(&name.as_str()));
        let found = extra.map(|text| serde_json::from_str(&text).expect("unknown fields are an object"));
        assert_eq!(found, Some(unknown).filter(|unknown| !unknown.is_empty()), "unknown fields differ");
    }
}

/// Clicks by themselves and in a row, and records that are nearly some.
pub fn seeds() -> Vec<Vec<u8>> {
    let clicks: Vec<&str> = clicks(24).collect();
    let others = [
        r#"{"ad_id":"a","user_id":"u","timestamp":1}"#,
        r#"{"ad_id":"\u00e4\ud83d\ude00\n","user_id":"u","timestamp":253402300799999,"click_id":"c\\"}"#,
        r#"{ "ad_id" : "a" , "user_id" : "u" , "timestamp" : 0 , "ip_address" : "::ffff:1.2.3.4" , "x" : [ 1e5 , -0.5 , {} ] }"#,
        r#"{"ad_id":"a","user_id":"u","timestamp":1,"x":{"y":[{"z":null},true,false]},"n":-0.125E+10,"ad_id ":1}"#,
        r#"{"ad_id":"a","ad_id":"b","user_id":"u","timestamp":1}"#,
        r#"{"ad_id":"a","user_id":"u","timestamp":1.0}"#,
        r#"{"ad_id":"a","user_id":"u","timestamp":"1"}"#,
    ];
    let rows = clicks.chunks(6).map(|chunk| chunk.join("\0"));
    let rows = rows.chain([others.join("\0")]).map(String::into_bytes);
    clicks.iter().chain(&others).map(|text| text.as_bytes().to_vec()).chain(rows).collect()
}
