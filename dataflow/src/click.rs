//! A click, and the keys under which the graph knows it.

use weir_checkpoints::group_of;
use xxhash_rust::xxh3::{Xxh3, xxh3_128_with_seed};

use crate::region::Region;

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
            Some(click_id) => ClickKey::of(click_id),
            None => self.derived_key(),
        }
    }

    /// The key of its ad in the job's own region.
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

/// Unix time in milliseconds of a `timestamp` field. One from beyond all time, as damaged bytes may have, is the end of time.
#[inline]
#[must_use]
pub const fn event_time_ms(timestamp: i64) -> i64 {
    if timestamp < MILLISECONDS_FROM { timestamp.saturating_mul(1000) } else { timestamp }
}

/// A click's identity: 128 bits of xxh3. At a billion clicks within the dedup horizon, the chance that any two
/// different ids ever meet in one key is below 2^-68; with 64 bits it would be 1 in 37.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClickKey(pub u128);

/// What a derived key begins with when it is written down as a `click_id`.
const DERIVED_PREFIX: &str = "weir-";

/// The length of a derived key that is written down.
const DERIVED_LENGTH: usize = DERIVED_PREFIX.len() + 32;

impl ClickKey {
    /// The key of a `click_id`. One that is a derived key written down stands for that key: a click keeps its identity
    /// when somebody on its way notes it in the click.
    #[inline]
    #[must_use]
    pub fn of(click_id: &str) -> Self {
        if click_id.len() == DERIVED_LENGTH
            && let Some(key) = Self::written_down(click_id)
        {
            return key;
        }
        Self(xxh3_128_with_seed(click_id.as_bytes(), CLICK_ID_SEED))
    }

    /// The key as a `click_id`: `weir-` and 32 hexadecimal digits.
    #[must_use]
    pub fn to_click_id(self) -> String {
        format!("{DERIVED_PREFIX}{:032x}", self.0)
    }

    fn written_down(click_id: &str) -> Option<Self> {
        let digits = click_id.strip_prefix(DERIVED_PREFIX)?;
        let lower = digits.bytes().all(|digit| digit.is_ascii_digit() || matches!(digit, b'a'..=b'f'));
        if lower { u128::from_str_radix(digits, 16).ok().map(Self) } else { None }
    }

    /// The key group that remembers this click.
    #[inline]
    #[must_use]
    pub const fn group(self) -> u16 {
        group_of((self.0 >> 64) as u64)
    }
}

/// The identity of an ad in a region: 128 bits of xxh3 of its `ad_id`, and the region's in other regions than the job's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AdKey(pub u128);

impl AdKey {
    /// The key of an `ad_id` in the job's own region.
    #[inline]
    #[must_use]
    pub fn of(ad_id: &str) -> Self {
        Self(xxh3_128_with_seed(ad_id.as_bytes(), AD_SEED))
    }

    /// The key of the same ad in a region.
    #[inline]
    pub(crate) const fn in_region(self, region: Region) -> Self {
        Self(self.0 ^ region.0)
    }

    /// The key group that counts this ad.
    #[inline]
    #[must_use]
    pub const fn group(self) -> u16 {
        group_of((self.0 >> 64) as u64)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_click_keeps_its_key_when_it_is_written_down(ad in ".{1,20}", user in ".{1,20}", timestamp in 0..i64::MAX / 2000) {
            let click = Click {
                ad_id: &ad,
                user_id: &user,
                timestamp,
                click_id: None,
                ip_address: None,
                user_agent: Some("agent"),
            };
            let id = click.key().to_click_id();
            let noted = Click { click_id: Some(&id), ip_address: Some("192.0.2.1"), ..click };
            prop_assert_eq!(noted.key(), click.key());
        }
    }

    #[test]
    fn only_the_exact_form_is_a_key_written_down() {
        let id = ClickKey(0xabc).to_click_id();
        assert_eq!(id, "weir-00000000000000000000000000000abc");
        assert_eq!(ClickKey::of(&id), ClickKey(0xabc));
        for other in [id.to_uppercase(), id.replace("weir-", "wier-"), id.replace("weir-0", "weir-+"), format!("{id}0")]
        {
            assert_eq!(ClickKey::of(&other), ClickKey(xxh3_128_with_seed(other.as_bytes(), CLICK_ID_SEED)), "{other}");
        }
    }
}
