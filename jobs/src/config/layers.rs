//! The raw configuration: every key that anybody set, with its value and who set it last.
//!
//! ```text
//!   default.toml ◀── job file ◀── environment ◀── -D flags        each overrides what stands to its left
//! ```
//!
//! Keys are known and their TOML types are right; whether the values make sense is for [`super::validate`].

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::keys::{FREE_PREFIX, kind_of, nearest};
use super::{ConfigError, DEFAULTS};

/// Keys with dots, as in `time.allowed_lateness`.
#[derive(Debug, Default)]
pub(super) struct Layers {
    entries: BTreeMap<String, Entry>,
}

/// A value, and who set it.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// Who set a key; shown behind the key in messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The defaults in the binary.
    Default,
    /// The job file.
    File(PathBuf),
    /// An environment variable.
    Environment(String),
    /// A `-D` flag.
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str(" (a default)"),
            Self::File(path) => write!(f, " (in {})", path.display()),
            Self::Environment(variable) => write!(f, " (from {variable})"),
            Self::Flag => f.write_str(" (from -D)"),
        }
    }
}

impl Layers {
    /// Reads the defaults, a job file, the environment and `-D` definitions. `more_defaults` are those of a command, as
    /// TOML.
    pub(super) fn load(more_defaults: &str, path: Option<&Path>, definitions: &[String]) -> Result<Self, ConfigError> {
        let text = path.map(|path| {
            let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
            std::fs::read_to_string(path).map(|text| (text, path)).map_err(unreadable)
        });
        let file = text.transpose()?;
        // Variables that are not UTF-8 can be none of ours.
        let environment =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self::parse(more_defaults, file.as_ref().map(|(text, path)| (text.as_str(), *path)), environment, definitions)
    }

    /// The same with everything given.
    pub(super) fn parse(
        more_defaults: &str,
        file: Option<(&str, &Path)>,
        environment: impl Iterator<Item = (String, String)>,
        definitions: &[String],
    ) -> Result<Self, ConfigError> {
        let mut layers = Self::default();
        layers.add_toml(DEFAULTS, Path::new("the built-in defaults"), &Origin::Default)?;
        layers.add_toml(more_defaults, Path::new("the command's defaults"), &Origin::Default)?;
        if let Some((text, path)) = file {
            layers.add_toml(text, path, &Origin::File(path.to_owned()))?;
        }
        layers.add_environment(environment)?;
        layers.add_definitions(definitions)?;
        Ok(layers)
    }

    /// Adds what a TOML text says.
    pub(super) fn add_toml(&mut self, text: &str, path: &Path, origin: &Origin) -> Result<(), ConfigError> {
        let table: Table = text
            .parse()
            .map_err(|error: toml::de::Error| ConfigError::Syntax { path: path.to_owned(), message: syntax(&error) })?;
        self.add_table("", table, origin)
    }

    /// Adds `WEIR_SECTION__KEY` variables. Others that begin with `WEIR_` are none of ours.
    pub(super) fn add_environment(
        &mut self,
        variables: impl Iterator<Item = (String, String)>,
    ) -> Result<(), ConfigError> {
        for (variable, text) in variables {
            let Some(key) = variable.strip_prefix("WEIR_").filter(|rest| rest.contains("__")).map(key_of_variable)
            else {
                continue;
            };
            self.add_text(&key, &text, Origin::Environment(variable))?;
        }
        Ok(())
    }

    /// Adds `key=value` flags.
    pub(super) fn add_definitions(&mut self, definitions: &[String]) -> Result<(), ConfigError> {
        for definition in definitions {
            let Some((key, text)) = definition.split_once('=') else {
                return Err(ConfigError::Definition { text: definition.clone() });
            };
            self.add_text(key.trim(), text.trim(), Origin::Flag)?;
        }
        Ok(())
    }

    pub(super) fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// The free keys, without their prefix.
    pub(super) fn free(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries.iter().filter_map(|(key, entry)| Some((key.strip_prefix(FREE_PREFIX)?, entry)))
    }

    fn add_table(&mut self, prefix: &str, table: Table, origin: &Origin) -> Result<(), ConfigError> {
        for (name, value) in table {
            let key = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
            match value {
                Value::Table(inner) if kind_of(&key).is_none() || key.starts_with(FREE_PREFIX) => {
                    self.add_table(&key, inner, origin)?;
                }
                other => self.add_value(&key, other, origin.clone())?,
            }
        }
        Ok(())
    }

    fn add_value(&mut self, key: &str, value: Value, origin: Origin) -> Result<(), ConfigError> {
        let Some(kind) = kind_of(key) else {
            return Err(unknown(key, origin));
        };
        // Free settings are text to the other system, however they are written here.
        let settled = match value {
            Value::Integer(number) if key.starts_with(FREE_PREFIX) => Value::String(number.to_string()),
            Value::Boolean(truth) if key.starts_with(FREE_PREFIX) => Value::String(truth.to_string()),
            other => other,
        };
        if !kind.fits(&settled) {
            let allowed = kind.wanted().to_owned();
            return Err(ConfigError::Invalid { key: key.to_owned(), value: settled.to_string(), origin, allowed });
        }
        self.entries.insert(key.to_owned(), Entry { value: settled, origin });
        Ok(())
    }

    fn add_text(&mut self, key: &str, text: &str, origin: Origin) -> Result<(), ConfigError> {
        let Some(kind) = kind_of(key) else {
            return Err(unknown(key, origin));
        };
        let Some(value) = kind.read(text) else {
            let allowed = kind.wanted().to_owned();
            return Err(ConfigError::Invalid { key: key.to_owned(), value: format!("{text:?}"), origin, allowed });
        };
        self.entries.insert(key.to_owned(), Entry { value, origin });
        Ok(())
    }
}

fn unknown(key: &str, origin: Origin) -> ConfigError {
    ConfigError::UnknownKey { key: key.to_owned(), origin, nearest: nearest(key) }
}

/// `SECTION__KEY` → `section.key`; the names of librdkafka's settings have dots, which no variable can have.
fn key_of_variable(rest: &str) -> String {
    let key = rest.to_lowercase().replace("__", ".");
    match key.strip_prefix(FREE_PREFIX) {
        Some(setting) => format!("{FREE_PREFIX}{}", setting.replace('_', ".")),
        None => key,
    }
}

/// The parser's message on one line, with the place at its end.
fn syntax(error: &toml::de::Error) -> String {
    error.to_string().trim_end().replace('\n', "\n  ")
}
