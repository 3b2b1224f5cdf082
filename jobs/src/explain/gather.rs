//! Reads what the stores have about a number.

use std::ops::Range;
use std::sync::Arc;

use anyhow::{Context, Result};
use weir_checkpoints::{Follower, Manifest};
use weir_connectors::delta::{
    AdTrace, ClickBatch, ClickCopy, ClicksOf, ClicksTable, LedgerOf, LedgerRow, WindowsOf, held_back, held_back_clicks,
};
use weir_dataflow::{UserSketch, WindowRow};

use super::copies::Copies;
use super::judge::{Code, Counted, Evidence, Verdict, judge};
use super::late::Late;
use super::records::Batch;
use super::report::{Checkpoint, Explanation, State, TableCount, WindowFacts};
use super::span::day_around;
use super::{Question, Sources};

/// How far copies are looked for at last: a job that catches up takes much time in one epoch, within which it forgets
/// nothing.
const FARTHEST_MS: i64 = 86_400_000;

const CORRECTIONS: &str = "corrections";
const BILLING: &str = "billing_daily";

pub(super) fn gather(sources: &Sources<'_>, question: &Question) -> Result<Explanation> {
    let manifest = newest(sources)?;
    let trace = AdTrace::new(Arc::clone(&sources.tables), sources.tables_url);
    let reading = Reading { sources, question, manifest: &manifest, trace: &trace };
    let span_ms = &question.span.time_ms;
    let closed_ms = question.span.closed_part(manifest.closed_until_ms);
    let state = state(span_ms, &closed_ms);
    let table = reading.table(&closed_ms)?;
    let late = reading.late(span_ms)?;
    let mut copies = if sources.archive { Some(reading.archive(span_ms, &late)?) } else { None };
    if let Some(copies) = &mut copies {
        reading.name(copies)?;
    }
    let late_clicks = late.report(question.limit);
    // Of a window that is open all clicks are told of; there is nothing to compare them with.
    let counted_ms = if state == State::Open { span_ms } else { &closed_ms };
    let counted = copies.as_ref().map(|copies| copies.counted_in(counted_ms));
    let evidence = Evidence {
        state,
        table: closed_clicks(&table.rows, &closed_ms),
        held_back: table.held_back_clicks,
        archive: counted.map(|distinct| Counted { distinct, ..Counted::default() }),
        not_on_time: late_clicks.reasons.values().sum(),
    };
    let day = day_around(span_ms.start);
    let day = LedgerOf { ad_id: &question.ad_id, from_ms: day.start, until_ms: day.end };
    Ok(Explanation {
        job: sources.job.to_owned(),
        ad_id: question.ad_id.clone(),
        window: question.span.kind,
        start_ms: span_ms.start,
        end_ms: span_ms.end,
        region: question.region.clone(),
        state,
        closed_part_end_ms: closed_ms.end,
        checkpoint: checkpoint(&manifest),
        verdict: reading.verdict(evidence, &closed_ms)?,
        table,
        archive: copies.as_ref().map(Copies::report),
        late: late_clicks,
        corrections: trace.ledger(CORRECTIONS, &day)?.map(by_revision),
        billing: trace.ledger(BILLING, &day)?.map(by_revision).and_then(|mut rows| rows.pop()),
        clicks: copies.filter(|_| question.clicks).map(|copies| copies.list_of_clicks()),
    })
}

fn checkpoint(manifest: &Manifest) -> Checkpoint {
    Checkpoint {
        sequence: manifest.sequence.0,
        epoch: manifest.epoch.0,
        closed_until_ms: manifest.closed_until_ms,
        ended: manifest.ended,
    }
}

fn by_revision(mut rows: Vec<LedgerRow>) -> Vec<LedgerRow> {
    rows.sort_by_key(|row| row.get("revision").and_then(serde_json::Value::as_i64));
    rows
}

fn newest(sources: &Sources<'_>) -> Result<Manifest> {
    let mut chain = Follower::new(Arc::clone(&sources.checkpoints), sources.job);
    let newest = chain.newest().context("cannot read the job's checkpoints")?.cloned();
    newest.with_context(|| {
        format!(
            "job {} has no checkpoint: it has not run yet, or checkpoint.url is not the one it ran with",
            sources.job
        )
    })
}

