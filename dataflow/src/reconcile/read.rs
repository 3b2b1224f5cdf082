//! Operator `read`: a worker's share of the archive, as changes.
//!
//! A pass sends the copies of the clicks in its shards, which are ranges of keys; the first one also sends all that needs no
//! range. When all of a pass is there, its shards are walked in rounds, and the next pass starts when that is done.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{ProbeHandle, Scope, StreamVec};
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_seed};

use super::index::{IndexError, IndexWriter};
use super::merkle::click_key;
use super::outcome::Outcome;
use super::settle::AdPart;
use super::tally::{Cell, CellChange, CellKey};
use super::walk::{Copy, CopyUpdate, Kind, shard_of};
use super::{Archive, ArchiveError, ArchiveRow, ArchivedClick, Recount, RecountError, Rounds, SHARDS, StreamedWindow};
use crate::{Coupon, LateReason, UserSketch};

/// Another seed than the stream's: an ad or user that it mistakes for another is not mistaken here.
const SEED: u64 = 0x7265_636f_756e_7401;

const MINUTE_MS: i64 = 60_000;

/// How long it waits before it looks again whether a round was walked.
const ROUND_WAIT: Duration = Duration::from_micros(100);

/// A user of an ad.
pub(super) type UserUpdate = ((u64, (u64, u64)), u32, i32);

/// The streams that it makes.
pub(super) struct Reading<'scope> {
    pub(super) copies: StreamVec<'scope, u32, CopyUpdate>,
    pub(super) cells: StreamVec<'scope, u32, CellChange>,
    pub(super) users: StreamVec<'scope, u32, UserUpdate>,
    pub(super) parts: StreamVec<'scope, u32, AdPart>,
}

impl<'scope> Reading<'scope> {
    pub(super) fn new(
        scope: Scope<'scope, u32>,
        recount: &Arc<Recount>,
        outcome: &Arc<Outcome>,
        walked: ProbeHandle<u32>,
    ) -> Self {
        let mut builder = OperatorBuilder::new("read".to_owned(), scope);
        let (copies, copies_stream) = builder.new_output();
        let (cells, cells_stream) = builder.new_output();
        let (users, users_stream) = builder.new_output();
        let (parts, parts_stream) = builder.new_output();
        let mut copies = OutputBuilder::<u32, CapacityContainerBuilder<Vec<CopyUpdate>>>::from(copies);
        let mut cells = OutputBuilder::<u32, CapacityContainerBuilder<Vec<CellChange>>>::from(cells);
        let mut users = OutputBuilder::<u32, CapacityContainerBuilder<Vec<UserUpdate>>>::from(users);
        let mut parts = OutputBuilder::<u32, CapacityContainerBuilder<Vec<AdPart>>>::from(parts);
        let activator = scope.activator_for(Rc::clone(&builder.operator_info().address));
        let (worker, workers) = (scope.worker().index(), scope.worker().peers());
        let opened = recount.archive.open(worker, workers);
        let rounds = Rounds::new(recount.passes, workers);
        let (recount, outcome) = (Arc::clone(recount), Arc::clone(outcome));
        builder.build(move |capabilities| {
            let mut held = <[Capability<u32>; 4]>::try_from(capabilities).ok();
            let mut reader = opened.map(|archive| Reader::new(archive, Arc::clone(&recount), worker, rounds));
            move |_frontiers| {
                let Some(all) = &mut held else { return };
                if outcome.failed() {
                    held = None;
                    return;
                }
                let stepped = match &mut reader {
                    Ok(reader) if walked.less_than(&reader.round) => {
                        activator.activate_after(ROUND_WAIT);
                        return;
                    }
                    Ok(reader) => reader.step().map(|done| (reader, done)),
                    Err(error) => Err(RecountError::from(std::mem::replace(error, ArchiveError::Unfit(String::new())))),
                };
                let [for_copies, for_cells, for_users, for_parts] = all;
                let (reader, done) = match stepped {
                    Ok(stepped) => stepped,
                    Err(error) => {
                        // The first worker may be in another process.
                        let failed = AdPart::Failed { reason: error.to_string() };
                        parts.activate().session(for_parts).give(failed);
                        outcome.fail(error);
                        held = None;
                        return;
                    }
                };
                copies.activate().session(for_copies).give_iterator(reader.copies.drain(..));
                cells.activate().session(for_cells).give_iterator(reader.cells.drain(..));
                users.activate().session(for_users).give_iterator(reader.users.drain(..));
                parts.activate().session(for_parts).give_iterator(reader.parts.drain(..));
                if done {
                    reader.next_round();
                    if reader.round == reader.rounds.count() {
                        held = None;
                        return;
                    }
                    all.iter_mut().for_each(|capability| capability.downgrade(&reader.round));
                }
                activator.activate();
            }
        });
        Self { copies: copies_stream, cells: cells_stream, users: users_stream, parts: parts_stream }
    }
}

