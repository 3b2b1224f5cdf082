//! Distinct users: a HyperLogLog sketch whose contents are a pure function of the set of users.
//!
//! ```text
//! distinct coupons   0 ..= 5               6 ..= 384                385 ...
//!                    ┌────────────────┐    ┌───────────────────┐    ┌────────────────────┐
//! UserSketch         │ in place       │──▶ │ hash table        │──▶ │ 4096 registers     │
//!                    └────────────────┘    └───────────────────┘    └────────────────────┘
//! heap               none                  32 B to 2 KiB            4 KiB
//! as DataSketches    LIST up to 7          SET from 8 on            HLL_8, lgK = 12
//! estimate           the count             the count                composite estimator, ± 1.6 %
//! ```
//!
//! Invariants:
//! - **Order never shows** (I5). Coupons are kept one by one up to [`MAX_COUPONS`], so a small sketch is exact; it turns
//!   to registers exactly when the distinct coupons exceed that. The distinct coupons of a union are never fewer than
//!   those of a part, so whether a set of users is small or large is the same by every path, and registers are maxima.
//!   Whatever the order of updates and merges, `encode` and `to_datasketches` give the same bytes.
//! - DataSketches' own sketches lack this: their HIP estimate depends on the order of updates, and their sets are written
//!   in the order of a hash table. We keep our own state and write theirs, marked as merged ("out of order"), so that every
//!   reader takes the same estimator as we do.

mod checkpoint;
mod coupon;
mod error;
mod format;
mod murmur;
mod registers;
mod table;
#[cfg(test)]
mod tests;

pub use coupon::Coupon;
pub use error::SketchError;

use registers::Registers;
use table::{CouponTable, Found, MAX_COUPONS, SortedCoupons};

/// How many coupons fit where the sketch itself is.
const IN_PLACE: usize = 5;

/// The distinct users of a pane.
#[derive(Debug, Clone, Default)]
pub struct UserSketch {
    users: Users,
}

/// The three forms; each field is where it is to keep the whole at 24 bytes.
#[derive(Debug, Clone)]
enum Users {
    /// The coupons from the front, zeros behind them.
    InPlace([u32; IN_PLACE]),
    Table {
        len: u16,
        table: CouponTable,
    },
    Registers(Registers),
}

const _: () = assert!(size_of::<UserSketch>() == 24);

impl Default for Users {
    fn default() -> Self {
        Self::InPlace([0; IN_PLACE])
    }
}

impl UserSketch {
    /// A sketch of nobody; takes no heap.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a user.
    #[inline]
    pub fn update(&mut self, coupon: Coupon) {
        match &mut self.users {
            Users::Registers(registers) => registers.update(coupon),
            Users::Table { len, table } => match table.find(coupon) {
                Found::Here => {}
                Found::Free(free) if usize::from(*len) < table.room() => {
                    table.fill(free, coupon);
                    *len += 1;
                }
                Found::Free(_) => self.grow_with(coupon),
            },
            Users::InPlace(coupons) => {
                if coupons.contains(&coupon.0) {
                    return;
                }
                match coupons.iter_mut().find(|place| **place == 0) {
                    Some(place) => *place = coupon.0,
                    None => self.grow_with(coupon),
                }
            }
        }
    }

    /// Adds the users of another sketch.
    pub fn merge(&mut self, other: &Self) {
        match (&mut self.users, &other.users) {
            (_, Users::InPlace(coupons)) => coupons.iter().for_each(|&coupon| {
                if coupon != 0 {
                    self.update(Coupon(coupon));
                }
            }),
            (Users::Registers(registers), Users::Registers(others)) => registers.merge(others),
            (Users::Registers(registers), Users::Table { table, .. }) => {
                table.iter().for_each(|coupon| registers.update(coupon));
            }
            (_, Users::Registers(others)) => {
                let mut registers = others.clone();
                self.coupons().for_each(|coupon| registers.update(coupon));
                self.users = Users::Registers(registers);
            }
            (_, Users::Table { table, .. }) => self.merge_table(table),
        }
    }

    /// How many distinct users, rounded: exact up to 384 but for users that share a coupon, one pair in 200 million.
    #[must_use]
    pub fn estimate(&self) -> u64 {
        match &self.users {
            // DataSketches corrects the count for coupons that two users share; up to 384 that is less than 0.001.
            Users::InPlace(_) | Users::Table { .. } => self.len() as u64,
            Users::Registers(registers) => format::estimate(registers),
        }
    }

    /// Appends the sketch in the binary format of Apache DataSketches, which Spark, DuckDB, Postgres and others merge.
    /// The same users give the same bytes.
    pub fn to_datasketches(&self, out: &mut Vec<u8>) {
        match &self.users {
            Users::InPlace(_) | Users::Table { .. } => format::write_coupons(self.sorted().as_slice(), out),
            Users::Registers(registers) => format::write_registers(registers, out),
        }
    }

