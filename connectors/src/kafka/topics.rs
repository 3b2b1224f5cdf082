//! Topics: create them, describe them, and delete their oldest records.

use std::time::Duration;

use futures::executor::block_on;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{IsError, KafkaError};
use rdkafka::metadata::MetadataTopic;
use rdkafka::types::{RDKafkaErrorCode as Code, RDKafkaRespErr};
use rdkafka::{Offset as KafkaOffset, TopicPartitionList};
use weir_checkpoints::{Offset, PartitionId};

use super::KafkaConfig;
use super::description::{self, TopicDescription};

/// How long an answer is waited for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// Changes the topics of a cluster.
pub struct KafkaTopics {
    config: KafkaConfig,
    admin: AdminClient<DefaultClientContext>,
}

/// A topic to be created.
#[derive(Debug, Clone)]
pub struct TopicSpec<'a> {
    /// Its name.
    pub name: &'a str,
    /// How many partitions.
    pub partitions: u32,
    /// On how many brokers each of them is kept; the broker's default where none is given.
    pub replicas: Option<u32>,
    /// Settings of the topic, such as `compression.type`.
    pub settings: &'a [(&'a str, &'a str)],
}

/// Whether [`KafkaTopics::create`] had anything to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopicCreated {
    /// The topic is new.
    New,
    /// A topic of that name was there; it was left as it is.
    Exists,
}

/// Why a topic could not be changed or looked at.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} topic {topic} on {brokers}: {reason}")]
pub struct TopicError {
    /// What was tried.
    pub action: &'static str,
    /// The topic.
    pub topic: String,
    /// The brokers.
    pub brokers: String,
    /// What the cluster said.
    pub reason: String,
}

impl KafkaTopics {
    /// The topics of a cluster. Nothing is asked of it yet.
    pub fn new(config: &KafkaConfig) -> Result<Self, TopicError> {
        let admin = config.admin().create().map_err(|error: KafkaError| TopicError {
            action: "reach",
            topic: config.topic.clone(),
            brokers: config.brokers.clone(),
            reason: error.to_string(),
        })?;
        Ok(Self { config: config.clone(), admin })
    }

    /// Creates a topic, unless there is one of that name, and waits until its partitions can be written to.
    pub fn create(&self, spec: &TopicSpec<'_>) -> Result<TopicCreated, TopicError> {
        let failed = |reason: String| self.error("create", spec.name, reason);
        let partitions = i32::try_from(spec.partitions).map_err(|_| failed("too many partitions".to_owned()))?;
        let replicas = match spec.replicas {
            None => -1,
            Some(replicas) => i32::try_from(replicas).map_err(|_| failed("too many replicas".to_owned()))?,
        };
        let mut topic = NewTopic::new(spec.name, partitions, TopicReplication::Fixed(replicas));
        for (key, value) in spec.settings {
            topic = topic.set(key, value);
        }
        let results =
            block_on(self.admin.create_topics([&topic], &options())).map_err(|error| failed(error.to_string()))?;
        match results.into_iter().next() {
            Some(Ok(_)) => {}
            Some(Err((_, Code::TopicAlreadyExists))) => return Ok(TopicCreated::Exists),
            Some(Err((_, code))) => return Err(failed(code.to_string())),
            None => return Err(failed("the cluster gave no answer for it".to_owned())),
        }
        self.wait_for_leaders(spec)?;
        Ok(TopicCreated::New)
    }

    /// How many partitions a topic has; none where there is no such topic.
    pub fn partitions(&self, topic: &str) -> Result<Option<usize>, TopicError> {
        self.look(topic, |found| Ok(found.partitions().len()))
    }

    /// A topic as it is; none where there is no such topic.
    pub fn describe(&self, topic: &str) -> Result<Option<TopicDescription>, TopicError> {
        self.look(topic, |found| {
            let settings = description::settings(&self.admin, topic, ANSWER_TIMEOUT)?;
            Ok(description::describe(found, settings))
        })
    }

    fn look<T>(
        &self,
        topic: &str,
        at: impl FnOnce(&MetadataTopic) -> Result<T, String>,
    ) -> Result<Option<T>, TopicError> {
        let failed = |reason: String| self.error("describe", topic, reason);
        let metadata = self
            .admin
            .inner()
            .fetch_metadata(Some(topic), ANSWER_TIMEOUT)
            .map_err(|error| failed(error.to_string()))?;
        let found = metadata.topics().iter().find(|described| described.name() == topic);
        let there = description::exists(found).map_err(failed)?;
        found.filter(|_| there).map(at).transpose().map_err(failed)
    }

    /// How many brokers the cluster has at present.
    pub fn brokers(&self) -> Result<usize, TopicError> {
        let topic = &self.config.topic;
        let failed = |error: KafkaError| self.error("count the brokers for", topic, error.to_string());
        let metadata = self.admin.inner().fetch_metadata(Some(topic), ANSWER_TIMEOUT).map_err(failed)?;
        Ok(metadata.brokers().len())
    }

    /// Deletes the records of a partition before `first`.
    pub fn delete_records(&self, topic: &str, partition: PartitionId, first: Offset) -> Result<(), TopicError> {
        let failed = |reason: String| self.error("delete records of", topic, reason);
        let id = i32::try_from(partition.0).map_err(|error| failed(error.to_string()))?;
        let offset = i64::try_from(first.0).map_err(|error| failed(error.to_string()))?;
        let mut before = TopicPartitionList::new();
        before
            .add_partition_offset(topic, id, KafkaOffset::Offset(offset))
            .map_err(|error| failed(error.to_string()))?;
        let deleted =
            block_on(self.admin.delete_records(&before, &options())).map_err(|error| failed(error.to_string()))?;
        match deleted.elements().iter().find_map(|element| element.error().err()) {
            None => Ok(()),
            Some(error) => Err(failed(error.to_string())),
        }
    }

    /// Deletes a topic and everything in it.
    pub fn delete(&self, topic: &str) -> Result<(), TopicError> {
        let failed = |reason: String| self.error("delete", topic, reason);
        let results =
            block_on(self.admin.delete_topics(&[topic], &options())).map_err(|error| failed(error.to_string()))?;
        match results.into_iter().next() {
            Some(Err((_, code))) => Err(failed(code.to_string())),
            _ => Ok(()),
        }
    }

    /// The broker answers before the topic's partitions have leaders.
    fn wait_for_leaders(&self, spec: &TopicSpec<'_>) -> Result<(), TopicError> {
        let asked_at = std::time::Instant::now();
        loop {
            let metadata = self.admin.inner().fetch_metadata(Some(spec.name), ANSWER_TIMEOUT);
            let led = metadata.as_ref().is_ok_and(|metadata| {
                metadata.topics().iter().any(|topic| {
                    let led = |error: Option<RDKafkaRespErr>| error.is_none_or(|error| !error.is_error());
                    topic.name() == spec.name
                        && led(topic.error())
                        && topic.partitions().len() == spec.partitions as usize
                        && topic.partitions().iter().all(|partition| partition.leader() >= 0)
                })
            });
            if led {
                return Ok(());
            }
            if asked_at.elapsed() > ANSWER_TIMEOUT {
                return Err(self.error("create", spec.name, "its partitions have no leader".to_owned()));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn error(&self, action: &'static str, topic: &str, reason: String) -> TopicError {
        TopicError { action, topic: topic.to_owned(), brokers: self.config.brokers.clone(), reason }
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(ANSWER_TIMEOUT)).operation_timeout(Some(ANSWER_TIMEOUT))
}
