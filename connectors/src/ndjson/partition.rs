//! One partition, read segment by segment.
//!
//! ```text
//!            Bytes                  AtEnd, next segment listed ▶ final, read once more
//!   visit ◀─────── read ─────────▶  AtEnd, nothing listed      ▶ caught up
//!   lines                           Final                      ▶ torn line is a record; next segment, or the end
//! ```
//!
//! A line is given once its offset lies before the log's mark ([`super::synced`]), where the log has one: what lies
//! behind may not be on disk. A bounded log ends where the mark was when it was opened.
//!
//! A segment that is followed by another is written no more. It is taken as final only when a listing has shown the
//! other, and its end was met by a read after that.

use std::collections::VecDeque;
use std::sync::Arc;

use weir_checkpoints::{Offset, PartitionId, Position};
use weir_dataflow::{Polled, Record, SourceError};

use super::bounded;
use super::current::Current;
use super::cursor::Cursor;
use super::folder::{Folder, Listing};
use super::input::{Got, Input};
use super::lines::Lines;
use super::resume::{Lost, Said, Start, appeared_behind, base_behind, shrank, start};
use super::segment::Segment;
use super::synced::Synced;
use super::watch::Watch;

/// A partition's reader.
pub(super) struct Partition {
    id: PartitionId,
    topic: Arc<str>,
    folder: Folder,
    follow: bool,
    watch: Watch,
    synced: Synced,
    lines: Lines,
    /// The segment that is being read, or that was the last.
    current: Option<Current>,
    /// The segments behind it, as far as they were listed.
    ahead: VecDeque<Segment>,
    /// How many segments there are before it.
    before: usize,
    /// Where the first segment must start, while there is none.
    next_offset: u64,
}

enum Step {
    Again,
    Finish,
    Stop(Polled),
}

