//! What a job must find, counted by plain means from what was generated. Nothing of the pipeline is used here: not its
//! parser, not its windows, not its sketches.
//!
//! ```text
//!   {"weir_oracle":1,"totals":{"read":…,"rejected":…,"future":…,"late":…,"duplicate":…,"counted":…},"parts":[{…}]}
//!   {"window":"1m","ad_id":"ad-00000042","start_ms":1736952000000,"clicks":3,"users":3}
//!   {"window":"1h","ad_id":"ad-00000007","start_ms":1736944800000,"clicks":0,"users":0,"late":1}
//! ```
//!
//! `clicks` and `users` are certain. `late` clicks come on top for a job that had not closed their window yet: whether it
//! had depends on how fast it read. `parts` holds the options of every part of the log, so that an appended part
//! can be counted together with those before it.
//!
//! Clicks that went over HTTP have `over_http` in the first line too: the edge rejects and drops second copies as well, so
//! that some of the records never come to the log, and clicks that were sent again may be there more than once.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::record::push_ad_id;
use super::stream::{ClickSpec, Holds, StreamOptions};

const FORMAT: u32 = 1;
const MINUTE_MS: i64 = 60_000;
/// The windows' names, and their minutes.
const WINDOWS: [(&str, i64); 3] = [("1m", 1), ("5m", 5), ("1h", 60)];

/// The first line of an oracle's file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// The version of the file's format.
    pub weir_oracle: u32,
    /// What must become of the records.
    pub totals: ExpectedTotals,
    /// What was generated.
    pub parts: Vec<StreamOptions>,
    /// What is known of a log that clicks came to over HTTP; none where every record was written to the log itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over_http: Option<OverHttp>,
}

/// How many records are in a log that clicks came to over HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OverHttp {
    /// Records that are in the log for certain: the server has answered that it accepted them, or they were written there
    /// without it.
    pub accepted: u64,
    /// Clicks that were sent again: each may be in the log once more for that.
    pub resent: u64,
}

/// What must become of the records. A late click may turn out counted, if its window was still open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedTotals {
    /// All records.
    pub read: u64,
    /// Records that are no clicks.
    pub rejected: u64,
    /// Clicks from the future.
    pub future: u64,
    /// Clicks from hours before the start.
    pub late: u64,
    /// Second copies.
    pub duplicate: u64,
    /// Clicks that count.
    pub counted: u64,
}

/// A window of an ad.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedWindow {
    /// `1m`, `5m` or `1h`.
    pub window: String,
    /// The ad.
    pub ad_id: String,
    /// Its first instant, unix time in milliseconds.
    pub start_ms: i64,
    /// Clicks in it.
    pub clicks: u64,
    /// Distinct users among them.
    pub users: u64,
    /// Clicks that may come on top.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub late: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Counts while the log is written.
#[derive(Default)]
pub(super) struct Oracle {
    totals: ExpectedTotals,
    /// For each minute, the ad and the user of every click.
    minutes: BTreeMap<i64, Minute>,
}

#[derive(Default)]
struct Minute {
    /// Ad in the high half, user in the low half.
    clicks: Vec<u64>,
    late: Vec<u64>,
}

impl Oracle {
    /// Takes note of one record.
    #[inline]
    pub(super) fn add(&mut self, holds: &Holds) {
        self.totals.read += 1;
        match holds {
            Holds::Click(click) => {
                self.totals.counted += 1;
                self.minute(click).clicks.push(ad_and_user(click));
            }
            Holds::Late(click) => {
                self.totals.late += 1;
                self.minute(click).late.push(ad_and_user(click));
            }
            Holds::Copy(_) => self.totals.duplicate += 1,
            Holds::Future(_) => self.totals.future += 1,
            Holds::Poison(..) => self.totals.rejected += 1,
        }
    }

    pub(super) fn totals(&self) -> ExpectedTotals {
        self.totals
    }

    /// Writes the file, and returns how many windows are in it.
    pub(super) fn write(mut self, path: &Path, parts: &[StreamOptions], over_http: Option<OverHttp>) -> Result<u64> {
        let action = || format!("cannot write oracle {}", path.display());
        let mut out = BufWriter::with_capacity(1 << 20, File::create(path).with_context(action)?);
        let header = Header { weir_oracle: FORMAT, totals: self.totals, parts: parts.to_vec(), over_http };
        serde_json::to_writer(&mut out, &header).with_context(action)?;
        out.write_all(b"\n").with_context(action)?;
        let mut rows = 0;
        for (name, minutes) in WINDOWS {
            self.coarsen(minutes);
            for (start, window) in &self.minutes {
                rows += write_window(&mut out, name, start * MINUTE_MS, window).with_context(action)?;
            }
        }
        out.into_inner()
            .map_err(std::io::IntoInnerError::into_error)
            .and_then(|file| file.sync_all())
            .with_context(action)?;
        Ok(rows)
    }

