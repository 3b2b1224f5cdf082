//! Whether a text is an IP address: what the standard library says, with a shortcut for plain IPv4.

use std::net::IpAddr;

/// Whether the standard library reads this as an IPv4 or an IPv6 address. Zone ids are none.
#[inline]
pub(super) fn is_ip_address(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
}
