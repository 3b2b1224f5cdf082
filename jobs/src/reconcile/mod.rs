//! Closing days: what each ad is billed for, recounted from the archive, with a ledger of why that is not what the stream
//! has counted.
//!
//! ```text
//!   newest manifest ─▶ complete? ─no─▶ what is missing, by partition; the day stays open
//!         │               │ yes
//!         │               ▼
//!         │      files of the day ─▶ same as last time? ─yes─▶ nothing to do
//!         │               │ no
//!         │               ▼
//!         │    recount, or restate from the index, ─▶ ledger ─▶ files ─▶ record of the revision, created if absent ─▶ tables
//!         │                                              ▲ the commit
//!         └──────────────────────────────────────────────┘ its hash
//! ```
//!
//! - A day that is closed is never changed: what is found later becomes a further revision, with entries in the ledger.
//! - A run that was interrupted is repeated: what was written before the record exists is never seen, what comes after it
//!   is done by the next run.
//! - Of two reconcilers one creates the record. The other sees that, and changes nothing.

mod calendar;
mod clickhouse;
mod complete;
mod exclude;
mod exclude_from;
mod index;
mod ledger;
mod proof;
mod prove;
mod report;
mod together;
mod what_if;
mod windows;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::thread;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use chrono::NaiveDate;
use chrono_tz::Tz;
use weir_checkpoints::{
    ClosedOn, DAY_FORMAT_VERSION, Day, DayRecord, DayTotals, IndexOfDay, Manifest, Names, OutputPart, Sequence, Store,
    content_hash,
};
use weir_connectors::clickhouse::ClickHouseConfig;
use weir_connectors::delta::{
    BillingTable, DayArchive, DayFiles, DayRange, Excluded, billed, check_day, commit_day, corrected,
};
use weir_dataflow::Layout;
use weir_dataflow::reconcile::{
    AdDay, ArchiveFactory, BilledWindow, DayCount, IndexTo, Recount, RecountProgress, SHARDS, WrongEpoch, recount,
};

pub use self::calendar::{LocalDay, date_at};
pub use self::clickhouse::DaysToClickHouse;
pub use self::exclude::{ExclusionList, Exclusions};
pub use self::proof::DayProof;
pub use self::report::{CorrectionSum, DayReport, DayStatus, SuspectEpoch, WrongWindow};
pub use self::what_if::{AdWhatIf, OtherTime, WhatIf};
use crate::config::TimeConfig;
use crate::verify::coverage;
use exclude::merged;
use ledger::{Before, Ledger};
use together::Lead;

/// What a row costs while its pass is in memory, at most about: a copy, its cell, what the stream has of that, and the
/// leaves of the tree. Cells are not split by passes.
const ROW_BYTES: u64 = 160;

/// How often the newest manifest is looked at while its state is deleted under the reader's eyes.
const TRIES: u32 = 5;

/// Closes and restates days of one job.
pub struct Reconciler {
    /// The job's name.
    pub job: String,
    /// Where its checkpoints are.
    pub checkpoints: Arc<dyn Store>,
    /// Where its tables are.
    pub tables: Arc<dyn Store>,
    /// How it treats time.
    pub time: TimeConfig,
    /// ClickHouse, where closed days are to be there as well.
    pub clickhouse: Option<ClickHouseConfig>,
    /// How far around a day copies are looked for.
    pub margin_ms: i64,
    /// Whether a closed day keeps an index.
    pub index: bool,
    /// Threads of this process.
    pub workers: usize,
    /// The processes that recount together, and which of them this is.
    pub layout: Layout,
    /// About how much memory the copies of clicks may take in each process. Minutes of ads, and a file for each worker,
    /// come on top.
    pub memory_bytes: u64,
    /// How far it is.
    pub progress: Arc<RecountProgress>,
}

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Lists of traffic to be taken out, beside those that are in use.
    pub exclude: Vec<ExclusionList>,
    /// Lists that are no longer to be used, by name.
    pub include: Vec<String>,
    /// Whether users are counted one by one.
    pub exact_users: bool,
    /// Whether the archive is counted anew, even if nothing has changed or an index would do.
    pub anew: bool,
}

