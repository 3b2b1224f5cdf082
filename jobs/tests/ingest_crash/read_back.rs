//! The log as anybody could read it: nothing of ours but the format.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rdkafka::Message;
use serde_json::Value;

use crate::posts::Sent;
use crate::to_the_end::read_to_the_end;

/// What is in a log.
#[derive(Debug, Default)]
pub struct Found {
    /// By click id, each time it is there.
    pub clicks: BTreeMap<String, Vec<Sent>>,
    /// Lines that were being written when the process was killed.
    pub torn: u64,
}

impl Found {
    fn add(&mut self, click: &Value) {
        let text = |field: &str| click[field].as_str().unwrap_or_else(|| panic!("{field} in {click}")).to_owned();
        let time_ms = click["timestamp"].as_i64().unwrap();
        let sent = Sent { ad_id: text("ad_id"), user_id: text("user_id"), time_ms };
        self.clicks.entry(text("click_id")).or_default().push(sent);
    }
}

/// Reads a topic from its start to its present end.
pub fn topic(brokers: &str, topic: &str) -> Found {
    let mut found = Found::default();
    read_to_the_end(brokers, topic, |record| {
        let click: Value = serde_json::from_slice(record.payload().unwrap()).unwrap();
        assert_eq!(record.key(), click["ad_id"].as_str().map(str::as_bytes), "{click}");
        found.add(&click);
    });
    found
}

/// Reads an embedded log.
pub fn folder(log: &Path) -> Found {
    let mut found = Found::default();
    for partition in entries(log).into_iter().filter(|path| path.is_dir()) {
        for segment in entries(&partition).into_iter().filter(|path| path.extension().is_some_and(|e| e == "ndjson")) {
            for line in fs::read_to_string(segment).unwrap().lines() {
                match serde_json::from_str::<Value>(line) {
                    Ok(value) if value.get("weir_log_time_ms").is_some() => {}
                    Ok(click) => found.add(&click),
                    Err(_) => found.torn += 1,
                }
            }
        }
    }
    found
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}
