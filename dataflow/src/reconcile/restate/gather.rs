//! What the rows of a segment add to the ads of a plan.

use std::ops::Range;

use hashbrown::HashMap;

use super::super::index::{Column, ELSEWHERE, IndexError, Segment, Values};
use super::super::walk::Key;
use super::super::windows::Counted;
use super::matching::{Match, NOW};
use super::plan::{AdPlan, Plan};
use crate::{Coupon, UserSketch, Window};

const MINUTE_MS: i64 = 60_000;

/// What was found of an ad.
#[derive(Default)]
pub(super) struct Gathered {
    /// The users of its rows that are on no list.
    pub(super) users: UserSketch,
    pub(super) windows: Counted,
    /// The clicks that are billed, of those that are to be hashed again.
    pub(super) clicks: Vec<Key>,
}

/// The rows at hand that are of one minute and region, and what is wanted of them.
#[derive(Default)]
struct Minute {
    minute: u16,
    region: u8,
    windows: Vec<(Window, i64)>,
    users: Vec<Coupon>,
}

/// What a thread has found.
pub(super) type GatheredByAd = HashMap<u64, Gathered>;

impl Plan<'_> {
    /// Goes through the rows of the ads in which something changes.
    pub(super) fn gather(
        &self,
        segment: &Segment<'_>,
        matches: &[Match],
        by_ad: &mut GatheredByAd,
    ) -> Result<(), IndexError> {
        let mut columns = None;
        for (ad, rows) in segment.runs() {
            let Some(plan) = self.ads.get(&ad) else { continue };
            let columns = match &mut columns {
                Some(columns) => columns,
                unread => unread.insert(Columns::read(segment)?),
            };
            let gathered = by_ad.entry(ad).or_default();
            let from = matches.partition_point(|found| (found.row as usize) < rows.start);
            self.gather_run(plan, columns, rows, matches.get(from..).unwrap_or_default(), gathered);
        }
        Ok(())
    }

    fn gather_run(
        &self,
        plan: &AdPlan<'_>,
        columns: &Columns<'_, '_>,
        rows: Range<usize>,
        matches: &[Match],
        gathered: &mut Gathered,
    ) {
        let mut matches = matches.iter().peekable();
        let mut at_hand = Minute { minute: ELSEWHERE, ..Minute::default() };
        for row in rows {
            let minute = columns.minutes.minute(row);
            let of_row = matches.next_if(|found| found.row as usize == row);
            if minute == ELSEWHERE {
                continue;
            }
            let coupon = columns.coupons.coupon(row);
            if of_row.is_none_or(|found| found.lists & NOW == 0) {
                gathered.users.update(coupon);
            }
            let region = columns.regions.number(row);
            if (at_hand.minute, at_hand.region) != (minute, region) {
                at_hand.flush(columns.segment, gathered);
                at_hand = self.wanted(plan, minute, region, at_hand);
            }
            let key = columns.keys.hash(row);
            let wanted = plan.tree.wants(key);
            if at_hand.windows.is_empty() && !wanted {
                continue;
            }
            let billed = self
                .clicks
                .get(key)
                .is_none_or(|click| !click.is_out() && click.first == Some(columns.places.place(row)));
            if billed && !at_hand.windows.is_empty() {
                at_hand.users.push(coupon);
            }
            if billed && wanted {
                gathered.clicks.push(key);
            }
        }
        at_hand.flush(columns.segment, gathered);
    }

    /// What is wanted of a minute. The room of the one before is used again.
    fn wanted(&self, plan: &AdPlan<'_>, minute: u16, region: u8, last: Minute) -> Minute {
        let Minute { mut windows, mut users, .. } = last;
        windows.clear();
        users.clear();
        if !plan.windows.is_empty() {
            let time_ms = self.start_ms + i64::from(minute) * MINUTE_MS;
            let around = Window::ALL.map(|window| (window, window.start_of(time_ms)));
            windows.extend(around.into_iter().filter(|key| plan.windows.contains(key)));
        }
        Minute { minute, region, windows, users }
    }
}

impl Minute {
    fn flush(&self, segment: &Segment<'_>, gathered: &mut Gathered) {
        if !self.windows.is_empty() {
            gathered.windows.add(segment.region(self.region), &self.windows, &self.users);
        }
    }
}

/// The columns of a segment that are looked at.
struct Columns<'s, 'a> {
    segment: &'s Segment<'a>,
    keys: Values,
    coupons: Values,
    minutes: Values,
    regions: Values,
    places: Values,
}

impl<'s, 'a> Columns<'s, 'a> {
    fn read(segment: &'s Segment<'a>) -> Result<Self, IndexError> {
        Ok(Self {
            segment,
            keys: segment.column(Column::Key)?,
            coupons: segment.column(Column::Coupon)?,
            minutes: segment.column(Column::Minute)?,
            regions: segment.column(Column::Region)?,
            places: segment.column(Column::Place)?,
        })
    }
}