fn state(span_ms: &Range<i64>, closed_ms: &Range<i64>) -> State {
    match closed_ms.end {
        end_ms if end_ms == span_ms.end => State::Closed,
        end_ms if end_ms == span_ms.start => State::Open,
        _ => State::PartlyClosed,
    }
}

/// A table that was written to since the checkpoint may have windows already that were open at it.
fn closed_clicks(rows: &[WindowFacts], closed_ms: &Range<i64>) -> u64 {
    rows.iter().filter(|row| closed_ms.contains(&row.start_ms)).map(|row| row.click_count).sum()
}

/// What is read, as of a manifest.
struct Reading<'a> {
    sources: &'a Sources<'a>,
    question: &'a Question,
    manifest: &'a Manifest,
    trace: &'a AdTrace,
}

impl<'a> Reading<'a> {
    fn table(&self, closed_ms: &Range<i64>) -> Result<TableCount> {
        let mut table = TableCount::default();
        let mut users = Users::default();
        let Range { start, end } = self.question.span.time_ms;
        let window = self.question.span.kind.window();
        let of = WindowsOf { ad_id: &self.question.ad_id, window, from_ms: start, until_ms: end };
        self.trace.windows(&of, Some(self.manifest), |found| {
            if self.question.is_of_region(found.row.region) {
                let (file, pending) = (Some(found.file.path.to_string()), found.file.is_pending);
                users.add(&found.row);
                table.rows.push(WindowFacts { file, pending, ..facts(&found.row) });
            }
        })?;
        held_back(self.sources.checkpoints.as_ref(), self.manifest, |row| {
            let is_meant = row.ad_id == self.question.ad_id
                && row.window == window
                && closed_ms.contains(&row.start_ms)
                && self.question.is_of_region(row.region);
            let is_same = |known: &WindowFacts| (known.start_ms, known.region.as_deref()) == (row.start_ms, row.region);
            if is_meant && !table.rows.iter().any(is_same) {
                table.held_back.push(facts(&row));
            }
        })
        .context("cannot read the windows that are held back")?;
        table.rows.sort_unstable_by(|a, b| (a.start_ms, &a.region, a.epoch).cmp(&(b.start_ms, &b.region, b.epoch)));
        table.held_back.sort_unstable_by(|a, b| (a.start_ms, &a.region).cmp(&(b.start_ms, &b.region)));
        table.click_count = table.rows.iter().map(|row| row.click_count).sum();
        table.held_back_clicks = table.held_back.iter().map(|row| row.click_count).sum();
        table.unique_users = users.estimate();
        Ok(table)
    }

    fn late(&self, time_ms: &Range<i64>) -> Result<Late> {
        let mut late = Late::default();
        self.clicks(ClicksTable::Late, time_ms, |copy| {
            late.add(&copy, self.question.is_inside(copy.click.event_time_ms(), copy.region));
        })?;
        Ok(late)
    }

    fn archive<'b>(&'b self, time_ms: &Range<i64>, late: &'b Late) -> Result<Copies<'b>> {
        let begin = || Batch::new(self.question, late);
        let (table, mut batches) = (ClicksTable::Archive, Vec::new());
        let of = self.clicks_of(time_ms);
        self.trace.clicks_in_batches(table, &of, Some(self.manifest), begin, |batch| batches.push(batch))?;
        let mut held = begin();
        self.held_back_clicks(table, time_ms, &mut |copy| held.add(copy))?;
        held.end();
        batches.push(held);
        Ok(Copies::of(self.question, late, batches))
    }

    /// Reads the ids of clicks that are told of.
    fn name(&self, copies: &mut Copies<'_>) -> Result<()> {
        let Some(time_ms) = copies.told_of_ms() else { return Ok(()) };
        copies.name(|take| self.clicks(ClicksTable::Archive, &time_ms, |copy| take(&copy)))
    }

