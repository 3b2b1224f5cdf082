//! The sink of windows for a job whose memory is asked: what was held back for the table when the job stopped is shown to
//! it again, since no reader of the table sees it yet.

use std::sync::Arc;

use weir_dataflow::{Cut, Row, Sink, SinkError, Staging, WindowRow};

use super::held::Held;
use super::refused;
use super::sink::TableSink;
use super::table::Table;
use super::windows::WindowChunk;

/// Takes each window that was held back; what it says in refusal is why it cannot.
pub type Restoring = Arc<dyn Fn(&WindowRow<'_>) -> Result<(), String> + Send + Sync>;

/// The table's sink, and who is shown what it takes back.
pub(super) struct RestoringSink {
    pub(super) sink: TableSink<WindowChunk>,
    pub(super) show: Restoring,
}

impl Sink for RestoringSink {
    fn write(&mut self, row: Row<'_>) -> Result<(), SinkError> {
        self.sink.write(row)
    }

    fn stage(&mut self, cut: &Cut) -> Result<Staging, SinkError> {
        self.sink.stage(cut)
    }

    fn restore(&mut self, carried: &[u8]) -> Result<(), SinkError> {
        self.sink.restore(carried)?;
        let unreadable =
            |reason: String| refused(Table::Agg.name(), format!("rows of an earlier attempt cannot be read: {reason}"));
        let (held, _) = Held::<WindowChunk>::restored(Table::Agg.name(), carried).map_err(unreadable)?;
        for chunk in held.chunks().map_err(unreadable)? {
            for row in chunk.windows() {
                (self.show)(&row).map_err(unreadable)?;
            }
        }
        Ok(())
    }
}
