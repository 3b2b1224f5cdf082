//! Which rows are on a list.

use std::net::IpAddr;

use super::super::index::{Column, ELSEWHERE, IndexError, KeyMap, Segment};
use super::super::walk::Key;
use super::{Addresses, InvalidTraffic};

/// On a list that was in use when the index was made.
pub(super) const INDEXED: u8 = 1;
/// On a list of the revision before.
pub(super) const BEFORE: u8 = 2;
/// On a list of now.
pub(super) const NOW: u8 = 4;

/// Three times some lists, looked at together.
pub(super) struct Lists {
    clicks: KeyMap<u8>,
    users: KeyMap<u8>,
    addresses: Vec<(u8, Addresses)>,
}

/// A row that is on a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Match {
    pub(super) row: u32,
    /// On which ones.
    pub(super) lists: u8,
    pub(super) ad: u64,
    pub(super) key: Key,
    pub(super) minute: u16,
    pub(super) place: (u32, u64),
}

impl Match {
    pub(super) const fn is_here(&self) -> bool {
        self.minute != ELSEWHERE
    }
}

impl Lists {
    /// Of the index, of the revision before, of now.
    pub(super) fn of(lists: [&InvalidTraffic; 3]) -> Self {
        let mut all = Self { clicks: KeyMap::default(), users: KeyMap::default(), addresses: Vec::new() };
        for (traffic, list) in lists.into_iter().zip([INDEXED, BEFORE, NOW]) {
            traffic.clicks.iter().for_each(|key| *all.clicks.entry(key, || 0) |= list);
            traffic.users.iter().for_each(|key| *all.users.entry(key, || 0) |= list);
            all.addresses.extend(traffic.addresses.clone().map(|addresses| (list, addresses)));
        }
        all
    }

    /// The rows of a segment that are on any of them, in their order.
    pub(super) fn matches(&self, segment: &Segment<'_>) -> Result<Vec<Match>, IndexError> {
        let mut rows: Vec<(u32, u8)> = Vec::new();
        for (lists, column) in [(&self.clicks, Column::Key), (&self.users, Column::User)] {
            if lists.is_empty() {
                continue;
            }
            let column = segment.column(column)?;
            let found = column.hashes().zip(0..).filter_map(|(key, row)| Some((row, *lists.get(key)?)));
            rows.extend(found);
        }
        if !self.addresses.is_empty() {
            self.by_address(segment, &mut rows)?;
        }
        rows.sort_unstable();
        self.complete(segment, &rows)
    }

    fn by_address(&self, segment: &Segment<'_>, rows: &mut Vec<(u32, u8)>) -> Result<(), IndexError> {
        let (kinds, addresses) = (segment.column(Column::AddressKind)?, segment.column(Column::Address)?);
        let mut rest = addresses.bytes();
        for (kind, row) in kinds.bytes().iter().zip(0..) {
            let Some((bytes, others)) = rest.split_at_checked(usize::from(*kind)) else { break };
            rest = others;
            let address = match (<[u8; 4]>::try_from(bytes), <[u8; 16]>::try_from(bytes)) {
                (Ok(octets), _) => IpAddr::from(octets),
                (_, Ok(octets)) => IpAddr::from(octets),
                _ => continue,
            };
            let of_lists = self.addresses.iter().filter(|(_, has)| has(address));
            let lists = of_lists.fold(0, |lists, (list, _)| lists | list);
            if lists != 0 {
                rows.push((row, lists));
            }
        }
        Ok(())
    }

    /// What else is known of the rows; each may be there several times.
    fn complete(&self, segment: &Segment<'_>, rows: &[(u32, u8)]) -> Result<Vec<Match>, IndexError> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let (keys, minutes) = (segment.column(Column::Key)?, segment.column(Column::Minute)?);
        let places = segment.column(Column::Place)?;
        let mut runs = segment.runs();
        let mut run = runs.next();
        let mut matches = Vec::with_capacity(rows.len());
        for of_row in rows.chunk_by(|(row, _), (other, _)| row == other) {
            let Some(&(row, _)) = of_row.first() else { continue };
            let at = row as usize;
            while run.as_ref().is_some_and(|(_, rows)| rows.end <= at) {
                run = runs.next();
            }
            let Some((ad, _)) = run else { break };
            matches.push(Match {
                row,
                lists: of_row.iter().fold(0, |lists, (_, list)| lists | list),
                ad,
                key: keys.hash(at),
                minute: minutes.minute(at),
                place: places.place(at),
            });
        }
        Ok(matches)
    }
}
