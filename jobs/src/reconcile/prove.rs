//! Makes the proof that a click is billed: by recounting its ad and day.

use anyhow::{Context, Result, anyhow, bail};
use chrono::NaiveDate;
use chrono_tz::Tz;
use weir_checkpoints::{Day, Names};
use weir_dataflow::reconcile::{ArchiveFactory, ArchiveRow};

use super::{DayProof, LocalDay, Reconciler, Wanted, newest_manifest};

impl Reconciler {
    /// Shows that a click is among those that are billed. The day must be closed, and nothing new be known of it.
    pub fn prove(&self, date: NaiveDate, click_id: &str) -> Result<DayProof> {
        let names = Names::new(&self.job);
        let record = Day::read(self.checkpoints.as_ref(), &names, &date.format("%Y-%m-%d").to_string())?;
        let newest =
            record.newest().with_context(|| format!("{date} is not closed: run weir reconcile first"))?.clone();
        let timezone: Tz =
            newest.timezone.parse().map_err(|_| anyhow!("the time zone {} is not known any more", newest.timezone))?;
        let day = LocalDay::of(date, timezone)?;
        let (manifest, manifest_hash) = newest_manifest(self.checkpoints.as_ref(), &names)?;
        let found = self.find(day, record, manifest, manifest_hash, &Wanted::default())?;
        let ad_id = first_ad(&found.archive, click_id)?;
        let ad_id = ad_id.with_context(|| format!("there is no click `{click_id}` in the archive of {date}"))?;
        let count = self.count(&found, Some(ad_id.clone()), None)?;
        if count.root != newest.root {
            bail!(
                "the recount of {date} leads to another root than its record has: more is known of it, run weir reconcile first"
            );
        }
        let proof = count.prove(&ad_id, click_id);
        let proof = proof.with_context(|| {
            format!(
                "click `{click_id}` is in the archive, but not billed on {date}: it was taken out, or is of another day"
            )
        })?;
        let proof = DayProof {
            job: newest.job,
            date: newest.date,
            timezone: newest.timezone,
            revision: newest.revision,
            run: newest.run,
            manifest_hash: newest.closed_on.hash,
            root: newest.root.unwrap_or_default(),
            proof,
        };
        proof.check(None)?;
        Ok(proof)
    }
}

/// The ad of the first copy in the log.
fn first_ad(archive: &impl ArchiveFactory, click_id: &str) -> Result<Option<String>> {
    let mut rows = archive.open(0, 1)?;
    let mut first: Option<((u64, u32, u64), String)> = None;
    let mut more = true;
    while more {
        more = rows.read(&mut |row| {
            let ArchiveRow::Click(row) = row else { return };
            let same = match row.click.click_id {
                Some(id) => id == click_id,
                None => row.click.key().to_click_id() == click_id,
            };
            let place = (row.epoch, row.partition, row.offset);
            if same && first.as_ref().is_none_or(|(known, _)| place < *known) {
                first = Some((place, row.click.ad_id.to_owned()));
            }
        })?;
    }
    Ok(first.map(|(_, ad_id)| ad_id))
}
