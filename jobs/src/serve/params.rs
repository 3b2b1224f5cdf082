//! The parameters of a request, checked: whoever holds these holds values in range.

use std::borrow::Cow;
use std::sync::Arc;

use chrono::DateTime;
use hyper::StatusCode;
use url::form_urlencoded;
use weir_dataflow::{Window, is_region_name};

use crate::http::problem::Problem;

/// The most ads of one request.
pub(super) const MAX_ADS: usize = 100;

/// The longest id of an ad, in bytes.
const MAX_AD_BYTES: usize = 256;

/// The most ads of a top list.
pub(super) const MAX_TOP: usize = 1_000;

/// The end of the year 9999, in seconds.
const MAX_SECONDS: i64 = 253_402_300_799;

/// What a query string says.
pub(super) struct Params<'q> {
    pairs: Vec<(Cow<'q, str>, Cow<'q, str>)>,
    known: Vec<&'static str>,
}

impl<'q> Params<'q> {
    pub(super) fn of(query: Option<&'q str>) -> Self {
        Self { pairs: form_urlencoded::parse(query.unwrap_or_default().as_bytes()).collect(), known: vec!["key"] }
    }

    /// Refuses what nobody asked for: a parameter that is misspelt would be an answer to another question.
    pub(super) fn finish(self) -> Result<(), Problem> {
        let unknown = self.pairs.iter().find(|(name, _)| !self.known.iter().any(|known| name == known));
        let Some((name, _)) = unknown else { return Ok(()) };
        let known: Vec<&str> = self.known.iter().copied().filter(|known| *known != "key").collect();
        Err(bad("unknown_parameter", format!("there is no parameter `{name}`; known are {}", known.join(", "))))
    }

    /// The ads, each once, in the order they were given; and whether several were given.
    pub(super) fn ads(&mut self) -> Result<(Vec<Arc<str>>, bool), Problem> {
        let values = self.all("ad_id");
        if values.is_empty() {
            return Err(missing("ad_id"));
        }
        if values.len() > MAX_ADS {
            return Err(bad(
                "too_many_ads",
                format!("{} ads are asked for, {MAX_ADS} at most are possible", values.len()),
            ));
        }
        let several = values.len() > 1;
        let mut ads: Vec<Arc<str>> = Vec::with_capacity(values.len());
        for ad in values {
            if ad.is_empty() || ad.len() > MAX_AD_BYTES {
                return Err(invalid("ad_id", &ad, "1 to 256 bytes"));
            }
            if !ads.iter().any(|known| **known == *ad) {
                ads.push(ad.into());
            }
        }
        Ok((ads, several))
    }

    /// The one ad.
    pub(super) fn ad(&mut self) -> Result<Arc<str>, Problem> {
        let ad = self.required("ad_id")?;
        if ad.is_empty() || ad.len() > MAX_AD_BYTES {
            return Err(invalid("ad_id", &ad, "1 to 256 bytes"));
        }
        Ok(ad.into())
    }

    pub(super) fn window(&mut self) -> Result<Window, Problem> {
        let text = self.required("window")?;
        let window = Window::ALL.into_iter().find(|window| window.as_str() == text);
        window.ok_or_else(|| invalid("window", &text, "1m, 5m or 1h"))
    }

    /// `start..end`, unix time in milliseconds.
    pub(super) fn range_ms(&mut self) -> Result<std::ops::Range<i64>, Problem> {
        let (start, end) = (self.required("start")?, self.required("end")?);
        let (start_ms, end_ms) = (time_ms("start", &start)?, time_ms("end", &end)?);
        if start_ms > end_ms {
            return Err(bad("invalid_parameter", "start must not be after end".to_owned()));
        }
        Ok(start_ms..end_ms)
    }

    /// An instant, unix time in milliseconds.
    pub(super) fn optional_time_ms(&mut self, name: &'static str) -> Result<Option<i64>, Problem> {
        self.one(name)?.map(|text| time_ms(name, &text)).transpose()
    }

    pub(super) fn region(&mut self) -> Result<Option<Arc<str>>, Problem> {
        let Some(region) = self.one("region")? else { return Ok(None) };
        if !is_region_name(&region) {
            return Err(invalid("region", &region, "1 to 64 letters, digits, `-`, `_` or `.`"));
        }
        Ok(Some(region.into()))
    }

    /// Whether windows without clicks are filled in.
    pub(super) fn fill(&mut self) -> Result<bool, Problem> {
        match self.one("fill")?.as_deref() {
            None => Ok(false),
            Some("zero") => Ok(true),
            Some(other) => Err(invalid("fill", other, "zero")),
        }
    }