    /// Reads a sketch that [`Self::to_datasketches`] has written, or another library in the same form (HLL_8, lgK 12,
    /// compact).
    ///
    /// # Errors
    /// If `bytes` are anything else.
    pub fn from_datasketches(bytes: &[u8]) -> Result<Self, SketchError> {
        format::read(bytes)
    }

    /// Appends the sketch in its checkpoint form, which is smaller. The same users give the same bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match &self.users {
            Users::InPlace(_) | Users::Table { .. } => checkpoint::encode_coupons(self.sorted().as_slice(), out),
            Users::Registers(registers) => checkpoint::encode_registers(registers, out),
        }
    }

    /// Takes a sketch in its checkpoint form off the front of `bytes`.
    ///
    /// # Errors
    /// If the bytes are not what `encode` writes, down to the order of the coupons; `bytes` is then left as it was.
    pub fn decode(bytes: &mut &[u8]) -> Result<Self, SketchError> {
        checkpoint::decode(bytes)
    }

    /// What the sketch takes beside its own 24 bytes.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        match &self.users {
            Users::InPlace(_) => 0,
            Users::Table { table, .. } => table.heap_bytes(),
            Users::Registers(_) => registers::REGISTERS,
        }
    }

    /// Distinct coupons in any order: at most [`MAX_COUPONS`].
    fn of_coupons(coupons: &[Coupon]) -> Self {
        let mut sketch = Self::new();
        sketch.reserve(coupons.len());
        coupons.iter().for_each(|&coupon| sketch.update(coupon));
        sketch
    }

    fn of_registers(registers: Registers) -> Self {
        Self { users: Users::Registers(registers) }
    }

    /// The next form up, with one coupon more.
    #[cold]
    #[inline(never)]
    fn grow_with(&mut self, coupon: Coupon) {
        self.reserve(1);
        self.update(coupon);
    }

    /// Counts what is new first: a table that grew while it is filled in ascending order would be crowded at its front.
    fn merge_table(&mut self, others: &CouponTable) {
        let new = others.iter().filter(|&coupon| !self.contains(coupon)).count();
        self.reserve(new);
        others.iter().for_each(|coupon| self.update(coupon));
    }

    /// Takes the form that so many coupons more need.
    fn reserve(&mut self, new: usize) {
        let len = self.len() + new;
        match &self.users {
            Users::Registers(_) => return,
            Users::InPlace(_) if len <= IN_PLACE => return,
            Users::Table { table, .. } if len <= table.room() => return,
            Users::InPlace(_) | Users::Table { .. } => {}
        }
        self.users = if len > MAX_COUPONS {
            let mut registers = Registers::new();
            self.coupons().for_each(|coupon| registers.update(coupon));
            Users::Registers(registers)
        } else {
            let mut table = CouponTable::with_room_for(len);
            let taken = self.coupons().filter(|&coupon| table.insert(coupon)).count();
            Users::Table { len: taken as u16, table }
        };
    }

    fn contains(&self, coupon: Coupon) -> bool {
        match &self.users {
            Users::InPlace(coupons) => coupons.contains(&coupon.0),
            Users::Table { table, .. } => matches!(table.find(coupon), Found::Here),
            Users::Registers(_) => false,
        }
    }

    /// The coupons that are kept one by one, in any order; none once there are registers.
    fn coupons(&self) -> impl Iterator<Item = Coupon> + '_ {
        let (in_place, table): (&[u32], _) = match &self.users {
            Users::InPlace(coupons) => (coupons, None),
            Users::Table { table, .. } => (&[], Some(table)),
            Users::Registers(_) => (&[], None),
        };
        let in_place = in_place.iter().take_while(|&&coupon| coupon != 0).map(|&coupon| Coupon(coupon));
        in_place.chain(table.into_iter().flat_map(CouponTable::iter))
    }

    fn sorted(&self) -> SortedCoupons {
        SortedCoupons::of(self.coupons())
    }

    /// How many coupons are kept one by one.
    fn len(&self) -> usize {
        match &self.users {
            Users::InPlace(coupons) => coupons.iter().filter(|&&coupon| coupon != 0).count(),
            Users::Table { len, .. } => usize::from(*len),
            Users::Registers(_) => 0,
        }
    }
}

/// Two sketches are equal when they stand for the same users, as far as a sketch can tell.
impl PartialEq for UserSketch {
    fn eq(&self, other: &Self) -> bool {
        match (&self.users, &other.users) {
            (Users::Registers(registers), Users::Registers(others)) => registers == others,
            (Users::Registers(_), _) | (_, Users::Registers(_)) => false,
            _ => self.len() == other.len() && self.sorted().as_slice() == other.sorted().as_slice(),
        }
    }
}

impl Eq for UserSketch {}
