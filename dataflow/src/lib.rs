//! Clicks through Timely: decode, dedup, windows, watermarks, and the traits of sources and sinks.
//!
//! ```text
//!   Source ─▶ decode ─▶ [by click] dedup ─▶ [by ad] windows ─▶ Sink
//!      └ offsets, event times ─▶ watermark        └──▶ checkpoints
//! ```
//!
//! [`run`] runs a [`Job`]: a [`SourceFactory`], some [`SinkFactory`]s and a checkpoint store, wired by whoever knows the
//! configuration. The graph is drawn in `graph/mod.rs`.
//!
//! - The same log and the same epoch cuts give the same rows, whatever the number of workers.
//! - Every record read is in exactly one of: rejected, future, late, duplicate, counted.
//! - Nothing shows before the manifest of its epoch exists.
//!
//! This crate knows neither Kafka nor HTTP nor storage clients.

mod batch;
mod click;
mod cluster;
mod decode;
mod dedup;
mod graph;
mod intake;
mod job;
mod metrics;
mod partitions;
pub mod reconcile;
mod records;
mod region;
mod sink;
mod sinks;
mod sketch;
mod source;
mod stats;
mod time;
mod windows;
mod worker;

pub use click::{AdKey, Click, ClickKey, MAX_EVENT_TIME_MS, event_time_ms};
pub use cluster::{ClusterError, ClusterSettings, Patience, Peer};
pub use decode::{Decoder, MAX_PAYLOAD_BYTES, RejectReason, Rejection, extra_fields};
pub use job::{CheckpointSettings, EpochSettings, Finished, Job, JobError, Layout, run};
pub use metrics::{Committed, Figure, FigureKind, JobMetrics, StateFigures};
pub use region::is_region_name;
pub use sink::{
    Carried, ClickRow, Committer, Cut, DeadLetterRow, LateReason, Row, RowKind, Sink, SinkError, SinkFactory, Staged,
    Staging, Window, WindowRow, WorkerContext,
};
pub use sinks::carried_kind;
pub use sketch::{Coupon, SketchError, UserSketch};
pub use source::{Confirmation, Polled, Record, Source, SourceError, SourceFactory};
pub use stats::{TopAd, TopQuery, WindowQuery, WindowStats};
pub use time::{END_OF_TIME_MS, PANE_MS, TimeSettings, is_closed, minute_of};
pub use windows::{HotAnswer, HotProgress, HotSettings, HotWindows, open_clicks};
