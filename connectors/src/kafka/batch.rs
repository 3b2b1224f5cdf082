//! Records out of librdkafka in batches. With `look.rs`, this is where this crate has `unsafe` code.
//!
//! ```text
//!   broker thread ──▶ partition's own queue ──rd_kafka_consume_batch_queue──▶ [*message; n] ──▶ visit ──▶ destroyed
//!                     (never forwarded)                                        reused array
//! ```
//!
//! The safe `BaseConsumer::poll` makes an event and an `Arc` for every message, which halves the rate.
//!
//! Every message is asked for its region. Without headers that costs 0.09 CPU-us, on top of 0.37: librdkafka allocates
//! twice before it sees that there are none, and nothing in its interface says so beforehand. With the header it costs
//! 0.17 (`examples/kafka_read_speed.rs`, with and without `region=eu-1`). Asking only now and then is no way: a click
//! whose label was missed would be counted in another region.
//!
//! Why it is sound:
//! - The queue handle is made by librdkafka and destroyed once, in `drop`. The consumer it belongs to is kept alive by
//!   the `Arc` beside it, which is dropped after it.
//! - `consume_batch_queue` hands over ownership of exactly the `n` messages that it returned. [`Batch`] owns them from
//!   there on and destroys each exactly once: after its visit, or in `drop` when the visitor stopped early or panicked.
//! - A message's bytes, headers included, are lent to the visitor for the length of its call only; the message is
//!   destroyed after that, and its headers with it. They are asked for once, before anything is lent.
//! - `err` is read as an integer: a broker may send a code that the bindings' `enum` does not know, and such a value
//!   must never be made into one.
//! - The handle is a raw pointer, so the type is neither `Send` nor `Sync`.
#![allow(unsafe_code, reason = "batches are only in librdkafka's C interface; see the module's doc")]

use std::ffi::{CStr, CString};
use std::ops::ControlFlow;
use std::ptr::{NonNull, null, null_mut};
use std::slice;
use std::sync::Arc;

use rdkafka::bindings::{
    rd_kafka_consume_batch_queue, rd_kafka_get_watermark_offsets, rd_kafka_header_get_last, rd_kafka_message_destroy,
    rd_kafka_message_headers, rd_kafka_message_t, rd_kafka_message_timestamp, rd_kafka_queue_destroy,
    rd_kafka_queue_forward, rd_kafka_queue_get_partition, rd_kafka_queue_t,
};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};

use super::REGION_HEADER;

/// The queue of one partition, with nothing in between.
pub(super) struct PartitionQueue<C: ConsumerContext> {
    queue: NonNull<rd_kafka_queue_t>,
    messages: Vec<*mut rd_kafka_message_t>,
    topic: CString,
    partition: i32,
    /// After `queue` is destroyed, this may be the last one to hold the consumer.
    consumer: Arc<BaseConsumer<C>>,
}

/// What a partition's queue holds.
#[derive(Debug, Clone, Copy)]
pub(super) enum Event<'a> {
    /// A record.
    Message {
        /// Its offset.
        offset: i64,
        /// When it was made or appended, unix time in milliseconds; -1 where the log does not say.
        timestamp_ms: i64,
        /// The text of its header [`REGION_HEADER`].
        region: Option<&'a str>,
        /// Its value; none for a tombstone.
        payload: Option<&'a [u8]>,
    },
    /// The log ends here, for now.
    End {
        /// The offset of the next record to be written.
        offset: i64,
    },
    /// An error of this partition.
    Error {
        /// Its code, where the client library knows it.
        code: Option<RDKafkaErrorCode>,
        /// The library's own words.
        reason: &'a [u8],
    },
}

impl<C: ConsumerContext> PartitionQueue<C> {
    /// Takes a partition's queue out of the consumer's. To be called before the partition is assigned: from then on
    /// messages go to where the queue leads at that moment. Batches have up to `batch_records` messages.
    pub(super) fn open(
        consumer: &Arc<BaseConsumer<C>>,
        topic: &str,
        partition: i32,
        batch_records: usize,
    ) -> Option<Self> {
        let topic = CString::new(topic).ok()?;
        // SAFETY: the client and the name live over the call; the returned handle is ours, or null.
        let queue = unsafe { rd_kafka_queue_get_partition(consumer.client().native_ptr(), topic.as_ptr(), partition) };
        let queue = NonNull::new(queue)?;
        // SAFETY: a live handle; a null destination ends forwarding, for assignments to come too.
        unsafe { rd_kafka_queue_forward(queue.as_ptr(), null_mut()) };
        let messages = vec![null_mut(); batch_records.max(1)];
        Some(Self { queue, messages, topic, partition, consumer: Arc::clone(consumer) })
    }

