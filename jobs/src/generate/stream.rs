//! What stands in which place of the log.
//!
//! ```text
//!   slot      0  1  2  3  4  5  6  …            log order; slot r is written when the clock shows start + r / rate
//!   holds     ●  ●  ✗  ●  ②  ●  ⏴  …            ● click   ② copy of an earlier click   ✗ no click at all
//!                                                ⏴ click from hours before the start   ⏵ click from the future
//! ```
//!
//! Invariants, on which the oracle rests:
//! - A click's event time is at most `out_of_order` behind the clock of its slot, copies included, and never ahead of it
//!   (`⏴` and `⏵` left out). So within each partition nothing is further out of order than that.
//! - A copy stands at most half of that behind its click, and falls into the same minute with the same ad and user. Which
//!   of the two a job meets first changes nothing.
//! - `⏴` lie one to two hours before the hour of the log's start, in windows that no other click touches.
//! - `⏵` lie an hour behind the log's end, further ahead of every slot's clock than any sensible job allows.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::random::{Zipf, below, mix, unit};

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 3_600_000;

/// How far back a copy looks for its click.
const MAX_COPY_DISTANCE: u64 = 65_536;
/// How often a copy that hit no click looks again, before the slot becomes a click of its own.
const COPY_TRIES: u64 = 4;

/// Everything that decides what the stream holds. It is kept in the oracle's file, so that the stream can be made again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamOptions {
    /// The seed.
    pub seed: u64,
    /// 0 for the first part of a log, 1 for what is appended to it, and so on.
    pub generation: u32,
    /// Records, all kinds together.
    pub records: u64,
    /// Partitions.
    pub partitions: u32,
    /// How records find their partition.
    pub partition_by: PartitionBy,
    /// Different ads.
    pub ads: u32,
    /// The exponent of the ads' Zipf distribution.
    pub ad_skew: f64,
    /// Different users.
    pub users: u32,
    /// Event time of the first slot.
    pub start_ms: i64,
    /// Event time of the first slot of the log's first part.
    pub log_start_ms: i64,
    /// Slots a second of event time.
    pub events_per_second: f64,
    /// The size of a record.
    pub record_bytes: u32,
    /// The largest distance between a click and its partition's clock.
    pub out_of_order_ms: u64,
    /// Shares of the slots.
    pub shares: Shares,
    /// Whether records without a value are among the poison: only Kafka can hold them.
    pub tombstones: bool,
}

impl StreamOptions {
    /// What the stream's clock shows at a slot.
    #[must_use]
    pub fn clock_ms(&self, slot: u64) -> i64 {
        self.start_ms + (slot as f64 * 1000.0 / self.events_per_second) as i64
    }

    /// Event time behind the last slot.
    #[must_use]
    pub fn end_ms(&self) -> i64 {
        self.clock_ms(self.records)
    }
}

/// Shares of the slots that hold something else than a plain click, each from 0 to 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shares {
    /// Copies of earlier clicks.
    pub duplicates: f64,
    /// Clicks from hours before the start; there are none in the first half of the first part.
    pub late: f64,
    /// Clicks from the future.
    pub future: f64,
    /// Records that are no clicks.
    pub poison: f64,
    /// Of the clicks, those without a `click_id`.
    pub without_click_id: f64,
}

/// How records find their partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum PartitionBy {
    /// By the ad, as Kafka does with the ad as key: popular ads make some partitions larger.
    Ad,
    /// Evenly.
    Even,
}

/// One record of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    /// Its partition.
    pub(super) partition: u32,
    /// When it is written, by the stream's own clock.
    pub(super) clock_ms: i64,
    /// What it holds.
    pub(super) holds: Holds,
}

/// What a slot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    /// A click that counts.
    Click(ClickSpec),
    /// A second copy of a click that counts.
    Copy(ClickSpec),
    /// A click from hours before the start.
    Late(ClickSpec),
    /// A click from the future.
    Future(ClickSpec),
    /// A record that is no click: random bits to choose what is wrong with it, and a click to break.
    Poison(u64, ClickSpec),
}

