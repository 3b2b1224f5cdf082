//! Some rows in columns, each of which can be read alone.
//!
//! ```text
//!   ┌─────┬──────┬────────┬────────┬────────┬───────┬─────────┬───────────┬────────┐
//!   │ key │ user │ coupon │ minute │ region │ place │ kind of │ addresses │ footer │
//!   │ 16  │ 16   │ 4      │ 2      │ 1      │ 4 + 8 │ 1       │ 0, 4, 16  │        │
//!   └─────┴──────┴────────┴────────┴────────┴───────┴─────────┴───────────┴────────┘
//!   footer: rows, u32 │ runs: number, u32, then ad, u64, and rows, u32 │ regions: number, u32, then length, u32, and name
//!           │ of each column: start, u64, bytes, u64, XXH3, u128
//! ```
//!
//! All numbers are little-endian. A user is the first half of SHA-256 of its id, as a click's key is of its own: whoever
//! chooses ids could make two of them meet in the hash that coupons are made of. A minute is counted from the day's start;
//! a row outside of the day has [`ELSEWHERE`]. Region 0 is none, the others are counted from 1. A kind of address is its
//! length.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use hashbrown::HashMap;
use weir_checkpoints::Store;
use xxhash_rust::xxh3::xxh3_128;

use super::super::walk::Key;
use super::{IndexError, SegmentInfo, take, take_count, take_text};
use crate::Coupon;

/// The minute of a row that is not of the day.
pub(in crate::reconcile) const ELSEWHERE: u16 = u16::MAX;

/// A column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::reconcile) enum Column {
    Key,
    User,
    Coupon,
    Minute,
    Region,
    Place,
    AddressKind,
    Address,
}

impl Column {
    pub(in crate::reconcile) const ALL: [Self; 8] = [
        Self::Key,
        Self::User,
        Self::Coupon,
        Self::Minute,
        Self::Region,
        Self::Place,
        Self::AddressKind,
        Self::Address,
    ];

    /// Bytes a row; none where that varies.
    const fn width(self) -> Option<usize> {
        match self {
            Self::Key | Self::User => Some(16),
            Self::Coupon => Some(4),
            Self::Minute => Some(2),
            Self::Region | Self::AddressKind => Some(1),
            Self::Place => Some(12),
            Self::Address => None,
        }
    }
}

/// Rows of one ad that follow one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::reconcile) struct Run {
    pub(in crate::reconcile) ad: u64,
    pub(in crate::reconcile) rows: u32,
}

/// What a segment holds, without its columns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Footer {
    pub(super) rows: u32,
    pub(super) runs: Vec<Run>,
    pub(super) regions: Vec<String>,
    pub(super) columns: Vec<Place>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) start: u64,
    pub(super) bytes: u64,
    pub(super) hash: u128,
}

impl Run {
    const BYTES: usize = 12;
}

impl Footer {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend(self.rows.to_le_bytes());
        out.extend((self.runs.len() as u32).to_le_bytes());
        for run in &self.runs {
            out.extend(run.ad.to_le_bytes());
            out.extend(run.rows.to_le_bytes());
        }
        out.extend((self.regions.len() as u32).to_le_bytes());
        for region in &self.regions {
            out.extend((region.len() as u32).to_le_bytes());
            out.extend(region.as_bytes());
        }
        for place in &self.columns {
            out.extend(place.start.to_le_bytes());
            out.extend(place.bytes.to_le_bytes());
            out.extend(place.hash.to_le_bytes());
        }
    }

    pub(super) fn parse(mut bytes: &[u8]) -> Option<Self> {
        let bytes = &mut bytes;
        let rows = u32::from_le_bytes(take(bytes)?);
        let count = take_count(bytes, Run::BYTES)?;
        let mut runs = Vec::with_capacity(count);
        for _ in 0..count {
            runs.push(Run { ad: u64::from_le_bytes(take(bytes)?), rows: u32::from_le_bytes(take(bytes)?) });
        }
        let mut regions = Vec::new();
        for _ in 0..take_count(bytes, 4)? {
            regions.push(take_text(bytes)?);
        }
        let mut columns = Vec::new();
        for column in Column::ALL {
            let place = Place {
                start: u64::from_le_bytes(take(bytes)?),
                bytes: u64::from_le_bytes(take(bytes)?),
                hash: u128::from_le_bytes(take(bytes)?),
            };
            if column.width().is_some_and(|width| place.bytes != u64::from(rows) * width as u64) {
                return None;
            }
            columns.push(place);
        }
        let of_runs: u64 = runs.iter().map(|run| u64::from(run.rows)).sum();
        (bytes.is_empty() && of_runs == u64::from(rows)).then_some(Self { rows, runs, regions, columns })
    }
}

