//! Which tier answers for which part of a range.
//!
//! ```text
//!   asked   [─────────────────────────────────────────────)
//!   hot                                      [complete from ──▶
//!   warm            [from ───────────── until)
//!   plan    [ cold )[ warm                   )[ hot          )      and cold again where warm ends before hot begins
//! ```
//!
//! Each window's start is in exactly one part. The hot tier is asked for everything, before the plan is made: it may hold
//! some windows that start before it is complete, and those are taken from wherever they are newest.

use std::ops::Range;

/// A tier that reads what is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stored {
    Warm,
    Cold,
}

/// Windows' starts that one tier answers for, unix time in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) tier: Stored,
    pub(super) starts_ms: Range<i64>,
}

/// The windows that a tier is sure to have: all that start at `from_ms` or later and end at `until_ms` or earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Covered {
    pub(super) from_ms: i64,
    pub(super) until_ms: i64,
}

/// Splits what the hot tier is not complete for; `hot_from_ms` is none where it cannot be relied on.
pub(super) fn plan(asked_ms: Range<i64>, length_ms: i64, hot_from_ms: Option<i64>, warm: Option<Covered>) -> Vec<Part> {
    let rest = asked_ms.start..hot_from_ms.map_or(asked_ms.end, |from_ms| from_ms.min(asked_ms.end));
    let warm = warm.map_or(rest.start..rest.start, |covered| {
        // A window that starts here ends where the tier ends.
        let last_start_ms = covered.until_ms.saturating_sub(length_ms);
        covered.from_ms.max(rest.start)..last_start_ms.saturating_add(1).min(rest.end)
    });
    let parts = if warm.is_empty() {
        vec![(Stored::Cold, rest)]
    } else {
        vec![(Stored::Cold, rest.start..warm.start), (Stored::Warm, warm.clone()), (Stored::Cold, warm.end..rest.end)]
    };
    let parts = parts.into_iter().filter(|(_, starts_ms)| !starts_ms.is_empty());
    parts.map(|(tier, starts_ms)| Part { tier, starts_ms }).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_start_is_in_one_part_and_only_where_the_tier_has_it(
            start in -20_i64..20,
            asked in 0_i64..40,
            length in 1_i64..7,
            hot in proptest::option::of(-30_i64..60),
            warm in proptest::option::of((-30_i64..60, -30_i64..60)),
        ) {
            let warm = warm.map(|(from_ms, until_ms)| Covered { from_ms, until_ms });
            let parts = plan(start..start + asked, length, hot, warm);
            for at in start - 5..start + asked + 5 {
                let of: Vec<Stored> =
                    parts.iter().filter(|part| part.starts_ms.contains(&at)).map(|part| part.tier).collect();
                let inside = (start..start + asked).contains(&at) && hot.is_none_or(|hot| at < hot);
                prop_assert_eq!(of.len(), usize::from(inside));
                let in_warm = warm.is_some_and(|warm| warm.from_ms <= at && at + length <= warm.until_ms);
                let expected = if in_warm { Stored::Warm } else { Stored::Cold };
                prop_assert!(!inside || of == [expected]);
            }
        }
    }

    #[test]
    fn the_ends_of_time_do_not_overflow() {
        let all = Covered { from_ms: i64::MIN, until_ms: i64::MAX };
        let none = Covered { from_ms: i64::MAX, until_ms: i64::MIN };
        let part = |tier| vec![Part { tier, starts_ms: 0..i64::MAX }];
        assert_eq!(plan(0..i64::MAX, 3_600_000, None, Some(none)), part(Stored::Cold));
        assert_eq!(plan(0..i64::MAX - 3_600_000, 3_600_000, None, Some(all)).len(), 1);
        assert_eq!(plan(0..100, 60_000, Some(i64::MIN), None), []);
    }
}
