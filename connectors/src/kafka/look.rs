//! One question to the cluster about a topic: which id it has, and which partitions. With `batch.rs`, this is where this
//! crate has `unsafe` code.
//!
//! ```text
//!   ask ──rd_kafka_DescribeTopics──▶ any broker ──▶ queue of this question ──answer(wait)──▶ Topic │ Missing │ Refused │ Silent
//! ```
//!
//! The id is what tells a topic from another one that was made under its name later. Nothing of what `rdkafka` offers
//! safely has it.
//!
//! Why it is sound:
//! - The queue is made by librdkafka and destroyed once, in `drop`; the client that it belongs to is kept alive by the
//!   `Arc` beside it, which is dropped after it. An answer that comes later finds the queue closed and is thrown away by
//!   librdkafka.
//! - The names and options of a question are copied by `rd_kafka_DescribeTopics` and destroyed right after it.
//! - An event is owned by [`OwnedEvent`], which destroys it once. What is read from it is copied before that.
//! - Error codes are read by their names: a code that the bindings' `enum` does not know must never be made into one.
//! - The handle is a raw pointer, so the type is neither `Send` nor `Sync`.
#![allow(unsafe_code, reason = "a topic's id is only in librdkafka's C interface; see the module's doc")]

use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr::{NonNull, null_mut};
use std::slice;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings::{
    RD_KAFKA_EVENT_DESCRIBETOPICS_RESULT, rd_kafka_AdminOptions_destroy, rd_kafka_AdminOptions_new,
    rd_kafka_AdminOptions_set_request_timeout, rd_kafka_DescribeTopics, rd_kafka_DescribeTopics_result_topics,
    rd_kafka_TopicCollection_destroy, rd_kafka_TopicCollection_of_topic_names, rd_kafka_TopicDescription_error,
    rd_kafka_TopicDescription_partitions, rd_kafka_TopicDescription_t, rd_kafka_TopicDescription_topic_id,
    rd_kafka_TopicPartitionInfo_partition, rd_kafka_Uuid_base64str, rd_kafka_Uuid_least_significant_bits,
    rd_kafka_Uuid_most_significant_bits, rd_kafka_admin_op_t, rd_kafka_error_name, rd_kafka_error_string,
    rd_kafka_event_DescribeTopics_result, rd_kafka_event_destroy, rd_kafka_event_error_string, rd_kafka_event_t,
    rd_kafka_event_type, rd_kafka_queue_destroy, rd_kafka_queue_new, rd_kafka_queue_poll, rd_kafka_queue_t,
};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use weir_checkpoints::PartitionId;

/// A question that was asked.
pub(super) struct TopicLook<C: ConsumerContext> {
    queue: NonNull<rd_kafka_queue_t>,
    /// After `queue` is destroyed, this may be the last one to hold the client.
    _consumer: Arc<BaseConsumer<C>>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// The topic as it is.
    Topic(TopicNow),
    /// There is no topic of that name.
    Missing,
    /// The cluster does not tell, in its own words.
    Refused(String),
    /// Nobody has answered, or not with anything of use.
    Silent(String),
}

/// A topic as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TopicNow {
    /// Its id, as Kafka's own tools show it; none from a cluster that is too old to have ids.
    pub(super) id: Option<String>,
    /// Its partitions, ascending.
    pub(super) partitions: Vec<PartitionId>,
}

impl<C: ConsumerContext> TopicLook<C> {
    /// Asks, and does not wait. `None` where the name can be nobody's.
    pub(super) fn ask(consumer: &Arc<BaseConsumer<C>>, topic: &str, timeout: Duration) -> Option<Self> {
        let topic = CString::new(topic).ok()?;
        let client = consumer.client().native_ptr();
        // SAFETY: the client lives; the returned handle is ours, or null.
        let queue = NonNull::new(unsafe { rd_kafka_queue_new(client) })?;
        let look = Self { queue, _consumer: Arc::clone(consumer) };
        let mut names = [topic.as_ptr()];
        // SAFETY: client, name and queue live over these calls. Topics and options are ours, are copied by the question,
        // and are destroyed once. No place for an error's text is given, and none is written.
        unsafe {
            let topics = rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len());
            let options = rd_kafka_AdminOptions_new(client, rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS);
            rd_kafka_AdminOptions_set_request_timeout(options, milliseconds(timeout), null_mut(), 0);
            rd_kafka_DescribeTopics(client, topics, options, look.queue.as_ptr());
            rd_kafka_AdminOptions_destroy(options);
            rd_kafka_TopicCollection_destroy(topics);
        }
        Some(look)
    }

    /// The answer, once it is there; waits for it as long as `wait`.
    pub(super) fn answer(&mut self, wait: Duration) -> Option<Answer> {
        // SAFETY: a live handle; the returned event is ours, or null.
        let event = NonNull::new(unsafe { rd_kafka_queue_poll(self.queue.as_ptr(), milliseconds(wait)) })?;
        OwnedEvent(event).answer()
    }
}

