//! The binary format of Apache DataSketches HLL, version 1, as its libraries read it. All numbers are little endian.
//!
//! ```text
//! byte     0          1     2     3      4        5       6        7       8        12
//! LIST   │ 2        │ 1   │ 7   │ 12  │ 3      │ flags │ count  │ 0x08  │ count × coupon u32
//! SET    │ 3        │ 1   │ 7   │ 12  │ lg arr │ flags │ 0      │ 0x09  │ count  │ count × coupon u32
//! HLL_8  │ 10       │ 1   │ 7   │ 12  │ 0      │ flags │ 0      │ 0x0a  │ hip f64 kxq0 f64 kxq1 f64 zeros u32 0 u32 │ 4096 B
//!          preamble   ver-  HLL   lgK                     curMin   mode,
//!          u32s       sion                                         HLL_8
//! ```
//!
//! - LIST holds up to 7 coupons (8 fill the list, which then becomes a set), SET up to 384, HLL_8 is what comes after.
//! - `compact`: only the taken slots are written. They come in ascending order; a reader rebuilds its own table.
//! - `out of order`: the registers come from merges, so hip is 0 and a reader takes the composite estimator.
//! - kxq0 and kxq1 are the sums of 2^-register over the registers below 32 and from 32 on. Both sums are exact in a
//!   f64 (43 bits), so they do not depend on the order of summation either.

use datasketches::hll::HllSketch;

use super::UserSketch;
use super::coupon::Coupon;
use super::error::{SketchError, take, take_array};
use super::registers::{LG_K, REGISTERS, Registers};
use super::table::MAX_COUPONS;

const SERIAL_VERSION: u8 = 1;
const FAMILY_HLL: u8 = 7;

const LIST_PREAMBLE_INTS: u8 = 2;
const SET_PREAMBLE_INTS: u8 = 3;
const HLL_PREAMBLE_INTS: u8 = 10;

const MODE_LIST_HLL_8: u8 = 0x08;
const MODE_SET_HLL_8: u8 = 0x09;
const MODE_HLL_HLL_8: u8 = 0x0a;

const FLAG_EMPTY: u8 = 4;
const FLAG_COMPACT: u8 = 8;
const FLAG_OUT_OF_ORDER: u8 = 16;

const LG_LIST_SLOTS: u8 = 3;
const LG_MIN_SET_SLOTS: u8 = 5;

const HEADER_BYTES: usize = 8;
const HLL_BYTES: usize = 4 * HLL_PREAMBLE_INTS as usize + REGISTERS;

/// Appends a small sketch; the coupons are in canonical order and at most 384.
pub(super) fn write_coupons(coupons: &[Coupon], out: &mut Vec<u8>) {
    let is_list = coupons.len() < 1 << LG_LIST_SLOTS;
    let count = coupons.len() as u32;
    if is_list {
        let flags = FLAG_COMPACT | if coupons.is_empty() { FLAG_EMPTY } else { 0 };
        write_header(out, LIST_PREAMBLE_INTS, LG_LIST_SLOTS, flags, count as u8, MODE_LIST_HLL_8);
    } else {
        write_header(out, SET_PREAMBLE_INTS, lg_set_slots(count), FLAG_COMPACT, 0, MODE_SET_HLL_8);
        out.extend_from_slice(&count.to_le_bytes());
    }
    out.extend(coupons.iter().flat_map(|coupon| coupon.0.to_le_bytes()));
}

/// Appends a large sketch.
pub(super) fn write_registers(registers: &Registers, out: &mut Vec<u8>) {
    let sums = Sums::of(registers.values());
    let flags = FLAG_COMPACT | FLAG_OUT_OF_ORDER;
    out.reserve(HLL_BYTES);
    write_header(out, HLL_PREAMBLE_INTS, 0, flags, 0, MODE_HLL_HLL_8);
    out.extend_from_slice(&0_f64.to_le_bytes());
    out.extend_from_slice(&sums.kxq0.to_le_bytes());
    out.extend_from_slice(&sums.kxq1.to_le_bytes());
    out.extend_from_slice(&sums.zeros.to_le_bytes());
    out.extend_from_slice(&0_u32.to_le_bytes());
    out.extend_from_slice(registers.values());
}

