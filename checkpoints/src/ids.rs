//! The numbers of a job, each its own type so that none can be passed for another.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl $name {
            /// The number after this one.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }
    };
}

number!(
    /// A cut of the input by source offsets; the Timely timestamp. It only grows, over restarts too: an epoch that
    /// was not sealed never happened, and its number is used again by the next attempt.
    Epoch(u64)
);
number!(
    /// One run of a job, from start to stop or crash. It is part of the names of all parts, so that what a dead
    /// attempt left behind can never be taken for what a living one wrote.
    Attempt(u64)
);
number!(
    /// The place of a manifest in the job's chain: 0, 1, 2, … without gaps. The lack of gaps is what fences: an old
    /// attempt and a new one both want the same next number, and only one of them can create it.
    Sequence(u64)
);
number!(
    /// A partition of the source's log.
    PartitionId(u32)
);
number!(
    /// A place in a partition's log. Dense or not, it only grows; the source says what it counts (records, bytes).
    Offset(u64)
);
number!(
    /// A Timely worker, counted over all processes of the job.
    WorkerIndex(u32)
);