    /// Visits up to `max` events that are there, in order, at most one batch of them, and does not wait for more.
    /// What follows after the visitor broke off is lost.
    pub(super) fn visit(&mut self, max: usize, visit: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>) {
        let wanted = max.min(self.messages.len());
        // SAFETY: a live handle, and room for `wanted` pointers.
        let taken = unsafe { rd_kafka_consume_batch_queue(self.queue.as_ptr(), 0, self.messages.as_mut_ptr(), wanted) };
        let taken = usize::try_from(taken).unwrap_or(0).min(wanted);
        let mut batch = Batch { left: self.messages.get(..taken).unwrap_or_default().iter() };
        while let Some(message) = batch.take() {
            if visit(message.event()).is_break() {
                return;
            }
        }
    }

    /// The end of the log as the last fetch saw it, without asking the broker; none before the first fetch.
    pub(super) fn known_end(&self) -> Option<i64> {
        let (mut low, mut high) = (-1, -1);
        // SAFETY: the client and the name live over the call, which writes two integers.
        let error = unsafe {
            rd_kafka_get_watermark_offsets(
                self.consumer.client().native_ptr(),
                self.topic.as_ptr(),
                self.partition,
                &raw mut low,
                &raw mut high,
            )
        };
        (error == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR && high >= 0).then_some(high)
    }
}

impl<C: ConsumerContext> Drop for PartitionQueue<C> {
    fn drop(&mut self) {
        // SAFETY: the handle is ours, live, and not used after this.
        unsafe { rd_kafka_queue_destroy(self.queue.as_ptr()) };
    }
}

/// Messages that were taken from a queue and not yet destroyed.
struct Batch<'a> {
    left: slice::Iter<'a, *mut rd_kafka_message_t>,
}

impl Batch<'_> {
    fn take(&mut self) -> Option<OwnedMessage> {
        // SAFETY: what is left in the batch is ours and live; taking it out of the iterator makes it the
        // `OwnedMessage`'s alone.
        self.left.next().map(|message| unsafe { OwnedMessage::from_raw(*message) })
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        while self.take().is_some() {}
    }
}

/// A message, to be destroyed once.
struct OwnedMessage(*mut rd_kafka_message_t);

impl OwnedMessage {
    /// # Safety
    /// `message` comes from `rd_kafka_consume_batch_queue` and nobody else will destroy it.
    unsafe fn from_raw(message: *mut rd_kafka_message_t) -> Self {
        Self(message)
    }

    fn event(&self) -> Event<'_> {
        // SAFETY: the message is live. Only fields that are plain integers and pointers are read; `err` as the
        // integer that it is in C.
        let (code, offset, payload) = unsafe {
            let message = self.0;
            let code = (&raw const (*message).err).cast::<i32>().read();
            (code, (*message).offset, bytes((*message).payload.cast(), (*message).len))
        };
        match RDKafkaRespErr::try_from(code) {
            Ok(RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR) => {
                // SAFETY: the message is live; a null type is allowed.
                let timestamp_ms = unsafe { rd_kafka_message_timestamp(self.0, null_mut()) };
                // SAFETY: the message is live and lent to nobody else.
                let region = unsafe { header(self.0, REGION_HEADER) };
                let region = region.and_then(|region| str::from_utf8(region).ok());
                Event::Message { offset, timestamp_ms, region, payload }
            }
            Ok(RDKafkaRespErr::RD_KAFKA_RESP_ERR__PARTITION_EOF) => Event::End { offset },
            known => Event::Error { code: known.ok().map(RDKafkaErrorCode::from), reason: payload.unwrap_or_default() },
        }
    }
}

impl Drop for OwnedMessage {
    fn drop(&mut self) {
        // SAFETY: ours, live, and not used after this.
        unsafe { rd_kafka_message_destroy(self.0) };
    }
}

/// The value of a message's last header of this name. Headers that cannot be read are none: the value can.
///
/// # Safety
/// `message` is live for `'a`, and nobody else asks for its headers meanwhile: the first question makes librdkafka parse
/// them, and keep them with the message.
unsafe fn header<'a>(message: *mut rd_kafka_message_t, name: &CStr) -> Option<&'a [u8]> {
    let mut headers = null_mut();
    // SAFETY: as the caller says; the call writes one pointer.
    let error = unsafe { rd_kafka_message_headers(message, &raw mut headers) };
    if error != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
        return None;
    }
    let (mut value, mut size) = (null(), 0);
    // SAFETY: the message's headers, a name, and places for a pointer and a length.
    let error = unsafe { rd_kafka_header_get_last(headers, name.as_ptr(), &raw mut value, &raw mut size) };
    if error != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
        return None;
    }
    // SAFETY: the value belongs to the headers, which live as long as the message.
    unsafe { bytes(value.cast(), size) }
}

/// The bytes of a message; none where the pointer is null, as for a tombstone.
///
/// # Safety
/// `start` is null, or points to `len` bytes that live for `'a`.
unsafe fn bytes<'a>(start: *const u8, len: usize) -> Option<&'a [u8]> {
    if start.is_null() {
        return None;
    }
    // SAFETY: as the caller says.
    Some(unsafe { slice::from_raw_parts(start, len) })
}