    /// Judges; where nothing explains a difference, looks further for what does.
    fn verdict(&self, evidence: Evidence, closed_ms: &Range<i64>) -> Result<Verdict> {
        let mut verdict = judge(&evidence);
        for reach_ms in [self.sources.time.reach_ms, FARTHEST_MS] {
            let unexplained = evidence.archive.filter(|_| verdict.code == Code::Unexplained);
            let Some(counted) = unexplained else { break };
            let archive = Some(self.look_further(counted, closed_ms, reach_ms)?);
            verdict = judge(&Evidence { archive, ..evidence });
        }
        Ok(verdict)
    }

    /// Copies with other times, and whether the archive is whole.
    fn look_further(&self, counted: Counted, closed_ms: &Range<i64>, reach_ms: i64) -> Result<Counted> {
        let Range { start, end } = self.question.span.time_ms;
        let wide_ms = start.saturating_sub(reach_ms)..end.saturating_add(reach_ms);
        let late = self.late(&wide_ms)?;
        let copies = self.archive(&wide_ms, &late)?;
        Ok(Counted {
            elsewhere: counted.distinct.saturating_sub(copies.counted_in(closed_ms)),
            again: copies.counted_again_in(closed_ms, &self.sources.time),
            missing: self.missing()?,
            ..counted
        })
    }

    /// Records that the archive should have, and does not.
    fn missing(&self) -> Result<u64> {
        let table = ClicksTable::Archive;
        let mut held = 0;
        held_back_clicks(self.sources.checkpoints.as_ref(), self.manifest, table, |_| held += 1)
            .context("cannot read the clicks that are held back")?;
        let totals = self.manifest.totals();
        let stored = self.trace.rows("clicks_raw", Some(self.manifest))?;
        Ok(stored.map_or(0, |stored| (totals.read - totals.rejected).saturating_sub(stored + held)))
    }

    /// Hands out what is in a table, then what is held back for it.
    fn clicks(&self, table: ClicksTable, time_ms: &Range<i64>, mut take: impl FnMut(ClickCopy<'_>)) -> Result<()> {
        self.trace.clicks(table, &self.clicks_of(time_ms), Some(self.manifest), &mut take)?;
        self.held_back_clicks(table, time_ms, &mut |copy| take(*copy))
    }

    fn clicks_of(&self, time_ms: &Range<i64>) -> ClicksOf<'a> {
        ClicksOf { ad_id: &self.question.ad_id, from_ms: time_ms.start, until_ms: time_ms.end }
    }

    fn held_back_clicks(
        &self,
        table: ClicksTable,
        time_ms: &Range<i64>,
        take: &mut dyn FnMut(&ClickCopy<'_>),
    ) -> Result<()> {
        held_back_clicks(self.sources.checkpoints.as_ref(), self.manifest, table, |copy| {
            if copy.click.ad_id == self.question.ad_id && time_ms.contains(&copy.click.event_time_ms()) {
                take(&copy);
            }
        })
        .context("cannot read the clicks that are held back")
    }
}

fn facts(row: &WindowRow<'_>) -> WindowFacts {
    WindowFacts {
        start_ms: row.start_ms,
        region: row.region.map(str::to_owned),
        click_count: row.click_count,
        unique_users: row.unique_users,
        epoch: row.epoch.0,
        file: None,
        pending: false,
    }
}

/// Distinct users of several rows: of one it is written down, of several their sketches are merged.
#[derive(Default)]
struct Users {
    rows: usize,
    only: u64,
    merged: UserSketch,
    is_unknown: bool,
}

impl Users {
    fn add(&mut self, row: &WindowRow<'_>) {
        (self.rows, self.only) = (self.rows + 1, row.unique_users);
        match UserSketch::from_datasketches(row.user_sketch) {
            Ok(sketch) => self.merged.merge(&sketch),
            Err(_) => self.is_unknown = true,
        }
    }

    fn estimate(&self) -> Option<u64> {
        match self.rows {
            0 => Some(0),
            1 => Some(self.only),
            _ if self.is_unknown => None,
            _ => Some(self.merged.estimate()),
        }
    }
}
