//! What was read and what was left out, step by step.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! figures {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Sums since the reader was opened. Of a file that one step leaves out the later steps count nothing.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct ReadFigures {
            $($(#[$doc])* pub $name: u64,)*
        }

        /// [`ReadFigures`] that many threads add to.
        #[derive(Default)]
        pub(super) struct Counters {
            $(pub(super) $name: Counter,)*
        }

        impl Counters {
            pub(super) fn read(&self) -> ReadFigures {
                ReadFigures { $($name: self.$name.0.load(Ordering::Relaxed),)* }
            }
        }

        impl std::ops::Sub for ReadFigures {
            type Output = Self;

            fn sub(self, earlier: Self) -> Self {
                Self { $($name: self.$name - earlier.$name,)* }
            }
        }
    };
}

figures! {
    /// Questions, second tries included.
    queries,
    /// Files of the versions that were asked.
    files,
    /// Files left out for their partition: another window's length, or another day.
    files_by_partition,
    /// Files left out for the ranges that the log gives of their ads and times.
    files_by_log_ranges,
    /// Footers that were not in the cache.
    footers_read,
    /// Row groups of the files that were left.
    row_groups,
    /// Row groups left out for the ranges that the footer gives.
    row_groups_by_ranges,
    /// Row groups left out for the bloom filter.
    row_groups_by_bloom,
    /// Rows of the row groups that were left.
    rows,
    /// Rows left out for the page index.
    rows_by_page_index,
    /// Rows handed out.
    rows_answered,
    /// Bytes of data read: pages, without footers.
    data_bytes,
}

/// A sum.
#[derive(Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, count: usize) {
        self.0.fetch_add(count as u64, Ordering::Relaxed);
    }
}
