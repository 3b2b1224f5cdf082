//! The index of a closed day: where it is kept, and how a day is restated from it.
//!
//! ```text
//!   new revision, by recount ─▶ segments, then what names them ─▶ record of the revision names that ─▶ older indexes are removed
//!   other lists, same archive ─▶ index ─▶ what changes in each ad ─▶ new revision, with the same index
//! ```
//!
//! An index that is missing, damaged or of another archive costs a recount, and nothing else.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, Result};
use weir_checkpoints::{Day, IndexOfDay, Names, content_hash};
use weir_connectors::delta::{BillingTable, corrected_windows};
use weir_dataflow::reconcile::{
    AdBefore, AdDay, Correction, DayCount, DayIndex, IndexTo, Reason, Restated, RestatedAd, Restatement,
};

use super::ledger::{Before, Ledger};
use super::{Counted, ExclusionList, Exclusions, Found, Reconciler, now_ms, of_table};

/// How old an index must be that no revision names, to be one that was left behind by a run that ended halfway.
const LEFT_BEHIND_MS: i64 = 86_400_000;

/// The object that names the others.
const DAY: &str = "day";

impl Reconciler {
    /// Where a run leaves its index; none if days get none. Workers are in the name, for segments are theirs.
    pub(super) fn index_to(&self, names: &Names, found: &Found) -> Option<IndexTo> {
        // An exact count of users needs their names, which an index does not have.
        if !self.index || found.exact_users {
            return None;
        }
        let workers = self.workers * self.layout.process().1;
        let prefix = format!("{}{}-{workers}/", names.day_indexes(&found.day.text()), self.run_of(found));
        Some(IndexTo { store: self.checkpoints.clone(), prefix })
    }

    /// Writes what names the segments of an index; the record of the revision is to name that. None where there is to be no
    /// index, or it could not be written, which nothing else depends on.
    pub(super) fn keep_index(
        &self,
        found: &Found,
        to: Option<&IndexTo>,
        count: &mut DayCount,
    ) -> Result<Option<IndexOfDay>> {
        let (Some(to), Some(index)) = (to, count.index.take()) else { return Ok(None) };
        let index = match index {
            Ok(index) => index,
            Err(reason) => {
                tracing::warn!("{} gets no index: {reason}", found.day.text());
                return Ok(None);
            }
        };
        let reasons = count.ads.iter().flat_map(|ad| &ad.corrections).map(|correction| correction.reason);
        if reasons.into_iter().any(stream_was_wrong) {
            return Ok(None);
        }
        let (name, bytes) = (format!("{}{DAY}", to.prefix), index.to_bytes());
        let sha256 = content_hash(&bytes);
        self.checkpoints.put(&name, bytes)?;
        Ok(Some(IndexOfDay { name, sha256, archive: found.archive_hash.clone(), excluded: found.hashes_of_lists() }))
    }

    /// Removes an index that no record of its day names.
    pub(super) fn drop_unnamed(&self, names: &Names, date: &str, to: Option<&IndexTo>) {
        let Some(to) = to else { return };
        // Somebody else may have closed the day with the same index meanwhile.
        let Ok(day) = Day::read(self.checkpoints.as_ref(), names, date) else { return };
        if day.records().filter_map(|record| record.index.as_ref()).any(|index| index.name.starts_with(&to.prefix)) {
            return;
        }
        for object in self.checkpoints.list(&to.prefix).unwrap_or_default() {
            self.delete(&object.name);
        }
    }

    fn delete(&self, name: &str) {
        if let Err(error) = self.checkpoints.delete(name) {
            tracing::debug!(name, "an index that is not needed stays: {error}");
        }
    }

    /// Removes the indexes of a day that no later run needs. Nobody is told of one that stays.
    pub(super) fn sweep_indexes(&self, names: &Names, date: &str, day: &Day) {
        let mut records: Vec<_> = day.records().collect();
        let newest = records.pop();
        let folder = |index: &IndexOfDay| index.name.strip_suffix(DAY).map(str::to_owned);
        let needed = newest.and_then(|newest| newest.index.as_ref()).and_then(folder);
        let old: Vec<String> =
            records.into_iter().filter_map(|record| record.index.as_ref().and_then(folder)).collect();
        let Ok(objects) = self.checkpoints.list(&names.day_indexes(date)) else { return };
        let left_behind_ms = now_ms() - LEFT_BEHIND_MS;
        for object in objects {
            let is_in = |folder: &String| object.name.starts_with(folder.as_str());
            if needed.as_ref().is_some_and(is_in) || (!old.iter().any(is_in) && object.modified_ms > left_behind_ms) {
                continue;
            }
            self.delete(&object.name);
        }
    }

    /// Restates a day from its index; none if there is none that fits, and the day has to be recounted.
    pub(super) fn restate(&self, found: &Found, before: &Before) -> Result<Option<Counted>> {
        let Some(index) = found.usable_index().filter(|_| self.index) else { return Ok(None) };
        let deltas = deltas(before);
        // Where the stream was wrong there may be windows with regions that the archive knows nothing of.
        if deltas.values().any(|of_ad| of_ad.keys().copied().any(stream_was_wrong)) {
            return Ok(None);
        }
        let restated = self.restate_from(index, found, before).and_then(|Restated { ads, windows }| {
            let rows = found.record.newest().map_or(0, |newest| newest.totals.rows);
            let count = DayCount::of(ads_of(before, &deltas, ads), rows);
            let ledger = Ledger::of(&count.ads, before)?;
            Ok(Counted { count, ledger, windows, index: Some(index.clone()), wrong_epochs: Vec::new() })
        });
        match restated {
            Ok(counted) => Ok(Some(counted)),
            Err(error) => {
                tracing::warn!("{}: {error:#}; the archive is recounted instead", found.day.text());
                Ok(None)
            }
        }
    }