    pub(super) fn limit(&mut self) -> Result<usize, Problem> {
        let Some(text) = self.one("limit")? else { return Ok(10) };
        let limit = text.parse().ok().filter(|limit| (1..=MAX_TOP).contains(limit));
        limit.ok_or_else(|| invalid("limit", &text, "a whole number from 1 to 1000"))
    }

    fn required(&mut self, name: &'static str) -> Result<String, Problem> {
        self.one(name)?.ok_or_else(|| missing(name))
    }

    fn one(&mut self, name: &'static str) -> Result<Option<String>, Problem> {
        let mut values = self.all(name);
        if values.len() > 1 {
            return Err(bad("invalid_parameter", format!("{name} is given {} times, once is possible", values.len())));
        }
        Ok(values.pop())
    }

    fn all(&mut self, name: &'static str) -> Vec<String> {
        self.known.push(name);
        self.pairs.iter().filter(|(known, _)| known == name).map(|(_, value)| value.to_string()).collect()
    }
}

/// A time in unix seconds or RFC 3339, as unix time in milliseconds.
fn time_ms(name: &str, text: &str) -> Result<i64, Problem> {
    let seconds = || text.parse::<i64>().ok().filter(|seconds| (0..=MAX_SECONDS).contains(seconds));
    let rfc_3339 = || {
        let time = DateTime::parse_from_rfc3339(text).ok()?.timestamp_millis();
        (0..=MAX_SECONDS * 1000).contains(&time).then_some(time)
    };
    let time_ms = seconds().map(|seconds| seconds * 1000).or_else(rfc_3339);
    time_ms.ok_or_else(|| {
        invalid(name, text, "unix time in seconds, or RFC 3339 such as 2025-01-15T14:40:00Z (a `+` is written %2B)")
    })
}

fn missing(name: &str) -> Problem {
    bad("missing_parameter", format!("{name} is missing"))
}

fn invalid(name: &str, value: &str, allowed: &str) -> Problem {
    let shown: String = value.chars().take(80).collect();
    bad("invalid_parameter", format!("{name} = `{shown}` is not possible; allowed is {allowed}"))
}

pub(super) fn bad(reason: &'static str, detail: String) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, reason, detail)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_or_rfc_3339() {
        let check = |text: &str, expect: Option<i64>| assert_eq!(time_ms("start", text).ok(), expect, "{text}");
        check("1736952000", Some(1_736_952_000_000));
        check("2025-01-15T14:40:00Z", Some(1_736_952_000_000));
        check("2025-01-15T15:40:00.5+01:00", Some(1_736_952_000_500));
        check("0", Some(0));
        check("253402300799", Some(253_402_300_799_000));
        for wrong in
            ["", "-1", "1e3", "253402300800", "99999999999999999999", "2025-01-15", "now", "1969-12-31T23:59:59Z"]
        {
            check(wrong, None);
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let check = |query: &str, reason: &str, name: &str| {
            let mut params = Params::of(Some(query));
            let read = params
                .ads()
                .and_then(|_| params.window())
                .and_then(|_| params.range_ms())
                .and_then(|_| params.region())
                .and_then(|_| params.fill())
                .and_then(|_| params.finish());
            let problem = read.unwrap_err();
            assert_eq!(problem.reason(), reason, "{query}");
            assert!(format!("{problem:?}").contains(name), "{query}: {problem:?}");
        };
        let fine = "ad_id=a&window=1m&start=0&end=60";
        check("", "missing_parameter", "ad_id");
        check("ad_id=", "invalid_parameter", "ad_id");
        check(&format!("ad_id={}", "x".repeat(257)), "invalid_parameter", "ad_id");
        check(&"ad_id=x&".repeat(101), "too_many_ads", "101");
        check("ad_id=a", "missing_parameter", "window");
        check("ad_id=a&window=2m", "invalid_parameter", "window");
        check("ad_id=a&window=1m&window=5m", "invalid_parameter", "window");
        check("ad_id=a&window=1m&start=0", "missing_parameter", "end");
        check("ad_id=a&window=1m&start=61&end=60", "invalid_parameter", "start");
        check(&format!("{fine}&region=e%20u"), "invalid_parameter", "region");
        check(&format!("{fine}&fill=null"), "invalid_parameter", "fill");
        check(&format!("{fine}&regoin=eu"), "unknown_parameter", "regoin");
    }

    #[test]
    fn the_same_ad_twice_is_one_series() {
        let mut params = Params::of(Some("ad_id=b&ad_id=a&ad_id=b&key=secret"));
        let (ads, several) = params.ads().unwrap();
        assert_eq!(ads.iter().map(|ad| &**ad).collect::<Vec<_>>(), ["b", "a"]);
        assert!(several);
        params.finish().unwrap();
    }
}
