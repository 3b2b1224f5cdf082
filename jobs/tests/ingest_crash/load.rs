//! Clients that send at the same time, while a test breaks what they send to.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::await_until;
use crate::book::Book;
use crate::client::Client;

/// Who sends, and where to.
pub struct Load<'a> {
    pub clients: u64,
    pub seed: u64,
    /// Goes before every click id.
    pub prefix: &'a str,
    pub servers: &'a [SocketAddr],
    /// The event time of the first clicks.
    pub first_ms: i64,
    /// How long a client waits for an answer.
    pub patience_ms: Range<u64>,
}

/// Shorter than the log may take, for some: their clicks are sent again while they are on their way.
pub const IMPATIENT: Range<u64> = 300..4_000;

/// As clients mostly are.
pub const PATIENT: Range<u64> = 30_000..40_000;

impl Load<'_> {
    /// Has the clients send while `work` runs, and until all of it is in the log.
    pub fn during(&self, book: &Book, work: impl FnOnce()) {
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            for number in 0..self.clients {
                let client = Client::new(self, number, book);
                scope.spawn(|| client.run(&stop));
            }
            // Whatever happens, the clients must end, or nobody hears of it.
            let _ending = SetOnDrop(&stop);
            work();
        });
    }
}

struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Waits until so many more clicks are accepted.
#[track_caller]
pub fn await_more(book: &Book, clicks: usize) {
    let before = book.accepted();
    await_until("clicks to be accepted", || book.accepted() >= before + clicks);
}
