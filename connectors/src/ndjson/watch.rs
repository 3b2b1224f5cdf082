//! Looks now and then whether a partition has grown: at once on a disk, in the background in an object store.

use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::thread;
use std::time::Instant;

use weir_dataflow::SourceError;

use super::folder::{Folder, Listing, Place};

/// Lists one folder, no more often than it is worth.
pub(super) struct Watch {
    last: Instant,
    running: Option<Receiver<Result<Listing, SourceError>>>,
}

impl Watch {
    /// The folder was listed just now.
    pub(super) fn new() -> Self {
        Self { last: Instant::now(), running: None }
    }

    /// A listing that is newer than the last one, if it is time for one and it is at hand.
    pub(super) fn look(&mut self, folder: &Folder, from: &str) -> Result<Option<Listing>, SourceError> {
        if self.running.is_none() && self.last.elapsed() < folder.interval() {
            return Ok(None);
        }
        match folder.place {
            Place::Local(_) => self.finished(folder.list(from)).map(Some),
            Place::Remote(..) => self.look_in_background(folder, from),
        }
    }

    fn look_in_background(&mut self, folder: &Folder, from: &str) -> Result<Option<Listing>, SourceError> {
        let Some(receiver) = &self.running else {
            self.running = Some(start(folder.clone(), from.to_owned())?);
            return Ok(None);
        };
        match receiver.try_recv() {
            Ok(outcome) => self.finished(outcome).map(Some),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(folder.unreadable("", "the listing broke off")),
        }
    }

    fn finished(&mut self, outcome: Result<Listing, SourceError>) -> Result<Listing, SourceError> {
        self.running = None;
        self.last = Instant::now();
        outcome
    }
}

fn start(folder: Folder, from: String) -> Result<Receiver<Result<Listing, SourceError>>, SourceError> {
    let (sender, receiver) = sync_channel(1);
    let url = folder.url.clone();
    let list = move || {
        // Nobody waits any more if the source was dropped.
        let _ = sender.send(folder.list(&from));
    };
    match thread::Builder::new().name("ndjson-list".to_owned()).spawn(list) {
        Ok(_) => Ok(receiver),
        Err(error) => Err(SourceError::Unreadable { location: url, reason: error.to_string() }),
    }
}
