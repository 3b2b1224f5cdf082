//! What travels between workers: batches of fixed-size records, column by column, each bound for one worker.
//!
//! ```text
//!   typed (same process)   moved, never copied
//!   bytes (other process)  target u64 │ columns, as the crate `columnar` lays them out; read in place on arrival
//! ```
//!
//! The sender fills one batch for each worker, so the exchange routes whole batches and touches no record.

use columnar::bytes::stash::Stash;
use columnar::{Borrow, Container as Columns, ContainerBytes, Len, Push};
use timely::Accountable;
use timely::bytes::arc::Bytes;
use timely::communication::Push as SendMessage;
use timely::container::NoopBuilder;
use timely::dataflow::channels::Message;
use timely::dataflow::channels::pact::DistributorPact;
use timely::dataflow::channels::pushers::exchange::Distributor;
use timely::progress::Stamp;

/// How many records a batch holds: 4096 records of some 50 bytes stay in the second-level cache on their way.
const BATCH_RECORDS: usize = 4096;

/// The size of the word in front of the columns; it keeps them aligned.
const TARGET_BYTES: usize = 8;

/// For operators whose output carries no data, only a frontier.
pub(crate) type NoOutput = NoopBuilder<Vec<()>>;

/// Records for one worker.
#[derive(Clone)]
pub(crate) struct Batch<C> {
    target: u32,
    columns: Stash<C, Bytes>,
}

impl<C: Columns + ContainerBytes> Batch<C> {
    /// The columns, wherever they lie.
    pub(crate) fn borrow(&self) -> <C as Borrow>::Borrowed<'_> {
        self.columns.borrow()
    }
}

impl<C: Default> Default for Batch<C> {
    fn default() -> Self {
        Self { target: 0, columns: Stash::Typed(C::default()) }
    }
}

impl<C: Columns + ContainerBytes> Accountable for Batch<C> {
    fn record_count(&self) -> i64 {
        self.borrow().len() as i64
    }
}

impl<C: Columns + ContainerBytes> timely::dataflow::channels::ContainerBytes for Batch<C> {
    fn from_bytes(mut bytes: Bytes) -> Self {
        let head = bytes.extract_to(TARGET_BYTES);
        let target = head.iter().take(4).rev().fold(0, |word, byte| (word << 8) | u32::from(*byte));
        // Only another process of this job writes here, and Timely has no way to refuse a message: ending the
        // process is what remains.
        let columns = Stash::try_from_bytes(bytes).expect("a peer of this job sent columns that are none");
        Self { target, columns }
    }

    fn length_in_bytes(&self) -> usize {
        TARGET_BYTES + self.columns.length_in_bytes()
    }

    fn into_bytes<W: std::io::Write>(&self, writer: &mut W) {
        writer.write_all(&u64::from(self.target).to_le_bytes()).expect("the network buffer is as large as announced");
        self.columns.write_bytes(writer).expect("the network buffer is as large as announced");
    }
}

/// Collects records into batches, one open batch for each worker.
pub(crate) struct Outbox<C> {
    open: Vec<C>,
    full: Vec<Batch<C>>,
}

impl<C: Columns + ContainerBytes> Outbox<C> {
    pub(crate) fn new(workers: u32) -> Self {
        Self { open: (0..workers).map(|_| C::default()).collect(), full: Vec::new() }
    }

    /// Adds a record for `worker`.
    #[inline]
    pub(crate) fn push<T>(&mut self, worker: u32, record: T)
    where
        C: Push<T>,
    {
        let Some(columns) = self.open.get_mut(worker as usize) else {
            unreachable!("worker {worker} of {}", self.open.len());
        };
        columns.push(record);
        if columns.len() >= BATCH_RECORDS {
            self.full.push(Batch { target: worker, columns: Stash::Typed(std::mem::take(columns)) });
        }
    }

    /// The batches that are full.
    pub(crate) fn full(&mut self) -> &mut Vec<Batch<C>> {
        &mut self.full
    }

    /// All batches, full or not: nothing stays behind.
    pub(crate) fn all(&mut self) -> &mut Vec<Batch<C>> {
        for (worker, columns) in self.open.iter_mut().enumerate() {
            if columns.len() > 0 {
                self.full.push(Batch { target: worker as u32, columns: Stash::Typed(std::mem::take(columns)) });
            }
        }
        &mut self.full
    }
}

/// The exchange: each batch goes to the worker that it was filled for.
pub(crate) fn to_target() -> DistributorPact<impl FnOnce(usize) -> ByTarget> {
    DistributorPact(|_workers| ByTarget)
}

pub(crate) struct ByTarget;

impl<C: Columns + ContainerBytes> Distributor<Batch<C>> for ByTarget {
    fn partition<T: Clone, P: SendMessage<Message<T, Batch<C>>>>(
        &mut self,
        batch: &mut Batch<C>,
        stamp: &Stamp<T>,
        workers: &mut [P],
    ) {
        let target = batch.target as usize;
        let Some(worker) = workers.get_mut(target) else {
            unreachable!("a batch for worker {target}");
        };
        Message::push_at(batch, stamp.clone(), worker);
    }

    fn flush<T: Clone, P: SendMessage<Message<T, Batch<C>>>>(&mut self, _stamp: &Stamp<T>, _workers: &mut [P]) {}
}
