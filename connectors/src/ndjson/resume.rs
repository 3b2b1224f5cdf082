//! Where to read on: from what is stored and what is there, decided without touching either.
//!
//! ```text
//! no position            ▶ the first segment, wherever the log starts
//! segment still there    ▶ in it, if it is not shorter than what was read of it
//! segment gone           ▶ its compressed copy (same 20 digits), or the segment that starts at the position
//! anything else          ▶ an error: nothing is skipped
//! ```

use std::sync::Arc;

use weir_checkpoints::Position;

use super::cursor::Cursor;
use super::segment::{Segment, own_base};

/// The decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Start {
    /// There is no segment yet; the first to come must start at this offset.
    Nothing { next_offset: u64 },
    /// Segment `index`, from its byte `consumed` on.
    At { index: usize, base: u64, consumed: u64, said: Said },
}

/// What the last control line said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) log_time_ms: Option<i64>,
    pub(super) region: Option<Arc<str>>,
}

/// Why there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Lost {
    /// The log starts behind the next offset.
    Gone { expected: u64, first_available: u64 },
    /// What is wrong, and what to do.
    Invalid(String),
}

/// Finds a position among the segments that there are, which are in the order of their names.
pub(super) fn start(segments: &[Segment], position: Option<&Position>) -> Result<Start, Lost> {
    let Some(position) = position else { return from_the_first(segments, None) };
    let next_offset = position.next_offset.0;
    let Some(text) = &position.cursor else {
        if next_offset != 0 {
            return Err(invalid(format!("the stored position {next_offset} does not say which segment it is in")));
        }
        return from_the_first(segments, Some(0));
    };
    let cursor = Cursor::parse(text).map_err(|error| invalid(format!("the stored position is damaged: {error}")))?;
    let Some(consumed) = next_offset.checked_sub(cursor.base) else {
        return Err(invalid(format!("the stored position {next_offset} lies before its segment {}", cursor.base)));
    };
    match find(segments, &cursor, next_offset) {
        Some((index, base)) if base == cursor.base => in_the_same(segments, index, &cursor, consumed),
        Some((index, base)) => Ok(Start::At { index, base, consumed: 0, said: Said::default() }),
        None => Err(missing(segments, &cursor, next_offset)),
    }
}

/// The base of a segment that is to follow on `end`: its name must not say otherwise.
pub(super) fn base_behind(segment: &Segment, end: u64) -> Result<u64, Lost> {
    match segment.own_base() {
        None => Ok(end),
        Some(base) if base == end => Ok(end),
        Some(base) if base > end => Err(Lost::Gone { expected: end, first_available: base }),
        Some(_) => Err(invalid(format!(
            "segment `{}` should start at offset {end}, where the one before it ends; two writers may have used this \
             folder, take one's segments away",
            segment.name
        ))),
    }
}

fn from_the_first(segments: &[Segment], expected: Option<u64>) -> Result<Start, Lost> {
    let Some(first) = segments.first() else { return Ok(Start::Nothing { next_offset: 0 }) };
    let base = match expected {
        Some(offset) => base_behind(first, offset)?,
        None => first.own_base().unwrap_or(0),
    };
    Ok(Start::At { index: 0, base, consumed: 0, said: Said::default() })
}

/// The segment to read on in, and its base.
fn find(segments: &[Segment], cursor: &Cursor, next_offset: u64) -> Option<(usize, u64)> {
    let by_name = || segments.iter().position(|segment| segment.name == cursor.segment);
    let by_base = |base: u64| segments.iter().position(|segment| segment.own_base() == Some(base));
    let after = || segments.iter().position(|segment| segment.name > cursor.segment);
    if let Some(index) = by_name() {
        return Some((index, cursor.base));
    }
    if own_base(&cursor.segment).is_some() {
        let same = by_base(cursor.base).map(|index| (index, cursor.base));
        return same.or_else(|| by_base(next_offset).map(|index| (index, next_offset)));
    }
    let next = if cursor.done { after() } else { None };
    next.filter(|&index| segments.get(index).is_some_and(|segment| base_behind(segment, next_offset).is_ok()))
        .map(|index| (index, next_offset))
}

