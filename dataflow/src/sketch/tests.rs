//! Order never shows, the bytes are DataSketches' own, and the estimates are as good as promised.

#![allow(clippy::unwrap_used, reason = "a test may")]

use datasketches::hash::value::raw_bytes;
use datasketches::hll::{HllSketch, HllType, HllUnion};
use proptest::prelude::*;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use super::{Coupon, SketchError, UserSketch};

/// Around every change of form: in place, table, LIST, SET and its sizes, registers.
const SIZES: [usize; 22] =
    [0, 1, 5, 6, 7, 8, 9, 24, 25, 96, 97, 102, 103, 384, 385, 386, 1000, 2000, 4096, 10_000, 30_000, 100_000];

/// Of the composite estimator at lgK = 12: sqrt(3 ln 2 - 1) / sqrt(4096).
const STANDARD_ERROR: f64 = 0.01624;

fn users(range: std::ops::Range<usize>) -> Vec<Coupon> {
    range.map(|user| Coupon::of_user(&format!("user-{user}"))).collect()
}

fn sketch_of(coupons: &[Coupon]) -> UserSketch {
    let mut sketch = UserSketch::new();
    coupons.iter().for_each(|&coupon| sketch.update(coupon));
    sketch
}

fn encoded(sketch: &UserSketch) -> Vec<u8> {
    let mut bytes = Vec::new();
    sketch.encode(&mut bytes);
    bytes
}

fn datasketches_bytes(sketch: &UserSketch) -> Vec<u8> {
    let mut bytes = Vec::new();
    sketch.to_datasketches(&mut bytes);
    bytes
}

fn read_by_library(sketch: &UserSketch) -> HllSketch {
    HllSketch::deserialize(&datasketches_bytes(sketch)).expect("the library reads it")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[track_caller]
fn assert_same(left: &UserSketch, right: &UserSketch, context: &str) {
    assert!(left == right, "{context}: not equal");
    assert_eq!(encoded(left), encoded(right), "{context}: checkpoint form");
    assert_eq!(datasketches_bytes(left), datasketches_bytes(right), "{context}: public form");
    assert_eq!(left.estimate(), right.estimate(), "{context}: estimate");
    assert_eq!(left.heap_bytes(), right.heap_bytes(), "{context}: memory");
}

/// The coupons in random pieces that overlap, merged by a random tree.
fn by_random_merges(coupons: &[Coupon], rng: &mut SmallRng) -> UserSketch {
    let mut shuffled = coupons.to_vec();
    shuffled.shuffle(rng);
    let mut parts = vec![UserSketch::new()];
    let mut rest = shuffled.as_slice();
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at(rng.random_range(1..=rest.len().min(2000)));
        let mut part = sketch_of(piece);
        (0..rng.random_range(0..20)).for_each(|_| part.update(shuffled[rng.random_range(0..shuffled.len())]));
        parts.push(part);
        rest = behind;
    }
    while parts.len() > 1 {
        let part = parts.swap_remove(rng.random_range(0..parts.len()));
        let into = rng.random_range(0..parts.len());
        parts[into].merge(&part);
    }
    parts.remove(0)
}

#[test]
fn order_never_shows() {
    for size in SIZES {
        let coupons = users(0..size);
        let expect = sketch_of(&coupons);
        for seed in 0..8 {
            let mut rng = SmallRng::seed_from_u64(seed);
            let mut shuffled = coupons.clone();
            shuffled.shuffle(&mut rng);
            assert_same(&sketch_of(&shuffled), &expect, &format!("size {size}, seed {seed}, shuffled"));
            let merged = by_random_merges(&coupons, &mut rng);
            assert_same(&merged, &expect, &format!("size {size}, seed {seed}, merged"));
        }
    }
}

/// Coupons that crowd few slots, which honest hashes never do, in sketches that are just about to turn to registers.
#[test]
fn order_never_shows_with_crowded_coupons() {
    for seed in 0..200 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let slots = 1 << rng.random_range(0..12);
        let size = rng.random_range(1..500);
        let mut coupon = || Coupon((rng.random_range(1..64) << 26) | (0x03ff_ffff - rng.random_range(0..slots)));
        let coupons: Vec<Coupon> = (0..size).map(|_| coupon()).collect();
        let expect = sketch_of(&coupons);
        let merged = by_random_merges(&coupons, &mut rng);
        assert_same(&merged, &expect, &format!("seed {seed}"));
        let bytes = encoded(&expect);
        assert_same(&UserSketch::decode(&mut bytes.as_slice()).unwrap(), &expect, &format!("seed {seed}, decoded"));
    }
}

