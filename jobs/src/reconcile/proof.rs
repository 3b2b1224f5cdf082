//! What shows that a click is in a day's figures, to be checked by anybody, without any of the data.

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use weir_dataflow::reconcile::AdProof;

/// A proof, and what it refers to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DayProof {
    /// The job.
    pub job: String,
    /// The day.
    pub date: String,
    /// Its time zone.
    pub timezone: String,
    /// Its revision.
    pub revision: u32,
    /// The run that made that.
    pub run: String,
    /// The hash of the manifest that it was closed on.
    pub manifest_hash: String,
    /// The root of the tree over the day's clicks, in hex: what the proof must lead to.
    pub root: String,
    /// The way there.
    pub proof: AdProof,
}

impl DayProof {
    /// Reads a proof as it was written, in JSON.
    pub fn read(bytes: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(bytes)
    }

    /// Checks that the proof leads to the root that it names, or to the one that is known from elsewhere.
    pub fn check(&self, known_root: Option<&str>) -> Result<()> {
        let found = self.proof.root()?;
        if found != self.root {
            bail!("it leads to the root {found}, and names {}: it has been changed, or is of another day", self.root);
        }
        match known_root {
            Some(known) if known != self.root => {
                bail!("it is sound, but of another day or revision: its root is {}, the known one {known}", self.root)
            }
            _ => Ok(()),
        }
    }
}
