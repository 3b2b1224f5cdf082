//! A job that begins with the state of another one's checkpoint, and with tables of its own.
//!
//! ```text
//!   clicks   tables:  all rows that were in a file by epoch 640 ┐
//!                                                               ├─ together every row, once
//!   fork     tables:  all rows of later files                   ┘
//!            state:   click ids, open windows, rows that waited for a file, offsets, watermark, totals: as of epoch 640
//! ```

use std::sync::Arc;

use anyhow::{Result, bail};
use weir_checkpoints::{Fork, ForkError, Manifest, Names, Origin, Settings, Store, check_settings, missing_part};
use weir_connectors::delta::not_shown;

use super::{Cut, elsewhere, is_same_place};
use crate::commands::open_store;
use crate::config::JobConfig;

/// The setting that a fork must have otherwise; all others that state depends on stay.
const TABLES: &str = "tables.url";

/// What a fork must not find under its tables.url.
const TABLE_NAMES: [&str; 3] = ["clicks_agg", "clicks_late", "clicks_raw"];

/// Publishes the first manifest of the job of `config`.
pub(super) fn begin(cut: Cut, config: &JobConfig, settings: &Settings, into: Arc<dyn Store>) -> Result<()> {
    let Cut { store, manifest, hash, savepoint } = cut;
    if manifest.ended {
        bail!(
            "the source of job {} had ended at checkpoint {}: every window is closed, and there is nothing to go on with",
            manifest.job,
            manifest.sequence
        );
    }
    check_settings(&without_tables(&manifest.settings), &without_tables(settings))?;
    if manifest.settings.get(TABLES).is_some_and(|url| is_same_place(url, config.tables.url.as_str())) {
        bail!(
            "{} are the tables of job {}, which have what came after checkpoint {} or may still get it: a fork needs \
             another tables.url",
            config.tables.url,
            manifest.job,
            manifest.sequence
        );
    }
    refuse_tables(config)?;
    refuse_unshown(&manifest)?;
    if let Some(part) = missing_part(store.as_ref(), &Names::new(&manifest.job), &manifest)? {
        return Err(ForkError::PartGone { sequence: manifest.sequence, part }.into());
    }
    let mut origin = Origin::of(&manifest, &hash, savepoint.as_deref());
    elsewhere::find(store.as_ref(), &manifest, &mut origin)?;
    let names = Names::new(&config.name);
    let written_ms = chrono::Utc::now().timestamp_millis();
    let (from, settings) = (store.as_ref(), settings.clone());
    Fork { from, cut: &manifest, origin, into, names, settings, written_ms }.begin()?;
    tracing::info!(
        origin = manifest.job,
        checkpoint = manifest.sequence.0,
        epoch = manifest.epoch.0,
        "a fork begins with the state of that checkpoint"
    );
    Ok(())
}

/// Nobody but the origin itself can show what its checkpoint lists, and a fork takes that for shown.
fn refuse_unshown(manifest: &Manifest) -> Result<()> {
    let Some(url) = manifest.settings.get(TABLES) else { return Ok(()) };
    if let Some(table) = not_shown(&open_store(url)?, manifest)? {
        bail!(
            "table {table} under {url} does not have what checkpoint {} of job {} lists: the job died before it was shown. \
             Start it once, and fork it then",
            manifest.sequence,
            manifest.job
        );
    }
    Ok(())
}

fn without_tables(settings: &Settings) -> Settings {
    settings.iter().filter(|(key, _)| *key != TABLES).map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Tables that are there already are another job's.
fn refuse_tables(config: &JobConfig) -> Result<()> {
    let tables = open_store(config.tables.url.as_str())?;
    for table in TABLE_NAMES {
        if !tables.list(&format!("{table}/_delta_log/"))?.is_empty() {
            bail!(
                "there is a table {table} under {} already, which is not this job's: a fork begins with new tables, so \
                 give it another tables.url",
                config.tables.url
            );
        }
    }
    Ok(())
}