impl<C: ConsumerContext> Drop for TopicLook<C> {
    fn drop(&mut self) {
        // SAFETY: the handle is ours, live, and not used after this.
        unsafe { rd_kafka_queue_destroy(self.queue.as_ptr()) };
    }
}

/// An event, to be destroyed once.
struct OwnedEvent(NonNull<rd_kafka_event_t>);

impl OwnedEvent {
    /// `None` where it is no answer at all.
    fn answer(&self) -> Option<Answer> {
        let event = self.0.as_ptr();
        // SAFETY: the event is live.
        if unsafe { rd_kafka_event_type(event) } != RD_KAFKA_EVENT_DESCRIBETOPICS_RESULT {
            return None;
        }
        let mut count = 0;
        // SAFETY: the event is live and of the right type; its result, and what is in it, live as long as it does.
        let topics = unsafe {
            let result = rd_kafka_event_DescribeTopics_result(event);
            let topics = rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
            list(topics.cast_const(), count)
        };
        let Some(topic) = topics.first() else {
            // SAFETY: the event is live; the text is its own, or static.
            let words = unsafe { text(rd_kafka_event_error_string(event)) };
            return Some(Answer::Silent(words));
        };
        // SAFETY: the topic lives as long as the event.
        Some(unsafe { described(*topic) })
    }
}

impl Drop for OwnedEvent {
    fn drop(&mut self) {
        // SAFETY: ours, live, and not used after this.
        unsafe { rd_kafka_event_destroy(self.0.as_ptr()) };
    }
}

/// # Safety
/// `topic` is live.
unsafe fn described(topic: *const rd_kafka_TopicDescription_t) -> Answer {
    // SAFETY: the topic is live, and so is what it is asked for; an error may be null, which stands for none.
    let (name, words) = unsafe {
        let error = rd_kafka_TopicDescription_error(topic);
        if error.is_null() {
            (String::new(), String::new())
        } else {
            (text(rd_kafka_error_name(error)), text(rd_kafka_error_string(error)))
        }
    };
    match name.as_str() {
        "" | "NO_ERROR" => {}
        "UNKNOWN_TOPIC_OR_PART" | "UNKNOWN_TOPIC_ID" => return Answer::Missing,
        "TOPIC_AUTHORIZATION_FAILED" | "CLUSTER_AUTHORIZATION_FAILED" => return Answer::Refused(words),
        _ => return Answer::Silent(words),
    }
    let mut count = 0;
    // SAFETY: the topic is live, and so are its partitions and its id; an id may be null.
    let (mut partitions, id) = unsafe {
        let infos = list(rd_kafka_TopicDescription_partitions(topic, &raw mut count).cast_const(), count);
        let ids = infos.iter().filter_map(|info| u32::try_from(rd_kafka_TopicPartitionInfo_partition(*info)).ok());
        let partitions: Vec<PartitionId> = ids.map(PartitionId).collect();
        let id = rd_kafka_TopicDescription_topic_id(topic);
        let is_zero = id.is_null()
            || (rd_kafka_Uuid_most_significant_bits(id) == 0 && rd_kafka_Uuid_least_significant_bits(id) == 0);
        (partitions, (!is_zero).then(|| text(rd_kafka_Uuid_base64str(id))))
    };
    if partitions.is_empty() {
        return Answer::Silent("it has no partitions yet".to_owned());
    }
    partitions.sort_unstable();
    // Kafka writes ids in the alphabet that is safe in URLs.
    Answer::Topic(TopicNow { id: id.map(|id| id.replace('+', "-").replace('/', "_")), partitions })
}

/// # Safety
/// `start` is null, or points to `len` values that live for `'a`.
unsafe fn list<'a, T>(start: *const T, len: usize) -> &'a [T] {
    if start.is_null() || len == 0 {
        return &[];
    }
    // SAFETY: as the caller says.
    unsafe { slice::from_raw_parts(start, len) }
}

/// # Safety
/// `start` is null, or points to a text that ends with a zero.
unsafe fn text(start: *const c_char) -> String {
    if start.is_null() {
        return String::new();
    }
    // SAFETY: as the caller says.
    unsafe { CStr::from_ptr(start) }.to_string_lossy().into_owned()
}

fn milliseconds(time: Duration) -> c_int {
    c_int::try_from(time.as_millis()).unwrap_or(c_int::MAX).min(3_600_000)
}
