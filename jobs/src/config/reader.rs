//! Typed access to the layers, and the errors that name a key with its value and its origin.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use toml::Value;
use url::Url;

use super::ConfigError;
use super::layers::{Entry, Layers, Origin};
use super::values::{format_duration_ms, is_name, parse_duration_ms, parse_location};

pub(super) const SECOND_MS: u64 = 1_000;
pub(super) const MINUTE_MS: u64 = 60_000;
pub(super) const HOUR_MS: u64 = 3_600_000;
pub(super) const DAY_MS: u64 = 86_400_000;

const NAME: &str = "1 to 64 letters, digits, `-`, `_` or `.`, not starting with `.` or `-`";
const LOCATION: &str = "a path, or a URL such as \"file:///data/weir\", \"s3://bucket/weir\", \"gs://…\" or \"az://…\"";

/// Typed access to the layers.
pub(super) struct Reader<'a> {
    pub(super) layers: &'a Layers,
}

impl<'a> Reader<'a> {
    pub(super) fn entry(&self, key: &'static str, wanted: &'static str) -> Result<&'a Entry, ConfigError> {
        self.layers.get(key).ok_or(ConfigError::Missing { key, wanted })
    }

    pub(super) fn text(&self, key: &'static str, wanted: &'static str) -> Result<(&'a str, &'a Entry), ConfigError> {
        let entry = self.entry(key, wanted)?;
        Ok((entry.value.as_str().unwrap_or_default(), entry))
    }

    pub(super) fn required_name(&self, key: &'static str, wanted: &'static str) -> Result<String, ConfigError> {
        let (name, entry) = self.text(key, wanted)?;
        if is_name(name) { Ok(name.to_owned()) } else { Err(invalid(key, entry, NAME)) }
    }

    pub(super) fn optional_name(&self, key: &'static str) -> Result<Option<String>, ConfigError> {
        match self.layers.get(key) {
            Some(_) => self.required_name(key, NAME).map(Some),
            None => Ok(None),
        }
    }

    pub(super) fn is_set(&self, key: &str) -> bool {
        self.layers.get(key).is_some()
    }

    /// An address and a port, if it is given.
    pub(super) fn optional_address(&self, key: &'static str) -> Result<Option<SocketAddr>, ConfigError> {
        let Some(entry) = self.layers.get(key) else {
            return Ok(None);
        };
        let address = entry.value.as_str().unwrap_or_default().parse();
        address.map(Some).map_err(|_| invalid(key, entry, "an address and a port, such as \"127.0.0.1:9900\""))
    }

    /// A path, if it is given.
    pub(super) fn optional_path(&self, key: &'static str) -> Result<Option<PathBuf>, ConfigError> {
        match self.layers.get(key) {
            None => Ok(None),
            Some(entry) => match entry.value.as_str() {
                None | Some("") => Err(invalid(key, entry, "the path of a file")),
                Some(path) => Ok(Some(PathBuf::from(path))),
            },
        }
    }

    /// The items of a list, each read by `parse`.
    pub(super) fn list<T>(
        &self,
        key: &'static str,
        wanted: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Vec<T>, ConfigError> {
        let entry = self.entry(key, wanted)?;
        let items = entry.value.as_array().map(Vec::as_slice).unwrap_or_default();
        let parsed = items.iter().map(|item| item.as_str().and_then(&parse)).collect::<Option<Vec<T>>>();
        parsed.ok_or_else(|| invalid(key, entry, wanted))
    }

    pub(super) fn location(&self, key: &'static str, wanted: &'static str) -> Result<Url, ConfigError> {
        let (text, entry) = self.text(key, wanted)?;
        parse_location(text).ok_or_else(|| invalid(key, entry, LOCATION))
    }

    pub(super) fn boolean(&self, key: &'static str) -> Result<bool, ConfigError> {
        Ok(self.entry(key, "true or false")?.value.as_bool().unwrap_or_default())
    }

    pub(super) fn integer(&self, key: &'static str, range: RangeInclusive<u64>) -> Result<u64, ConfigError> {
        let entry = self.entry(key, "a whole number")?;
        let number = entry.value.as_integer().and_then(|number| u64::try_from(number).ok());
        number
            .filter(|number| range.contains(number))
            .ok_or_else(|| invalid(key, entry, &format!("a whole number from {} to {}", range.start(), range.end())))
    }

    /// An integer that counts things in memory.
    pub(super) fn size(&self, key: &'static str, range: RangeInclusive<usize>) -> Result<usize, ConfigError> {
        let (least, most) = (*range.start() as u64, *range.end() as u64);
        self.integer(key, least..=most).map(|number| number as usize)
    }

    pub(super) fn duration(&self, key: &'static str, range_ms: RangeInclusive<u64>) -> Result<Duration, ConfigError> {
        self.duration_ms(key, range_ms).map(Duration::from_millis)
    }

    pub(super) fn duration_ms(&self, key: &'static str, range: RangeInclusive<u64>) -> Result<u64, ConfigError> {
        let (text, entry) = self.text(key, "a duration")?;
        let duration_ms = parse_duration_ms(text).filter(|duration_ms| range.contains(duration_ms));
        duration_ms.ok_or_else(|| {
            let (least, most) = (format_duration_ms(*range.start()), format_duration_ms(*range.end()));
            invalid(key, entry, &format!("a duration from {least} to {most}, written like \"500ms\" or \"1h30m\""))
        })
    }

    /// Refuses keys that belong to another kind of source.
    pub(super) fn refuse(&self, with: &str, keys: &[&str]) -> Result<(), ConfigError> {
        let set = |key: &&str| self.layers.get(key).is_some_and(|entry| entry.origin != Origin::Default);
        match keys.iter().find(|key| set(key)).and_then(|key| Some((key, self.layers.get(key)?))) {
            Some((key, entry)) => Err(misplaced(key, entry, with)),
            None => Ok(()),
        }
    }

    /// The error for a key whose own value is fine, but not together with another one.
    pub(super) fn invalid(&self, key: &'static str, allowed: &str) -> ConfigError {
        match self.layers.get(key) {
            Some(entry) => invalid(key, entry, allowed),
            None => ConfigError::Missing { key, wanted: "it has no default" },
        }
    }
}

pub(super) fn invalid(key: &str, entry: &Entry, allowed: &str) -> ConfigError {
    ConfigError::Invalid {
        key: key.to_owned(),
        value: shown(&entry.value),
        origin: entry.origin.clone(),
        allowed: allowed.to_owned(),
    }
}

pub(super) fn misplaced(key: &str, entry: &Entry, with: &str) -> ConfigError {
    let reason = format!("with {with} it is not read");
    ConfigError::Misplaced { key: key.to_owned(), origin: entry.origin.clone(), reason }
}

fn shown(value: &Value) -> String {
    value.to_string()
}