/// Reads what the two functions above write; of the same form, it may be another library's.
pub(super) fn read(bytes: &[u8]) -> Result<UserSketch, SketchError> {
    let mut rest = bytes;
    let header = take_array(&mut rest, "its header")?;
    let [preamble_ints, SERIAL_VERSION, FAMILY_HLL, LG_K, _, flags, state, mode] = header else {
        return Err(SketchError::UnknownHeader { header });
    };
    let sketch = match (preamble_ints, mode, flags & FLAG_COMPACT) {
        (LIST_PREAMBLE_INTS, MODE_LIST_HLL_8, FLAG_COMPACT) => read_coupons(&mut rest, u32::from(state))?,
        (SET_PREAMBLE_INTS, MODE_SET_HLL_8, FLAG_COMPACT) => {
            let count = u32::from_le_bytes(take_array(&mut rest, "its count")?);
            read_coupons(&mut rest, count)?
        }
        (HLL_PREAMBLE_INTS, MODE_HLL_HLL_8, _) => {
            take(&mut rest, HLL_BYTES - HEADER_BYTES - REGISTERS, "its sums")?;
            let values = take_array::<REGISTERS>(&mut rest, "its registers")?;
            UserSketch::of_registers(Registers::from_values(Box::new(values))?)
        }
        _ => return Err(SketchError::UnknownHeader { header }),
    };
    if !rest.is_empty() {
        return Err(SketchError::TrailingBytes { left_bytes: rest.len() });
    }
    Ok(sketch)
}

fn read_coupons(rest: &mut &[u8], count: u32) -> Result<UserSketch, SketchError> {
    if count as usize > MAX_COUPONS {
        return Err(SketchError::TooManyCoupons { count });
    }
    let (words, _) = take(rest, count as usize * size_of::<u32>(), "its coupons")?.as_chunks::<4>();
    let coupons = words.iter().map(|&word| Coupon::from_bytes(word)).collect::<Result<Vec<_>, _>>()?;
    Ok(UserSketch::of_coupons(&coupons))
}

/// The composite estimate, by the library itself: what every reader of the bytes makes of them.
pub(super) fn estimate(registers: &Registers) -> u64 {
    let mut bytes = Vec::with_capacity(HLL_BYTES);
    write_registers(registers, &mut bytes);
    // Written a line above, so it reads back; should a new version of the library refuse the format, then
    // stopping is better than a wrong number of users.
    let sketch = HllSketch::deserialize(&bytes).expect("datasketches refuses an HLL_8 image of its own format");
    sketch.estimate().round() as u64
}

fn write_header(out: &mut Vec<u8>, preamble_ints: u8, lg_slots: u8, flags: u8, state: u8, mode: u8) {
    out.extend_from_slice(&[preamble_ints, SERIAL_VERSION, FAMILY_HLL, LG_K, lg_slots, flags, state, mode]);
}

/// The size of the hash table in which DataSketches would keep them: at most three quarters full.
fn lg_set_slots(coupons: u32) -> u8 {
    let mut lg_slots = LG_MIN_SET_SLOTS;
    while 4 * coupons > 3 << lg_slots {
        lg_slots += 1;
    }
    lg_slots
}

/// What the estimators need to know of the registers.
struct Sums {
    kxq0: f64,
    kxq1: f64,
    zeros: u32,
}

impl Sums {
    /// In whole multiples of 2^-31 and 2^-63. Values from 32 on are so rare (one register in a million at a billion
    /// users) that only sketches that have one pay for a second pass.
    fn of(values: &[u8; REGISTERS]) -> Self {
        let (mut low, mut zeros, mut largest) = (0_u64, 0_u32, 0_u8);
        for &value in values {
            low += (1 << 31) >> value.min(32);
            zeros += u32::from(value == 0);
            largest = largest.max(value);
        }
        let high = match largest {
            0..32 => 0,
            _ => values.iter().filter(|&&value| value >= 32).map(|&value| (1_u64 << 63) >> value).sum(),
        };
        Self { kxq0: low as f64 / (1_u64 << 31) as f64, kxq1: high as f64 / (1_u64 << 63) as f64, zeros }
    }
}