/// Is given the records.
pub(super) type Visit<'v> = &'v mut dyn FnMut(Record<'_>);

impl Partition {
    /// Opens the partition where an earlier attempt stopped, or at its start.
    pub(super) fn open(
        id: PartitionId,
        topic: Arc<str>,
        folder: Folder,
        follow: bool,
        position: Option<&Position>,
    ) -> Result<Self, SourceError> {
        let listing = folder.list("")?;
        let mut synced = Synced::open(&folder).map_err(|error| folder.unreadable("", error))?;
        if !follow {
            let ends = bounded::find_end(&folder, &listing.segments, &mut synced);
            ends.map_err(|error| folder.unreadable("", error))?;
        }
        let mut partition = Self {
            id,
            topic,
            folder,
            follow,
            watch: Watch::new(),
            synced,
            lines: Lines::new(),
            current: None,
            ahead: VecDeque::new(),
            before: 0,
            next_offset: 0,
        };
        match start(&listing.segments, position).map_err(|lost| partition.lost(lost))? {
            Start::Nothing { next_offset } => partition.next_offset = next_offset,
            Start::At { index, base, consumed, said } => {
                partition.before = index;
                partition.ahead = listing.segments.into_iter().skip(index).collect();
                partition.begin(base, consumed, said)?;
            }
        }
        Ok(partition)
    }

    /// See [`weir_dataflow::Source::poll`].
    pub(super) fn poll(&mut self, max: usize, visit: Visit<'_>) -> Result<Polled, SourceError> {
        let mut visited = 0;
        loop {
            visited += self.visit_lines(max - visited, visit);
            if visited == max {
                return Ok(Polled::Records(visited));
            }
            match self.step()? {
                Step::Again => {}
                Step::Finish => visited += self.finish(visit)?,
                Step::Stop(_) if visited > 0 => return Ok(Polled::Records(visited)),
                Step::Stop(polled) => return Ok(polled),
            }
        }
    }

    /// See [`weir_dataflow::Source::position`].
    pub(super) fn position(&self) -> Position {
        let Some(current) = &self.current else {
            return Position { next_offset: Offset(self.next_offset), cursor: None };
        };
        let cursor = Cursor {
            segment: current.segment.name.clone(),
            base: current.base,
            before: self.before,
            log_time_ms: current.said.log_time_ms,
            region: current.said.region.as_deref().map(str::to_owned),
            done: current.done,
        };
        Position { next_offset: Offset(current.end()), cursor: cursor.to_text() }
    }

    /// See [`weir_dataflow::Source::lag`]. Nobody knows how long a compressed segment is before it is read.
    pub(super) fn lag(&self) -> Option<u64> {
        let Some(current) = &self.current else { return Some(0) };
        let mut listed = std::iter::once(&current.segment).chain(&self.ahead);
        let end = listed.try_fold(0, |sum, segment| segment.is_plain().then_some(sum + segment.size_bytes))?;
        Some(end.saturating_sub(current.at))
    }

    #[inline]
    fn visit_lines(&mut self, max: usize, visit: Visit<'_>) -> usize {
        let Some(current) = &mut self.current else { return 0 };
        let mut visited = 0;
        while visited < max && current.at < current.until {
            let Some(line) = self.lines.next() else { break };
            visited += current.give(&line, visit);
        }
        visited
    }

    /// Gets more bytes, or finds out why there are none.
    fn step(&mut self) -> Result<Step, SourceError> {
        let Some(current) = &mut self.current else { return self.wait_for_the_first() };
        if current.at >= current.until {
            let is_more = self.lines.pending_bytes() > 0;
            if self.follow && is_more {
                return self.wait_for_the_mark();
            }
            // What lies behind the mark is not even read: a compressed segment may break off there.
            let is_marked = self.synced.offset().is_some() && self.ahead.is_empty() && current.skip == 0;
            current.ended |= !self.follow && (is_more || is_marked);
        }
        if current.ended {
            return Ok(Step::Stop(Polled::Ended));
        }
        match current.read(&mut self.lines) {
            Ok(Got::Bytes(_)) => self.look_for_a_mark(),
            Ok(Got::Pending) => Ok(Step::Stop(Polled::Pending)),
            Ok(Got::Final) => Ok(Step::Finish),
            Ok(Got::AtEnd) if self.ahead.is_empty() => self.wait_for_more(),
            Ok(Got::AtEnd) => {
                current.input.set_final();
                Ok(Step::Again)
            }
            Err(error) => Err(self.folder.unreadable(&current.segment.name, error)),
        }
    }

    fn wait_for_the_first(&mut self) -> Result<Step, SourceError> {
        if !self.follow {
            return Ok(Step::Stop(Polled::Ended));
        }
        let Some(listing) = self.watch.look(&self.folder, "")? else { return Ok(Step::Stop(Polled::CaughtUp)) };
        let Some(first) = listing.segments.first() else { return Ok(Step::Stop(Polled::CaughtUp)) };
        let base = base_behind(first, self.next_offset).map_err(|lost| self.lost(lost))?;
        self.ahead = listing.segments.into();
        self.begin(base, 0, Said::default())?;
        Ok(Step::Again)
    }

    /// There are lines, and they are not known to be on disk.
    fn wait_for_the_mark(&mut self) -> Result<Step, SourceError> {
        self.synced.look().map_err(|error| self.folder.unreadable("", error))?;
        let more = self.current.as_mut().is_some_and(|current| current.limit(self.synced.offset()));
        if more { Ok(Step::Again) } else { self.wait_for_more() }
    }

    /// A log without a mark may get one, before the first line that needs it: so after each read, and before a line of
    /// what was read is given.
    fn look_for_a_mark(&mut self) -> Result<Step, SourceError> {
        if self.follow && self.synced.offset().is_none() {
            self.synced.look().map_err(|error| self.folder.unreadable("", error))?;
            if let Some(current) = &mut self.current {
                current.limit(self.synced.offset());
            }
        }
        Ok(Step::Again)
    }

    fn wait_for_more(&mut self) -> Result<Step, SourceError> {
        let from = self.current.as_ref().map_or("", |current| &current.segment.name);
        match self.watch.look(&self.folder, from)? {
            None => Ok(Step::Stop(Polled::CaughtUp)),
            Some(listing) => {
                self.synced.reopen().map_err(|error| self.folder.unreadable("", error))?;
                self.take_in(listing).map_err(|lost| self.lost(lost))?;
                if let Some(current) = &mut self.current {
                    current.limit(self.synced.offset());
                }
                Ok(Step::Again)
            }
        }
    }

    /// Compares what is there now with what was there before. A segment that was removed while it is open is read to
    /// its end all the same.
    fn take_in(&mut self, listing: Listing) -> Result<(), Lost> {
        let Some(current) = &mut self.current else { return Ok(()) };
        if listing.before > self.before && current.segment.own_base().is_none() {
            return Err(appeared_behind(&current.segment.name));
        }
        self.before = listing.before;
        self.ahead = listing.segments.into();
        if self.ahead.front().is_some_and(|segment| segment.name == current.segment.name)
            && let Some(listed) = self.ahead.pop_front()
        {
            current.take_in(listed, self.lines.pending_bytes())?;
        }
        Ok(())
    }

    /// The current segment is over: its last line needs no line break, and the next segment begins.
    fn finish(&mut self, visit: Visit<'_>) -> Result<usize, SourceError> {
        let Some(current) = &mut self.current else { return Ok(0) };
        if current.skip > 0 {
            let lost = shrank(&current.segment.name, current.at - current.skip, current.at);
            return Err(self.lost(lost));
        }
        let visited = self.lines.rest().map_or(0, |line| current.give(&line, visit));
        let end = current.end();
        match self.ahead.front() {
            None => (current.ended, current.done) = (true, true),
            Some(next) => {
                let base = base_behind(next, end).map_err(|lost| self.lost(lost))?;
                self.before += 1;
                self.begin(base, 0, Said::default())?;
            }
        }
        Ok(visited)
    }

    /// Opens the first segment ahead.
    fn begin(&mut self, base: u64, consumed: u64, said: Said) -> Result<(), SourceError> {
        let Some(mut segment) = self.ahead.pop_front() else { return Ok(()) };
        self.lines.clear();
        let mut input = Input::open(&self.folder, &mut segment, consumed)
            .map_err(|error| self.folder.unreadable(&segment.name, error))?;
        let is_last = self.ahead.is_empty();
        if !self.follow || !is_last {
            input.set_final();
        }
        let skip = if segment.is_plain() { 0 } else { consumed };
        let bound = if !self.follow && is_last && segment.is_plain() { segment.size_bytes } else { u64::MAX };
        let at = consumed;
        let mut current =
            Current { segment, input, base, at, skip, bound, until: bound, said, ended: false, done: false };
        current.limit(self.synced.offset());
        self.current = Some(current);
        Ok(())
    }

    fn lost(&self, lost: Lost) -> SourceError {
        match lost {
            Lost::Gone { expected, first_available } => SourceError::Gone {
                unit: "bytes",
                topic: self.topic.to_string(),
                partition: self.id,
                expected: Offset(expected),
                last_missing: Offset(first_available.saturating_sub(1)),
                first_available: Offset(first_available),
            },
            Lost::Invalid(reason) => SourceError::Invalid { location: self.folder.url.clone(), reason },
        }
    }
}
