//! Kafka topics for the suite.

use std::collections::BTreeMap;

use weir_checkpoints::{Offset, PartitionId};
use weir_dataflow::SourceFactory;

use crate::fixture::{Fixture, Log};
use crate::kafka_broker::TestTopic;

/// A topic of its own on the test broker.
pub(crate) struct Topics {
    pub(crate) compression: &'static str,
}

impl Fixture for Topics {
    fn new_log(&self, partitions: u32) -> Box<dyn Log> {
        let topic = TestTopic::new("contract", partitions, &[]).set("compression.type", self.compression);
        Box::new(TopicLog { topic, appended: BTreeMap::new() })
    }
}

struct TopicLog {
    topic: TestTopic,
    /// How many records each append had.
    appended: BTreeMap<u32, Vec<u64>>,
}

impl Log for TopicLog {
    fn append_from(&mut self, region: Option<&str>, partition: u32, payloads: &[Vec<u8>]) {
        match region {
            None => self.topic.write_at(partition as i32, payloads.iter().cloned(), |_| None),
            Some(region) => {
                let headers = [("weir-region", Some(region.as_bytes()))];
                self.topic.write_with_headers(partition as i32, payloads, &headers);
            }
        }
        self.appended.entry(partition).or_default().push(payloads.len() as u64);
    }

    fn follow(&self) -> Box<dyn SourceFactory> {
        Box::new(self.topic.factory())
    }

    /// A topic has no end.
    fn bounded(&self) -> Option<Box<dyn SourceFactory>> {
        None
    }

    fn cut_start(&mut self, partition: u32) {
        let (_last, earlier) = self.appended[&partition].split_last().unwrap();
        let first_kept = Offset(earlier.iter().sum());
        self.topic.topics().delete_records(&self.topic.config.topic, PartitionId(partition), first_kept).unwrap();
    }
}
