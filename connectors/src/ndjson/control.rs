//! Control lines: when the log took the lines that follow.
//!
//! ```text
//! {"weir_log_time_ms":1736952000000}
//! ```
//!
//! Exactly these bytes, with digits only. Anything else, however close, is a record.

const START: &[u8] = b"{\"weir_log_time_ms\":";

/// The log time that a control line sets; `None` for a record.
#[inline]
pub(super) fn log_time_ms(line: &[u8]) -> Option<i64> {
    let digits = line.strip_prefix(START)?.strip_suffix(b"}")?;
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Appends the control line for `log_time_ms`, line break included. Times before 1970 count as 1970.
pub(super) fn write(log_time_ms: i64, to: &mut Vec<u8>) {
    to.extend_from_slice(START);
    to.extend_from_slice(log_time_ms.max(0).to_string().as_bytes());
    to.extend_from_slice(b"}\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_form_is_a_control_line() {
        let check = |line: &str, expected: Option<i64>| assert_eq!(log_time_ms(line.as_bytes()), expected, "{line}");
        check(r#"{"weir_log_time_ms":0}"#, Some(0));
        check(r#"{"weir_log_time_ms":1736952000000}"#, Some(1_736_952_000_000));
        check(r#"{"weir_log_time_ms":9223372036854775807}"#, Some(i64::MAX));
        check(r#"{"weir_log_time_ms":9223372036854775808}"#, None);
        check(r#"{"weir_log_time_ms":}"#, None);
        check(r#"{"weir_log_time_ms":-1}"#, None);
        check(r#"{"weir_log_time_ms":+1}"#, None);
        check(r#"{"weir_log_time_ms": 1}"#, None);
        check(r#"{"weir_log_time_ms":1.0}"#, None);
        check(r#"{"weir_log_time_ms":1,"ad_id":"A"}"#, None);
        check(r#" {"weir_log_time_ms":1}"#, None);
        check(r#"{"weir_log_time_ms":1"#, None);
        check("", None);
    }

    #[test]
    fn what_is_written_is_read() {
        for time in [0, 1, 1_736_952_000_000, i64::MAX] {
            let mut line = Vec::new();
            write(time, &mut line);
            assert_eq!(log_time_ms(line.strip_suffix(b"\n").unwrap()), Some(time));
        }
    }
}
