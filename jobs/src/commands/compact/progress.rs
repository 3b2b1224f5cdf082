//! How far the compaction of a table is: a bar on a terminal, a line in the log now and then where there is none.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

const LOG_EVERY: Duration = Duration::from_secs(10);

/// Shows progress until it is dropped.
pub(super) struct Progress {
    table: &'static str,
    bar: Option<ProgressBar>,
    bytes: u64,
    done: u64,
    logged: Instant,
}

impl Progress {
    /// Of a table, with so many bytes to be merged.
    pub(super) fn start(table: &'static str, bytes: u64) -> Self {
        let bar = (bytes > 0 && std::io::stderr().is_terminal()).then(|| {
            let style = ProgressStyle::with_template("{bar:30} {decimal_bytes}/{decimal_total_bytes} {eta} {wide_msg}");
            let bar = ProgressBar::new(bytes);
            style.map_or(bar.clone(), |style| bar.with_style(style))
        });
        Self { table, bar, bytes, done: 0, logged: Instant::now() }
    }

    /// A merge begins, after so many rows.
    pub(super) fn at(&mut self, partition: &str, rows: u64) {
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{} {partition}", self.table));
            bar.tick();
        } else if self.logged.elapsed() >= LOG_EVERY {
            tracing::info!(table = self.table, partition, done = self.done, of = self.bytes, rows, "compacting");
            self.logged = Instant::now();
        }
    }

    /// So many bytes more are merged.
    pub(super) fn done(&mut self, bytes: u64) {
        self.done += bytes;
        if let Some(bar) = &self.bar {
            bar.set_position(self.done);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
