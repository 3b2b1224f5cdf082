//! Records into librdkafka, and their delivery reports out: a module with `unsafe` code, like `batch`.
//!
//! ```text
//!   Group ──rd_kafka_produce_batch──▶ librdkafka ──▶ brokers
//!            opaque = slot, index         │
//!   Report { slot, index, code } ◀── rd_kafka_queue_poll ── one event for each answer of a broker
//! ```
//!
//! The safe `BaseProducer::send` copies the topic's name and looks it up for every record, and its `poll` spins through
//! the last millisecond of a wait and keeps an `Arc` for every report. `examples/kafka_log_speed.rs` runs both.
//!
//! Why it is sound:
//! - The handles of topic and queue are made by librdkafka and destroyed once, in `drop`, before the producer beside them
//!   is. The topic's handle is used with that producer only.
//! - Records are copied by librdkafka during the call (`MSG_F_COPY`): nothing it keeps points into a [`Group`].
//! - The opaque pointer of a record is never followed. It is two numbers, and reports give them back.
//! - An event is owned by [`Reports`], which alone reads its messages and destroys it once. A report is a copy.
//! - A record's `err` is read as an integer: a broker may send a code that the bindings' `enum` does not know, and such a
//!   value must never be made into one. What functions return are codes of librdkafka's own, which the bindings know.
//! - librdkafka's handles may be used by any thread at the same time, so [`Outlet`] is `Send` and `Sync`.
#![allow(unsafe_code, reason = "batches of records are only in librdkafka's C interface; see the module's doc")]

use std::ffi::{CStr, CString, c_void};
use std::ptr::{NonNull, null_mut, without_provenance_mut};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::bindings::{
    RD_KAFKA_EVENT_DR, RD_KAFKA_EVENT_ERROR, RD_KAFKA_MSG_F_COPY, rd_kafka_event_destroy, rd_kafka_event_error,
    rd_kafka_event_error_string, rd_kafka_event_message_next, rd_kafka_event_t, rd_kafka_event_type,
    rd_kafka_message_t, rd_kafka_produce_batch, rd_kafka_producev, rd_kafka_queue_destroy, rd_kafka_queue_get_main,
    rd_kafka_queue_poll, rd_kafka_queue_t, rd_kafka_queue_yield, rd_kafka_topic_destroy, rd_kafka_topic_new,
    rd_kafka_topic_t, rd_kafka_vtype_t,
};
use rdkafka::producer::{BaseProducer, Producer, PurgeConfig};
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};

use super::REGION_HEADER;
use super::health::Health;
use crate::log::{Group, LogRecord};

/// How many records are handed over by one call. They are described in an array on the stack.
const BATCH_RECORDS: usize = 32;

/// The partition that librdkafka chooses: its `RD_KAFKA_PARTITION_UA`, which the bindings leave out.
const CHOSEN_BY_KEY: i32 = -1;

/// A producer to one topic.
pub(super) struct Outlet {
    producer: BaseProducer<Health>,
    topic: NonNull<rd_kafka_topic_t>,
    events: NonNull<rd_kafka_queue_t>,
    region: Option<String>,
}

// SAFETY: librdkafka's functions may be called by several threads with the same handles; the rest is not changed.
unsafe impl Send for Outlet {}
// SAFETY: as above.
unsafe impl Sync for Outlet {}

/// What became of a record: the code is none for one that every in-sync replica has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Report {
    pub(super) slot: u32,
    pub(super) index: u32,
    pub(super) failure: Option<Failure>,
}

/// Why a record is not known to be in the topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// A code that the client library knows.
    Known(RDKafkaErrorCode),
    /// One that a newer broker sent.
    Unknown(i32),
}

/// What there is to be told.
pub(super) enum Event {
    /// Records were delivered, or given up.
    Reports(Reports),
    /// Something is wrong with the client as a whole.
    Error(Failure, String),
}