/// A click, in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ClickSpec {
    /// The slot that it was made for: the same in a copy.
    pub(super) origin: u64,
    /// Random bits of that slot, for the fields that count for nothing.
    pub(super) random: u64,
    /// Which ad.
    pub(super) ad: u32,
    /// Which user.
    pub(super) user: u32,
    /// Its event time.
    pub(super) event_time_ms: i64,
    /// Whether its timestamp is written in seconds.
    pub(super) in_seconds: bool,
    /// Whether it has a `click_id`.
    pub(super) has_click_id: bool,
}

/// The stream: any slot, at any time, in any order.
pub(super) struct Stream {
    options: StreamOptions,
    zipf: Zipf,
    key: u64,
    copy_distance: u64,
    /// Bounds of what a slot holds, ascending.
    bounds: [f64; 4],
}

impl Stream {
    pub(super) fn new(options: &StreamOptions) -> Self {
        let shares = &options.shares;
        let half_bound_ms = (options.out_of_order_ms / 2) as f64;
        let in_half_bound = (options.events_per_second * half_bound_ms / 1000.0) as u64;
        let poison = shares.poison;
        let late = poison + shares.late;
        let future = late + shares.future;
        Self {
            zipf: Zipf::new(options.ads, options.ad_skew),
            key: mix(mix(options.seed) ^ u64::from(options.generation)),
            copy_distance: in_half_bound.clamp(1, MAX_COPY_DISTANCE),
            bounds: [poison, late, future, future + shares.duplicates],
            options: options.clone(),
        }
    }

    pub(super) fn options(&self) -> &StreamOptions {
        &self.options
    }

    /// Random bits of a slot; `purpose` keeps decisions apart.
    fn random(&self, slot: u64, purpose: u64) -> u64 {
        mix(mix(self.key ^ slot).wrapping_add(purpose))
    }

    pub(super) fn slot(&self, slot: u64) -> Slot {
        let clock_ms = self.options.clock_ms(slot);
        match self.class(slot) {
            Class::Click => self.click_slot(slot, clock_ms),
            Class::Copy => self.copy_slot(slot, clock_ms),
            Class::Late => {
                let hour_ms = (self.options.log_start_ms - self.options.out_of_order_ms as i64).div_euclid(HOUR_MS);
                let back_ms = below(self.random(slot, 20), HOUR_MS as u64) as i64;
                let event_time_ms = (hour_ms - 2) * HOUR_MS + back_ms;
                self.odd_slot(slot, clock_ms, |click| Holds::Late(ClickSpec { event_time_ms, ..click }))
            }
            Class::Future => {
                let ahead_ms = HOUR_MS + below(self.random(slot, 20), MINUTE_MS as u64) as i64;
                let event_time_ms = self.options.end_ms() + ahead_ms;
                self.odd_slot(slot, clock_ms, |click| Holds::Future(ClickSpec { event_time_ms, ..click }))
            }
            Class::Poison => {
                let bits = self.random(slot, 21);
                self.odd_slot(slot, clock_ms, |click| Holds::Poison(bits, click))
            }
        }
    }

    fn class(&self, slot: u64) -> Class {
        let drawn = unit(self.random(slot, 1));
        let [poison, late, future, copy] = self.bounds;
        let late_may_come = self.options.generation > 0 || slot >= self.options.records / 2;
        match drawn {
            drawn if drawn < poison => Class::Poison,
            drawn if drawn < late => {
                if late_may_come {
                    Class::Late
                } else {
                    Class::Click
                }
            }
            drawn if drawn < future => Class::Future,
            drawn if drawn < copy => Class::Copy,
            _ => Class::Click,
        }
    }

