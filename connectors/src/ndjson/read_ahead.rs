//! An object read from front to back: a thread fetches the next block while the one before is being used.
//!
//! The channel holds nothing, so there are two blocks at most: one in use here, one in the thread's hand.

use std::io;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::thread;

use weir_checkpoints::{Store, StoreError};

use crate::objects::ObjectStoreAt;

const BLOCK_BYTES: u64 = 8 << 20;

type Blocks = Receiver<Result<Vec<u8>, StoreError>>;

/// The bytes of one object, from some offset to its end as it is known.
pub(super) struct ReadAhead {
    store: ObjectStoreAt,
    name: String,
    /// Where the block after the one in use starts.
    next: u64,
    size: u64,
    block: Vec<u8>,
    used: usize,
    blocks: Option<Blocks>,
}

impl ReadAhead {
    /// Nothing is fetched before the first read.
    pub(super) fn new(store: ObjectStoreAt, name: String, from: u64, size: u64) -> Self {
        Self { store, name, next: from, size, block: Vec::new(), used: 0, blocks: None }
    }

    /// The object was written again, longer.
    pub(super) fn grow(&mut self, size: u64) {
        if size > self.size {
            self.size = size;
            // The running thread stops at the old end.
            self.blocks = None;
        }
    }

    /// 0 at the object's end; `WouldBlock` while the next block is on its way.
    pub(super) fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let unused = self.block.get(self.used..).unwrap_or_default();
        let mut unused = if unused.is_empty() {
            if self.next >= self.size {
                self.blocks = None;
                return Ok(0);
            }
            self.block = self.receive()?;
            self.used = 0;
            self.next += self.block.len() as u64;
            self.block.as_slice()
        } else {
            unused
        };
        let copied = io::Read::read(&mut unused, into)?;
        self.used += copied;
        Ok(copied)
    }

    fn receive(&mut self) -> io::Result<Vec<u8>> {
        let blocks = match self.blocks.take() {
            Some(blocks) => blocks,
            None => self.fetch()?,
        };
        match blocks.try_recv() {
            Ok(outcome) => {
                self.blocks = Some(blocks);
                outcome.map_err(io::Error::other)
            }
            Err(TryRecvError::Empty) => {
                self.blocks = Some(blocks);
                Err(io::ErrorKind::WouldBlock.into())
            }
            Err(TryRecvError::Disconnected) => Err(io::Error::other("reading ahead broke off")),
        }
    }

    fn fetch(&self) -> io::Result<Blocks> {
        let (sender, receiver) = sync_channel(0);
        let (store, name, mut from, size) = (self.store.clone(), self.name.clone(), self.next, self.size);
        thread::Builder::new().name("ndjson-read-ahead".to_owned()).spawn(move || {
            while from < size {
                let to = size.min(from + BLOCK_BYTES);
                let block = store.get_range(&name, from..to);
                let failed = block.is_err();
                if sender.send(block).is_err() || failed {
                    return;
                }
                from = to;
            }
        })?;
        Ok(receiver)
    }
}
