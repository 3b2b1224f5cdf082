//! Epochs that the stream seems to have lost, or counted twice: what explains many wrong minutes at once.
//!
//! ```text
//!   wrong minutes ─▶ their clicks in the archive, by epoch ─▶ candidates: streamed − expected = ∓ clicks of one epoch
//!                                                                 │ the one that explains most, then the next …
//!                                                                 ▼
//!                    all minutes of these epochs ─▶ named, if at least half of them are explained
//! ```
//!
//! This is a hint for those who look for the mistake. What is billed does not depend on it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::thread;

use super::{AdDay, ArchiveFactory, ArchiveRow, ArchivedClick, RecountError};

const MINUTE_MS: i64 = 60_000;

/// An epoch that explains less is not named: any minute with few clicks is explained by some epoch.
const LEAST_MINUTES: u64 = 2;

/// An epoch that went wrong, as it seems.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrongEpoch {
    /// The epoch.
    pub epoch: u64,
    /// What went wrong.
    pub mistake: Mistake,
    /// The minutes of ads that it explains.
    pub explained: u64,
    /// The minutes of ads that it has clicks in.
    pub minutes: u64,
    /// By how many clicks the stream is wrong in those that it explains.
    pub clicks: i64,
}

/// What may become of an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mistake {
    /// Its clicks were not counted.
    Lost,
    /// They were counted twice.
    Doubled,
}

impl Mistake {
    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Doubled => "doubled",
        }
    }
}

/// An ad, by its place among those of the day, and a minute.
type Cell = (usize, u32);

/// A wrong minute.
struct Wrong {
    /// Streamed less expected.
    clicks: i64,
    /// The clicks of the archive, by epoch.
    epochs: HashMap<u64, i64>,
}

/// Finds them. The archive must know the hours of all minutes that are wrong; nothing is read if there are none.
pub fn wrong_epochs(
    ads: &[AdDay],
    start_ms: i64,
    archive: &dyn ArchiveFactory,
    threads: usize,
) -> Result<Vec<WrongEpoch>, RecountError> {
    let mut wrong: HashMap<Cell, Wrong> = HashMap::new();
    for (at, ad) in ads.iter().enumerate() {
        for difference in &ad.differences {
            let clicks = difference.streamed - difference.expected;
            wrong.insert((at, difference.minute), Wrong { clicks, epochs: HashMap::new() });
        }
    }
    if wrong.is_empty() {
        return Ok(Vec::new());
    }
    let places: HashMap<&str, usize> = ads.iter().enumerate().map(|(at, ad)| (ad.ad_id.as_str(), at)).collect();
    let day = Day { ads, places, start_ms };
    let by_epoch = in_shares(archive, threads, |share: &mut HashMap<(Cell, u64), i64>, row| {
        if let Some(cell) = day.cell(row).filter(|cell| wrong.contains_key(cell)) {
            *share.entry((cell, row.epoch)).or_default() += 1;
        }
    })?;
    for ((cell, epoch), clicks) in by_epoch.into_iter().flatten() {
        if let Some(wrong) = wrong.get_mut(&cell) {
            *wrong.epochs.entry(epoch).or_default() += clicks;
        }
    }
    let candidates = candidates(wrong.into_values().collect());
    let epochs: HashSet<u64> = candidates.iter().map(|candidate| candidate.epoch).collect();
    let cells = in_shares(archive, threads, |share: &mut HashSet<(u64, Cell)>, row| {
        if epochs.contains(&row.epoch)
            && let Some(cell) = day.cell(row)
        {
            share.insert((row.epoch, cell));
        }
    })?;
    let cells: HashSet<(u64, Cell)> = cells.into_iter().flatten().collect();
    let mut minutes: BTreeMap<u64, u64> = BTreeMap::new();
    for (epoch, _) in cells {
        *minutes.entry(epoch).or_default() += 1;
    }
    let complete = candidates.into_iter().map(|candidate| WrongEpoch {
        minutes: minutes.get(&candidate.epoch).copied().unwrap_or_default(),
        ..candidate
    });
    let mut named: Vec<WrongEpoch> = complete.filter(|epoch| epoch.explained * 2 >= epoch.minutes).collect();
    named.sort_unstable_by_key(|epoch| (epoch.epoch, epoch.mistake));
    Ok(named)
}