fn in_the_same(segments: &[Segment], index: usize, cursor: &Cursor, consumed: u64) -> Result<Start, Lost> {
    if own_base(&cursor.segment).is_none() && index > cursor.before {
        return Err(appeared_behind(&cursor.segment));
    }
    let Some(segment) = segments.get(index) else { return Err(invalid("no such segment".to_owned())) };
    if segment.is_plain() && segment.size_bytes < consumed {
        return Err(shrank(&segment.name, segment.size_bytes, consumed));
    }
    let region = cursor.region.as_deref().map(Arc::from);
    let said = Said { log_time_ms: cursor.log_time_ms, region };
    Ok(Start::At { index, base: cursor.base, consumed, said })
}

fn missing(segments: &[Segment], cursor: &Cursor, next_offset: u64) -> Lost {
    let first_base = segments.first().and_then(Segment::own_base);
    if let Some(first_available) = first_base.filter(|&base| base > next_offset) {
        return Lost::Gone { expected: next_offset, first_available };
    }
    invalid(format!(
        "segment `{}` is gone, and the job must read on in it at byte {}. Nothing was skipped; restore it, or start a \
         new job from what is left",
        cursor.segment,
        next_offset - cursor.base
    ))
}

/// A segment has fewer bytes than were read of it.
pub(super) fn shrank(name: &str, size_bytes: u64, consumed: u64) -> Lost {
    invalid(format!(
        "segment `{name}` has {size_bytes} bytes left, {consumed} were read of it before. Nothing was skipped; restore \
         it, or start a new job"
    ))
}

/// A segment came where it cannot be read any more.
pub(super) fn appeared_behind(current: &str) -> Lost {
    invalid(format!(
        "a segment appeared whose name sorts before `{current}`, which is being read. Segments are read in the order \
         of their names: give new ones later names"
    ))
}

fn invalid(reason: String) -> Lost {
    Lost::Invalid(reason)
}

#[cfg(test)]
mod tests {
    use weir_checkpoints::Offset;

    use super::*;

    fn segments(names_and_sizes: &[(&str, u64)]) -> Vec<Segment> {
        names_and_sizes
            .iter()
            .map(|&(name, size_bytes)| Segment { name: name.to_owned(), size_bytes, modified_ms: 0, file_id: 0 })
            .collect()
    }

    fn position(next_offset: u64, segment: &str, base: u64, before: usize, done: bool) -> Position {
        let region = Some("eu-1".to_owned());
        let cursor = Cursor { segment: segment.to_owned(), base, before, log_time_ms: Some(7), region, done };
        Position { next_offset: Offset(next_offset), cursor: cursor.to_text() }
    }

    fn at(index: usize, base: u64, consumed: u64) -> Result<Start, Lost> {
        let said = Said { log_time_ms: Some(7), region: Some("eu-1".into()) };
        Ok(Start::At { index, base, consumed, said })
    }

    fn at_start(index: usize, base: u64) -> Result<Start, Lost> {
        Ok(Start::At { index, base, consumed: 0, said: Said::default() })
    }

    fn is_invalid(outcome: Result<Start, Lost>, words: &str) {
        assert!(matches!(&outcome, Err(Lost::Invalid(reason)) if reason.contains(words)), "{outcome:?}");
    }

    const B0: &str = "00000000000000000000.ndjson";
    const B100: &str = "00000000000000000100.ndjson";
    const B100Z: &str = "00000000000000000100.ndjson.zst";
    const B300: &str = "00000000000000000300.ndjson";