/// What a new revision is made of.
struct Counted {
    count: DayCount,
    ledger: Ledger,
    windows: Vec<BilledWindow>,
    index: Option<IndexOfDay>,
    wrong_epochs: Vec<WrongEpoch>,
}

/// All that a recount of a day starts from.
struct Found {
    day: LocalDay,
    record: Day,
    manifest: Manifest,
    manifest_hash: String,
    archive: DayArchive,
    lists: Vec<ExclusionList>,
    exact_users: bool,
    anew: bool,
    /// Stands for what is recounted.
    archive_hash: String,
    /// Stands for that and the lists.
    inputs: String,
}

impl Reconciler {
    /// Closes a day, restates it, or says why neither is to be done. ClickHouse follows last: where it is away, the day is
    /// closed all the same, and the next run copies it.
    pub fn reconcile(&self, date: NaiveDate, timezone: Tz, wanted: &Wanted) -> Result<DayReport> {
        let started = Instant::now();
        let mut lead = Lead::new(self);
        let report = self.close(date, timezone, wanted, &mut lead);
        // Whatever has come of it, the other processes wait for a word.
        let told = lead.finish();
        let report = report?;
        told?;
        self.copy(&report.date)?;
        Ok(report.taking(started.elapsed()))
    }

    fn close(&self, date: NaiveDate, timezone: Tz, wanted: &Wanted, lead: &mut Lead<'_>) -> Result<DayReport> {
        let names = Names::new(&self.job);
        let day = LocalDay::of(date, timezone)?;
        let record = Day::read(self.checkpoints.as_ref(), &names, &day.text())?;
        self.fits(&names, &day)?;
        self.finish_last(&record)?;
        let (manifest, manifest_hash, missing) = self.stand(&names, &day)?;
        if !missing.is_empty() {
            return self.waiting(&day, &record, missing, wanted);
        }
        let found = self.find(day, record, manifest, manifest_hash, wanted)?;
        if self.was_counted(&names, &found)? {
            return Ok(DayReport::unchanged(&self.job, &found.day, &found.record));
        }
        let since = closed_before(self.checkpoints.as_ref(), &names, &found.day.text())?;
        let missing = coverage(&self.job, self.checkpoints.as_ref(), self.tables.as_ref(), since)?;
        if !missing.is_empty() {
            return self.waiting(&found.day, &found.record, missing, wanted);
        }
        self.sweep_indexes(&names, &found.day.text(), &found.record);
        let before = self.before(&found.record)?;
        if let Some(counted) = self.restate(&found, &before)? {
            return self.write(&names, found, &before, counted);
        }
        let index_to = self.index_to(&names, &found);
        let date = found.day.text();
        let report = self.recount_and_write(&names, found, &before, lead, index_to.as_ref());
        // Whatever has come of it: an index that no record names is of no use.
        self.drop_unnamed(&names, &date, index_to.as_ref());
        report
    }

    fn recount_and_write(
        &self,
        names: &Names,
        found: Found,
        before: &Before,
        lead: &mut Lead<'_>,
        index_to: Option<&IndexTo>,
    ) -> Result<DayReport> {
        let mut count = lead.count(&found, index_to.cloned())?;
        let windows = self.windows(&found, &count)?;
        let index = self.keep_index(&found, index_to, &mut count)?;
        let wrong_epochs = self.wrong_epochs(&found, &count)?;
        let ledger = Ledger::of(&count.ads, before)?;
        self.write(names, found, before, Counted { count, ledger, windows, index, wrong_epochs })
    }

    /// A day that is open, or closed with more on its way to it. What was asked for is not done then, and that is said.
    fn waiting(&self, day: &LocalDay, record: &Day, missing: Vec<String>, wanted: &Wanted) -> Result<DayReport> {
        let asked = !wanted.exclude.is_empty() || !wanted.include.is_empty() || wanted.exact_users || wanted.anew;
        if record.newest().is_some() && asked {
            bail!("{} is closed, and cannot be restated now: {}; nothing was changed", day.text(), missing.join("; "));
        }
        Ok(DayReport::waiting(&self.job, day, record, missing))
    }

