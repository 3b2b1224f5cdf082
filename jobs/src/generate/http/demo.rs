//! Traffic to look at: clicks that happen now, until told to stop.

use std::sync::atomic::AtomicBool;

use anyhow::Result;
use chrono::Utc;

use super::super::stream::{PartitionBy, Shares, StreamOptions};
use super::ahead::Ahead;
use super::drive::{Drive, drive};
use super::pace::PaceKind;
use super::{HttpAddress, HttpOptions};

/// What the traffic is like.
#[derive(Debug, Clone)]
pub struct Demo {
    /// Clicks a second on average; one is a request.
    pub rate: f64,
    /// The clicks come and go like those of a day, in so many seconds.
    pub day_seconds: f64,
    /// Different ads: a few of them have most of the clicks.
    pub ads: u32,
    /// Different users.
    pub users: u32,
    /// Share of second copies.
    pub duplicates: f64,
    /// Share of records that are no clicks.
    pub poison: f64,
    /// The same seed gives the same ads and users.
    pub seed: u64,
}

impl Default for Demo {
    fn default() -> Self {
        Self {
            rate: 500.0,
            day_seconds: 600.0,
            ads: 300,
            users: 50_000,
            duplicates: 0.01,
            poison: 0.002,
            // Ids must differ from those of the demo before this one, which the same log may hold.
            seed: Utc::now().timestamp_millis().unsigned_abs(),
        }
    }
}

/// Posts clicks to a server until `stop` is set, and returns how many got a verdict. A server that is not there yet, or not
/// there for a while, is waited for.
pub fn demo(address: &HttpAddress, traffic: &Demo, stop: &AtomicBool) -> Result<u64> {
    const CONNECTIONS: u32 = 8;
    let options =
        HttpOptions { connections: CONNECTIONS, rate: Some(traffic.rate), ..HttpOptions::new(address.clone()) };
    let what = Drive {
        options: &options,
        pace: PaceKind::Wave(traffic.rate, traffic.day_seconds),
        ahead: Ahead { stream: stream(traffic), oracle: None, live: true },
        accepted: None,
        endless: true,
        stop,
    };
    let driven = drive(what, &mut |_| {})?;
    Ok(driven.state.tally.settled())
}

fn stream(traffic: &Demo) -> StreamOptions {
    // A few clicks are some seconds late, as those of real clients are.
    const OUT_OF_ORDER_MS: u64 = 4_000;
    const CLICK_BYTES: u32 = 450;
    // More than any demo sees.
    const RECORDS: u64 = 1 << 40;
    let start_ms = Utc::now().timestamp_millis();
    StreamOptions {
        seed: traffic.seed,
        generation: 0,
        records: RECORDS,
        partitions: 1,
        partition_by: PartitionBy::Ad,
        ads: traffic.ads,
        ad_skew: 1.05,
        users: traffic.users,
        start_ms,
        log_start_ms: start_ms,
        events_per_second: traffic.rate,
        record_bytes: CLICK_BYTES,
        out_of_order_ms: OUT_OF_ORDER_MS,
        // A copy without an id would be another click, since it happens at another time.
        shares: Shares { duplicates: traffic.duplicates, poison: traffic.poison, ..Shares::default() },
        tombstones: false,
    }
}
