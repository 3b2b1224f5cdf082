//! The segment that is being read.

use weir_checkpoints::Offset;
use weir_dataflow::Record;

use super::control::{self, Control};
use super::input::{Got, Input};
use super::lines::{Line, Lines};
use super::partition::Visit;
use super::resume::{Lost, Said, shrank};
use super::segment::Segment;

/// A segment, how far it was read, and how far it may be.
pub(super) struct Current {
    pub(super) segment: Segment,
    pub(super) input: Input,
    /// The offset of its first byte.
    pub(super) base: u64,
    /// How many of its bytes were given.
    pub(super) at: u64,
    /// How many bytes the decompressor must give again before the first new one.
    pub(super) skip: u64,
    /// Lines that start from here on came after a bounded log was opened.
    pub(super) bound: u64,
    /// Lines that start from here on are not given: they are behind the bound, or not known to be on disk.
    pub(super) until: u64,
    pub(super) said: Said,
    /// A bounded log has nothing more to give.
    pub(super) ended: bool,
    /// It ended because the segment did.
    pub(super) done: bool,
}

impl Current {
    /// The offset of the next line.
    pub(super) fn end(&self) -> u64 {
        self.base + self.at
    }

    /// What is known to be on disk reaches to the offset `synced`. Whether there is a line now that may be given.
    pub(super) fn limit(&mut self, synced: Option<u64>) -> bool {
        // Only a writer of segments that are named by offsets keeps a mark.
        let synced = synced.filter(|_| self.segment.own_base().is_some());
        self.until = self.bound.min(synced.map_or(u64::MAX, |synced| synced.saturating_sub(self.base)));
        self.at < self.until
    }

    /// Gives a line as a record, unless it is a control line. How many records that were.
    #[inline]
    pub(super) fn give(&mut self, line: &Line<'_>, visit: Visit<'_>) -> usize {
        let offset = Offset(self.end());
        self.at += line.length;
        if let Some(control) = control::parse(line.bytes) {
            self.said.take_in(control);
            return 0;
        }
        let log_time_ms = self.said.log_time_ms.unwrap_or(self.segment.modified_ms);
        let region = self.said.region.as_deref();
        visit(Record { offset, log_time_ms, region, payload: Some(line.bytes) });
        1
    }

    /// Reads bytes behind those that are there.
    pub(super) fn read(&mut self, lines: &mut Lines) -> std::io::Result<Got> {
        let space = lines.space();
        let got = self.input.read(space)?;
        let Got::Bytes(bytes) = got else { return Ok(got) };
        let again = usize::try_from(self.skip).map_or(bytes, |skip| skip.min(bytes));
        if again > 0 {
            self.skip -= again as u64;
            space.copy_within(again..bytes, 0);
        }
        lines.filled(bytes - again);
        Ok(got)
    }

    /// The segment as it was listed anew.
    pub(super) fn take_in(&mut self, listed: Segment, pending_bytes: u64) -> Result<(), Lost> {
        let known = if self.segment.is_plain() { self.at + pending_bytes } else { self.segment.size_bytes };
        if listed.size_bytes < known {
            return Err(shrank(&listed.name, listed.size_bytes, known));
        }
        if listed.file_id != self.segment.file_id {
            return Err(Lost::Invalid(format!(
                "file `{}` was replaced by another one while it was being read. A log that is followed must grow by \
                 appending, and go on in a file with a later name",
                listed.name
            )));
        }
        self.input.grow(listed.size_bytes);
        self.segment = listed;
        Ok(())
    }
}

impl Said {
    fn take_in(&mut self, control: Control<'_>) {
        self.log_time_ms = Some(control.log_time_ms);
        if self.region.as_deref() != control.region {
            self.region = control.region.map(Into::into);
        }
    }
}