struct Reader {
    archive: Box<dyn Archive>,
    rows: Rows,
}

/// What is made of the rows.
struct Rows {
    recount: Arc<Recount>,
    worker: usize,
    rounds: Rounds,
    /// The round that is being completed.
    round: u32,
    pass: u32,
    /// Whether all of this pass has been read.
    is_read: bool,
    read: u64,
    /// The ad of the last row: files are sorted by ad.
    last: (String, u64),
    ads: HashMap<u64, AdSeen>,
    /// The cell of the last rows, and their number: within an ad, they are sorted by time.
    run: Option<(CellKey, i32)>,
    copies: Vec<CopyUpdate>,
    cells: Vec<CellChange>,
    users: Vec<UserUpdate>,
    parts: Vec<AdPart>,
    index: Option<IndexWriter>,
    failure: Option<RecountError>,
}

struct AdSeen {
    name: Box<str>,
    users: UserSketch,
    copies: i64,
    streamed: i64,
}

impl std::ops::Deref for Reader {
    type Target = Rows;

    fn deref(&self) -> &Rows {
        &self.rows
    }
}

impl std::ops::DerefMut for Reader {
    fn deref_mut(&mut self) -> &mut Rows {
        &mut self.rows
    }
}

impl Reader {
    fn new(archive: Box<dyn Archive>, recount: Arc<Recount>, worker: usize, rounds: Rounds) -> Self {
        let index = recount.index.clone().map(|to| IndexWriter::new(to, worker));
        let rows = Rows {
            recount,
            worker,
            rounds,
            round: 0,
            pass: 0,
            is_read: false,
            read: 0,
            last: (String::new(), 0),
            ads: HashMap::new(),
            run: None,
            copies: Vec::new(),
            cells: Vec::new(),
            users: Vec::new(),
            parts: Vec::new(),
            index,
            failure: None,
        };
        Self { archive, rows }
    }

    /// Reads some rows; true when those of the round at hand are all there.
    fn step(&mut self) -> Result<bool, RecountError> {
        if self.rows.is_read {
            return Ok(true);
        }
        let before = self.rows.read;
        let rows = &mut self.rows;
        let more = self.archive.read(&mut |row| rows.take(row))?;
        if let Some(failure) = rows.failure.take() {
            return Err(failure);
        }
        rows.recount.progress.add(rows.read - before);
        if !more && rows.pass == 0 {
            rows.finish_first_pass();
        }
        rows.is_read = !more;
        Ok(!more)
    }

    /// Turns to the next round, and reads the archive again where a pass begins with it.
    fn next_round(&mut self) {
        let rows = &mut self.rows;
        rows.round += 1;
        let pass = rows.rounds.pass_of(rows.round);
        if pass != rows.pass && rows.round < rows.rounds.count() {
            rows.pass = pass;
            rows.is_read = false;
            self.archive.rewind();
        }
    }
}

impl Rows {
    #[inline]
    fn take(&mut self, row: ArchiveRow<'_>) {
        match row {
            ArchiveRow::Click(click) => {
                self.read += 1;
                self.copy(&click, Kind::Archived);
            }
            ArchiveRow::Late(click, LateReason::Late) => self.copy(&click, Kind::Late),
            ArchiveRow::Late(click, LateReason::Future) => self.copy(&click, Kind::Future),
            ArchiveRow::Streamed(window) if self.pass == 0 => self.streamed(&window),
            ArchiveRow::Streamed(_) => {}
        }
    }

    #[inline]
    fn copy(&mut self, row: &ArchivedClick<'_>, kind: Kind) {
        let time_ms = row.click.event_time_ms();
        let Recount { start_ms, end_ms, margin_ms, exact_users, .. } = *self.recount;
        if time_ms < start_ms - margin_ms || time_ms >= end_ms + margin_ms {
            return;
        }
        let ad = self.ad(row.click.ad_id);
        let minute = (start_ms..end_ms).contains(&time_ms).then(|| ((time_ms - start_ms) / MINUTE_MS) as u32);
        let key = match row.click.click_id {
            Some(click_id) => click_key(click_id),
            None => click_key(&row.click.key().to_click_id()),
        };
        if self.pass == 0 && kind == Kind::Archived {
            let coupon = Coupon::of_user(row.click.user_id);
            if let Some(minute) = minute {
                self.add_to_run((ad, minute));
                if !row.excluded && exact_users {
                    self.user_exactly(ad, row.click.user_id);
                } else if !row.excluded
                    && let Some(seen) = self.ads.get_mut(&ad)
                {
                    seen.users.update(coupon);
                }
            }
            let indexed = self.index.as_mut().map(|index| index.push(row, ad, minute, key, coupon));
            self.indexed(indexed.transpose());
        }
        let round = self.rounds.of(shard_of(key));
        if self.rounds.pass_of(round) == self.pass {
            let copy = Copy::new(row, ad, minute, kind);
            self.copies.push(((key, copy), round, 1));
        }
    }

