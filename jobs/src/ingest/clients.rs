//! Who a request is from, and whether it may send clicks now.

use std::net::IpAddr;
use std::sync::Arc;

use anyhow::Result;
use hyper::StatusCode;
use hyper::header::{HeaderValue, WWW_AUTHENTICATE};
use hyper::http::request::Parts;

use super::keys::{Key, Keys, presented};
use super::rate::{AddressLimits, Allowance, Standing};
use crate::config::{IngestConfig, RateConfig};
use crate::http::problem::Problem;

/// Keys and limits.
pub(super) struct Clients {
    keys: Option<Keys>,
    key_required: bool,
    addresses: Option<AddressLimits>,
    default_rate: Option<RateConfig>,
}

/// A client that may send clicks, within its limit.
pub(super) enum Client {
    Key(Arc<Key>),
    Address(IpAddr),
}

impl Clients {
    pub(super) fn new(config: &IngestConfig) -> Result<Self> {
        let keys = config.auth.as_ref().map(|auth| Keys::load(&auth.keys_file, config.rate)).transpose()?;
        Ok(Self {
            keys,
            key_required: config.auth.as_ref().is_some_and(|auth| auth.required),
            addresses: config.rate.map(AddressLimits::new),
            default_rate: config.rate,
        })
    }

    /// The client of a request that came from this address. A key that is not known is refused even where none is needed: its
    /// owner believes that it counts.
    pub(super) fn admit(&self, head: &Parts, address: IpAddr) -> Result<Client, Problem> {
        let Some(keys) = &self.keys else { return Ok(Client::Address(address)) };
        match presented(&head.headers, head.uri.query()) {
            Some(secret) => keys.find(secret).map(Client::Key).ok_or_else(|| unauthorized("the API key is not known")),
            None if self.key_required => {
                Err(unauthorized("send an API key: Authorization: Bearer KEY, or X-API-Key: KEY"))
            }
            None => Ok(Client::Address(address)),
        }
    }

    /// Takes clicks off the client's limit. What is left of it, if it has one.
    pub(super) fn take(
        &self,
        client: &Client,
        clicks: usize,
    ) -> Result<Option<Standing>, (Problem, std::time::Duration)> {
        match self.allowance(client, u32::try_from(clicks).unwrap_or(u32::MAX)) {
            Allowance::Unlimited => Ok(None),
            Allowance::Granted(standing) => Ok(Some(standing)),
            Allowance::Exceeded(standing, wait) => Err((exceeded(&standing, wait), wait)),
        }
    }

    /// What is to be done every second or so.
    pub(super) fn maintain(&self) {
        if let Some(addresses) = &self.addresses {
            addresses.forget_quiet();
        }
        if let Some(keys) = &self.keys {
            keys.reload_if_changed(self.default_rate);
        }
    }

    fn allowance(&self, client: &Client, clicks: u32) -> Allowance {
        match (client, &self.addresses) {
            (Client::Key(key), _) => key.take(clicks),
            (Client::Address(address), Some(limits)) => limits.take(*address, clicks),
            (Client::Address(_), None) => Allowance::Unlimited,
        }
    }
}

fn unauthorized(detail: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
        .header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
}

fn exceeded(standing: &Standing, wait: std::time::Duration) -> Problem {
    let seconds = wait.as_secs_f64().ceil() as u64;
    let detail = format!("more clicks than this client may send; come back in {} s", seconds.max(1));
    let mut headers = hyper::HeaderMap::new();
    standing.write(&mut headers);
    let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", detail).retry_after(seconds);
    headers.into_iter().fold(problem, |problem, (name, value)| match name {
        Some(name) => problem.header(name, value),
        None => problem,
    })
}
