//! Which rows of a row group may match, by what its footer says.

use std::ops::Range;

use super::figures::Counters;
use super::file_index::{ChunkIndex, Column, GroupIndex};
use super::query::Wanted;

/// Rows in their order, without overlap.
pub(super) type Selection = Vec<Range<usize>>;

/// The rows that may match: ranges of the row group, bloom filter, then ranges of the pages.
pub(super) fn candidates(group: &GroupIndex, wanted: &Wanted<'_>, counters: &Counters) -> Selection {
    counters.row_groups.add(1);
    let ads_fit = group.ads.as_ref().is_none_or(|(min, max)| wanted.ads_within(min, Some(max)));
    if !ads_fit || !group.starts_ms.is_none_or(|(min, max)| wanted.starts_within(min, max)) {
        counters.row_groups_by_ranges.add(1);
        return Selection::new();
    }
    let hashed = |bloom: &parquet::bloom_filter::Sbbf| wanted.ads().iter().any(|ad| bloom.check(*ad));
    if !wanted.all_ads() && !group.bloom.as_ref().is_none_or(hashed) {
        counters.row_groups_by_bloom.add(1);
        return Selection::new();
    }
    counters.rows.add(group.rows);
    let ads = pages(group, Column::Ad, &group.ad_pages, |(min, max)| wanted.ads_within(min, Some(max)));
    let starts = pages(group, Column::Start, &group.start_pages_ms, |(min, max)| wanted.starts_within(*min, *max));
    let selection = intersect(&ads, &starts);
    counters.rows_by_page_index.add(group.rows - count(&selection));
    selection
}

/// How many rows these are.
pub(super) fn count(selection: &[Range<usize>]) -> usize {
    selection.iter().map(ExactSizeIterator::len).sum()
}

/// The rows of the pages whose bounds fit, or all of them where there are no bounds.
fn pages<B>(group: &GroupIndex, column: Column, bounds: &[Option<B>], fits: impl Fn(&B) -> bool) -> Selection {
    let Some(chunk) = group.chunk(column).filter(|_| !bounds.is_empty()) else {
        return std::iter::once(0..group.rows).collect();
    };
    let kept = bounds.iter().enumerate().filter(|(_, bounds)| bounds.as_ref().is_none_or(&fits));
    merge(kept.map(|(page, _)| ChunkIndex::page_rows(chunk, page, group.rows)))
}

/// Ranges in their order, those that touch as one.
pub(super) fn merge(ranges: impl Iterator<Item = Range<usize>>) -> Selection {
    let mut merged = Selection::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => merged.push(range),
        }
    }
    merged
}

pub(super) fn intersect(one: &[Range<usize>], other: &[Range<usize>]) -> Selection {
    let mut both = Selection::new();
    let (mut one, mut other) = (one.iter().peekable(), other.iter().peekable());
    while let (Some(a), Some(b)) = (one.peek(), other.peek()) {
        let common = a.start.max(b.start)..a.end.min(b.end);
        let first_ends = a.end <= b.end;
        if !common.is_empty() {
            both.push(common);
        }
        if first_ends {
            one.next()
        } else {
            other.next()
        };
    }
    both
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::single_range_in_vec_init, reason = "selections are lists of ranges")]
    fn selections_intersect() {
        let check = |one: &[Range<usize>], other: &[Range<usize>], expect: &[Range<usize>]| {
            assert_eq!(intersect(one, other), expect);
            assert_eq!(intersect(other, one), expect);
        };
        check(&[0..10], &[], &[]);
        check(&[0..10], &[0..10], &[0..10]);
        check(&[0..4, 6..9], &[2..7], &[2..4, 6..7]);
        check(&[0..1, 2..3, 4..5], &[1..2, 3..4], &[]);
        check(&[0..5, 8..20], &[4..9, 10..11, 19..30], &[4..5, 8..9, 10..11, 19..20]);
    }
}