struct Day<'a> {
    ads: &'a [AdDay],
    places: HashMap<&'a str, usize>,
    start_ms: i64,
}

impl Day<'_> {
    /// The cell of a row, if the stream should have counted it.
    fn cell(&self, row: &ArchivedClick<'_>) -> Option<Cell> {
        let at = *self.places.get(row.click.ad_id)?;
        let minute = u32::try_from((row.click.event_time_ms() - self.start_ms).div_euclid(MINUTE_MS)).ok()?;
        let billed = self.ads.get(at)?.not_billed.binary_search(&(row.partition, row.offset)).is_err();
        billed.then_some((at, minute))
    }
}

/// The epoch that explains most minutes, then the one that explains most of the others, and so on.
fn candidates(mut wrong: Vec<Wrong>) -> Vec<WrongEpoch> {
    let mut found = Vec::new();
    loop {
        let mut votes: HashMap<(u64, Mistake), u64> = HashMap::new();
        for minute in &wrong {
            for (epoch, mistake) in minute.explanations() {
                *votes.entry((epoch, mistake)).or_default() += 1;
            }
        }
        let most = votes.into_iter().max_by_key(|(which, votes)| (*votes, std::cmp::Reverse(*which)));
        let Some(((epoch, mistake), explained)) = most.filter(|(_, votes)| *votes >= LEAST_MINUTES) else {
            return found;
        };
        let mut clicks = 0;
        wrong.retain(|minute| {
            let is_explained = minute.explanations().any(|which| which == (epoch, mistake));
            clicks += if is_explained { minute.clicks } else { 0 };
            !is_explained
        });
        found.push(WrongEpoch { epoch, mistake, explained, minutes: 0, clicks });
    }
}

impl Wrong {
    fn explanations(&self) -> impl Iterator<Item = (u64, Mistake)> {
        self.epochs.iter().filter_map(|(epoch, clicks)| match self.clicks {
            lost if lost == -clicks => Some((*epoch, Mistake::Lost)),
            doubled if doubled == *clicks => Some((*epoch, Mistake::Doubled)),
            _ => None,
        })
    }
}

/// Takes all rows of the archive, each thread its share.
fn in_shares<S: Default + Send>(
    archive: &dyn ArchiveFactory,
    threads: usize,
    take: impl Fn(&mut S, &ArchivedClick<'_>) + Sync,
) -> Result<Vec<S>, RecountError> {
    let take = &take;
    let share = |number: usize| -> Result<S, RecountError> {
        let mut share = S::default();
        let mut rows = archive.open(number, threads)?;
        let mut each = |row: ArchiveRow<'_>| {
            if let ArchiveRow::Click(row) = row {
                take(&mut share, &row);
            }
        };
        while rows.read(&mut each)? {}
        Ok(share)
    };
    thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|number| scope.spawn(move || share(number))).collect();
        let joined = running.into_iter().map(|thread| match thread.join() {
            Ok(share) => share,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        joined.collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(clicks: i64, epochs: &[(u64, i64)]) -> Wrong {
        Wrong { clicks, epochs: epochs.iter().copied().collect() }
    }

    #[test]
    fn the_epoch_that_explains_most_is_named_first_and_chance_is_not_named() {
        let lost = [wrong(-3, &[(7, 3), (8, 3)]), wrong(-1, &[(7, 1)]), wrong(-2, &[(6, 2), (7, 2)])];
        let doubled = [wrong(5, &[(9, 5)]), wrong(1, &[(9, 1), (7, 1)]), wrong(4, &[(3, 4)])];
        let found = candidates(lost.into_iter().chain(doubled).collect());
        let found: Vec<_> =
            found.iter().map(|epoch| (epoch.epoch, epoch.mistake, epoch.explained, epoch.clicks)).collect();
        assert_eq!(found, [(7, Mistake::Lost, 3, -6), (9, Mistake::Doubled, 2, 6)]);
    }
}
