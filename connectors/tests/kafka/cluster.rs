//! Three brokers that are one cluster, of one test alone.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use serde_json::Value;

use super::own::{OwnBroker, free_port};

/// How long it may take until all replicas are in sync.
const PATIENCE: Duration = Duration::from_secs(90);

pub(crate) struct Cluster {
    pub(crate) brokers: [OwnBroker; 3],
    folders: [PathBuf; 3],
    pub(crate) addresses: String,
}

impl Cluster {
    pub(crate) fn start(folder: &Path) -> Self {
        let (ports, quorum) = ([(); 3].map(|()| free_port()), [(); 3].map(|()| free_port().to_string()).join(","));
        let folders = [1, 2, 3].map(|node| folder.join(format!("broker-{node}")));
        let brokers = [0, 1, 2].map(|index: usize| {
            let options = ["--node", &(index + 1).to_string(), "--quorum", &quorum];
            OwnBroker::start(&folders[index], ports[index], &options)
        });
        Self { brokers, folders, addresses: ports.map(|port| format!("127.0.0.1:{port}")).join(",") }
    }

    /// Whether the brokers have found each other.
    pub(crate) fn is_ready(&self) -> bool {
        let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", &self.addresses).create().unwrap();
        let metadata = consumer.fetch_metadata(None, Duration::from_secs(5));
        metadata.is_ok_and(|metadata| metadata.brokers().len() == self.brokers.len())
    }

    /// Waits until every replica of every partition of a topic is in sync.
    pub(crate) fn await_in_sync(&self, topic: &str) {
        let began = Instant::now();
        while !self.partitions(topic).is_some_and(|all| !all.is_empty() && all.iter().all(|(_, in_sync)| *in_sync == 3))
        {
            assert!(began.elapsed() < PATIENCE, "not all replicas of {topic} are in sync within {PATIENCE:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The index of each partition's leader; none while it has none.
    pub(crate) fn leaders(&self, topic: &str) -> Vec<Option<usize>> {
        let index = |id: i32| usize::try_from(id - 1).ok();
        self.partitions(topic).unwrap_or_default().into_iter().map(|(leader, _)| index(leader)).collect()
    }

    /// Leader and number of replicas in sync of each partition.
    fn partitions(&self, topic: &str) -> Option<Vec<(i32, usize)>> {
        let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", &self.addresses).create().unwrap();
        let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(5)).ok()?;
        let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
        Some(partitions.map(|one| (one.leader(), one.isr().len())).collect())
    }

    /// The index of the broker that leads the cluster's own log.
    pub(crate) fn controller(&self) -> usize {
        let leader = self.folders.iter().find_map(|folder| {
            let text = fs::read_to_string(folder.join("data/__cluster_metadata-0/quorum-state")).ok()?;
            let state: Value = serde_json::from_str(&text).ok()?;
            state["leaderId"].as_u64()
        });
        leader.expect("one broker leads") as usize - 1
    }
}
