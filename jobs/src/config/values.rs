//! Values written as text: durations, names, URLs.

use std::path::Path;

use url::Url;

/// The units of durations, and their milliseconds.
const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Milliseconds of `10s`, `500ms`, `1h30m`, `8d`; `None` for anything else. A number needs its unit, and units come
/// from large to small.
#[must_use]
pub fn parse_duration_ms(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut total_ms = 0u64;
    let mut smaller_than_ms = u64::MAX;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at(digits);
        let letters = tail.bytes().take_while(u8::is_ascii_lowercase).count();
        let (name, behind) = tail.split_at(letters);
        let (_, unit_ms) = UNITS.iter().find(|(unit, _)| *unit == name)?;
        if *unit_ms >= smaller_than_ms {
            return None;
        }
        total_ms = total_ms.checked_add(number.parse::<u64>().ok()?.checked_mul(*unit_ms)?)?;
        smaller_than_ms = *unit_ms;
        rest = behind;
    }
    (smaller_than_ms != u64::MAX).then_some(total_ms)
}

/// A duration as people write it: the inverse of [`parse_duration_ms`].
#[must_use]
pub fn format_duration_ms(duration_ms: u64) -> String {
    let mut rest_ms = duration_ms;
    let mut text = String::new();
    for (unit, unit_ms) in UNITS.iter().rev() {
        let count = rest_ms / unit_ms;
        rest_ms %= unit_ms;
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// The URL of a place in object storage, or of a path on this machine; `None` where it is neither.
#[must_use]
pub fn parse_location(text: &str) -> Option<Url> {
    if !text.contains("://") {
        return location_of_path(text);
    }
    let url = Url::parse(text).ok()?;
    let fits = match url.scheme() {
        "file" => url.host_str().unwrap_or_default().is_empty() && url.path().len() > 1,
        "s3" | "gs" | "az" | "abfss" => url.host_str().is_some_and(|bucket| !bucket.is_empty()),
        _ => false,
    };
    fits.then_some(url)
}

fn location_of_path(text: &str) -> Option<Url> {
    if text.is_empty() {
        return None;
    }
    let path = std::path::absolute(Path::new(text)).ok()?;
    if text.ends_with('/') { Url::from_directory_path(path).ok() } else { Url::from_file_path(path).ok() }
}

/// Whether a name is fit for object names, consumer groups and labels alike.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=64).contains(&text.len()) && text.bytes().all(good) && !text.starts_with(['.', '-'])
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn durations_are_numbers_with_units() {
        let check = |text: &str, expected: Option<u64>| assert_eq!(parse_duration_ms(text), expected, "{text}");
        check("10s", Some(10_000));
        check("500ms", Some(500));
        check("1h30m", Some(5_400_000));
        check("8d", Some(691_200_000));
        check("0s", Some(0));
        check("1m1ms", Some(60_001));
        for wrong in ["", "10", "s", "10 s", "1.5h", "-1s", "10x", "1m1h", "1s1s", "99999999999999999999d", "1S"] {
            check(wrong, None);
        }
    }

    #[test]
    fn durations_read_back() {
        for duration_ms in [0, 1, 999, 1_000, 60_001, 5_400_000, 691_200_000, 694_861_001] {
            assert_eq!(parse_duration_ms(&format_duration_ms(duration_ms)), Some(duration_ms));
        }
    }

    #[test]
    fn locations_are_urls_or_paths() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(parse_location(text).as_ref().map(Url::as_str), expected, "{text}");
        };
        check("s3://bucket/weir/tables", Some("s3://bucket/weir/tables"));
        check("gs://bucket/weir", Some("gs://bucket/weir"));
        check(
            "abfss://container@account.dfs.core.windows.net/weir",
            Some("abfss://container@account.dfs.core.windows.net/weir"),
        );
        check("file:///data/clicks/", Some("file:///data/clicks/"));
        check("/data/clicks", Some("file:///data/clicks"));
        check("/data/clicks/", Some("file:///data/clicks/"));
        for wrong in ["", "ftp://host/x", "s3:///x", "file://host/x", "file:///", "http://host/x"] {
            check(wrong, None);
        }
    }
}
