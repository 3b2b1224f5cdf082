//! Up to a few hundred coupons as a hash table with linear probing, built so that it reads out almost sorted.
//!
//! ```text
//! slots   │ c │ · │ c │ c │ · │ · │ c │ · │     · = 0 = free       home of a coupon = slot / 2^26 × number of slots
//!          └───────── ascending homes ───┘
//! ```
//!
//! The home rises with the coupon's slot, so a scan meets the coupons in canonical order but for a few neighbours that
//! one insertion sort puts right, and any number of slots will do, not only powers of two.
//!
//! Invariants: at least one slot is free (a search for an absent coupon ends); the number of slots is a function of
//! the number of coupons, so two tables with the same coupons take the same memory.

use super::coupon::Coupon;

/// The most coupons that are kept one by one. From one more on DataSketches switches to registers: its set may fill
/// three quarters of at most 2^(lgK - 3) slots.
pub(super) const MAX_COUPONS: usize = 384;

const MIN_SLOTS: usize = 8;

/// The slots of a table. How many are taken is counted by the owner, whose layout has the room for it.
#[derive(Debug, Clone)]
pub(super) struct CouponTable {
    slots: Box<[u32]>,
}

/// Where a search ended.
pub(super) enum Found {
    Here,
    /// Not there; this slot is free for it.
    Free(usize),
}

impl CouponTable {
    /// A table that has room for `coupons` coupons.
    pub(super) fn with_room_for(coupons: usize) -> Self {
        let mut slots = MIN_SLOTS;
        while room_in(slots) < coupons {
            slots = next_size(slots);
        }
        Self { slots: vec![0; slots].into_boxed_slice() }
    }

    /// How many coupons it holds before it must grow.
    #[inline]
    pub(super) fn room(&self) -> usize {
        room_in(self.slots.len()).min(MAX_COUPONS)
    }

    #[inline]
    pub(super) fn find(&self, coupon: Coupon) -> Found {
        let mut index = self.home(coupon);
        loop {
            match self.slots.get(index) {
                Some(&taken) if taken == coupon.0 => return Found::Here,
                Some(0) => return Found::Free(index),
                Some(_) => index += 1,
                None => index = 0,
            }
        }
    }

    /// Fills a slot that [`Self::find`] has just named.
    #[inline]
    pub(super) fn fill(&mut self, free: usize, coupon: Coupon) {
        if let Some(slot) = self.slots.get_mut(free) {
            *slot = coupon.0;
        }
    }

    /// Adds a coupon, for which there must be room; whether it was new.
    pub(super) fn insert(&mut self, coupon: Coupon) -> bool {
        match self.find(coupon) {
            Found::Here => false,
            Found::Free(free) => {
                self.fill(free, coupon);
                true
            }
        }
    }

    /// The coupons, almost in canonical order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Coupon> + '_ {
        self.slots.iter().filter(|&&slot| slot != 0).map(|&slot| Coupon(slot))
    }

    pub(super) fn heap_bytes(&self) -> usize {
        size_of_val(&*self.slots)
    }

    #[inline]
    fn home(&self, coupon: Coupon) -> usize {
        ((u64::from(coupon.slot()) * self.slots.len() as u64) >> 26) as usize
    }
}

/// Four fifths: beyond that probes get long quickly.
#[inline]
const fn room_in(slots: usize) -> usize {
    slots * 4 / 5
}

/// 8, 16, 32, 64, 96, 128, 192, …: doubling while the memory is small, for speed; then half steps, which leave less of it
/// empty. Each is the size of an allocator's class.
const fn next_size(slots: usize) -> usize {
    match slots {
        0..64 => slots * 2,
        _ if slots.is_power_of_two() => slots / 2 * 3,
        _ => slots / 3 * 4,
    }
}

/// The coupons of a small sketch in canonical order.
pub(super) struct SortedCoupons {
    coupons: [Coupon; MAX_COUPONS],
    len: usize,
}

impl SortedCoupons {
    /// Sorts; cheap when they come almost sorted. More than [`MAX_COUPONS`] never come.
    pub(super) fn of(coupons: impl Iterator<Item = Coupon>) -> Self {
        let mut sorted = Self { coupons: [Coupon(0); MAX_COUPONS], len: 0 };
        for (place, coupon) in sorted.coupons.iter_mut().zip(coupons) {
            *place = coupon;
            sorted.len += 1;
        }
        if let Some(taken) = sorted.coupons.get_mut(..sorted.len) {
            insertion_sort(taken);
        }
        sorted
    }

    pub(super) fn as_slice(&self) -> &[Coupon] {
        self.coupons.get(..self.len).unwrap_or_default()
    }
}

fn insertion_sort(coupons: &mut [Coupon]) {
    for end in 1..coupons.len() {
        let mut index = end;
        while index > 0 && coupons[index - 1].sort_key() > coupons[index].sort_key() {
            coupons.swap(index - 1, index);
            index -= 1;
        }
    }
}