    /// The newest manifest, its hash, and what the day lacks there. State that a manifest lists may be deleted once there are
    /// newer ones.
    fn stand(&self, names: &Names, day: &LocalDay) -> Result<(Manifest, String, Vec<String>)> {
        let store = self.checkpoints.as_ref();
        let mut tries = 0;
        loop {
            let (manifest, hash) = newest_manifest(store, names)?;
            tries += 1;
            match complete::missing(day, self.margin_ms, &self.time, &manifest, store) {
                Ok(missing) => return Ok((manifest, hash, missing)),
                Err(error) if tries == TRIES || newest_manifest(store, names)?.1 == hash => return Err(error),
                Err(_) => {}
            }
        }
    }

    /// Whether all that is known has been recounted before: into the newest revision, or without anything new.
    fn was_counted(&self, names: &Names, found: &Found) -> Result<bool> {
        let Some(newest) = found.record.newest().filter(|_| !found.anew) else { return Ok(false) };
        let checked = self.checkpoints.get(&names.day_checked(&newest.date))?;
        Ok(newest.inputs == found.inputs || checked.as_deref() == Some(found.checked().as_bytes()))
    }

    /// All days are of one time zone: others would overlap with those that are closed, or leave hours between them.
    fn fits(&self, names: &Names, day: &LocalDay) -> Result<()> {
        let store = self.checkpoints.as_ref();
        let date = day.text();
        let objects = store.list(&names.days())?;
        let dates: BTreeSet<&str> = objects.iter().filter_map(|object| names.date_of_record(&object.name)).collect();
        let before = dates.range(..date.as_str()).next_back();
        let from = dates.range(date.as_str()..).filter(|date| date.parse::<NaiveDate>().is_ok()).take(2);
        for other in before.into_iter().chain(from) {
            let closed = Day::read(store, names, other)?;
            let Some(closed) = closed.newest() else { continue };
            let overlaps = closed.start_ms < day.end_ms && day.start_ms < closed.end_ms;
            let same = closed.date == date && (closed.start_ms, closed.end_ms) == (day.start_ms, day.end_ms);
            if closed.timezone != day.timezone.name() || (overlaps && !same) {
                bail!(
                    "{} was closed as a day of {}; one table holds days of one time zone, and each hour once: leave the time zone \
                     as it was, or use another job name and other tables",
                    closed.date,
                    closed.timezone
                );
            }
        }
        Ok(())
    }

    /// The tables may lack the newest revision, if the run that created it was interrupted.
    fn finish_last(&self, record: &Day) -> Result<()> {
        let Some(newest) = record.newest() else { return Ok(()) };
        Ok(commit_day(&self.tables, newest)?)
    }

    /// Inserts a closed day into ClickHouse, where there is one and it lacks it.
    fn copy(&self, date: &str) -> Result<()> {
        let Some(config) = &self.clickhouse else { return Ok(()) };
        let record = Day::read(self.checkpoints.as_ref(), &Names::new(&self.job), date)?;
        let days = DaysToClickHouse { checkpoints: self.checkpoints.as_ref(), tables: &self.tables, config };
        days.write(&record).with_context(|| {
            format!("{date} is closed, and in the Delta tables, but not all of it in ClickHouse; run it again")
        })?;
        Ok(())
    }

    fn find(
        &self,
        day: LocalDay,
        record: Day,
        manifest: Manifest,
        manifest_hash: String,
        wanted: &Wanted,
    ) -> Result<Found> {
        let range = DayRange { start_ms: day.start_ms, end_ms: day.end_ms, margin_ms: self.margin_ms };
        let archive = DayArchive::open(Arc::clone(&self.tables), range, &manifest)?;
        let days = Names::new(&self.job).days();
        let in_use = record.newest().map(|newest| newest.excluded.clone()).unwrap_or_default();
        let in_use =
            in_use.iter().map(|(name, hash)| ExclusionList::kept(self.checkpoints.as_ref(), &days, name, hash));
        let lists = merged(in_use.collect::<Result<_>>()?, wanted.exclude.clone(), &wanted.include)?;
        let exact_users = wanted.exact_users || record.newest().is_some_and(|newest| newest.exact_users);
        let mut inputs =
            format!("{} {} {} {exact_users} {}\n", day.start_ms, day.end_ms, self.margin_ms, archive.fingerprint());
        let archive_hash = content_hash(inputs.as_bytes());
        lists.iter().for_each(|list| inputs.push_str(&format!("{} {}\n", list.name, list.hash())));
        let inputs = content_hash(inputs.as_bytes());
        let anew = wanted.anew;
        Ok(Found { day, record, manifest, manifest_hash, archive, lists, exact_users, anew, archive_hash, inputs })
    }

