//! Putting staged objects where readers look.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use weir_checkpoints::{Created, Epoch, FaultPoint, Manifest, OutputPart, Store, StoreError, WorkerIndex};
use weir_dataflow::{Committer, SinkError};

use super::{NAME, failed, refused};

/// Where an object is to become visible.
#[derive(Serialize, Deserialize)]
pub(super) struct Place {
    visible: String,
}

impl Place {
    /// The place of a worker's objects of an epoch; there is one, unless there is very much to write.
    pub(super) fn new(epoch: Epoch, worker: WorkerIndex, number: usize) -> Self {
        let suffix = if number == 0 { String::new() } else { format!("-{number}") };
        Self { visible: format!("{NAME}/{:020}-{worker}{suffix}.ndjson", epoch.0) }
    }

    pub(super) fn to_details(&self) -> Value {
        serde_json::json!({ "visible": self.visible })
    }
}

pub(super) struct FileCommitter {
    store: Arc<dyn Store>,
}

impl FileCommitter {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    /// Copies an object to its place, then deletes it. Each step finds out by itself whether it was done before.
    fn show(&self, output: &OutputPart) -> Result<(), SinkError> {
        let place = Place::deserialize(&output.details)
            .map_err(|error| refused(format!("`{}` in the manifest is none of its objects: {error}", output.name)))?;
        let staged = self.get(&output.name)?;
        let Some(bytes) = staged else { return self.check_shown(&place.visible, &output.name) };
        match self.store.put_if_absent(&place.visible, bytes.clone()) {
            Ok(Created::New) => {}
            Ok(Created::Exists) => self.check_same(&place.visible, &bytes)?,
            Err(error @ StoreError::Unknown { .. }) => match self.get(&place.visible)? {
                Some(_) => self.check_same(&place.visible, &bytes)?,
                None => return Err(failed("show an object", error)),
            },
            Err(error) => return Err(failed("show an object", error)),
        }
        FaultPoint::LettersShown.pass();
        // Whether it is gone does not matter to any reader; a repeated commit tries again.
        if let Err(error) = self.store.delete(&output.name) {
            tracing::warn!(object = output.name, %error, "could not delete a staged object that is in its place by now");
        }
        Ok(())
    }

    fn check_shown(&self, visible: &str, staged: &str) -> Result<(), SinkError> {
        match self.get(visible)? {
            Some(_) => Ok(()),
            None => Err(refused(format!("neither `{staged}` nor `{visible}` exists, though the manifest lists it"))),
        }
    }

    fn check_same(&self, visible: &str, bytes: &[u8]) -> Result<(), SinkError> {
        match self.get(visible)? {
            Some(found) if found == bytes => Ok(()),
            _ => Err(refused(format!(
                "`{visible}` exists with other contents: it was written by a job with other checkpoints; move it away"
            ))),
        }
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, SinkError> {
        self.store.get(name).map_err(|error| failed("read an object", error))
    }
}

impl Committer for FileCommitter {
    fn commit(&mut self, manifest: &Manifest) -> Result<(), SinkError> {
        manifest.outputs.iter().filter(|output| output.sink == NAME).try_for_each(|output| self.show(output))
    }
}
