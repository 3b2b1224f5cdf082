//! The graph: one operator a file.
//!
//! ```text
//!            ┌──────── reports, to every worker ──────▶ clock ───┐ agreement on each epoch
//!            │                                                   ▼
//!   read ────┼── clicks, by key group of the click id ─────────▶ dedup ── clicks that count, by key group of the ad ──┐
//!   source,  │                                                                                                         ▼
//!   decode,  └── names of ads, by key group of the ad ─────────────────────────────────────────────────────────────▶ window
//!   route                                                                                                               │
//!     ▲                                    commit ◀── reports of the workers, to worker 0 ── seal ◀── checkpoints ──────┘
//!     └───────────── probe: sealed epochs ───┘
//! ```
//!
//! - The timestamp is the epoch. An operator handles an epoch when its frontier has passed it: then no worker can send more.
//! - `read` opens epoch E + 1 only when the watermark of E is agreed, so whether a click is late is known while its bytes
//!   are at hand, and no payload is copied or kept.
//! - `read`, `dedup` and `window` each hand their part of a checkpoint to the worker's [`seal::Sealer`]; its report goes to
//!   worker 0, which commits. The probe behind `commit` passes an epoch when all checkpoints up to it are committed.

pub(crate) mod clock;
pub(crate) mod commit;
pub(crate) mod dedup;
pub(crate) mod read;
pub(crate) mod seal;
pub(crate) mod window;
