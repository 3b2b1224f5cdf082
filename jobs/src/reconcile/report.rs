//! What came of a day.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use weir_checkpoints::Day;
use weir_connectors::delta::CorrectedAd;
use weir_dataflow::reconcile::{AdDay, WrongEpoch};

use super::calendar::LocalDay;

/// Windows that are named one by one.
const NAMED: usize = 20;

/// A day, as it stands now.
#[derive(Debug, Clone, Serialize)]
pub struct DayReport {
    /// The job.
    pub job: String,
    /// The day.
    pub date: String,
    /// Its time zone.
    pub timezone: String,
    /// What came of it.
    pub status: DayStatus,
    /// Its newest revision; none while it is open.
    pub revision: Option<u32>,
    /// The run that made that.
    pub run: Option<String>,
    /// The manifest that it was closed on.
    pub manifest_hash: Option<String>,
    /// What the stream has counted.
    pub streamed: i64,
    /// What is billed.
    pub billed: i64,
    /// Ads that are billed.
    pub ads: u64,
    /// Rows of the archive that were read.
    pub rows: u64,
    /// The root of the tree over its clicks.
    pub root: Option<String>,
    /// The lists of traffic that is taken out.
    pub excluded: Vec<String>,
    /// The entries that this run has added to the ledger, by reason.
    pub corrections: Vec<CorrectionSum>,
    /// The first minutes in which the stream has counted wrong.
    pub wrong_windows: Vec<WrongWindow>,
    /// How many there are.
    pub wrong_windows_count: u64,
    /// The epochs that seem to be behind them.
    pub wrong_epochs: Vec<SuspectEpoch>,
    /// What is missing, for the day to be closed, or restated.
    pub missing: Vec<String>,
    /// How long it took, in seconds.
    pub seconds: f64,
}

/// What came of a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DayStatus {
    /// It is not complete.
    Open,
    /// It was closed.
    Closed,
    /// It was closed before, and has a new revision.
    Restated,
    /// It was closed before, and nothing is new.
    Unchanged,
}

/// Entries of the ledger with one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CorrectionSum {
    /// The reason.
    pub reason: String,
    /// How many ads it is about.
    pub ads: u64,
    /// By how many clicks.
    pub delta: i64,
}

/// A minute of an ad in which the stream has counted wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WrongWindow {
    /// The ad.
    pub ad_id: String,
    /// The minute's start, unix time in seconds.
    pub timestamp: i64,
    /// What the stream should have counted.
    pub expected: i64,
    /// What it has counted.
    pub streamed: i64,
}

/// An epoch that explains minutes in which the stream has counted wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SuspectEpoch {
    /// The epoch.
    pub epoch: u64,
    /// `lost`: its clicks were not counted; `doubled`: they were counted twice.
    pub mistake: &'static str,
    /// The minutes of ads that this explains.
    pub explained: u64,
    /// The minutes of ads that it has clicks in.
    pub minutes: u64,
    /// By how many clicks the stream is wrong in those that it explains.
    pub clicks: i64,
}

impl SuspectEpoch {
    fn of(wrong: &WrongEpoch) -> Self {
        let WrongEpoch { epoch, mistake, explained, minutes, clicks } = *wrong;
        Self { epoch, mistake: mistake.as_str(), explained, minutes, clicks }
    }
}

impl DayReport {
    /// Of a day that lacks something. One that was closed stays so, whatever is on its way to it.
    pub(super) fn waiting(job: &str, day: &LocalDay, record: &Day, missing: Vec<String>) -> Self {
        let status = if record.newest().is_some() { DayStatus::Unchanged } else { DayStatus::Open };
        Self { missing, ..Self::of(job, day, record, status) }
    }

    /// Of a day that was closed before.
    pub(super) fn unchanged(job: &str, day: &LocalDay, record: &Day) -> Self {
        Self::of(job, day, record, DayStatus::Unchanged)
    }

    /// Of a day with a new revision.
    pub(super) fn written(
        job: &str,
        day: &LocalDay,
        record: &Day,
        entries: &[CorrectedAd],
        ads: &[AdDay],
        wrong_epochs: &[WrongEpoch],
    ) -> Self {
        let first = record.newest().is_some_and(|newest| newest.revision == 1);
        let status = if first { DayStatus::Closed } else { DayStatus::Restated };
        let mut sums: BTreeMap<&str, CorrectionSum> = BTreeMap::new();
        for entry in entries {
            let new = || CorrectionSum { reason: entry.reason.clone(), ads: 0, delta: 0 };
            let sum = sums.entry(&entry.reason).or_insert_with(new);
            sum.ads += 1;
            sum.delta += entry.recounted - entry.streamed;
        }
        let wrong = ads.iter().flat_map(|ad| ad.differences.iter().map(move |difference| (ad, difference)));
        let wrong_windows = wrong.clone().take(NAMED).map(|(ad, difference)| WrongWindow {
            ad_id: ad.ad_id.clone(),
            timestamp: day.start_ms / 1000 + 60 * i64::from(difference.minute),
            expected: difference.expected,
            streamed: difference.streamed,
        });
        Self {
            wrong_windows: wrong_windows.collect(),
            wrong_windows_count: wrong.count() as u64,
            wrong_epochs: wrong_epochs.iter().map(SuspectEpoch::of).collect(),
            corrections: sums.into_values().collect(),
            ..Self::of(job, day, record, status)
        }
    }

    pub(super) fn taking(self, time: Duration) -> Self {
        Self { seconds: time.as_secs_f64(), ..self }
    }

    fn of(job: &str, day: &LocalDay, record: &Day, status: DayStatus) -> Self {
        let newest = record.newest();
        let totals = newest.map(|newest| newest.totals).unwrap_or_default();
        Self {
            job: job.to_owned(),
            date: day.text(),
            timezone: day.timezone.name().to_owned(),
            status,
            revision: newest.map(|newest| newest.revision),
            run: newest.map(|newest| newest.run.clone()),
            manifest_hash: newest.map(|newest| newest.closed_on.hash.clone()),
            streamed: totals.streamed,
            billed: totals.billed,
            ads: totals.ads,
            rows: totals.rows,
            root: newest.and_then(|newest| newest.root.clone()),
            excluded: newest.map(|newest| newest.excluded.keys().cloned().collect()).unwrap_or_default(),
            corrections: Vec::new(),
            wrong_windows: Vec::new(),
            wrong_windows_count: 0,
            wrong_epochs: Vec::new(),
            missing: Vec::new(),
            seconds: 0.0,
        }
    }
}
