//! How many clicks a client may send.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::{StateInformationMiddleware, StateSnapshot};
use governor::state::keyed::DashMapStateStore;
use governor::state::{InMemoryState, NotKeyed};
use governor::{InsufficientCapacity, NotUntil, Quota, RateLimiter};
use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};

use crate::config::RateConfig;

/// How many addresses are told apart, about. While there are more, all share one limit.
const MAX_ADDRESSES: usize = 200_000;

type Instant = <DefaultClock as Clock>::Instant;
type Middleware = StateInformationMiddleware;
type Verdict = Result<Result<StateSnapshot, NotUntil<Instant>>, InsufficientCapacity>;

/// What a client may send at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Allowance {
    /// What it likes.
    Unlimited,
    /// These clicks, and so many more at once.
    Granted(Standing),
    /// None of them; and when to come back.
    Exceeded(Standing, Duration),
}

/// A client's limit and how much is left of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    limit: u32,
    remaining: u32,
    per_second: u32,
}

impl Standing {
    /// Writes the `RateLimit-*` headers.
    pub(super) fn write(&self, headers: &mut HeaderMap) {
        let missing = self.limit.saturating_sub(self.remaining);
        let reset_seconds = missing.div_ceil(self.per_second.max(1));
        for (name, value) in [
            ("ratelimit-limit", self.limit),
            ("ratelimit-remaining", self.remaining),
            ("ratelimit-reset", reset_seconds),
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from(value));
        }
    }
}

/// The limit of one API key.
pub(super) struct KeyLimit {
    limiter: RateLimiter<NotKeyed, InMemoryState, DefaultClock, Middleware>,
    rate: RateConfig,
}

impl KeyLimit {
    pub(super) fn new(rate: RateConfig) -> Self {
        Self { limiter: RateLimiter::direct(quota(rate)).with_middleware(), rate }
    }

    pub(super) fn take(&self, clicks: u32) -> Allowance {
        allowance(self.rate, clicks, |cells| self.limiter.check_n(cells))
    }
}

/// The limits of clients without a key, by their address.
pub(super) struct AddressLimits {
    limiter: RateLimiter<IpAddr, DashMapStateStore<IpAddr>, DefaultClock, Middleware>,
    rate: RateConfig,
    full: AtomicBool,
}

impl AddressLimits {
    pub(super) fn new(rate: RateConfig) -> Self {
        Self { limiter: RateLimiter::dashmap(quota(rate)).with_middleware(), rate, full: AtomicBool::new(false) }
    }

    pub(super) fn take(&self, client: IpAddr, clicks: u32) -> Allowance {
        let shared = self.full.load(Ordering::Relaxed);
        let key = if shared { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { network(client) };
        allowance(self.rate, clicks, |cells| self.limiter.check_key_n(&key, cells))
    }

    /// Forgets clients whose limit is whole again. To be called every second or so.
    pub(super) fn forget_quiet(&self) {
        self.limiter.retain_recent();
        self.full.store(self.limiter.len() >= MAX_ADDRESSES, Ordering::Relaxed);
    }
}

/// An IPv6 client has a /64 to itself and can change its address in it at will.
fn network(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(_) => client,
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

fn quota(rate: RateConfig) -> Quota {
    Quota::per_second(rate.clicks_per_second).allow_burst(rate.burst)
}

fn allowance(rate: RateConfig, clicks: u32, check: impl Fn(std::num::NonZeroU32) -> Verdict) -> Allowance {
    // A batch larger than the burst could never be sent: it takes all of it instead.
    let cells = std::num::NonZeroU32::new(clicks).unwrap_or(std::num::NonZeroU32::MIN).min(rate.burst);
    let standing =
        |remaining| Standing { limit: rate.burst.get(), remaining, per_second: rate.clicks_per_second.get() };
    match check(cells) {
        Ok(Ok(snapshot)) => Allowance::Granted(standing(snapshot.remaining_burst_capacity())),
        Ok(Err(until)) => Allowance::Exceeded(standing(0), until.wait_time_from(DefaultClock::default().now())),
        // There are never more cells than the burst.
        Err(InsufficientCapacity(_)) => Allowance::Exceeded(standing(0), Duration::from_secs(1)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    fn rate(clicks_per_second: u32, burst: u32) -> RateConfig {
        RateConfig::new(clicks_per_second, burst).unwrap()
    }

    #[test]
    fn a_client_has_its_burst_and_then_waits() {
        let limits = AddressLimits::new(rate(1, 10));
        let client = "192.0.2.1".parse().unwrap();
        let Allowance::Granted(standing) = limits.take(client, 7) else { panic!("not granted") };
        assert_eq!((standing.limit, standing.remaining), (10, 3));
        let Allowance::Exceeded(standing, wait) = limits.take(client, 7) else { panic!("granted") };
        assert_eq!(standing.remaining, 0);
        assert!(wait > Duration::from_secs(2) && wait <= Duration::from_secs(4), "{wait:?}");
        assert!(matches!(limits.take(client, 3), Allowance::Granted(_)), "what is refused costs nothing");
        assert!(matches!(limits.take("192.0.2.2".parse().unwrap(), 7), Allowance::Granted(_)));
    }

    #[test]
    fn an_ipv6_client_is_its_network() {
        let limits = AddressLimits::new(rate(1, 1));
        assert!(matches!(limits.take("2001:db8::1".parse().unwrap(), 1), Allowance::Granted(_)));
        assert!(matches!(limits.take("2001:db8::2".parse().unwrap(), 1), Allowance::Exceeded(..)));
        assert!(matches!(limits.take("2001:db8:0:1::1".parse().unwrap(), 1), Allowance::Granted(_)));
    }

    #[test]
    fn a_batch_larger_than_the_burst_takes_all_of_it() {
        let limit = KeyLimit::new(rate(10, 20));
        let Allowance::Granted(standing) = limit.take(1000) else { panic!("not granted") };
        assert_eq!(standing.remaining, 0);
        let mut headers = HeaderMap::new();
        standing.write(&mut headers);
        assert_eq!(headers.get("ratelimit-limit").unwrap(), "20");
        assert_eq!(headers.get("ratelimit-remaining").unwrap(), "0");
        assert_eq!(headers.get("ratelimit-reset").unwrap(), "2");
    }
}
