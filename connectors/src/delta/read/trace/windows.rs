//! Windows of one ad, from the table of closed windows.

use std::sync::Arc;

use weir_checkpoints::{Epoch, Manifest};
use weir_dataflow::{Window, WindowRow};

use super::scan::{Found, Scan, TracedFile};
use super::wanted::Wanted;
use super::{AdTrace, TraceError};
use crate::delta::live::LiveTable;
use crate::delta::table::Table;

/// Which windows.
#[derive(Debug, Clone)]
pub struct WindowsOf<'a> {
    /// The ad.
    pub ad_id: &'a str,
    /// Their length.
    pub window: Window,
    /// Those that start from here on, unix time in milliseconds …
    pub from_ms: i64,
    /// … and before this.
    pub until_ms: i64,
}

/// A window as it stands in the table.
#[derive(Debug, Clone, Copy)]
pub struct TracedWindow<'a> {
    /// The row.
    pub row: WindowRow<'a>,
    /// The file it stands in.
    pub file: &'a Arc<TracedFile>,
}

const COLUMNS: [&str; 6] = ["window_start", "click_count", "unique_users", "user_sketch", "region", "epoch"];

impl AdTrace {
    /// Hands out every row that is asked for, in any order.
    pub fn windows(
        &self,
        of: &WindowsOf<'_>,
        manifest: Option<&Manifest>,
        mut take: impl FnMut(TracedWindow<'_>),
    ) -> Result<(), TraceError> {
        let live = LiveTable::read(self.store.as_ref(), Table::Agg.name(), manifest)?;
        let scan = Scan {
            wanted: Wanted {
                ad_id: of.ad_id,
                time_ms: of.from_ms..of.until_ms,
                time_column: Some("window_start"),
                partition: Some(("window", of.window.as_str())),
            },
            columns: &COLUMNS,
            once: &[],
            for_nulls: None,
        };
        self.scan(&live, &scan, |found| {
            (0..found.rows).try_for_each(|row| {
                take(TracedWindow { row: window(of, &found, row)?, file: &found.file });
                Ok(())
            })
        })
    }
}

fn window<'a>(of: &WindowsOf<'a>, found: &'a Found, row: usize) -> Result<WindowRow<'a>, TraceError> {
    Ok(WindowRow {
        ad_id: of.ad_id,
        region: found.column("region").maybe_text(row)?,
        window: of.window,
        start_ms: found.column("window_start").number(row)?,
        click_count: found.column("click_count").count(row)?,
        unique_users: found.column("unique_users").count(row)?,
        user_sketch: found.column("user_sketch").bytes(row).unwrap_or_default(),
        epoch: Epoch(found.column("epoch").count(row)?),
    })
}
