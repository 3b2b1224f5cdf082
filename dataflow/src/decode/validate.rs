//! The fields of a click, and the rule of each.

use super::ip::is_ip_address;
use crate::click::{MAX_EVENT_TIME_MS, event_time_ms};

/// A field that Weir knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Field {
    AdId,
    UserId,
    Timestamp,
    ClickId,
    IpAddress,
    UserAgent,
}

impl Field {
    /// Every field, in the order in which they are checked.
    pub(super) const ALL: [Self; 6] =
        [Self::AdId, Self::UserId, Self::Timestamp, Self::ClickId, Self::IpAddress, Self::UserAgent];

    /// The field of this name. The length tells most apart, so one short comparison is left.
    #[inline]
    pub(super) fn named(name: &[u8]) -> Option<Self> {
        match name.len() {
            5 if name == b"ad_id" => Some(Self::AdId),
            7 if name == b"user_id" => Some(Self::UserId),
            8 if name == b"click_id" => Some(Self::ClickId),
            9 if name == b"timestamp" => Some(Self::Timestamp),
            10 if name == b"ip_address" => Some(Self::IpAddress),
            10 if name == b"user_agent" => Some(Self::UserAgent),
            _ => None,
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::AdId => "ad_id",
            Self::UserId => "user_id",
            Self::Timestamp => "timestamp",
            Self::ClickId => "click_id",
            Self::IpAddress => "ip_address",
            Self::UserAgent => "user_agent",
        }
    }

    /// What the field must be, for people.
    pub(super) const fn rule(self) -> &'static str {
        match self {
            Self::AdId | Self::UserId => "must be a string of 1 to 256 bytes",
            Self::Timestamp => "must be an integer from 0, without fraction or exponent",
            Self::ClickId => "must be a string of 1 to 128 bytes",
            Self::IpAddress => "must be a string with an IPv4 or IPv6 address",
            Self::UserAgent => "must be a string of at most 2048 bytes",
        }
    }

    /// Whether this text, unescaped, is a value of the field.
    #[inline]
    pub(super) fn accepts(self, text: &str) -> bool {
        match self {
            Self::AdId | Self::UserId => (1..=256).contains(&text.len()),
            Self::Timestamp => false,
            Self::ClickId => (1..=128).contains(&text.len()),
            Self::IpAddress => is_ip_address(text),
            Self::UserAgent => text.len() <= 2048,
        }
    }
}

/// The timestamp, if its event time is not beyond the last one that is accepted.
#[inline]
pub(super) fn timestamp_in_range(number: u64) -> Option<i64> {
    let timestamp = i64::try_from(number).ok()?;
    (event_time_ms(timestamp) <= MAX_EVENT_TIME_MS).then_some(timestamp)
}