    #[test]
    fn without_a_position_the_log_starts_where_it_starts() {
        assert_eq!(start(&[], None), Ok(Start::Nothing { next_offset: 0 }));
        assert_eq!(start(&segments(&[("a.json", 5), ("b.json", 5)]), None), at_start(0, 0));
        assert_eq!(start(&segments(&[(B100, 5)]), None), at_start(0, 100));
    }

    #[test]
    fn a_job_that_saw_an_empty_log_wants_all_of_it() {
        let empty = Position::default();
        assert_eq!(start(&[], Some(&empty)), Ok(Start::Nothing { next_offset: 0 }));
        assert_eq!(start(&segments(&[(B0, 5)]), Some(&empty)), at_start(0, 0));
        let gone = Err(Lost::Gone { expected: 0, first_available: 100 });
        assert_eq!(start(&segments(&[(B100, 5)]), Some(&empty)), gone);
    }

    #[test]
    fn a_segment_that_is_there_is_read_on() {
        let there = segments(&[("a.json", 50), ("b.json", 50)]);
        assert_eq!(start(&there, Some(&position(70, "b.json", 50, 1, false))), at(1, 50, 20));
        assert_eq!(start(&there, Some(&position(100, "b.json", 50, 1, true))), at(1, 50, 50));
        is_invalid(start(&there, Some(&position(101, "b.json", 50, 1, false))), "50 bytes left, 51 were read");
        is_invalid(start(&there, Some(&position(70, "b.json", 50, 0, false))), "sorts before `b.json`");
        assert_eq!(start(&there[1..], Some(&position(70, "b.json", 50, 1, false))), at(0, 50, 20));
    }

    #[test]
    fn a_segment_that_is_gone_may_only_be_missed_if_it_was_read() {
        let left = segments(&[("b.json", 50), ("c.json", 50)]);
        assert_eq!(start(&left, Some(&position(50, "a.json", 0, 0, true))), at_start(0, 50));
        is_invalid(start(&left, Some(&position(50, "a.json", 0, 0, false))), "segment `a.json` is gone");
        is_invalid(start(&[], Some(&position(50, "a.json", 0, 0, true))), "segment `a.json` is gone");
    }

    #[test]
    fn named_by_offset_the_position_proves_itself() {
        let all = segments(&[(B0, 100), (B100, 200), (B300, 10)]);
        assert_eq!(start(&all, Some(&position(150, B100, 100, 0, false))), at(1, 100, 50));
        assert_eq!(start(&all[1..], Some(&position(100, B0, 0, 0, false))), at_start(0, 100));
        let compressed = segments(&[(B0, 100), (B100Z, 20), (B300, 10)]);
        assert_eq!(start(&compressed, Some(&position(150, B100, 100, 1, false))), at(1, 100, 50));
        let gone = Err(Lost::Gone { expected: 150, first_available: 300 });
        assert_eq!(start(&all[2..], Some(&position(150, B100, 100, 1, false))), gone);
        is_invalid(start(&all[..1], Some(&position(150, B100, 100, 1, false))), "is gone");
    }

    #[test]
    fn damaged_positions_are_refused() {
        let there = segments(&[("a.json", 50)]);
        let check = |next_offset: u64, cursor: Option<&str>, words: &str| {
            let stored = Position { next_offset: Offset(next_offset), cursor: cursor.map(str::to_owned) };
            is_invalid(start(&there, Some(&stored)), words);
        };
        check(1, None, "does not say which segment");
        check(1, Some("{"), "damaged");
        check(1, Some(r#"{"segment":"a.json","base":2,"before":0}"#), "lies before its segment");
    }

    #[test]
    fn a_gap_between_segments_is_noticed() {
        let check = |name: &str, end: u64| base_behind(&segments(&[(name, 5)])[0], end);
        assert_eq!(check("b.json", 77), Ok(77));
        assert_eq!(check(B100, 100), Ok(100));
        assert_eq!(check(B100, 90), Err(Lost::Gone { expected: 90, first_available: 100 }));
        assert!(matches!(check(B100, 101), Err(Lost::Invalid(_))));
    }
}
