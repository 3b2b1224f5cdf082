//! The log, read by a plain loop.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;

use weir_dataflow::Decoder;

/// Two records with the same identity are the same click.
pub(crate) type Identity = (Option<String>, [Option<String>; 4], i64);

/// A valid click of the log.
#[derive(Debug, Clone)]
pub(crate) struct Logged {
    pub(crate) ad_id: String,
    pub(crate) user_id: String,
    pub(crate) identity: Identity,
    pub(crate) event_time_ms: i64,
    pub(crate) partition: u64,
    pub(crate) offset: u64,
}

/// All valid clicks. An offset is the place of a line's first byte.
pub(crate) fn read(log: &Path) -> Vec<Logged> {
    let mut clicks = Vec::new();
    for entry in std::fs::read_dir(log).unwrap() {
        let folder = entry.unwrap().path();
        let Ok(partition) = folder.file_name().unwrap().to_str().unwrap().parse::<u64>() else { continue };
        let mut segments: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        segments.retain(|path| path.extension().is_some_and(|extension| extension == "ndjson"));
        segments.sort();
        let mut offset = 0;
        for segment in segments {
            let bytes = std::fs::read(segment).unwrap();
            for line in bytes.split_inclusive(|byte| *byte == b'\n') {
                clicks.extend(click(line, partition, offset));
                offset += line.len() as u64;
            }
        }
    }
    clicks
}

fn click(line: &[u8], partition: u64, offset: u64) -> Option<Logged> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let mut decoder = Decoder::new();
    let click = decoder.decode(Some(line)).ok()?;
    let text = |text: Option<&str>| text.map(str::to_owned);
    let identity = match click.click_id {
        Some(click_id) => (text(Some(click_id)), Default::default(), 0),
        None => {
            let texts = [Some(click.ad_id), Some(click.user_id), click.ip_address, click.user_agent].map(text);
            (None, texts, click.event_time_ms())
        }
    };
    Some(Logged {
        ad_id: click.ad_id.to_owned(),
        user_id: click.user_id.to_owned(),
        identity,
        event_time_ms: click.event_time_ms(),
        partition,
        offset,
    })
}

/// What a plain loop finds of an ad and window.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) records: u64,
    pub(crate) users: BTreeSet<String>,
    /// The places of each click's copies.
    pub(crate) copies: BTreeMap<Identity, BTreeSet<(u64, u64)>>,
    /// First and last offset, and the records, of each partition.
    pub(crate) partitions: BTreeMap<u64, (u64, u64, u64)>,
}

pub(crate) fn find(clicks: &[Logged], ad_id: &str, window_ms: Range<i64>) -> Found {
    let mut found = Found::default();
    for click in clicks.iter().filter(|click| click.ad_id == ad_id && window_ms.contains(&click.event_time_ms)) {
        found.records += 1;
        found.users.insert(click.user_id.clone());
        found.copies.entry(click.identity.clone()).or_default().insert((click.partition, click.offset));
        let range = found.partitions.entry(click.partition).or_insert((click.offset, click.offset, 0));
        *range = (range.0.min(click.offset), range.1.max(click.offset), range.2 + 1);
    }
    found
}
