//! The sinks of one operator: rows out to those that want them, and what they stage back as work for the sealer.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use weir_checkpoints::{GroupRange, Manifest, PartReader, PartWriter, Replaced, Store};

use crate::graph::seal::{Produced, Sealer, Work};
use crate::{Carried, Cut, JobError, Row, RowKind, Sink, SinkError, SinkFactory, Staged, WorkerContext};

/// The kind of the state parts that hold the rows which a sink holds back. A part's rows are of the epochs after the
/// checkpoint before its own.
#[must_use]
pub fn carried_kind(sink: &str) -> String {
    format!("carried/{sink}")
}

/// One worker's ends of the sinks that want some kinds of rows.
pub(crate) struct Sinks {
    open: Vec<Open>,
}

struct Open {
    name: String,
    kinds: Vec<RowKind>,
    sink: Box<dyn Sink>,
    settled: Arc<Settled>,
}

/// The epochs at whose end a sink held no row back, in order.
#[derive(Default)]
struct Settled(Mutex<VecDeque<u64>>);

impl Settled {
    fn add(&self, epoch: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(epoch);
    }

    /// The last of them that is committed. Rows of later epochs may be in outputs of a checkpoint that is not.
    fn committed(&self, committed: u64) -> u64 {
        let mut epochs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while epochs.get(1).is_some_and(|next| *next <= committed) {
            epochs.pop_front();
        }
        epochs.front().copied().filter(|epoch| *epoch <= committed).unwrap_or_default()
    }
}

impl Sinks {
    /// Opens the sinks that want any of `kinds`. A sink that wants rows of two operators is opened by both.
    pub(crate) fn open<'a>(
        factories: impl Iterator<Item = &'a dyn SinkFactory>,
        kinds: &[RowKind],
        context: WorkerContext,
    ) -> Result<Self, SinkError> {
        let mut open = Vec::new();
        for factory in factories {
            let kinds: Vec<RowKind> = kinds.iter().copied().filter(|kind| factory.accepts(*kind)).collect();
            if !kinds.is_empty() {
                let (name, sink) = (factory.name().to_owned(), factory.open(context)?);
                open.push(Open { name, kinds, sink, settled: Arc::default() });
            }
        }
        Ok(Self { open })
    }

    /// Whether any of them wants rows of this kind.
    pub(crate) fn want(&self, kind: RowKind) -> bool {
        self.open.iter().any(|open| open.kinds.contains(&kind))
    }

    /// The last epoch of which all sinks of windows show all rows, where epochs up to `committed` are.
    pub(crate) fn shown(&self, committed: u64) -> u64 {
        let of_windows = self.open.iter().filter(|open| open.kinds.contains(&RowKind::Window));
        of_windows.map(|open| open.settled.committed(committed)).min().unwrap_or(committed)
    }

    /// Gives a row to those that want it.
    #[inline]
    pub(crate) fn write(&mut self, row: Row<'_>) -> Result<(), SinkError> {
        let kind = row.kind();
        for open in self.open.iter_mut().filter(|open| open.kinds.contains(&kind)) {
            open.sink.write(row)?;
        }
        Ok(())
    }

    /// Stages all of them.
    pub(crate) fn stage(&mut self, cut: &Cut, sealer: &Sealer) -> Result<Vec<Work>, SinkError> {
        self.open.iter_mut().map(|open| open.stage(cut, sealer)).collect()
    }

    /// Gives back the rows that an earlier attempt carried over.
    pub(crate) fn restore(
        &mut self,
        store: &dyn Store,
        manifest: &Manifest,
        groups: GroupRange,
    ) -> Result<(), JobError> {
        for open in &mut self.open {
            let kind = carried_kind(&open.name);
            for part in manifest.state.iter().filter(|part| part.kind == kind) {
                let mut restored = Ok(());
                PartReader::open(store, part)?.read(groups, |_, rows| {
                    if restored.is_ok() {
                        restored = open.sink.restore(rows);
                    }
                })?;
                restored?;
            }
        }
        Ok(())
    }
}

impl Open {
    fn stage(&mut self, cut: &Cut, sealer: &Sealer) -> Result<Work, SinkError> {
        let staging = self.sink.stage(cut)?;
        let (kind, epoch, sealer) = (carried_kind(&self.name), cut.epoch, sealer.writer());
        let settled = Arc::clone(&self.settled);
        Ok(Box::new(move || {
            let Staged { outputs, carried } = staging()?;
            let mut produced = Produced { outputs, ..Produced::default() };
            match carried {
                Carried::Same => {}
                Carried::Nothing => {
                    settled.add(epoch.0);
                    produced.replaced.push(Replaced { kind, groups: sealer.groups });
                }
                Carried::More(rows) => {
                    let mut part = PartWriter::new(sealer.groups);
                    if let Some(block) = part.group(sealer.groups.start) {
                        *block = rows;
                    }
                    produced.state.push(sealer.write(epoch, &kind, part, None)?);
                }
            }
            Ok(produced)
        }))
    }
}
