//! wip
mod groups;
mod ids;
mod manifest;
mod store;

pub use groups::{GroupRange, GroupSet, KEY_GROUPS, group_of, groups_of_worker, worker_of_group};
pub use ids::{Attempt, Epoch, Offset, PartitionId, Sequence, WorkerIndex};
pub use manifest::{FORMAT_VERSION, Manifest, OutputPart, PartitionCut, Position, Settings, StatePart, Totals};
pub use store::{Created, ObjectInfo, Store, StoreError};
