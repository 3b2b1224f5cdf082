//! `--from`: the checkpoint that a job begins with, if not with its own newest one.
//!
//! ```text
//!   --from NAME          of this job      ─▶ is it where the job stands?  ─yes─▶ the job goes on
//!                                                   └ no: refused, for its tables have what came after
//!   --from JOB/NAME      of another job   ─▶ has this job checkpoints?    ─no──▶ a fork begins, see `fork`
//!   --from URL/JOB/NAME  … elsewhere                └ yes, of this fork: it goes on from its newest; others: refused
//! ```
//!
//! So a supervisor may repeat the command of a fork for ever. NAME is a savepoint, or the number of a checkpoint.

mod elsewhere;
mod fork;

use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use url::Url;
use weir_checkpoints::{Follower, Manifest, Names, Origin, Savepoints, Sequence, Settings, Store};

use crate::commands::open_store;
use crate::config::{JobConfig, is_name, parse_location};

/// What `--from` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Start {
    /// Where the other job's checkpoints are; none for `checkpoint.url`.
    url: Option<Url>,
    /// The other job; none for this one.
    job: Option<String>,
    which: Which,
}

/// A checkpoint of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Which {
    /// A savepoint.
    Named(String),
    /// A checkpoint by its number.
    Number(Sequence),
}

impl FromStr for Which {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(number) = text.parse() {
            return Ok(Self::Number(Sequence(number)));
        }
        if is_savepoint_name(text) {
            return Ok(Self::Named(text.to_owned()));
        }
        Err(format!("`{text}` is neither the name of a savepoint nor the number of a checkpoint"))
    }
}

/// Whether a savepoint may be called that: numbers are checkpoints.
pub(crate) fn is_savepoint_name(text: &str) -> bool {
    is_name(text) && !text.bytes().all(|byte| byte.is_ascii_digit())
}

impl FromStr for Start {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (place, which) = text.rsplit_once('/').map_or((None, text), |(place, which)| (Some(place), which));
        let which = which.parse()?;
        let Some(place) = place else { return Ok(Self { url: None, job: None, which }) };
        let (url, job) = place.rsplit_once('/').map_or((None, place), |(url, job)| (Some(url), job));
        if !is_name(job) {
            return Err(format!("`{job}` is no name of a job; write NAME, JOB/NAME or URL/JOB/NAME"));
        }
        let url = url.map(|url| parse_location(url).ok_or_else(|| format!("`{url}` is no place for checkpoints")));
        Ok(Self { url: url.transpose()?, job: Some(job.to_owned()), which })
    }
}

/// A checkpoint that was found.
struct Cut {
    store: Arc<dyn Store>,
    manifest: Manifest,
    hash: String,
    savepoint: Option<String>,
}

impl Start {
    /// Sees to it that the job of `config` begins there, or says why it cannot. `settings` are the job's.
    pub(crate) fn prepare(&self, config: &JobConfig, settings: &Settings) -> Result<()> {
        let job = self.job.as_deref().unwrap_or(&config.name);
        let url = self.url.as_ref().unwrap_or(&config.checkpoint.url);
        let into = open_store(config.checkpoint.url.as_str())?;
        let newest = Follower::new(Arc::clone(&into), &config.name).newest()?.cloned();
        if job == config.name && is_same_place(url.as_str(), config.checkpoint.url.as_str()) {
            return self.goes_on(config, &self.find(job, into)?, newest.as_ref());
        }
        if let Some(newest) = newest {
            return self.has_begun(job, &newest);
        }
        let cut = self.find(job, open_store(url.as_str())?)?;
        fork::begin(cut, config, settings, into)
    }

