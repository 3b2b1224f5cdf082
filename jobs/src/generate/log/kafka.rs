//! A Kafka topic as the target.

use anyhow::{Result, bail};
use weir_connectors::kafka::{KafkaClicks, KafkaConfig, KafkaTopics, TopicSpec};

use super::ClickLog;

/// Writes to a topic, each record to the partition and with the time that it is given.
pub(super) struct TopicLog {
    producer: KafkaClicks,
}

/// How many partitions the topic has; none where there is none.
pub(super) fn partitions(config: &KafkaConfig) -> Result<Option<u32>> {
    let count = KafkaTopics::new(config)?.partitions(&config.topic)?;
    Ok(count.map(|count| count as u32))
}

impl TopicLog {
    /// Opens the topic, and creates it if there is none.
    pub(super) fn open(config: &KafkaConfig, partitions: u32) -> Result<Self> {
        let topics = KafkaTopics::new(config)?;
        topics.create(&TopicSpec { name: &config.topic, partitions, replicas: None, settings: &[] })?;
        match topics.partitions(&config.topic)? {
            Some(count) if count == partitions as usize => Ok(Self { producer: KafkaClicks::new(config)? }),
            Some(count) => bail!("topic {} has {count} partitions: give --partitions {count}", config.topic),
            None => bail!("topic {} is not there, though it was created", config.topic),
        }
    }
}

impl ClickLog for TopicLog {
    fn append(&mut self, partition: u32, key: &[u8], payload: Option<&[u8]>, log_time_ms: i64) -> Result<()> {
        let to = Some(i32::try_from(partition)?);
        self.producer.send(to, key, payload, Some(log_time_ms))?;
        Ok(())
    }

    /// The producer sends by itself after a few milliseconds.
    fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        Ok(self.producer.flush()?)
    }
}
