//! Kafka: clicks in, dead letters out, offsets reported.
//!
//! ```text
//!   clicks ──▶ source ──▶ job ──▶ dead_letters ──▶ clicks.dlq
//!     ▲                    └────▶ group_offsets ─▶ group weir-<job>, for lag monitors
//!  producer (weir generate)                        topics: create, describe, delete records
//!  log (weir ingest)
//! ```

mod batch;
mod bounds;
mod config;
mod dead_letters;
mod delivery;
mod description;
mod factory;
mod group_offsets;
mod health;
mod in_flight;
mod lag;
mod line;
mod log;
mod look;
mod probe;
mod producer;
mod source;
mod topics;
mod watch;

use std::ffi::CStr;

pub use config::{KafkaConfig, KafkaConfigError};
pub use dead_letters::KafkaDeadLetters;
pub use description::TopicDescription;
pub use factory::KafkaSourceFactory;
pub use group_offsets::KafkaGroupOffsets;
pub use lag::{KafkaLag, LagError};
pub use log::{KafkaLog, KafkaLogConfig, KafkaLogError};
pub use producer::{KafkaClicks, ProduceError};
pub use source::NO_LOG_TIME_MS;
pub use topics::{KafkaTopics, TopicCreated, TopicError, TopicSpec};

/// The header of a click's record that names the region it came in.
const REGION_HEADER: &CStr = c"weir-region";
