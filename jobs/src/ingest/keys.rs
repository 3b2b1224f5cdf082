//! API keys: random secrets of which only the hashes are kept.
//!
//! ```toml
//! [[key]]
//! name = "web-sdk"
//! sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
//! clicks_per_second = 5000      # optional: instead of ingest.rate
//! burst = 10000                 # optional
//! ```
//!
//! A key has 256 random bits, so one round of SHA-256 is enough: there is nothing to guess. The hash is looked up by its
//! first bytes, which say nothing about the key, and compared in constant time.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use rand::TryRngCore;
use rand::rngs::OsRng;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::rate::{Allowance, KeyLimit};
use crate::config::{RateConfig, is_name};

const KEY_PREFIX: &str = "weir_";

/// The keys of a file, read again when it changes.
pub(crate) struct Keys {
    path: PathBuf,
    current: RwLock<Current>,
}

struct Current {
    written: Option<SystemTime>,
    keys: HashMap<[u8; 8], Vec<Arc<Key>>>,
}

/// Who may send clicks.
pub(crate) struct Key {
    hash: [u8; 32],
    limit: Option<KeyLimit>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeysFile {
    #[serde(default)]
    key: Vec<KeyEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyEntry {
    name: String,
    sha256: String,
    clicks_per_second: Option<u32>,
    #[serde(default)]
    burst: u32,
}

impl Keys {
    /// Reads the file. `default` is for keys without a limit of their own.
    pub(crate) fn load(path: &Path, default: Option<RateConfig>) -> Result<Self> {
        let written = modified(path);
        let keys = read(path, default)?;
        Ok(Self { path: path.to_owned(), current: RwLock::new(Current { written, keys }) })
    }

    /// Reads the file again if it changed; what cannot be read changes nothing.
    pub(crate) fn reload_if_changed(&self, default: Option<RateConfig>) {
        let written = modified(&self.path);
        if self.current.read().unwrap_or_else(PoisonError::into_inner).written == written {
            return;
        }
        match read(&self.path, default) {
            Ok(keys) => {
                tracing::info!(path = %self.path.display(), "the API keys were read again");
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Current { written, keys };
            }
            Err(error) => tracing::warn!("the old API keys stay: {error:#}"),
        }
    }

    /// The key with this secret.
    pub(crate) fn find(&self, secret: &[u8]) -> Option<Arc<Key>> {
        let hash: [u8; 32] = Sha256::digest(secret).into();
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        let alike = current.keys.get(&index(&hash))?;
        alike.iter().find(|key| bool::from(key.hash.ct_eq(&hash))).cloned()
    }
}

impl Key {
    pub(super) fn take(&self, clicks: u32) -> Allowance {
        self.limit.as_ref().map_or(Allowance::Unlimited, |limit| limit.take(clicks))
    }
}

/// The secret that a request carries: `Authorization: Bearer`, `X-API-Key`, or `?key=` for pages that can send no headers.
pub(crate) fn presented<'r>(headers: &'r HeaderMap, query: Option<&'r str>) -> Option<&'r [u8]> {
    let bearer = headers.get(AUTHORIZATION).and_then(|value| {
        let (scheme, secret) = value.as_bytes().split_at_checked(7)?;
        scheme.eq_ignore_ascii_case(b"bearer ").then(|| secret.trim_ascii())
    });
    let header = || headers.get("x-api-key").map(|value| value.as_bytes());
    let in_query = || query?.split('&').find_map(|pair| pair.strip_prefix("key=")).map(str::as_bytes);
    bearer.or_else(header).or_else(in_query)
}

/// A new key: its secret, and its entry for the keys file.
pub(crate) fn new_key(name: &str) -> Result<(String, String)> {
    if !is_name(name) {
        bail!("`{name}` is no name for a key: 1 to 64 letters, digits, `-`, `_` or `.`, not starting with `.` or `-`");
    }
    let mut random = [0; 32];
    OsRng.try_fill_bytes(&mut random).context("the system gives no random bytes")?;
    let secret = format!("{KEY_PREFIX}{}", hex(&random));
    let hash: [u8; 32] = Sha256::digest(secret.as_bytes()).into();
    Ok((secret, format!("[[key]]\nname = \"{name}\"\nsha256 = \"{}\"\n", hex(&hash))))
}

fn read(path: &Path, default: Option<RateConfig>) -> Result<HashMap<[u8; 8], Vec<Arc<Key>>>> {
    let at = || format!("cannot read the API keys {}", path.display());
    let text = fs::read_to_string(path).with_context(at)?;
    let file: KeysFile = toml::from_str(&text).with_context(at)?;
    let mut keys: HashMap<[u8; 8], Vec<Arc<Key>>> = HashMap::new();
    for entry in file.key {
        let hash = parse_hash(&entry.sha256)
            .with_context(|| format!("key `{}`: sha256 must be 64 hexadecimal digits", entry.name))
            .with_context(at)?;
        let rate = match entry.clicks_per_second {
            None => default,
            Some(clicks_per_second) => RateConfig::new(clicks_per_second, entry.burst),
        };
        let key = Arc::new(Key { hash, limit: rate.map(KeyLimit::new) });
        keys.entry(index(&hash)).or_default().push(key);
    }
    Ok(keys)
}

fn index(hash: &[u8; 32]) -> [u8; 8] {
    hash.first_chunk().copied().unwrap_or_default()
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn parse_hash(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let bytes = text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    bytes.collect::<Option<Vec<u8>>>()?.try_into().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_is_found_by_its_secret_alone() {
        let (secret, entry) = new_key("web").unwrap();
        let (other, _) = new_key("web").unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), &entry).unwrap();
        let keys = Keys::load(file.path(), None).unwrap();
        assert!(keys.find(secret.as_bytes()).is_some());
        assert!(keys.find(other.as_bytes()).is_none());
        assert!(!entry.contains(&secret));
        assert!(new_key("a b").is_err());
    }

    #[test]
    fn a_changed_file_is_read_again_and_a_broken_one_is_not() {
        let (first, first_entry) = new_key("first").unwrap();
        let (second, second_entry) = new_key("second").unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), &first_entry).unwrap();
        let keys = Keys::load(file.path(), None).unwrap();
        let write = |text: &str, seconds: u64| {
            fs::write(file.path(), text).unwrap();
            let later = SystemTime::now() + std::time::Duration::from_secs(seconds);
            fs::File::options().write(true).open(file.path()).unwrap().set_modified(later).unwrap();
            keys.reload_if_changed(None);
        };
        write("[[key]]\nname = 1\n", 10);
        assert!(keys.find(first.as_bytes()).is_some());
        write(&second_entry, 20);
        assert!(keys.find(first.as_bytes()).is_none());
        assert!(keys.find(second.as_bytes()).is_some());
    }

    #[test]
    fn a_hash_is_64_hexadecimal_digits_and_nothing_else() {
        assert_eq!(parse_hash(&"0f".repeat(32)), Some([15; 32]));
        for text in ["0f".repeat(31), "0g".repeat(32), "+f".repeat(32), " f".repeat(32), "ü".repeat(32)] {
            assert_eq!(parse_hash(&text), None, "{text}");
        }
    }

    #[test]
    fn a_secret_comes_in_one_of_three_places() {
        let mut headers = HeaderMap::new();
        assert_eq!(presented(&headers, None), None);
        assert_eq!(presented(&headers, Some("a=b&key=q")), Some(&b"q"[..]));
        headers.insert("x-api-key", "x".parse().unwrap());
        assert_eq!(presented(&headers, Some("key=q")), Some(&b"x"[..]));
        headers.insert(AUTHORIZATION, "bearer b".parse().unwrap());
        assert_eq!(presented(&headers, None), Some(&b"b"[..]));
        headers.insert(AUTHORIZATION, "Basic b".parse().unwrap());
        assert_eq!(presented(&headers, None), Some(&b"x"[..]));
    }
}