    fn click_slot(&self, slot: u64, clock_ms: i64) -> Slot {
        let click = self.click(slot);
        Slot { partition: self.partition(&click), clock_ms, holds: Holds::Click(click) }
    }

    fn odd_slot(&self, slot: u64, clock_ms: i64, hold: impl FnOnce(ClickSpec) -> Holds) -> Slot {
        let click = self.click(slot);
        // In milliseconds, since what is special about it is its event time.
        let holds = hold(ClickSpec { in_seconds: false, ..click });
        Slot { partition: self.partition(&click), clock_ms, holds }
    }

    fn copy_slot(&self, slot: u64, clock_ms: i64) -> Slot {
        let Some(origin) = self.copied(slot) else {
            return self.click_slot(slot, clock_ms);
        };
        let click = self.click(origin);
        let home = self.partition(&click);
        let kind = below(self.random(slot, 2), 100);
        let partition = if kind < 60 { home } else { self.other_partition(slot, home) };
        let retimed = kind >= 85 && click.has_click_id;
        let copy = if retimed { self.retimed(slot, clock_ms, click) } else { click };
        Slot { partition, clock_ms, holds: Holds::Copy(copy) }
    }

    /// The slot that a copy repeats: one that holds a plain click, not far back.
    fn copied(&self, slot: u64) -> Option<u64> {
        (0..COPY_TRIES).find_map(|attempt| {
            let distance = 1 + below(self.random(slot, 3 + attempt), self.copy_distance);
            let origin = slot.checked_sub(distance)?;
            (self.class(origin) == Class::Click).then_some(origin)
        })
    }

    /// The same click with another time of the same minute, which is neither ahead of the clock nor too far behind it.
    fn retimed(&self, slot: u64, clock_ms: i64, click: ClickSpec) -> ClickSpec {
        let minute_ms = click.event_time_ms.div_euclid(MINUTE_MS) * MINUTE_MS;
        let first_ms = minute_ms.max(clock_ms - self.options.out_of_order_ms as i64).min(click.event_time_ms);
        let last_ms = (minute_ms + MINUTE_MS - 1).min(clock_ms).max(first_ms);
        let ahead_ms = below(self.random(slot, 10), (last_ms - first_ms + 1) as u64) as i64;
        ClickSpec { event_time_ms: first_ms + ahead_ms, in_seconds: false, ..click }
    }

    fn click(&self, slot: u64) -> ClickSpec {
        let random = self.random(slot, 11);
        let half_bound_ms = self.options.out_of_order_ms / 2;
        let clock_ms = self.options.clock_ms(slot);
        let behind_ms = below(self.random(slot, 12), half_bound_ms + 1) as i64;
        let exact_ms = clock_ms - behind_ms;
        let floor_ms = exact_ms.div_euclid(1000) * 1000;
        let in_seconds = random & 7 == 0 && floor_ms >= clock_ms - half_bound_ms as i64;
        ClickSpec {
            origin: slot,
            random,
            ad: self.zipf.rank(self.random(slot, 13)),
            user: below(self.random(slot, 14), u64::from(self.options.users)) as u32,
            event_time_ms: if in_seconds { floor_ms } else { exact_ms },
            in_seconds,
            has_click_id: unit(self.random(slot, 15)) >= self.options.shares.without_click_id,
        }
    }

    fn partition(&self, click: &ClickSpec) -> u32 {
        let bits = match self.options.partition_by {
            PartitionBy::Ad => mix(u64::from(click.ad)),
            PartitionBy::Even => self.random(click.origin, 16),
        };
        below(bits, u64::from(self.options.partitions)) as u32
    }

    fn other_partition(&self, slot: u64, home: u32) -> u32 {
        let others = u64::from(self.options.partitions).saturating_sub(1);
        if others == 0 {
            return home;
        }
        (home + 1 + below(self.random(slot, 17), others) as u32) % self.options.partitions
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Click,
    Copy,
    Late,
    Future,
    Poison,
}