    fn restate_from(&self, index: &IndexOfDay, found: &Found, before: &Before) -> Result<Restated> {
        let store = self.checkpoints.as_ref();
        let bytes = store.get(&index.name)?.with_context(|| format!("its index `{}` is gone", index.name))?;
        if content_hash(&bytes) != index.sha256 {
            anyhow::bail!("its index `{}` was changed", index.name);
        }
        let days = Names::new(&self.job).days();
        let lists = |hashes: &BTreeMap<String, String>| {
            let lists = hashes.iter().map(|(name, hash)| ExclusionList::kept(store, &days, name, hash));
            Ok::<_, anyhow::Error>(Exclusions::parse(&lists.collect::<Result<Vec<_>>>()?)?.for_index())
        };
        let newest = found.record.newest();
        let mut windows = Vec::new();
        for file in newest.map(|newest| of_table(newest, BillingTable::Windows)).unwrap_or_default() {
            windows.extend(corrected_windows(self.tables.as_ref(), &file)?);
        }
        let billed = before.billed.as_deref().unwrap_or_default();
        let ads: Vec<AdBefore<'_>> =
            billed.iter().map(|row| AdBefore { ad_id: &row.ad_id, clicks: row.click_count }).collect();
        let restatement = Restatement {
            start_ms: found.day.start_ms,
            end_ms: found.day.end_ms,
            index: &DayIndex::parse(&index.name, &bytes)?,
            store,
            indexed: &lists(&index.excluded)?,
            before: &newest.map_or_else(|| Ok(Default::default()), |newest| lists(&newest.excluded))?,
            now: &Exclusions::parse(&found.lists)?.for_index(),
            ads: &ads,
            windows,
            threads: self.workers,
            keep_bytes: self.memory_bytes,
        };
        Ok(restatement.run()?)
    }
}

impl Found {
    /// The index of the newest revision, if what is asked for can be counted from it.
    fn usable_index(&self) -> Option<&IndexOfDay> {
        let newest = self.record.newest()?;
        let index = newest.index.as_ref()?;
        let fits = index.archive == self.archive_hash && !self.exact_users && !self.anew;
        fits.then_some(index)
    }
}

const fn stream_was_wrong(reason: Reason) -> bool {
    matches!(reason, Reason::Uncounted | Reason::Overcounted)
}

type Deltas<'a> = HashMap<&'a str, BTreeMap<Reason, i64>>;

/// By how much each reason has changed each ad so far.
fn deltas(before: &Before) -> Deltas<'_> {
    let mut deltas = Deltas::new();
    for entry in &before.entries {
        let Some(reason) = Reason::ALL.into_iter().find(|reason| reason.as_str() == entry.reason) else { continue };
        *deltas.entry(&entry.ad_id).or_default().entry(reason).or_default() += entry.recounted - entry.streamed;
    }
    for of_ad in deltas.values_mut() {
        of_ad.retain(|_, delta| *delta != 0);
    }
    deltas
}

/// All ads: as they were, but for those in which something has changed.
fn ads_of(before: &Before, deltas: &Deltas<'_>, restated: Vec<RestatedAd>) -> Vec<AdDay> {
    let mut restated = restated.into_iter().peekable();
    let billed = before.billed.iter().flatten().enumerate();
    let ads = billed.map(|(at, row)| {
        let deltas = deltas.get(row.ad_id.as_str());
        let of_reason = |(reason, delta): (&Reason, &i64)| Correction {
            reason: *reason,
            delta: *delta,
            // Only an entry of the ledger needs them, and there will be none.
            offsets: BTreeMap::new(),
        };
        let corrections: Vec<Correction> = deltas.into_iter().flatten().map(of_reason).collect();
        let known: i64 = corrections.iter().map(|correction| correction.delta).sum();
        let mut ad = AdDay {
            ad_id: row.ad_id.clone(),
            streamed: row.click_count - known,
            clicks: row.click_count,
            unique_users: row.unique_users.unsigned_abs(),
            corrections,
            root: row.clicks_root.clone(),
            ..AdDay::default()
        };
        if let Some(now) = restated.next_if(|now| now.at == at) {
            restate_ad(&mut ad, now);
        }
        ad
    });
    ads.collect()
}

fn restate_ad(ad: &mut AdDay, now: RestatedAd) {
    ad.corrections.retain(|correction| correction.reason != Reason::InvalidTraffic);
    let out: u64 = now.invalid.values().map(|range| range.clicks).sum();
    if out > 0 {
        let delta = -out.cast_signed();
        ad.corrections.push(Correction { reason: Reason::InvalidTraffic, delta, offsets: now.invalid });
    }
    (ad.clicks, ad.unique_users, ad.root) = (now.clicks, now.unique_users, now.root);
}