    /// The same job goes on from where it stands, and from nowhere else: its tables have the rest.
    fn goes_on(&self, config: &JobConfig, cut: &Cut, newest: Option<&Manifest>) -> Result<()> {
        let Some(newest) = newest else {
            bail!("job {} has no checkpoints any more, and its tables may have what came after: fork it", config.name)
        };
        if newest.epoch == cut.manifest.epoch {
            tracing::info!(checkpoint = newest.sequence.0, epoch = newest.epoch.0, "the job goes on from there");
            return Ok(());
        }
        bail!(
            "job {job} cannot go back to {which}, which is its epoch {there}: it has gone on until epoch {now} (checkpoint {number}), \
             and its tables have what came after, which would be counted twice. Leave --from out to go on from there. To begin \
             at {which} anew, fork it: a job file with another job.name and another tables.url, and `weir run FORK.toml --from \
             {job}/{which}`",
            job = config.name,
            which = self.which(),
            there = cut.manifest.epoch,
            now = newest.epoch,
            number = newest.sequence,
        )
    }

    /// A fork that has begun goes on like any job.
    fn has_begun(&self, job: &str, newest: &Manifest) -> Result<()> {
        let is_it = |origin: &&Origin| {
            origin.job == job
                && match &self.which {
                    Which::Named(name) => origin.savepoint.as_ref() == Some(name),
                    Which::Number(number) => origin.sequence == *number,
                }
        };
        match newest.origin.as_ref().filter(is_it) {
            Some(origin) => {
                tracing::info!(origin = origin.job, checkpoint = newest.sequence.0, "the fork has begun, and goes on");
                Ok(())
            }
            None => bail!(
                "job {} has checkpoints already (the newest is {}), and they do not come from {job}/{}: --from begins a new job; \
                 give it another job.name, and another tables.url",
                newest.job,
                newest.sequence,
                self.which()
            ),
        }
    }

    fn find(&self, job: &str, store: Arc<dyn Store>) -> Result<Cut> {
        match &self.which {
            Which::Named(name) => {
                let savepoints = Savepoints::new(Arc::clone(&store), Names::new(job));
                let Some(found) = savepoints.get(name)? else { return Err(unknown(job, name, &savepoints)) };
                Ok(Cut { store, manifest: found.manifest, hash: found.hash, savepoint: Some(found.name) })
            }
            Which::Number(number) => {
                let name = Names::new(job).manifest(*number);
                let bytes = store.get(&name)?;
                let bytes = bytes.with_context(|| format!("job {job} has no checkpoint {number}"))?;
                let (manifest, hash) = (Manifest::parse(&name, &bytes)?, Manifest::hash(&bytes));
                Ok(Cut { store, manifest, hash, savepoint: None })
            }
        }
    }

    fn which(&self) -> String {
        match &self.which {
            Which::Named(name) => name.clone(),
            Which::Number(number) => number.to_string(),
        }
    }
}

/// That there is no such savepoint, and which there are.
pub(crate) fn unknown(job: &str, name: &str, savepoints: &Savepoints) -> anyhow::Error {
    let names: Vec<String> = match savepoints.list() {
        Ok(savepoints) => savepoints.into_iter().map(|savepoint| savepoint.name).collect(),
        Err(error) => return error.into(),
    };
    let known = if names.is_empty() { "it has none".to_owned() } else { format!("it has {}", names.join(", ")) };
    anyhow::anyhow!("job {job} has no savepoint {name}; {known}")
}

/// URLs of folders may end in `/`.
fn is_same_place(one: &str, other: &str) -> bool {
    one.trim_end_matches('/') == other.trim_end_matches('/')
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_a_name_or_a_number_with_its_job_and_place() {
        let check = |text: &str, url: Option<&str>, job: Option<&str>, which: &str| {
            let start: Start = text.parse().unwrap();
            let found = (start.url.as_ref().map(Url::as_str), start.job.as_deref(), start.which());
            assert_eq!(found, (url, job, which.to_owned()), "{text}");
        };
        check("before-upgrade", None, None, "before-upgrade");
        check("42", None, None, "42");
        check("clicks/42", None, Some("clicks"), "42");
        check("s3://bucket/weir/checkpoints/clicks/v2", Some("s3://bucket/weir/checkpoints"), Some("clicks"), "v2");
        check("file:///data/clicks/x", Some("file:///data"), Some("clicks"), "x");
        assert_eq!("7".parse::<Start>().unwrap().which, Which::Number(Sequence(7)));
        for text in ["", "clicks/", "/x", "a b", "ftp://x/clicks/y", "//x"] {
            assert!(text.parse::<Start>().is_err(), "{text}");
        }
    }
}
