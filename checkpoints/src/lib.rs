//! The commit point of a Weir job, and how the job resumes from it.
//!
//! ```text
//!  worker 0..n                                   worker 0
//!  ──────────                                    ────────
//!  state parts   ─▶ put under names nobody   ┐
//!  output parts     reads yet                ├─▶ manifest n+1, created only if absent ─▶ outputs become visible
//!  totals                                    ┘        │ names its predecessor's hash
//!                                                     ▼
//!                              restart: newest manifest ─▶ repeat its commits ─▶ load state by key group
//! ```
//!
//! - A manifest is the only commit point. A part that no manifest lists never happened.
//! - Manifests are numbered without gaps and created with put-if-absent, so two attempts of one job can never
//!   both publish number `n`; the loser stops ([`PublishError::Fenced`]).
//! - Every manifest carries the hash of the one before it.
//! - State parts are opaque here: bytes by kind and key group. What is in them is their writer's business.
//!
//! This crate knows epochs, attempts, offsets and object names; it knows nothing of clicks, Timely, Kafka or HTTP.

mod assemble;
mod content_hash;
mod days;
mod faults;
mod follow;
mod fork;
mod groups;
mod ids;
mod journal;
mod manifest;
mod names;
mod origin;
mod owner;
mod part;
mod resume;
mod retain;
mod savepoint;
mod store;
mod sweep;

pub use assemble::{AssembleError, EpochEnd, ReadReport, Replaced, Settled, WorkerReport, assemble};
pub use content_hash::content_hash;
pub use days::{ClosedOn, DAY_FORMAT_VERSION, Day, DayError, DayRecord, DayTotals, IndexOfDay};
pub use faults::{FAULT_VARIABLE, FaultPoint};
pub use follow::Follower;
pub use fork::{Fork, ForkError};
pub use groups::{GroupRange, GroupSet, KEY_GROUPS, group_of, groups_of_worker, worker_of_group};
pub use ids::{Attempt, Epoch, Offset, PartitionId, Sequence, WorkerIndex};
pub use journal::{Journal, JournalError, PublishError};
pub use manifest::{
    FORMAT_VERSION, Manifest, ManifestError, OutputPart, PartitionCut, Position, Settings, StatePart, Totals,
};
pub use names::Names;
pub use origin::Origin;
pub use owner::owner_token;
pub use part::{PartError, PartReader, PartWriter};
pub use resume::{Refusal, check_settings};
pub use retain::{Garbage, garbage};
pub use savepoint::{Savepoint, SavepointError, Savepoints, missing_part};
pub use store::{Created, ObjectInfo, Store, StoreError};
pub use sweep::Sweep;
