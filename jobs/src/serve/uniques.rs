//! Covers a range with as few windows as possible: hours where there are whole ones, then five minutes, then minutes.

use std::ops::Range;

use weir_dataflow::Window;

/// Windows whose minutes are those that start in the range, no minute twice.
pub(super) fn cover(starts_ms: Range<i64>) -> Vec<(Window, Range<i64>)> {
    let minute = Window::OneMinute;
    let up = |at_ms: i64| minute.start_of(at_ms.saturating_add(minute.length_ms() - 1));
    let mut parts = Vec::new();
    split(up(starts_ms.start)..up(starts_ms.end), &[Window::OneHour, Window::FiveMinutes, minute], &mut parts);
    parts
}

fn split(range_ms: Range<i64>, windows: &[Window], parts: &mut Vec<(Window, Range<i64>)>) {
    let Some((window, shorter)) = windows.split_first() else { return };
    if range_ms.is_empty() {
        return;
    }
    let first_ms = window.start_of(range_ms.start.saturating_add(window.length_ms() - 1));
    let last_ms = window.start_of(range_ms.end);
    if first_ms >= last_ms {
        return split(range_ms, shorter, parts);
    }
    split(range_ms.start..first_ms, shorter, parts);
    parts.push((*window, first_ms..last_ms));
    split(last_ms..range_ms.end, shorter, parts);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_minute_is_covered_once(start in 0_i64..600_000_000, length in 0_i64..600_000_000) {
            let parts = cover(start..start + length);
            prop_assert!(parts.len() <= 5);
            let mut minutes: Vec<i64> = Vec::new();
            for (window, starts_ms) in parts {
                for window_ms in starts_ms.step_by(window.length_ms() as usize) {
                    minutes.extend((window_ms..window_ms + window.length_ms()).step_by(60_000));
                }
            }
            let expected: Vec<i64> =
                (0..1_200_000_000).step_by(60_000).filter(|at| (start..start + length).contains(at)).collect();
            prop_assert_eq!(minutes, expected);
        }
    }
}
