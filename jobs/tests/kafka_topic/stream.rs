//! A generated stream, to be written into a job's topic as a test wants it: when, where to, and how often. Where a record
//! goes is of no consequence for the counts.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Message};

use crate::support::TestJob;
use crate::to_the_end::read_to_the_end;
use crate::{PATIENCE, await_until};

/// A record of the stream.
#[derive(Debug, Clone)]
pub(crate) struct Generated {
    key: Vec<u8>,
    payload: Option<Vec<u8>>,
    time_ms: i64,
}

/// Generates a stream for a job, with its oracle; in the order of the log's clock.
pub(crate) fn generate(job: &TestJob, options: &str) -> Vec<Generated> {
    let topic = format!("{}-generated", job.topic);
    job.create_topic(&topic, 1);
    let to = format!("kafka://{}/{topic}", job.brokers);
    job.generate_to(&to, 1, &options.split_whitespace().collect::<Vec<_>>());
    let mut records = read(&job.brokers, &topic);
    assert_eq!(records.len() as u64, job.records());
    records.sort_by_key(|record| record.time_ms);
    records
}

/// Writes records into the job's topic, each into the next of these partitions.
pub(crate) fn write(job: &TestJob, records: &[Generated], partitions: impl IntoIterator<Item = u32>) {
    let partitions: Vec<i32> = partitions.into_iter().map(|partition| partition as i32).collect();
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &job.brokers)
        .set("enable.idempotence", "true")
        .set("message.max.bytes", "4000000")
        .create()
        .unwrap();
    for (record, partition) in records.iter().zip(partitions.iter().cycle()) {
        let mut next = BaseRecord::<[u8], [u8]>::to(&job.topic).partition(*partition).key(&record.key);
        next.payload = record.payload.as_deref();
        let mut waiting = Some(next.timestamp(record.time_ms));
        while let Some(next) = waiting.take() {
            match producer.send(next) {
                Ok(()) => {}
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), next)) => {
                    producer.poll(Duration::from_millis(10));
                    waiting = Some(next);
                }
                Err((error, _)) => panic!("{error}"),
            }
        }
        producer.poll(Duration::ZERO);
    }
    producer.flush(PATIENCE).unwrap();
    assert_eq!(producer.in_flight_count(), 0);
}

/// Gives the job's topic more partitions, and waits until they can be written to.
pub(crate) fn grow(job: &TestJob, partitions: u32) {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", &job.brokers);
    let admin: AdminClient<DefaultClientContext> = client.create().unwrap();
    let more = NewPartitions::new(&job.topic, partitions as usize);
    let results = futures::executor::block_on(admin.create_partitions([&more], &AdminOptions::new())).unwrap();
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    await_until("the new partitions to have leaders", || {
        let metadata = admin.inner().fetch_metadata(Some(&job.topic), PATIENCE).unwrap();
        let found = metadata.topics()[0].partitions();
        found.len() == partitions as usize && found.iter().all(|partition| partition.leader() >= 0)
    });
}

fn read(brokers: &str, topic: &str) -> Vec<Generated> {
    let mut records = Vec::new();
    read_to_the_end(brokers, topic, |record| {
        records.push(Generated {
            key: record.key().unwrap_or_default().to_vec(),
            payload: record.payload().map(<[u8]>::to_vec),
            time_ms: record.timestamp().to_millis().unwrap(),
        });
    });
    records
}
