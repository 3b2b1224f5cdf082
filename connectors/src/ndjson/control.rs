//! Control lines: when the log took the lines that follow, and in which region.
//!
//! ```text
//! {"weir_log_time_ms":1736952000000}
//! {"weir_log_time_ms":1736952000000,"weir_region":"eu-1"}
//! ```
//!
//! Exactly these bytes, with digits only, and with a [`Region`]. Anything else, however close, is a record. Each control
//! line says all there is to say: one without a region ends the region of the one before.

use weir_dataflow::is_region_name;

use super::region::Region;

const START: &[u8] = b"{\"weir_log_time_ms\":";
const REGION: &[u8] = b",\"weir_region\":\"";

/// What a control line says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Control<'a> {
    pub(super) log_time_ms: i64,
    pub(super) region: Option<&'a str>,
}

/// Reads a control line; `None` for a record.
#[inline]
pub(super) fn parse(line: &[u8]) -> Option<Control<'_>> {
    parse_rest(line.strip_prefix(START)?)
}

/// Appends a control line, line break included. Times before 1970 count as 1970.
pub(super) fn write(log_time_ms: i64, region: Option<&Region>, to: &mut Vec<u8>) {
    to.extend_from_slice(START);
    to.extend_from_slice(log_time_ms.max(0).to_string().as_bytes());
    if let Some(region) = region {
        to.extend_from_slice(REGION);
        to.extend_from_slice(region.as_str().as_bytes());
        to.push(b'"');
    }
    to.extend_from_slice(b"}\n");
}

fn parse_rest(rest: &[u8]) -> Option<Control<'_>> {
    let length = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = rest.split_at_checked(length)?;
    let log_time_ms = std::str::from_utf8(digits).ok()?.parse().ok()?;
    let rest = rest.strip_suffix(b"}")?;
    if rest.is_empty() {
        return Some(Control { log_time_ms, region: None });
    }
    let region = std::str::from_utf8(rest.strip_prefix(REGION)?.strip_suffix(b"\"")?).ok()?;
    is_region_name(region).then_some(Control { log_time_ms, region: Some(region) })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_form_is_a_control_line() {
        let check = |line: &str, expected: Option<i64>| {
            let expected = expected.map(|log_time_ms| Control { log_time_ms, region: None });
            assert_eq!(parse(line.as_bytes()), expected, "{line}");
        };
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
    fn a_region_is_part_of_it_where_it_is_one() {
        let check = |line: &str, expected: Option<&str>| {
            let region = parse(line.as_bytes()).map(|control| (control.log_time_ms, control.region));
            assert_eq!(region, expected.map(|region| (1, Some(region))), "{line}");
        };
        check(r#"{"weir_log_time_ms":1,"weir_region":"eu-1"}"#, Some("eu-1"));
        check(r#"{"weir_log_time_ms":1,"weir_region":"US_west.2"}"#, Some("US_west.2"));
        check(r#"{"weir_log_time_ms":1,"weir_region":""}"#, None);
        check(r#"{"weir_log_time_ms":1,"weir_region":"a b"}"#, None);
        check(r#"{"weir_log_time_ms":1,"weir_region":"a","x":"b"}"#, None);
        check(r#"{"weir_log_time_ms":1,"weir_region":"eu-1}"#, None);
        check(r#"{"weir_log_time_ms":1, "weir_region":"eu-1"}"#, None);
        check(&format!(r#"{{"weir_log_time_ms":1,"weir_region":"{}"}}"#, "x".repeat(65)), None);
    }

    #[test]
    fn what_is_written_is_read() {
        for time in [0, 1, 1_736_952_000_000, i64::MAX] {
            for region in [None, Some("eu-1"), Some("a")] {
                let mut line = Vec::new();
                write(time, region.map(|region| Region::new(region).unwrap()).as_ref(), &mut line);
                let control = Control { log_time_ms: time, region };
                assert_eq!(parse(line.strip_suffix(b"\n").unwrap()), Some(control));
            }
        }
    }
}