    /// Recounts a day in this process alone.
    fn count(&self, found: &Found, leaves_of: Option<String>, index: Option<IndexTo>) -> Result<DayCount> {
        let counted = recount(self.recount_of(found, leaves_of, index, 1)?, Layout::Threads(self.workers));
        counted.with_context(|| format!("{} stays as it is", found.day.text()))?.context("this process has no result")
    }

    /// What is to be recounted, by so many processes.
    fn recount_of(
        &self,
        found: &Found,
        leaves_of: Option<String>,
        index: Option<IndexTo>,
        processes: usize,
    ) -> Result<Recount> {
        let room = self.memory_bytes.max(1) * processes as u64;
        let passes = (found.archive.rows() * ROW_BYTES).div_ceil(room).clamp(1, u64::from(SHARDS));
        Ok(Recount {
            start_ms: found.day.start_ms,
            end_ms: found.day.end_ms,
            margin_ms: self.margin_ms,
            passes: passes as u32,
            exact_users: found.exact_users,
            leaves_of,
            archive: counted_from(found.archive.clone(), &found.lists, index.is_some())?,
            index,
            progress: Arc::clone(&self.progress),
        })
    }

    /// A run: a hash of all that goes into it.
    fn run_of(&self, found: &Found) -> String {
        let (date, revision, version) = (found.day.text(), found.record.next_revision(), env!("CARGO_PKG_VERSION"));
        let Found { inputs, manifest_hash, .. } = found;
        let run = content_hash(format!("{} {date} {revision} {inputs} {manifest_hash} {version}", self.job).as_bytes());
        run.get(..16).unwrap_or_default().to_owned()
    }

    /// Writes a revision, unless it says nothing new.
    fn write(&self, names: &Names, mut found: Found, before: &Before, counted: Counted) -> Result<DayReport> {
        let Counted { count, ledger, windows, index, wrong_epochs } = counted;
        if ledger.is_nothing_new(before) && found.asks_for_the_same() {
            self.checkpoints.put(&names.day_checked(&found.day.text()), found.checked().into_bytes())?;
            return Ok(DayReport::unchanged(&self.job, &found.day, &found.record));
        }
        let (date, revision) = (found.day.text(), found.record.next_revision());
        // The files name the manifest and the version, so these are in their names: nobody writes other bytes under the same.
        let run = self.run_of(&found);
        let files = DayFiles {
            store: self.tables.as_ref(),
            date: &date,
            revision,
            run: &run,
            manifest_hash: &found.manifest_hash,
        };
        let outputs = write_files(&files, &ledger, &windows, found.manifest.epoch.0)?;
        for list in &found.lists {
            list.keep(self.checkpoints.as_ref(), &names.days())?;
        }
        let replaced = |table| found.record.newest().map(|newest| of_table(newest, table)).unwrap_or_default();
        let replaced = [BillingTable::Daily, BillingTable::Windows].map(replaced).concat();
        let record = DayRecord {
            format: DAY_FORMAT_VERSION,
            job: self.job.clone(),
            date,
            timezone: found.day.timezone.name().to_owned(),
            start_ms: found.day.start_ms,
            end_ms: found.day.end_ms,
            revision,
            previous: None,
            run,
            closed_on: ClosedOn {
                sequence: found.manifest.sequence,
                hash: found.manifest_hash.clone(),
                epoch: found.manifest.epoch,
            },
            inputs: found.inputs.clone(),
            index,
            excluded: found.hashes_of_lists(),
            exact_users: found.exact_users,
            totals: totals(&count, before.entries.len() + ledger.entries.len()),
            root: count.root.clone(),
            written_ms: now_ms(),
            outputs,
            replaced: replaced.into_iter().map(|output| output.name).collect(),
        };
        check_day(&self.tables, &record)?;
        found.record.publish(self.checkpoints.as_ref(), names, record)?;
        self.finish_last(&found.record)?;
        self.sweep_indexes(names, &found.day.text(), &found.record);
        Ok(DayReport::written(&self.job, &found.day, &found.record, &ledger.entries, &count.ads, &wrong_epochs))
    }