    fn user_exactly(&mut self, ad: u64, user_id: &str) {
        let user = xxh3_128_with_seed(user_id.as_bytes(), SEED);
        self.users.push(((ad, ((user >> 64) as u64, user as u64)), SHARDS, 1));
    }

    fn streamed(&mut self, window: &StreamedWindow<'_>) {
        let Recount { start_ms, end_ms, .. } = *self.recount;
        if !(start_ms..end_ms).contains(&window.start_ms) {
            return;
        }
        let ad = self.ad(window.ad_id);
        let minute = ((window.start_ms - start_ms) / MINUTE_MS) as u32;
        let Ok(streamed) = i32::try_from(window.clicks) else {
            let what = format!("{} has {} clicks in one minute", window.ad_id, window.clicks);
            self.failure.get_or_insert(RecountError::Contradiction(what));
            return;
        };
        self.cells.push((((ad, minute), ()), SHARDS, Cell { streamed, ..Cell::default() }));
        if let Some(seen) = self.ads.get_mut(&ad) {
            seen.streamed += window.clicks;
        }
    }

    #[inline]
    fn add_to_run(&mut self, key: CellKey) {
        match &mut self.run {
            Some((running, copies)) if *running == key => *copies += 1,
            _ => {
                self.end_run();
                self.run = Some((key, 1));
            }
        }
    }

    fn end_run(&mut self) {
        let Some((key, copies)) = self.run.take() else { return };
        self.cells.push(((key, ()), SHARDS, Cell { to_be_streamed: copies, ..Cell::default() }));
        if let Some(seen) = self.ads.get_mut(&key.0) {
            seen.copies += i64::from(copies);
        }
    }

    /// The number of an ad, which is a hash of its name. Should two names ever meet in one, that is noticed.
    #[inline]
    fn ad(&mut self, ad_id: &str) -> u64 {
        if self.last.0 == ad_id && self.last.1 != 0 {
            return self.last.1;
        }
        let ad = ad_number(ad_id);
        let new = || AdSeen { name: ad_id.into(), users: UserSketch::new(), copies: 0, streamed: 0 };
        let known = self.ads.entry(ad).or_insert_with(new);
        if *known.name != *ad_id {
            let error = same_number(&known.name, ad_id);
            self.failure.get_or_insert(error);
        }
        self.last.0.clear();
        self.last.0.push_str(ad_id);
        self.last.1 = ad;
        ad
    }

    /// A day is closed without an index, if that cannot be written.
    fn indexed<T>(&mut self, indexed: Result<Option<T>, IndexError>) -> Option<T> {
        indexed.unwrap_or_else(|error| {
            self.index = None;
            self.parts.push(AdPart::NotIndexed { reason: error.to_string() });
            None
        })
    }

    fn finish_first_pass(&mut self) {
        self.end_run();
        let segments = self.index.as_mut().map(IndexWriter::finish);
        if let Some(segments) = self.indexed(segments.transpose()) {
            self.parts.extend(segments.into_iter().map(|segment| AdPart::Indexed { segment }));
        }
        for (ad, seen) in self.ads.drain() {
            let mut users = Vec::new();
            seen.users.encode(&mut users);
            let AdSeen { name, copies, streamed, .. } = seen;
            self.parts.push(AdPart::Seen { ad, name: name.into(), users, copies, streamed });
        }
        self.last.1 = 0;
        self.parts.push(AdPart::Read { worker: self.worker, rows: self.read });
    }
}

/// Never 0.
pub(super) fn ad_number(ad_id: &str) -> u64 {
    xxh3_64_with_seed(ad_id.as_bytes(), SEED).max(1)
}

/// Two names with one number: what is counted for one would be billed to the other.
pub(super) fn same_number(a: &str, b: &str) -> RecountError {
    RecountError::Contradiction(format!("the ads `{a}` and `{b}` have the same 64-bit hash; rename one of them"))
}