impl Outlet {
    /// Makes a producer. No broker is asked for anything yet.
    pub(super) fn open(client: &ClientConfig, topic: &str, region: Option<&str>) -> Result<Self, String> {
        let name = CString::new(topic).map_err(|error| error.to_string())?;
        let producer: BaseProducer<Health> =
            client.create_with_context(Health::new(topic, Duration::MAX)).map_err(|error| error.to_string())?;
        let rk = producer.client().native_ptr();
        // SAFETY: the client and the name live over the call; a null configuration means the client's defaults.
        let topic = unsafe { rd_kafka_topic_new(rk, name.as_ptr(), null_mut()) };
        let topic = NonNull::new(topic).ok_or_else(|| "the client library made no handle of the topic".to_owned())?;
        // SAFETY: the client lives over the call. The queue is counted, and never null.
        let events = unsafe { rd_kafka_queue_get_main(rk) };
        let Some(events) = NonNull::new(events) else {
            // SAFETY: ours, live, and not used after this.
            unsafe { rd_kafka_topic_destroy(topic.as_ptr()) };
            return Err("the client library has no queue of events".to_owned());
        };
        Ok(Self { producer, topic, events, region: region.map(str::to_owned) })
    }

    /// Hands over a group's records and never waits. Those that are not taken are given to `refused`; all others get a
    /// report, perhaps before this returns.
    pub(super) fn send(&self, group: &Group, slot: u32, refused: &mut dyn FnMut(Report)) {
        let mut records = group.iter().enumerate().map(|(index, record)| (index as u32, record));
        if let Some(region) = &self.region {
            for (index, record) in records {
                if let Some(failure) = self.send_with_region(&record, opaque(slot, index), region) {
                    refused(Report { slot, index, failure: Some(failure) });
                }
            }
            return;
        }
        loop {
            let mut batch = [const { EMPTY }; BATCH_RECORDS];
            let mut filled = 0;
            for (message, (index, record)) in batch.iter_mut().zip(records.by_ref()) {
                message.payload = record.value.as_ptr().cast_mut().cast();
                message.len = record.value.len();
                message.key = record.ad_id.as_ptr().cast_mut().cast();
                message.key_len = record.ad_id.len();
                message._private = opaque(slot, index);
                filled += 1;
            }
            self.send_batch(batch.get_mut(..filled).unwrap_or_default(), refused);
            if filled < BATCH_RECORDS {
                return;
            }
        }
    }

    fn send_batch(&self, batch: &mut [rd_kafka_message_t], refused: &mut dyn FnMut(Report)) {
        let (flags, count) = (RD_KAFKA_MSG_F_COPY, batch.len() as i32);
        // SAFETY: a live topic, and `count` messages whose keys and values live over the call, which copies them.
        let taken =
            unsafe { rd_kafka_produce_batch(self.topic.as_ptr(), CHOSEN_BY_KEY, flags, batch.as_mut_ptr(), count) };
        if taken == count {
            return;
        }
        for message in batch {
            // SAFETY: the call has set the codes of all messages that it did not take; those of the others are zero.
            let report = unsafe { report(message) };
            if report.failure.is_some() {
                refused(report);
            }
        }
    }

    /// Batches cannot carry headers.
    fn send_with_region(&self, record: &LogRecord<'_>, opaque: *mut c_void, region: &str) -> Option<Failure> {
        // SAFETY: every argument has the type that its tag asks for. The topic is live and the client's; key, value and
        // header live over the call, which copies them.
        let error = unsafe {
            rd_kafka_producev(
                self.producer.client().native_ptr(),
                rd_kafka_vtype_t::RD_KAFKA_VTYPE_RKT,
                self.topic.as_ptr(),
                rd_kafka_vtype_t::RD_KAFKA_VTYPE_MSGFLAGS,
                RD_KAFKA_MSG_F_COPY,
                rd_kafka_vtype_t::RD_KAFKA_VTYPE_VALUE,
                record.value.as_ptr().cast::<c_void>(),
                record.value.len(),
                rd_kafka_vtype_t::RD_KAFKA_VTYPE_KEY,
                record.ad_id.as_ptr().cast::<c_void>(),
                record.ad_id.len(),
                rd_kafka_vtype_t::RD_KAFKA_VTYPE_OPAQUE,
                opaque,
                rd_kafka_vtype_t::RD_KAFKA_VTYPE_HEADER,
                REGION_HEADER.as_ptr(),
                region.as_ptr().cast::<c_void>(),
                region.len().cast_signed(),
                rd_kafka_vtype_t::RD_KAFKA_VTYPE_END,
            )
        };
        failure(error as i32)
    }