/// A segment that is being read.
pub(in crate::reconcile) struct Segment<'a> {
    store: &'a dyn Store,
    info: &'a SegmentInfo,
    footer: Footer,
    /// What was read, where it is to be kept.
    columns: Option<Mutex<HashMap<Column, Arc<Vec<u8>>>>>,
}

/// A column in memory.
#[derive(Debug, Clone)]
pub(in crate::reconcile) struct Values(Arc<Vec<u8>>);

impl<'a> Segment<'a> {
    /// Reads the footer. With `keep`, columns stay in memory once they are read.
    pub(in crate::reconcile) fn open(
        store: &'a dyn Store,
        info: &'a SegmentInfo,
        keep: bool,
    ) -> Result<Self, IndexError> {
        let damaged = |reason: &str| IndexError::Damaged { name: info.name.clone(), reason: reason.to_owned() };
        let footer = store.get_range(&info.name, info.footer..info.bytes)?;
        if xxh3_128(&footer) != info.footer_hash {
            return Err(damaged("was changed: its footer is another one"));
        }
        let footer = Footer::parse(&footer).ok_or_else(|| damaged("has a footer that cannot be read"))?;
        let columns = keep.then(Mutex::default);
        Ok(Self { store, info, footer, columns })
    }

    /// The runs, with their rows.
    pub(in crate::reconcile) fn runs(&self) -> impl Iterator<Item = (u64, Range<usize>)> {
        let mut next = 0;
        self.footer.runs.iter().map(move |run| {
            let first = next;
            next += run.rows as usize;
            (run.ad, first..next)
        })
    }

    /// The region of a number; none for 0.
    pub(in crate::reconcile) fn region(&self, number: u8) -> Option<&str> {
        usize::from(number).checked_sub(1).and_then(|at| self.footer.regions.get(at)).map(String::as_str)
    }

    pub(in crate::reconcile) fn column(&self, column: Column) -> Result<Values, IndexError> {
        if let Some(columns) = &self.columns
            && let Some(known) = columns.lock().unwrap_or_else(PoisonError::into_inner).get(&column)
        {
            return Ok(Values(Arc::clone(known)));
        }
        let damaged = |reason: String| IndexError::Damaged { name: self.info.name.clone(), reason };
        let place = self.footer.columns.get(column as usize);
        let place = place.ok_or_else(|| damaged(format!("has no column {column:?}")))?;
        let end = place.start.checked_add(place.bytes).filter(|end| *end <= self.info.footer);
        let end = end.ok_or_else(|| damaged(format!("ends before column {column:?}")))?;
        let bytes = self.store.get_range(&self.info.name, place.start..end)?;
        if xxh3_128(&bytes) != place.hash {
            return Err(damaged(format!("was changed: column {column:?} is another one")));
        }
        let values = Arc::new(bytes);
        if let Some(columns) = &self.columns {
            columns.lock().unwrap_or_else(PoisonError::into_inner).insert(column, Arc::clone(&values));
        }
        Ok(Values(values))
    }
}

impl Values {
    /// The bytes of all rows.
    pub(in crate::reconcile) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Hashes, of a column of them.
    #[inline]
    pub(in crate::reconcile) fn hashes(&self) -> impl Iterator<Item = Key> {
        self.0.as_chunks::<16>().0.iter().map(|bytes| halves(*bytes))
    }

    /// The hash of a row.
    #[inline]
    pub(in crate::reconcile) fn hash(&self, row: usize) -> Key {
        self.0.as_chunks::<16>().0.get(row).map_or((0, 0), |bytes| halves(*bytes))
    }

    /// The coupon of a row.
    #[inline]
    pub(in crate::reconcile) fn coupon(&self, row: usize) -> Coupon {
        Coupon(self.0.as_chunks::<4>().0.get(row).map_or(0, |bytes| u32::from_le_bytes(*bytes)))
    }

    /// The minute of a row.
    #[inline]
    pub(in crate::reconcile) fn minute(&self, row: usize) -> u16 {
        self.0.as_chunks::<2>().0.get(row).map_or(ELSEWHERE, |bytes| u16::from_le_bytes(*bytes))
    }

    /// The region's number of a row.
    #[inline]
    pub(in crate::reconcile) fn number(&self, row: usize) -> u8 {
        self.0.get(row).copied().unwrap_or_default()
    }

    /// Partition and offset of a row.
    #[inline]
    pub(in crate::reconcile) fn place(&self, row: usize) -> (u32, u64) {
        let Some(bytes) = self.0.as_chunks::<12>().0.get(row) else { return (0, 0) };
        let &[p0, p1, p2, p3, offset @ ..] = bytes;
        (u32::from_le_bytes([p0, p1, p2, p3]), u64::from_le_bytes(offset))
    }
}

#[inline]
fn halves(bytes: [u8; 16]) -> Key {
    let both = u128::from_le_bytes(bytes);
    (both as u64, (both >> 64) as u64)
}
