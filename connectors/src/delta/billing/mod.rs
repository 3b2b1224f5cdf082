//! What billing reads: `billing_daily`, one row for each ad and closed day, `corrections`, the ledger of why these are
//! not what the stream has counted, and `clicks_agg_corrected`, the windows that this is about.
//!
//! ```text
//!   write:   rows of a revision ─▶ one file a table, under a name of its own, invisible
//!   commit:  record of the revision ─▶ corrections: add       the ledger only grows
//!                                  ├─▶ clicks_agg_corrected: add, and remove the files of the revision before
//!                                  └─▶ billing_daily: the same
//! ```
//!
//! - A reader of `billing_daily` finds each ad of a closed day once, with the newest figure. Older figures are in the ledger,
//!   and in older versions of the table.
//! - Rows show only after the record of their revision exists, and once: each version carries a `txn` of the job and the
//!   day, with the revision as its number.
//! - The ledger is committed first: no figure is seen before its reason.
//! - `clicks_agg_corrected` looks like `clicks_agg`. It has every region of a window that is billed otherwise than it was
//!   counted, with no clicks where none are left; whoever puts its rows in the place of the others' has what is billed.

mod commit;
mod read;
mod rows;

pub use self::commit::{check_day, commit_day};
pub use self::read::{billed, corrected, corrected_windows};
pub use self::rows::{BilledAd, CorrectedAd, DayFiles};

use super::table::{Column, Kind, Layout, column, window_columns};

/// One of the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BillingTable {
    /// `billing_daily`: what is billed.
    Daily,
    /// `corrections`: why.
    Corrections,
    /// `clicks_agg_corrected`: in which windows.
    Windows,
}

impl BillingTable {
    /// In the order in which they are committed.
    pub const ALL: [Self; 3] = [Self::Corrections, Self::Windows, Self::Daily];

    /// Its name, and its folder's.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Daily => "billing_daily",
            Self::Corrections => "corrections",
            Self::Windows => "clicks_agg_corrected",
        }
    }

    pub(super) fn columns(self) -> Vec<Column> {
        let ad_id = column("ad_id", Kind::Text, Layout::Plain).ranged().looked_up();
        let (run, date) =
            (column("run", Kind::Text, Layout::Dictionary), column("date", Kind::Date, Layout::PartitionedBy));
        let revision = column("revision", Kind::Integer, Layout::Dictionary);
        match self {
            Self::Daily => vec![
                ad_id,
                column("click_count", Kind::Long, Layout::Dictionary).ranged(),
                column("unique_users", Kind::Long, Layout::Dictionary),
                column("status", Kind::Text, Layout::Dictionary),
                run,
                column("manifest_hash", Kind::Text, Layout::Dictionary),
                revision,
                column("clicks_root", Kind::Text, Layout::Plain).nullable(),
                date,
            ],
            Self::Corrections => vec![
                ad_id,
                column("streamed", Kind::Long, Layout::Dictionary),
                column("recounted", Kind::Long, Layout::Dictionary),
                column("delta", Kind::Long, Layout::Dictionary),
                column("reason", Kind::Text, Layout::Dictionary),
                run,
                column("offsets", Kind::Text, Layout::Plain),
                revision,
                date,
            ],
            Self::Windows => {
                let mut columns = window_columns();
                columns.extend([run, revision, column("window", Kind::Text, Layout::PartitionedBy), date]);
                columns
            }
        }
    }
}