/// A set of users is exact as long as coupons are kept, and DataSketches' coupon estimator agrees once rounded.
#[test]
fn small_sketches_are_exact() {
    for size in 0..=384 {
        let sketch = sketch_of(&users(0..size));
        assert_eq!(sketch.estimate(), size as u64);
        assert_eq!(read_by_library(&sketch).estimate().round() as usize, size);
    }
}

#[test]
fn the_library_reads_and_agrees() {
    for size in [0, 1, 7, 8, 9, 383, 384, 385, 1000, 10_000, 1_000_000] {
        let sketch = sketch_of(&users(0..size));
        let library = read_by_library(&sketch);
        assert_eq!(library.lg_config_k(), 12);
        assert_eq!(library.target_type(), HllType::Hll8);
        assert_eq!(library.is_empty(), size == 0);
        assert_eq!(sketch.estimate(), library.estimate().round() as u64, "size {size}");
        let error = sketch.estimate() as f64 / (size as f64).max(1.0) - 1.0;
        assert!(size == 0 || error.abs() < 3.0 * STANDARD_ERROR, "size {size}: off by {error}");
    }
}

/// The library, fed the same users, ends with the same coupons and registers: hash, layout and sums are its own.
#[test]
fn the_library_builds_the_same_sketch() {
    for size in SIZES {
        let mut library = HllSketch::new(12, HllType::Hll8).unwrap();
        (0..size).for_each(|user| library.update(raw_bytes::from_str(&format!("user-{user}"))));
        let bytes = library.serialize();
        let ours = datasketches_bytes(&sketch_of(&users(0..size)));
        assert_eq!(ours.len(), bytes.len(), "size {size}");
        if size <= 384 {
            assert!(HllSketch::deserialize(&ours).unwrap() == library, "size {size}");
        } else {
            // Sums, zeros, registers; before them the flags and the history that only the library keeps.
            assert_eq!(ours[16..], bytes[16..], "size {size}");
        }
    }
}

#[test]
fn the_librarys_union_is_our_merge() {
    let pairs =
        [(0, 5), (3, 5), (200, 150), (250, 250), (384, 384), (384, 385), (10, 5000), (5000, 10), (20_000, 30_000)];
    for (left_size, right_size) in pairs {
        let left = sketch_of(&users(0..left_size));
        let right = sketch_of(&users(left_size / 2..left_size / 2 + right_size));
        let mut union = HllUnion::new(12).unwrap();
        union.update(&read_by_library(&left));
        union.update(&read_by_library(&right));
        let library = union.to_sketch(HllType::Hll8);

        let mut merged = left.clone();
        merged.merge(&right);
        let context = format!("{left_size} and {right_size} users");
        assert_eq!(merged.estimate(), library.composite_estimate().round() as u64, "{context}");
        if merged.heap_bytes() == 4096 {
            assert_eq!(datasketches_bytes(&merged)[16..], library.serialize()[16..], "{context}");
        } else {
            assert!(read_by_library(&merged) == library, "{context}");
        }
    }
}

/// Where the error of a good estimator lies within one, two and three standard errors 68, 95 and 99.7 times in 100.
#[test]
fn estimates_keep_to_their_error() {
    const SEEDS: usize = 400;
    for size in [500, 2000, 5000, 12_000] {
        let mut within = [0; 3];
        let mut sum = 0.0;
        for seed in 0..SEEDS {
            let mut sketch = UserSketch::new();
            (0..size).for_each(|user| sketch.update(Coupon::of_user(&format!("seed-{seed}-user-{user}"))));
            let error = sketch.estimate() as f64 / size as f64 - 1.0;
            sum += error;
            (1..=3).filter(|&errors| error.abs() <= errors as f64 * STANDARD_ERROR).for_each(|n| within[n - 1] += 1);
        }
        let bias = sum / SEEDS as f64;
        assert!(bias.abs() < 0.25 * STANDARD_ERROR, "size {size}: bias {bias}");
        assert!(within[0] >= SEEDS * 62 / 100, "size {size}: {within:?} of {SEEDS}");
        assert!(within[1] >= SEEDS * 92 / 100, "size {size}: {within:?} of {SEEDS}");
        assert!(within[2] >= SEEDS * 98 / 100, "size {size}: {within:?} of {SEEDS}");
    }
}

/// What the Python package `datasketches` 5.2.0 writes (`serialize_compact` of an `hll_sketch(12, HLL_8)`) after one
/// `update(user)`: the whole of a LIST, whose last four bytes are the coupon.
#[test]
fn single_users_as_python_writes_them() {
    let vectors = [
        ("", "0201070c030c0008"),
        ("user-1", "0201070c0308010876422c06"),
        ("a", "0201070c030801082f823b04"),
        ("alice@example.org", "0201070c03080108f98ff507"),
        ("0123456789abcdef", "0201070c0308010820942809"),
        ("ünïcödé", "0201070c030801082323a90a"),
        ("0f8fad5b-d9cb-469f-a165-70867728950e", "0201070c0308010851526d07"),
    ];
    for (user, bytes) in vectors {
        let sketch = if user.is_empty() { UserSketch::new() } else { sketch_of(&[Coupon::of_user(user)]) };
        assert_eq!(hex(&datasketches_bytes(&sketch)), bytes, "user {user:?}");
    }
}

