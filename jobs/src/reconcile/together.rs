//! A day that several processes recount together.
//!
//! Process 0 does all that is done once: it looks whether the day is complete, and writes what comes of it. For each day it
//! says once what is to be recounted, or that nothing is. The others open the same archive, by the manifest that is named
//! to them, and refuse to take part where they see other files.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use weir_checkpoints::{Manifest, Names, Sequence, Store};
use weir_connectors::delta::{DayArchive, DayRange};
use weir_dataflow::reconcile::{ArchiveError, Archives, DayCount, IndexTo, Opened, Part, recount_together};

use super::{ExclusionList, Found, Reconciler, counted_from};

/// How the archive of a day is opened.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Plan {
    job: String,
    version: String,
    manifest: Sequence,
    start_ms: i64,
    end_ms: i64,
    margin_ms: i64,
    /// Stands for the files that process 0 sees.
    files: String,
    /// The lists in use, by name: their hashes.
    excluded: BTreeMap<String, String>,
    /// What the names of the index begin with, if there is to be one.
    index: Option<String>,
}

/// The word that process 0 owes the others for a day.
pub(super) struct Lead<'a> {
    reconciler: &'a Reconciler,
    said: bool,
}

impl<'a> Lead<'a> {
    pub(super) const fn new(reconciler: &'a Reconciler) -> Self {
        Self { reconciler, said: false }
    }

    /// Recounts a day, with the others if there are any.
    pub(super) fn count(&mut self, found: &Found, index: Option<IndexTo>) -> Result<DayCount> {
        let (_, processes) = self.reconciler.layout.process();
        if processes == 1 {
            return self.reconciler.count(found, None, index);
        }
        let Reconciler { job, checkpoints, .. } = self.reconciler;
        let days = Names::new(job).days();
        for list in &found.lists {
            list.keep(checkpoints.as_ref(), &days)?;
        }
        let plan = Plan {
            job: job.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            manifest: found.manifest.sequence,
            start_ms: found.day.start_ms,
            end_ms: found.day.end_ms,
            margin_ms: self.reconciler.margin_ms,
            files: found.archive.listing(),
            excluded: found.hashes_of_lists(),
            index: index.as_ref().map(|to| to.prefix.clone()),
        };
        let recount = self.reconciler.recount_of(found, None, index, processes)?;
        self.said = true;
        let part = Part::Leads(Some((recount, serde_json::to_string(&plan)?)));
        let counted = recount_together(part, self.reconciler.layout.clone());
        counted.with_context(|| format!("{} stays as it is", found.day.text()))?.context("this process has no result")
    }

    /// Says that there is nothing to be done, unless something was.
    pub(super) fn finish(self) -> Result<()> {
        if !self.said && self.reconciler.layout.process().1 > 1 {
            recount_together(Part::Leads(None), self.reconciler.layout.clone())?;
        }
        Ok(())
    }
}

impl Reconciler {
    /// Takes part in the recount of one day, as process 0 says.
    pub fn follow(&self) -> Result<()> {
        let (job, checkpoints, tables) = (self.job.clone(), Arc::clone(&self.checkpoints), Arc::clone(&self.tables));
        let open = move |plan: &str| open(&job, &checkpoints, &tables, plan);
        let archives: Archives =
            Arc::new(move |plan| open(plan).map_err(|error| ArchiveError::Unfit(format!("{error:#}"))));
        let part = Part::Follows { archives, progress: Arc::clone(&self.progress) };
        recount_together(part, self.layout.clone())?;
        Ok(())
    }
}

fn open(job: &str, checkpoints: &Arc<dyn Store>, tables: &Arc<dyn Store>, plan: &str) -> Result<Opened> {
    let plan: Plan = serde_json::from_str(plan).context("process 0 is of another version of weir")?;
    if (plan.job.as_str(), plan.version.as_str()) != (job, env!("CARGO_PKG_VERSION")) {
        bail!(
            "process 0 reconciles {} with weir {}: give all processes the same job file and binary",
            plan.job,
            plan.version
        );
    }
    let names = Names::new(job);
    let name = names.manifest(plan.manifest);
    let bytes = checkpoints.get(&name)?.with_context(|| format!("manifest {name} is not where this process looks"))?;
    let manifest = Manifest::parse(&name, &bytes)?;
    let range = DayRange { start_ms: plan.start_ms, end_ms: plan.end_ms, margin_ms: plan.margin_ms };
    let archive = DayArchive::open(Arc::clone(tables), range, &manifest)?;
    if archive.listing() != plan.files {
        bail!(
            "this process sees other data files than process 0: they must share the tables, and nobody may compact them meanwhile; run it again"
        );
    }
    let days = names.days();
    let lists = plan.excluded.iter().map(|(name, hash)| ExclusionList::kept(checkpoints.as_ref(), &days, name, hash));
    let archive = counted_from(archive, &lists.collect::<Result<Vec<_>>>()?, plan.index.is_some())?;
    let index = plan.index.map(|prefix| IndexTo { store: Arc::clone(checkpoints), prefix });
    Ok(Opened { archive, index })
}