    fn minute(&mut self, click: &ClickSpec) -> &mut Minute {
        self.minutes.entry(click.event_time_ms.div_euclid(MINUTE_MS)).or_default()
    }

    /// Puts shorter windows together into windows of `length` minutes, all sorted.
    fn coarsen(&mut self, length: i64) {
        let mut windows: BTreeMap<i64, Minute> = BTreeMap::new();
        for (start, mut shorter) in std::mem::take(&mut self.minutes) {
            let window = windows.entry(start.div_euclid(length) * length).or_default();
            window.clicks.append(&mut shorter.clicks);
            window.late.append(&mut shorter.late);
        }
        for window in windows.values_mut() {
            window.clicks.sort_unstable();
            window.late.sort_unstable();
        }
        self.minutes = windows;
    }
}

fn ad_and_user(click: &ClickSpec) -> u64 {
    u64::from(click.ad) << 32 | u64::from(click.user)
}

const fn ad_of(ad_and_user: u64) -> u64 {
    ad_and_user >> 32
}

fn write_window(out: &mut impl Write, name: &str, start_ms: i64, window: &Minute) -> std::io::Result<u64> {
    let mut late = window.late.chunk_by(|one, next| ad_of(*one) == ad_of(*next)).peekable();
    let mut rows = 0;
    let mut row = |ad_number: u64, clicks: &[u64], late_clicks: usize| -> std::io::Result<()> {
        rows += 1;
        let mut ad_id = Vec::with_capacity(16);
        push_ad_id(&mut ad_id, ad_number as u32);
        let ad = String::from_utf8_lossy(&ad_id);
        let count = clicks.len();
        let users = clicks.chunk_by(|one, next| one == next).count();
        write!(out, r#"{{"window":"{name}","ad_id":"{ad}","start_ms":{start_ms},"clicks":{count},"users":{users}"#)?;
        if late_clicks > 0 {
            write!(out, r#","late":{late_clicks}"#)?;
        }
        out.write_all(b"}\n")
    };
    for clicks in window.clicks.chunk_by(|one, next| ad_of(*one) == ad_of(*next)) {
        let ad = clicks.first().map_or(0, |first| ad_of(*first));
        while let Some(earlier) = late.next_if(|group| group.first().is_some_and(|first| ad_of(*first) < ad)) {
            row(earlier.first().map_or(0, |first| ad_of(*first)), &[], earlier.len())?;
        }
        let same = late.next_if(|group| group.first().is_some_and(|first| ad_of(*first) == ad));
        row(ad, clicks, same.map_or(0, <[u64]>::len))?;
    }
    for group in late {
        row(group.first().map_or(0, |first| ad_of(*first)), &[], group.len())?;
    }
    Ok(rows)
}

/// Reads an oracle's file.
pub struct OracleReader {
    header: Header,
    lines: std::io::Lines<BufReader<File>>,
    path: String,
}

impl OracleReader {
    /// Opens it and reads its first line.
    pub fn open(path: &Path) -> Result<Self> {
        let shown = path.display().to_string();
        let file = File::open(path).with_context(|| format!("cannot read oracle {shown}"))?;
        let mut lines = BufReader::with_capacity(1 << 20, file).lines();
        let Some(first) = lines.next() else {
            bail!("oracle {shown} is empty");
        };
        let header: Header = serde_json::from_str(&first.with_context(|| format!("cannot read oracle {shown}"))?)
            .with_context(|| format!("{shown} is no oracle of `weir generate`"))?;
        if header.weir_oracle != FORMAT {
            bail!("oracle {shown} has format {}, this build reads format {FORMAT}", header.weir_oracle);
        }
        Ok(Self { header, lines, path: shown })
    }

    /// Its first line.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }
}

impl Iterator for OracleReader {
    type Item = Result<ExpectedWindow>;

    fn next(&mut self) -> Option<Self::Item> {
        let line = self.lines.next()?;
        let read = || format!("cannot read oracle {}", self.path);
        Some(line.with_context(read).and_then(|text| serde_json::from_str(&text).with_context(read)))
    }
}
