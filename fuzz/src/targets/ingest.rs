//! The way of a request's body into the log: where its clicks begin and end, and the records that are made of them.
//!
//! ```text
//!   what the request knows │ body
//! ```
//!
//! - A full parser sees the same items in a body that is an array.
//! - What the edge takes is the same click for the job: its fields, its key, its unknown fields, on one line.

use memchr::memchr2;
use serde_json::Value;
use weir_dataflow::{Click, ClickKey, Decoder, MAX_PAYLOAD_BYTES, extra_fields};

use crate::seeds::clicks;

#[path = "../../../jobs/src/ingest/compose.rs"]
mod compose;
#[path = "../../../jobs/src/ingest/items.rs"]
mod items;

use compose::{Additions, compose};
use items::{array_items, lines};

/// What a request may say beside its body.
const KEYS: [Option<&str>; 4] =
    [None, Some("key-1"), Some("ключ \"\\\" \u{7f}"), Some("weir-00000000000000000000000000000abc")];
const AGENTS: [Option<&str>; 4] = [None, Some(""), Some("curl/8.5.0"), Some("a \"b\" \\ \t ü \u{10ffff}")];

/// See the module.
pub fn check(data: &[u8]) {
    let Some((&request, body)) = data.split_first() else { return };
    let request = Request {
        idempotency_key: KEYS[usize::from(request & 3)],
        user_agent: AGENTS[usize::from(request >> 2 & 3)],
        ip_address: if request & 16 == 0 { "192.0.2.1" } else { "2001:db8::1" },
    };
    let parsed: Option<Vec<Value>> = serde_json::from_slice(body).ok();
    match array_items(body) {
        Ok(items) => {
            items.iter().for_each(|item| request.check(item));
            if let Some(parsed) = parsed {
                let found: Result<Vec<Value>, _> = items.into_iter().map(serde_json::from_slice).collect();
                assert_eq!(found.expect("an item of an array is JSON"), parsed, "a full parser sees other items");
            }
        }
        Err(reason) => assert!(parsed.is_none(), "an array was not taken: {}", reason.0),
    }
    lines(body).for_each(|line| request.check(line));
}

struct Request {
    idempotency_key: Option<&'static str>,
    user_agent: Option<&'static str>,
    ip_address: &'static str,
}

impl Request {
    /// An item's way, as `ingest::intake` has it.
    fn check(&self, item: &[u8]) {
        let item_alone = item.trim_ascii();
        let mut decoder = Decoder::new();
        let Ok(click) = decoder.decode(Some(item_alone)) else { return };
        if click.click_id.is_some_and(|id| self.idempotency_key.is_some_and(|key| key != id)) {
            return;
        }
        let given = click.click_id.or(self.idempotency_key);
        let key = given.map_or_else(|| click.key(), ClickKey::of);
        let id = given.map_or_else(|| key.to_click_id(), str::to_owned);
        let additions = Additions {
            click_id: Some(id.as_str()).filter(|_| click.click_id.is_none()),
            ip_address: Some(self.ip_address).filter(|_| click.ip_address.is_none()),
            user_agent: self.user_agent.filter(|_| click.user_agent.is_none()),
        };
        let mut record = b"the one before".to_vec();
        compose(item, &additions, &mut record);
        let record = record.strip_prefix(b"the one before").expect("what was there is left alone");
        assert!(record.len() <= MAX_PAYLOAD_BYTES && memchr2(b'\n', b'\r', record).is_none());
        let mut job = Decoder::new();
        let read = job.decode(Some(record)).expect("what the edge takes is a click for the job");
        let added = Click {
            click_id: click.click_id.or(additions.click_id),
            ip_address: click.ip_address.or(additions.ip_address),
            user_agent: click.user_agent.or(additions.user_agent),
            ..click
        };
        let with_id_alone = Click { ip_address: click.ip_address, user_agent: click.user_agent, ..added };
        assert!([added, with_id_alone, click].contains(&read), "{read:?} was made of {click:?}");
        assert!(read == click || read.key() == key, "the click got another key");
        let extra =
            |record: &[u8]| extra_fields(record).map(|text| serde_json::from_str::<Value>(&text).expect("an object"));
        assert_eq!(extra(record), extra(item_alone), "unknown fields differ");
    }
}

/// Bodies of one click, of lines and of arrays.
pub fn seeds() -> Vec<Vec<u8>> {
    let clicks: Vec<&str> = clicks(12).collect();
    let small = r#"{"ad_id":"a","user_id":"u","timestamp":1}"#;
    let spread = "{\r\n \"ad_id\": \"a\",\n\t\"user_id\":\"u\",\n\"timestamp\":1736952000, \"x\": [1,\n {\"y\": \"],}\\\"\"}]\n}";
    let bodies = [
        small.to_owned(),
        spread.to_owned(),
        clicks.first().copied().unwrap_or_default().to_owned(),
        clicks.join("\n"),
        format!("[{}]", clicks.join(",")),
        format!(" [ {small} ,\n{spread}, [], \"]\\\"\", 1e3, null ]\n"),
        format!("{small}\r\n\n{small}\n{spread}"),
    ];
    let requests = [0_u8, 0b1_0101, 0b1_1110, 0b0_1011].into_iter().cycle();
    bodies.into_iter().zip(requests).map(|(body, request)| [&[request], body.as_bytes()].concat()).collect()
}