/// What the same package writes of an `hll_union(12)` of the first and the last 60 % of the users: preamble, checksum
/// (FNV-1a) of all its bytes, and estimate. Its sets, in the order of a hash table, were put into ours before the checksum.
#[test]
fn many_users_as_python_writes_them() {
    let vectors = [
        (7, "0201070c03080708", 0x2c60_24a0_543d_d0a3, 7.000000104308129),
        (8, "0301070c0508000908000000", 0xc68a_3703_8a4b_8a08, 8.000000139077509),
        (24, "0301070c0508000918000000", 0x03dd_6fb9_ba66_1225, 24.00000137090692),
        (25, "0301070c0608000919000000", 0xcbe7_ff1b_302e_81e7, 25.000001490116226),
        (384, "0301070c0908000980010000", 0x34f5_9a00_e119_b5ad, 384.0003652576619),
        (1000, "0a01070c0018000a000000000000000000000080ee68ab40", 0xf94e_ac43_5357_f74d, 996.9452291154739),
        (10_000, "0a01070c0018000a000000000000000000000020158992", 0x5ce1_b366_21da_60f7, 9926.34213260927),
        (1_000_000, "0a01070c0018000a0000000000000000000000205989284", 0xcc16_7e12_6e78_1729, 986_195.0965679586),
    ];
    for (size, preamble, checksum, estimate) in vectors {
        let sketch = sketch_of(&users(0..size));
        let bytes = datasketches_bytes(&sketch);
        assert!(hex(&bytes).starts_with(preamble), "size {size}: {}", hex(&bytes[..preamble.len()]));
        assert_eq!(fnv_1a(&bytes), checksum, "size {size}");
        assert_eq!(read_by_library(&sketch).estimate(), estimate, "size {size}");
        assert_eq!(sketch.estimate(), f64::round(estimate) as u64, "size {size}");
    }
}

fn fnv_1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[test]
fn memory_stays_small() {
    assert_eq!(sketch_of(&users(0..5)).heap_bytes(), 0);
    assert_eq!(sketch_of(&users(0..6)).heap_bytes(), 32);
    assert_eq!(sketch_of(&users(0..100)).heap_bytes(), 512);
    assert_eq!(sketch_of(&users(0..384)).heap_bytes(), 2048);
    assert_eq!(sketch_of(&users(0..385)).heap_bytes(), 4096);
}

#[test]
fn decode_takes_what_encode_writes_and_leaves_the_rest() {
    for size in SIZES {
        let sketch = sketch_of(&users(0..size));
        let mut bytes = encoded(&sketch);
        bytes.extend_from_slice(b"next");
        let mut rest = bytes.as_slice();
        let decoded = UserSketch::decode(&mut rest).unwrap();
        assert_same(&decoded, &sketch, &format!("size {size}"));
        assert_eq!(rest, b"next", "size {size}");
    }
}