    /// The next event, waited for without spinning, for at most so long or until [`Self::wake`].
    pub(super) fn next(&self, timeout: Duration) -> Option<Event> {
        let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: a live queue; the event that is returned is ours.
        let event = NonNull::new(unsafe { rd_kafka_queue_poll(self.events.as_ptr(), timeout_ms) })?;
        let event = Reports(event);
        // SAFETY: the event is live.
        match unsafe { rd_kafka_event_type(event.0.as_ptr()) } {
            kind if kind == RD_KAFKA_EVENT_DR => Some(Event::Reports(event)),
            kind if kind == RD_KAFKA_EVENT_ERROR => Some(event.error()),
            _ => None,
        }
    }

    /// Ends the wait in [`Self::next`] of another thread.
    pub(super) fn wake(&self) {
        // SAFETY: a live queue.
        unsafe { rd_kafka_queue_yield(self.events.as_ptr()) };
    }

    /// Gives up all records. Their reports follow.
    pub(super) fn purge(&self) {
        self.producer.purge(PurgeConfig::default().queue().inflight());
    }

    /// For metadata, and for what the client said.
    pub(super) fn producer(&self) -> &BaseProducer<Health> {
        &self.producer
    }

    /// Breaks the producer as a lost sequence would.
    #[cfg(test)]
    pub(super) fn break_for_good(&self) {
        use rdkafka::bindings::rd_kafka_test_fatal_error;
        let code = RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
        // SAFETY: the client and the reason live over the call.
        unsafe { rd_kafka_test_fatal_error(self.producer.client().native_ptr(), code, c"made by a test".as_ptr()) };
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        // SAFETY: both are ours, live, and not used after this; the producer is dropped after them.
        unsafe {
            rd_kafka_topic_destroy(self.topic.as_ptr());
            rd_kafka_queue_destroy(self.events.as_ptr());
        }
    }
}

/// The reports of an event. Records that were not looked at are freed with it.
pub(super) struct Reports(NonNull<rd_kafka_event_t>);

impl Reports {
    fn error(&self) -> Event {
        // SAFETY: the event is live, and its text is as long as the event; an error is returned as an integer in C.
        let (code, text) = unsafe {
            let event = self.0.as_ptr();
            (rd_kafka_event_error(event) as i32, CStr::from_ptr(rd_kafka_event_error_string(event)))
        };
        Event::Error(failure(code).unwrap_or(Failure::Unknown(0)), text.to_string_lossy().trim().to_owned())
    }
}

impl Iterator for Reports {
    type Item = Report;

    fn next(&mut self) -> Option<Report> {
        // SAFETY: the event is live; a message that it returns lives as long as the event.
        unsafe {
            let message = rd_kafka_event_message_next(self.0.as_ptr());
            (!message.is_null()).then(|| report(message))
        }
    }
}

impl Drop for Reports {
    fn drop(&mut self) {
        // SAFETY: ours, live, and not used after this.
        unsafe { rd_kafka_event_destroy(self.0.as_ptr()) };
    }
}

const EMPTY: rd_kafka_message_t = rd_kafka_message_t {
    err: RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR,
    rkt: null_mut(),
    partition: 0,
    payload: null_mut(),
    len: 0,
    key: null_mut(),
    key_len: 0,
    offset: 0,
    _private: null_mut(),
};

/// A slot and an index as the pointer that goes with a record.
fn opaque(slot: u32, index: u32) -> *mut c_void {
    const { assert!(usize::BITS == 64, "a pointer has room for two numbers") };
    without_provenance_mut(((slot as usize) << 32) | index as usize)
}

/// # Safety
/// `message` is live, and its `_private` was made by [`opaque`].
unsafe fn report(message: *const rd_kafka_message_t) -> Report {
    // SAFETY: as the caller says. Only plain fields are read; `err` as the integer that it is in C.
    let (code, opaque) = unsafe { ((&raw const (*message).err).cast::<i32>().read(), (*message)._private.addr()) };
    Report { slot: (opaque >> 32) as u32, index: opaque as u32, failure: failure(code) }
}

fn failure(code: i32) -> Option<Failure> {
    match RDKafkaRespErr::try_from(code) {
        Ok(RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR) => None,
        Ok(known) => Some(Failure::Known(RDKafkaErrorCode::from(known))),
        Err(_) => Some(Failure::Unknown(code)),
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Known(code) => code.fmt(f),
            Self::Unknown(code) => write!(f, "error code {code}"),
        }
    }
}
