//! The table's log: where it stands, and how a version is added to it.
//!
//! The log is followed, not scanned: from the newest checkpoint, or where there is none from its first version, each
//! next version is asked for by name until there is none. A running job knows the newest version, so that a commit is
//! one request.

use std::sync::Arc;

use weir_checkpoints::{Created, FaultPoint, Store, StoreError};
use weir_dataflow::SinkError;

use super::actions::{Action, Metadata, Protocol, from_lines, to_lines};
use super::checkpoint::{self, CheckpointFiles};
use super::{failed, refused};

/// The newest protocol that this writer understands in full.
pub(super) const PROTOCOL: Protocol = Protocol { min_reader_version: 1, min_writer_version: 2 };

/// How often one version is tried while the store says that it exists, or that it cannot tell, and it is not there.
const MAX_TRIES: u32 = 8;

/// A table's log as far as it was read.
pub(super) struct Log {
    pub(super) store: Arc<dyn Store>,
    pub(super) table: &'static str,
    /// The job's name, under which its commits are found.
    pub(super) job: String,
    /// The newest version; none while there is no table.
    pub(super) version: Option<u64>,
    /// What the table looks like; always there once there is a version.
    pub(super) metadata: Option<Metadata>,
    /// The last epoch that it has of this job.
    pub(super) committed: Option<u64>,
    /// The newest checkpoint.
    pub(super) checkpoint: Option<CheckpointFiles>,
}

impl Log {
    /// Reads a log to its end.
    pub(super) fn open(store: Arc<dyn Store>, table: &'static str, job: &str) -> Result<Self, SinkError> {
        let mut log = Self {
            store,
            table,
            job: job.to_owned(),
            version: None,
            metadata: None,
            committed: None,
            checkpoint: None,
        };
        log.start()?;
        log.follow()?;
        if log.version.is_some() && log.metadata.is_none() {
            return Err(refused(table, format!("{} does not say what the table looks like", folder(table))));
        }
        Ok(log)
    }

    /// Adds a version with what `plan` says, which is asked again whenever somebody else was faster; `None` means that
    /// nothing is left to do. A version is created once, and what is there is read before the next try, so repeating
    /// is safe.
    pub(super) fn append(
        &mut self,
        mut plan: impl FnMut(&Self) -> Result<Option<Vec<Action>>, SinkError>,
    ) -> Result<(), SinkError> {
        let mut tries = 0;
        while let Some(actions) = plan(self)? {
            let version = self.next_version();
            let lines = to_lines(&actions).map_err(|error| failed(self.table, "encode a commit", error))?;
            FaultPoint::VersionWriting.pass();
            let put = self.store.put_if_absent(&version_name(self.table, version), lines);
            FaultPoint::VersionWritten.pass();
            match put {
                Ok(Created::New) => return self.apply(version, actions),
                Ok(Created::Exists) | Err(StoreError::Unknown { .. }) => {}
                Err(error) => return Err(failed(self.table, "commit", error)),
            }
            self.follow()?;
            tries = if self.next_version() > version { 0 } else { tries + 1 };
            if tries == MAX_TRIES {
                let reason = format!("version {version} of its log is neither there nor can it be created");
                return Err(failed(self.table, "commit", reason));
            }
        }
        Ok(())
    }

    fn next_version(&self) -> u64 {
        self.version.map_or(0, |version| version + 1)
    }

    /// Finds where to start: the newest checkpoint, if there is one.
    fn start(&mut self) -> Result<(), SinkError> {
        let Some(files) = newest_checkpoint(self.store.as_ref(), self.table)? else { return Ok(()) };
        let actions = checkpoint::read_state(self.store.as_ref(), self.table, &files)?;
        self.apply(files.version, actions)?;
        self.checkpoint = Some(files);
        Ok(())
    }

    /// Reads the versions behind the newest known one.
    pub(super) fn follow(&mut self) -> Result<(), SinkError> {
        loop {
            let version = self.next_version();
            let Some(actions) = self.read_version(version)? else { return Ok(()) };
            self.apply(version, actions)?;
        }
    }

    /// The actions of a version, if there is one.
    pub(super) fn read_version(&self, version: u64) -> Result<Option<Vec<Action>>, SinkError> {
        read_version(self.store.as_ref(), self.table, version)
    }

    fn apply(&mut self, version: u64, actions: Vec<Action>) -> Result<(), SinkError> {
        for action in actions {
            if let Some(protocol) = action.protocol {
                self.check_protocol(version, &protocol)?;
            }
            if let Some(metadata) = action.meta_data {
                self.metadata = Some(metadata);
            }
            if let Some(txn) = action.txn.filter(|txn| txn.app_id == self.job) {
                let epoch = u64::try_from(txn.version).ok();
                self.committed = self.committed.max(epoch);
            }
        }
        self.version = Some(version);
        Ok(())
    }

    fn check_protocol(&self, version: u64, protocol: &Protocol) -> Result<(), SinkError> {
        let known = protocol.min_reader_version <= PROTOCOL.min_reader_version
            && protocol.min_writer_version <= PROTOCOL.min_writer_version;
        if known {
            return Ok(());
        }
        Err(refused(
            self.table,
            format!(
                "version {version} of its log raised the protocol to reader {} and writer {}, this writer knows {} and \
                 {}; turn the features off that another writer turned on",
                protocol.min_reader_version,
                protocol.min_writer_version,
                PROTOCOL.min_reader_version,
                PROTOCOL.min_writer_version
            ),
        ))
    }
}

/// Where to start reading: the newest checkpoint; none where the log starts with version 0, or where there is no table.
pub(super) fn newest_checkpoint(store: &dyn Store, table: &str) -> Result<Option<CheckpointFiles>, SinkError> {
    match checkpoint::hinted(store, table)? {
        Some(files) => Ok(Some(files)),
        None if get(store, table, &version_name(table, 0))?.is_some() => Ok(None),
        // There is no table, or the start of its log was cleaned up.
        None => checkpoint::listed(store, table),
    }
}

/// The actions of a version, if there is one.
pub(super) fn read_version(store: &dyn Store, table: &str, version: u64) -> Result<Option<Vec<Action>>, SinkError> {
    let name = version_name(table, version);
    let Some(bytes) = get(store, table, &name)? else { return Ok(None) };
    let unreadable = |error| refused(table, format!("`{name}` is no version of a Delta log: {error}"));
    from_lines(&bytes).map(Some).map_err(unreadable)
}

fn get(store: &dyn Store, table: &str, name: &str) -> Result<Option<Vec<u8>>, SinkError> {
    store.get(name).map_err(|error| failed(table, "read its log", error))
}

/// The folder of a table's log.
pub(super) fn folder(table: &str) -> String {
    format!("{table}/_delta_log/")
}

/// The object that is one version of a log.
pub(super) fn version_name(table: &str, version: u64) -> String {
    format!("{}{version:020}.json", folder(table))
}
