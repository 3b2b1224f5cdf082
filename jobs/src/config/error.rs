//! What can be wrong with a configuration. Every message names the key, its value, where it came from, and what is
//! allowed.

use std::path::PathBuf;

use super::layers::Origin;

/// Why there is no job configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The job file cannot be read.
    #[error("cannot read job file {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The job file is no TOML.
    #[error("job file {} is not valid TOML: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        message: String,
    },
    /// A key that does not exist.
    #[error("unknown key `{key}`{origin}: did you mean `{nearest}`?")]
    UnknownKey {
        /// The key.
        key: String,
        /// Who set it.
        origin: Origin,
        /// The key that looks most like it.
        nearest: &'static str,
    },
    /// A `-D` that is not `key=value`.
    #[error("`-D {text}` sets nothing: write -D key=value, for example -D job.workers=4")]
    Definition {
        /// What was given.
        text: String,
    },
    /// A key that the job cannot do without.
    #[error("missing key `{key}`: {wanted}")]
    Missing {
        /// The key.
        key: &'static str,
        /// What it should be.
        wanted: &'static str,
    },
    /// A value that is not allowed.
    #[error("`{key}` = {value}{origin} is not allowed: it must be {allowed}")]
    Invalid {
        /// The key.
        key: String,
        /// Its value as TOML.
        value: String,
        /// Who set it.
        origin: Origin,
        /// What would be right.
        allowed: String,
    },
    /// A key that means nothing here.
    #[error("`{key}`{origin} has no meaning here: {reason}")]
    Misplaced {
        /// The key.
        key: String,
        /// Who set it.
        origin: Origin,
        /// Why not.
        reason: String,
    },
    /// A setting that librdkafka must not be given, or does not take. Its value may be a secret and is not shown.
    #[error("`{key}`{origin} is refused: {reason}")]
    Refused {
        /// The key.
        key: String,
        /// Who set it.
        origin: Origin,
        /// Why.
        reason: String,
    },
}
