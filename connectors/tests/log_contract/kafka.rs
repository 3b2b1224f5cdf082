//! The Kafka log, for the suite.

#[path = "../kafka/mod.rs"]
mod broker;

use std::collections::BTreeMap;

use broker::{PATIENCE, TestTopic, read_to_end};
use weir_connectors::kafka::{KafkaLog, KafkaLogConfig};
use weir_connectors::log::Log;

use crate::harness::{Harness, OpenLog};

pub(crate) struct Topic {
    pub(crate) partitions: u32,
    pub(crate) region: Option<&'static str>,
}

impl Harness for Topic {
    fn new_log(&self, capacity_bytes: u64) -> Box<dyn OpenLog> {
        let topic = TestTopic::new("log", self.partitions, &[]);
        let log = KafkaLog::open(KafkaLogConfig {
            kafka: topic.config.clone(),
            region: self.region.map(str::to_owned),
            capacity_bytes,
            delivery_timeout: PATIENCE,
        });
        Box::new(OpenTopic { log: log.unwrap(), topic, partitions: self.partitions })
    }

    fn orders_groups(&self) -> bool {
        true
    }

    /// More than the client sends in one record.
    fn refused_value(&self) -> Option<Vec<u8>> {
        Some(vec![b'x'; 2_000_000])
    }
}

struct OpenTopic {
    log: KafkaLog,
    topic: TestTopic,
    partitions: u32,
}

impl OpenLog for OpenTopic {
    fn log(&self) -> &dyn Log {
        &self.log
    }

    fn read_back(&self) -> Vec<Vec<Vec<u8>>> {
        let mut partitions = vec![Vec::new(); self.partitions as usize];
        for seen in read_to_end(self.topic.open(&BTreeMap::new()).as_mut(), self.partitions) {
            partitions[seen.partition as usize].push(seen.payload.unwrap());
        }
        partitions
    }
}
