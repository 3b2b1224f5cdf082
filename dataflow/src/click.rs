//! A click, and the keys under which the graph knows it.

use weir_checkpoints::group_of;
use xxhash_rust::xxh3::{Xxh3, xxh3_128_with_seed};

/// Seeds of the stored hashes. They are part of the checkpoint format: another seed is another format version.
const CLICK_ID_SEED: u64 = 0x7765_6972_0001;
const DERIVED_ID_SEED: u64 = 0x7765_6972_0002;
const AD_SEED: u64 = 0x7765_6972_0003;

/// Timestamps below this are in seconds, from here on in milliseconds.
const MILLISECONDS_FROM: i64 = 100_000_000_000;

/// The largest event time that is accepted, 9999-12-31T23:59:59.999Z in unix milliseconds: the last one that every
/// reader of the tables can show.
pub const MAX_EVENT_TIME_MS: i64 = 253_402_300_799_999;

/// A valid click, borrowed from the record it came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Click<'a> {
    /// The ad that was clicked, 1 to 256 bytes.
    pub ad_id: &'a str,
    /// Who clicked, 1 to 256 bytes.
    pub user_id: &'a str,
    /// When, as it was sent: unix time, in seconds below 100,000,000,000 and in milliseconds from there on.
    pub timestamp: i64,
    /// The idempotency key, 1 to 128 bytes.
    pub click_id: Option<&'a str>,
    /// IPv4 or IPv6 text.
    pub ip_address: Option<&'a str>,
    /// At most 2 KiB.
    pub user_agent: Option<&'a str>,
}

impl Click<'_> {
    /// When the click happened, unix time in milliseconds.
    #[inline]
    #[must_use]
    pub const fn event_time_ms(&self) -> i64 {
        event_time_ms(self.timestamp)
    }

    /// What makes it this click and no other: its `click_id`, or where it has none the five other fields.
    #[inline]
    #[must_use]
    pub fn key(&self) -> ClickKey {
        match self.click_id {
            Some(click_id) => ClickKey(xxh3_128_with_seed(click_id.as_bytes(), CLICK_ID_SEED)),
            None => self.derived_key(),
        }
    }

    /// The key of its ad.
    #[inline]
    #[must_use]
    pub fn ad_key(&self) -> AdKey {
        AdKey::of(self.ad_id)
    }

    /// Each field goes in with its length, so that no two different clicks give the same bytes.
    fn derived_key(&self) -> ClickKey {
        let mut hasher = Xxh3::with_seed(DERIVED_ID_SEED);
        hasher.update(&self.event_time_ms().to_le_bytes());
        for field in [Some(self.ad_id), Some(self.user_id), self.ip_address, self.user_agent] {
            let length = field.map_or(u64::MAX, |text| text.len() as u64);
            hasher.update(&length.to_le_bytes());
            hasher.update(field.unwrap_or_default().as_bytes());
        }
        ClickKey(hasher.digest128())
    }
}

/// Unix time in milliseconds of a `timestamp` field.
#[inline]
#[must_use]
pub const fn event_time_ms(timestamp: i64) -> i64 {
    if timestamp < MILLISECONDS_FROM { timestamp * 1000 } else { timestamp }
}

/// A click's identity: 128 bits of xxh3. At a billion clicks within the dedup horizon, the chance that any two
/// different ids ever meet in one key is below 2^-68; with 64 bits it would be 1 in 37.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClickKey(pub u128);

impl ClickKey {
    /// The key group that remembers this click.
    #[inline]
    #[must_use]
    pub const fn group(self) -> u16 {
        group_of((self.0 >> 64) as u64)
    }
}

/// An ad's identity: 128 bits of xxh3 of its `ad_id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AdKey(pub u128);

impl AdKey {
    /// The key of an `ad_id`.
    #[inline]
    #[must_use]
    pub fn of(ad_id: &str) -> Self {
        Self(xxh3_128_with_seed(ad_id.as_bytes(), AD_SEED))
    }

    /// The key group that counts this ad.
    #[inline]
    #[must_use]
    pub const fn group(self) -> u16 {
        group_of((self.0 >> 64) as u64)
    }
}
