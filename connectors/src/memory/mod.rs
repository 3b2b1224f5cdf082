//! An object store in memory, and a wrapper that makes any store fail as real ones do. For tests.
//!
//! ```text
//!   sink, checkpoints ─▶ Unreliable ─▶ MemoryStore
//!                           │
//!                           ├─ fails before: nothing was done, the answer is `Failed`
//!                           ├─ fails after:  it was done, the answer is `Unknown`
//!                           └─ repeats:      it was done, asked again, the answer is `Exists`
//! ```
//!
//! Faults come from a seed alone: the same calls with the same seed fail in the same way.

mod store;
mod unreliable;

pub use store::MemoryStore;
pub use unreliable::{Faults, Unreliable};
