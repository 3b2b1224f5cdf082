//! Named points between the steps that a crash may separate. A test ends the process at any of them.
//!
//! ```text
//!   WEIR_FAULT=manifest.written:2      the second time that a manifest was written, the process is gone
//! ```
//!
//! - A process ends there as by SIGKILL: nothing is flushed, no destructor runs, nobody is told.
//! - Where the variable is not set, a point costs one load.
//! - Every step whose repetition must be harmless lies between two points, and a test goes through all of them
//!   (`jobs/tests/fault_points.rs`): a step without a point is a step without a test.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The environment variable: the name of a point, and which pass of it is the last, `:1` if it is left out.
pub const FAULT_VARIABLE: &str = "WEIR_FAULT";

macro_rules! points {
    ($($(#[$doc:meta])* $point:ident = $name:literal,)*) => {
        /// A point, named after what has just been done or is about to be done.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum FaultPoint {
            $($(#[$doc])* $point,)*
        }

        impl FaultPoint {
            /// All of them, in the order in which a job comes by.
            pub const ALL: &[Self] = &[$(Self::$point,)*];

            /// Its name: `what.done`, or `what.doing`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$point => $name,)*
                }
            }
        }
    };
}

points! {
    /// The attempt's own manifest stands.
    AttemptBegun = "attempt.begun",
    /// What the newest manifest lists was shown again.
    CommitsRepeated = "commits.repeated",
    /// The workers were told where to resume.
    StartTold = "start.told",
    /// A part of the remembered clicks was read.
    DedupRestored = "dedup.restored",
    /// A part of the windows was read.
    WindowsRestored = "windows.restored",
    /// The sinks have back what they carried over.
    SinksRestored = "sinks.restored",
    /// The source stands where the checkpoint says.
    SourceOpened = "source.opened",
    /// A worker has read what belongs to an epoch.
    EpochReported = "epoch.reported",
    /// All workers know how the epoch ended.
    EpochAgreed = "epoch.agreed",
    /// A reader gave its piece of a checkpoint.
    ReadCut = "read.cut",
    /// The remembered clicks gave theirs.
    DedupCut = "dedup.cut",
    /// The windows gave theirs.
    WindowsCut = "windows.cut",
    /// The background has all pieces of a worker.
    SealBegun = "seal.begun",
    /// A state part is about to be written.
    StateWriting = "state.writing",
    /// It is written.
    StateWritten = "state.written",
    /// A table's file, or dead letters, are about to be written.
    ObjectWriting = "object.writing",
    /// They are written.
    ObjectWritten = "object.written",
    /// A worker has written all that it has for a checkpoint.
    Sealed = "sealed",
    /// Worker 0 has the reports of all.
    ReportsComplete = "reports.complete",
    /// The invariants hold, and the manifest is made.
    ManifestAssembled = "manifest.assembled",
    /// It is about to be written.
    ManifestWriting = "manifest.writing",
    /// It is written, and nobody has seen it yet.
    ManifestWritten = "manifest.written",
    /// A version of a table's log is about to be written.
    VersionWriting = "version.writing",
    /// It is written.
    VersionWritten = "version.written",
    /// An object of a checkpoint of a table's log is about to be written: its rows, then what points readers to them.
    LogCheckpointWriting = "log_checkpoint.writing",
    /// Dead letters are in their place, and in the one before too.
    LettersShown = "letters.shown",
    /// Dead letters are about to be sent to a topic.
    LettersSending = "letters.sending",
    /// The brokers have them.
    LettersSent = "letters.sent",
    /// Rows are about to be inserted into ClickHouse.
    RowsInserting = "rows.inserting",
    /// ClickHouse has them, and this is not noted yet.
    RowsInserted = "rows.inserted",
    /// All sinks have committed.
    Committed = "committed",
    /// Something that nothing needs any more is about to be deleted.
    GarbageDeleting = "garbage.deleting",
    /// All of it is deleted.
    GarbageDeleted = "garbage.deleted",
}

impl FaultPoint {
    /// Comes by. Does not return where the process is to end here.
    #[inline]
    pub fn pass(self) {
        static PLAN: OnceLock<Option<Plan>> = OnceLock::new();
        if let Some(plan) = PLAN.get_or_init(Plan::from_environment) {
            plan.pass(self);
        }
    }
}

/// Where the process is to end.
#[derive(Debug)]
struct Plan {
    point: FaultPoint,
    /// Passes that are left, this one included.
    left: AtomicU64,
}

impl Plan {
    fn from_environment() -> Option<Self> {
        let text = std::env::var(FAULT_VARIABLE).ok()?;
        let plan = Self::parse(&text);
        assert!(plan.is_some(), "{FAULT_VARIABLE}={text} names no point, or no pass of one");
        plan
    }

    fn parse(text: &str) -> Option<Self> {
        let (name, pass) = text.split_once(':').unwrap_or((text, "1"));
        let point = FaultPoint::ALL.iter().find(|point| point.name() == name)?;
        let pass = pass.parse().ok().filter(|pass| *pass > 0)?;
        Some(Self { point: *point, left: AtomicU64::new(pass) })
    }

    fn pass(&self, point: FaultPoint) {
        if point == self.point && self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_point_has_a_name_of_its_own() {
        let names: BTreeSet<_> = FaultPoint::ALL.iter().map(|point| point.name()).collect();
        assert_eq!(names.len(), FaultPoint::ALL.len());
    }

    #[test]
    fn a_plan_is_a_point_and_a_pass() {
        let check = |text: &str, expected: Option<(FaultPoint, u64)>| {
            let plan = Plan::parse(text).map(|plan| (plan.point, plan.left.into_inner()));
            assert_eq!(plan, expected, "{text}");
        };
        check("sealed", Some((FaultPoint::Sealed, 1)));
        check("manifest.written:12", Some((FaultPoint::ManifestWritten, 12)));
        check("manifest.written:0", None);
        check("manifest.written:", None);
        check("manifest:1", None);
    }
}
