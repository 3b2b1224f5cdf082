//! A topic as it is: how many brokers keep each record, and what can be lost with one of them.
//!
//! ```text
//!   replicas 3, min.insync.replicas 2   a record that is acknowledged is on two brokers: any one may be lost
//!   min.insync.replicas 1               it may be on one broker only, while the others are behind
//!   unclean leader election             a broker that is behind may become the leader, and what it lacks is gone
//! ```

use std::time::Duration;

use futures::executor::block_on;
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::IsError;
use rdkafka::metadata::MetadataTopic;
use rdkafka::types::{RDKafkaErrorCode as Code, RDKafkaRespErr};

/// A topic of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicDescription {
    /// How many partitions it has.
    pub partitions: u32,
    /// On how many brokers each of them is kept: the least of all partitions.
    pub replicas: u32,
    /// How many of them are in sync now: the least of all partitions.
    pub in_sync: u32,
    /// How many must be for a record to be acknowledged: `min.insync.replicas`.
    pub min_insync_replicas: u32,
    /// Whether a replica that is behind may lead: `unclean.leader.election.enable`.
    pub unclean_leader_election: bool,
    /// How long records are kept, -1 for ever: `retention.ms`.
    pub retention_ms: i64,
}

impl TopicDescription {
    /// Why a record that was acknowledged can be lost with one broker; nothing where it cannot.
    #[must_use]
    pub fn risks(&self) -> Vec<String> {
        let mut risks = Vec::new();
        if self.replicas < 3 {
            risks.push(format!("its replication factor is {}, not 3", self.replicas));
        }
        if self.min_insync_replicas < 2 {
            risks.push(format!("its min.insync.replicas is {}, not 2", self.min_insync_replicas));
        }
        if self.unclean_leader_election {
            risks.push("its unclean.leader.election.enable is true".to_owned());
        }
        risks
    }
}

/// The settings of a topic that are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TopicSettings {
    pub(super) min_insync_replicas: u32,
    pub(super) unclean_leader_election: bool,
    pub(super) retention_ms: i64,
}

/// Asks for a topic's settings.
pub(super) fn settings(
    admin: &AdminClient<DefaultClientContext>,
    topic: &str,
    timeout: Duration,
) -> Result<TopicSettings, String> {
    let options = AdminOptions::new().request_timeout(Some(timeout));
    let asked = [ResourceSpecifier::Topic(topic)];
    let answers = block_on(admin.describe_configs(&asked, &options)).map_err(|error| error.to_string())?;
    let described = match answers.into_iter().next() {
        Some(Ok(described)) => described,
        Some(Err(code)) => return Err(code.to_string()),
        None => return Err("the cluster gave no answer for it".to_owned()),
    };
    let value = |key: &str| -> Result<&str, String> {
        let entry = described.get(key).and_then(|entry| entry.value.as_deref());
        entry.ok_or_else(|| format!("the cluster does not say what its {key} is"))
    };
    let wrong = |key: &str, value: &str| format!("the cluster says that its {key} is `{value}`");
    let number = |key: &str| value(key).and_then(|text| text.parse::<i64>().map_err(|_| wrong(key, text)));
    Ok(TopicSettings {
        min_insync_replicas: u32::try_from(number("min.insync.replicas")?).unwrap_or(1),
        unclean_leader_election: value("unclean.leader.election.enable")? == "true",
        retention_ms: number("retention.ms")?,
    })
}

/// Puts together what metadata and settings say.
pub(super) fn describe(topic: &MetadataTopic, settings: TopicSettings) -> TopicDescription {
    let least = |counted: &dyn Fn(&rdkafka::metadata::MetadataPartition) -> usize| {
        topic.partitions().iter().map(counted).min().unwrap_or(0) as u32
    };
    TopicDescription {
        partitions: topic.partitions().len() as u32,
        replicas: least(&|partition| partition.replicas().len()),
        in_sync: least(&|partition| partition.isr().len()),
        min_insync_replicas: settings.min_insync_replicas,
        unclean_leader_election: settings.unclean_leader_election,
        retention_ms: settings.retention_ms,
    }
}

/// What metadata says is wrong with a topic; `Ok(false)` where there is none of that name.
pub(super) fn exists(topic: Option<&MetadataTopic>) -> Result<bool, String> {
    match topic.map(MetadataTopic::error) {
        None | Some(Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)) => Ok(false),
        Some(Some(error)) if error.is_error() => Err(Code::from(error).to_string()),
        Some(_) => Ok(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAFE: TopicDescription = TopicDescription {
        partitions: 12,
        replicas: 3,
        in_sync: 3,
        min_insync_replicas: 2,
        unclean_leader_election: false,
        retention_ms: -1,
    };

    #[test]
    fn what_one_broker_can_take_with_it_is_named() {
        let check = |topic: TopicDescription, expected: &[&str]| assert_eq!(topic.risks(), expected);
        check(SAFE, &[]);
        check(TopicDescription { replicas: 2, ..SAFE }, &["its replication factor is 2, not 3"]);
        check(TopicDescription { min_insync_replicas: 1, ..SAFE }, &["its min.insync.replicas is 1, not 2"]);
        let unclean = TopicDescription { unclean_leader_election: true, ..SAFE };
        check(unclean, &["its unclean.leader.election.enable is true"]);
    }
}