    /// What was written before.
    fn before(&self, record: &Day) -> Result<Before> {
        let mut before = Before::default();
        for revision in record.records() {
            for output in of_table(revision, BillingTable::Corrections) {
                before.entries.extend(corrected(self.tables.as_ref(), &output)?);
            }
        }
        if let Some(newest) = record.newest() {
            let mut rows = Vec::new();
            for output in of_table(newest, BillingTable::Daily) {
                rows.extend(billed(self.tables.as_ref(), &output)?);
            }
            before.billed = Some(rows);
        }
        Ok(before)
    }
}

impl Found {
    /// Whether lists and counting are those of the newest revision. Others are kept for what is still to come.
    fn asks_for_the_same(&self) -> bool {
        let lists = self.hashes_of_lists();
        self.record.newest().is_some_and(|newest| newest.excluded == lists && newest.exact_users == self.exact_users)
    }

    /// The lists by their names: what they say.
    fn hashes_of_lists(&self) -> BTreeMap<String, String> {
        self.lists.iter().map(|list| (list.name.clone(), list.hash())).collect()
    }

    /// What stands for a recount that found nothing new: of these inputs, beside this revision.
    fn checked(&self) -> String {
        format!("{} {}\n", self.record.hash().unwrap_or_default(), self.inputs)
    }
}

/// The archive, with the clicks marked that some lists take out, and all that an index needs if one is wanted.
fn counted_from(archive: DayArchive, lists: &[ExclusionList], for_index: bool) -> Result<Arc<dyn ArchiveFactory>> {
    let archive = if for_index { archive.for_index() } else { archive };
    let exclusions = Exclusions::parse(lists)?;
    if exclusions.is_empty() {
        return Ok(Arc::new(archive));
    }
    let excluded: Excluded = Arc::new(move |click| exclusions.matches(click));
    Ok(Arc::new(archive.excluding(excluded)))
}

/// Writes the files of a revision, each on a thread of its own.
fn write_files(files: &DayFiles<'_>, ledger: &Ledger, windows: &[BilledWindow], epoch: u64) -> Result<Vec<OutputPart>> {
    thread::scope(|scope| {
        let corrected =
            scope.spawn(|| (!ledger.entries.is_empty()).then(|| files.corrected(&ledger.entries)).transpose());
        let windows = scope.spawn(|| files.windows(windows, epoch));
        let mut outputs = vec![files.billed(&ledger.billed)?];
        outputs.extend(joined(corrected)?);
        outputs.extend(joined(windows)?);
        Ok(outputs)
    })
}

fn joined<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn of_table(record: &DayRecord, table: BillingTable) -> Vec<OutputPart> {
    record.outputs.iter().filter(|output| output.sink == table.name()).cloned().collect()
}

fn totals(count: &DayCount, corrections: usize) -> DayTotals {
    let sum = |of: fn(&AdDay) -> i64| count.ads.iter().map(of).sum();
    DayTotals {
        ads: count.ads.len() as u64,
        streamed: sum(|ad| ad.streamed),
        billed: sum(|ad| ad.clicks),
        rows: count.rows,
        corrections: corrections as u64,
    }
}

/// The manifest that the last day before this one was closed on: the chain was checked up to there.
fn closed_before(store: &dyn Store, names: &Names, date: &str) -> Result<Option<Sequence>> {
    let objects = store.list(&names.days())?;
    let dates = objects.iter().filter_map(|object| names.date_of_record(&object.name));
    let Some(before) = dates.filter(|earlier| *earlier < date).max() else { return Ok(None) };
    Ok(Day::read(store, names, before)?.newest().map(|newest| newest.closed_on.sequence))
}

/// The newest manifest and its hash.
fn newest_manifest(store: &dyn Store, names: &Names) -> Result<(Manifest, String)> {
    let newest =
        store.list(&names.manifests())?.into_iter().rev().find(|object| names.sequence_of(&object.name).is_some());
    let Some(object) = newest else {
        bail!("job {} has no checkpoint: it has not committed anything yet", names.job());
    };
    let bytes = store.get(&object.name)?.with_context(|| format!("manifest {} has vanished", object.name))?;
    Ok((Manifest::parse(&object.name, &bytes)?, Manifest::hash(&bytes)))
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_millis() as i64)
}