#[test]
fn public_bytes_read_back() {
    for size in SIZES {
        let sketch = sketch_of(&users(0..size));
        let bytes = datasketches_bytes(&sketch);
        assert_same(&UserSketch::from_datasketches(&bytes).unwrap(), &sketch, &format!("size {size}"));
        for end in (0..bytes.len()).step_by(1 + bytes.len() / 50) {
            assert!(UserSketch::from_datasketches(&bytes[..end]).is_err(), "size {size}, cut at {end}");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(UserSketch::from_datasketches(&longer), Err(SketchError::TrailingBytes { left_bytes: 1 }));

        let mut library = HllSketch::new(12, HllType::Hll8).unwrap();
        (0..size).for_each(|user| library.update(raw_bytes::from_str(&format!("user-{user}"))));
        let read = UserSketch::from_datasketches(&library.serialize()).unwrap();
        assert_same(&read, &sketch, &format!("size {size}, written by the library"));
    }
    let smaller = HllSketch::new(11, HllType::Hll8).unwrap().serialize();
    assert!(matches!(UserSketch::from_datasketches(&smaller), Err(SketchError::UnknownHeader { .. })));
    let packed = HllSketch::new(12, HllType::Hll4).unwrap().serialize();
    assert!(matches!(UserSketch::from_datasketches(&packed), Err(SketchError::UnknownHeader { .. })));
}

/// Large registers, far above the base, and a base above zero.
#[test]
fn far_registers_survive() {
    let mut sketch = sketch_of(&users(0..200_000));
    for (slot, value) in [(0, 63), (1, 62), (4094, 40), (4095, 33)] {
        sketch.update(Coupon((value << 26) | slot));
    }
    let bytes = encoded(&sketch);
    assert_ne!(bytes[2], 0, "the base is above zero");
    assert_same(&UserSketch::decode(&mut bytes.as_slice()).unwrap(), &sketch, "far registers");
    assert_eq!(sketch.estimate(), read_by_library(&sketch).composite_estimate().round() as u64);
}

#[test]
fn decode_refuses_what_encode_never_writes() {
    let check = |bytes: &[u8], expect: fn(&SketchError) -> bool| {
        let mut rest = bytes;
        let error = UserSketch::decode(&mut rest).expect_err("garbage is refused");
        assert!(expect(&error), "{error}");
        assert_eq!(rest.len(), bytes.len(), "nothing is taken");
    };
    let large = encoded(&sketch_of(&users(0..1000)));
    let with = |place: usize, value: u8| {
        let mut bytes = large.clone();
        bytes[place] = value;
        bytes
    };
    check(&[], |error| matches!(error, SketchError::Truncated { .. }));
    check(&[1, 0, 1, 2, 3], |error| matches!(error, SketchError::Truncated { .. }));
    check(&large[..large.len() - 1], |error| matches!(error, SketchError::Truncated { .. }));
    check(&385_u16.to_le_bytes(), |error| matches!(error, SketchError::TooManyCoupons { count: 385 }));
    check(&[1, 0, 7, 0, 0, 0], |error| matches!(error, SketchError::EmptyCoupon { coupon: 7 }));
    check(&[2, 0, 2, 0, 0, 4, 1, 0, 0, 4], |error| matches!(error, SketchError::UnsortedCoupon { .. }));
    check(&[2, 0, 1, 0, 0, 4, 1, 0, 0, 4], |error| matches!(error, SketchError::UnsortedCoupon { .. }));
    check(&with(2, 60), |error| matches!(error, SketchError::BadRegister { .. }));
    check(&[&[0xff, 0xff, 0][..], &[0; 2048]].concat(), |error| matches!(error, SketchError::EmptyRegisters));
    // A far register that is near, one that is too large.
    check(&[&[0xff, 0xff, 0, 0x0f][..], &[0; 2047], &[14]].concat(), |e| matches!(e, SketchError::BadRegister { .. }));
    check(&[&[0xff, 0xff, 0, 0x0f][..], &[0; 2047], &[64]].concat(), |e| matches!(e, SketchError::BadRegister { .. }));
    check(&[&[0xff, 0xff, 1][..], &[0x11; 2048]].concat(), |error| matches!(error, SketchError::WrongBase { .. }));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Mutated bytes are refused, or are the one encoding of some other sketch that can be used like any other.
    #[test]
    fn mutated_bytes_never_panic(
        size in 0_usize..1500,
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = encoded(&sketch_of(&users(0..size)));
        for (place, value) in edits {
            // Half of the edits go to the first few bytes, which decide on the form.
            let place = place.index(if value % 2 == 0 { bytes.len() } else { bytes.len().min(4) });
            bytes[place] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let mut rest = bytes.as_slice();
        match UserSketch::decode(&mut rest) {
            Err(_) => prop_assert_eq!(rest.len(), bytes.len()),
            Ok(mut sketch) => {
                let taken = bytes.len() - rest.len();
                prop_assert_eq!(&encoded(&sketch)[..], &bytes[..taken]);
                let _ = read_by_library(&sketch);
                sketch.merge(&sketch_of(&users(0..400)));
                sketch.update(Coupon::of_user("one more"));
                prop_assert!(sketch.estimate() > 350);
            }
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..6000)) {
        let _ = UserSketch::decode(&mut bytes.as_slice());
        let _ = UserSketch::from_datasketches(&bytes);
    }

    #[test]
    fn mutated_public_bytes_never_panic(size in 0_usize..1500, at in any::<prop::sample::Index>(), value: u8) {
        let mut bytes = datasketches_bytes(&sketch_of(&users(0..size)));
        let at = at.index(if value % 2 == 0 { bytes.len() } else { 12.min(bytes.len()) });
        bytes[at] = value;
        if let Ok(sketch) = UserSketch::from_datasketches(&bytes) {
            assert_same(&UserSketch::decode(&mut encoded(&sketch).as_slice()).unwrap(), &sketch, "mutated");
        }
    }

    #[test]
    fn any_merge_is_the_sketch_of_the_union(left in 0_usize..900, right in 0_usize..900, shared in 0_usize..900) {
        let right = shared..shared + right;
        let mut merged = sketch_of(&users(0..left));
        merged.merge(&sketch_of(&users(right.clone())));
        let all = [users(0..left), users(right)].concat();
        assert_same(&merged, &sketch_of(&all), "merge");
    }
}
