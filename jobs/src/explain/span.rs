//! The window that is asked for.

use std::ops::Range;

use clap::ValueEnum;
use serde::Serialize;
use weir_dataflow::{Window, is_closed};

const DAY_MS: i64 = 86_400_000;

/// The lengths that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
pub enum SpanKind {
    /// One minute.
    #[value(name = "1m")]
    #[serde(rename = "1m")]
    Minute,
    /// Five minutes.
    #[value(name = "5m")]
    #[serde(rename = "5m")]
    FiveMinutes,
    /// One hour.
    #[value(name = "1h")]
    #[serde(rename = "1h")]
    Hour,
    /// A day, which is put together from hours.
    #[value(name = "1d")]
    #[serde(rename = "1d")]
    Day,
}

/// A window, unix time in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Its length.
    pub kind: SpanKind,
    /// From its first instant to before its last.
    pub time_ms: Range<i64>,
}

impl SpanKind {
    /// The windows of the table that it is put together from.
    #[must_use]
    pub const fn window(self) -> Window {
        match self {
            Self::Minute => Window::OneMinute,
            Self::FiveMinutes => Window::FiveMinutes,
            Self::Hour | Self::Day => Window::OneHour,
        }
    }
}

impl Span {
    /// The window of this length that an instant lies in.
    #[must_use]
    pub fn around(kind: SpanKind, at_ms: i64) -> Self {
        let time_ms = match kind {
            SpanKind::Day => day_around(at_ms),
            _ => {
                let start_ms = kind.window().start_of(at_ms);
                start_ms..start_ms + kind.window().length_ms()
            }
        };
        Self { kind, time_ms }
    }

    /// The part of it whose windows are closed for good.
    #[must_use]
    pub fn closed_part(&self, closed_until_ms: Option<i64>) -> Range<i64> {
        let window = self.kind.window();
        let starts = self.time_ms.clone().step_by(window.length_ms() as usize);
        let closed = starts.take_while(|start_ms| is_closed(start_ms + window.length_ms(), closed_until_ms)).count();
        let end_ms = self.time_ms.start + closed as i64 * window.length_ms();
        self.time_ms.start..end_ms.min(self.time_ms.end)
    }
}

/// The day that an instant lies in. Days are those of UTC; everything that asks for a day's bounds asks here.
#[must_use]
pub fn day_around(at_ms: i64) -> Range<i64> {
    let start_ms = at_ms.div_euclid(DAY_MS) * DAY_MS;
    start_ms..start_ms + DAY_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2025-01-15T14:40:00Z.
    const AT_MS: i64 = 1_736_952_000_000;

    #[test]
    fn a_window_is_the_one_around_the_instant() {
        let check = |kind, offset_ms: i64, start_ms: i64, length_ms: i64| {
            let expected = start_ms..start_ms + length_ms;
            assert_eq!(Span::around(kind, AT_MS + offset_ms).time_ms, expected);
        };
        check(SpanKind::Minute, 59_999, AT_MS, 60_000);
        check(SpanKind::Minute, -1, AT_MS - 60_000, 60_000);
        check(SpanKind::FiveMinutes, 299_999, AT_MS, 300_000);
        check(SpanKind::Hour, 0, AT_MS - 40 * 60_000, 3_600_000);
        check(SpanKind::Day, 0, 1_736_899_200_000, DAY_MS);
    }

    #[test]
    fn whole_windows_are_closed() {
        let check = |kind, closed_until_ms: Option<i64>, closed_ms: i64| {
            let span = Span::around(kind, AT_MS);
            let part = span.closed_part(closed_until_ms);
            assert_eq!((part.start, part.end - part.start), (span.time_ms.start, closed_ms));
        };
        check(SpanKind::Minute, None, 0);
        check(SpanKind::Minute, Some(AT_MS), 0);
        check(SpanKind::Minute, Some(AT_MS + 60_000), 60_000);
        check(SpanKind::Hour, Some(AT_MS), 0);
        check(SpanKind::Day, Some(AT_MS), 14 * 3_600_000);
        check(SpanKind::Day, Some(i64::MAX), DAY_MS);
    }
}
