//! Sketches of users: the form in checkpoints, and that of DataSketches, which is in the tables.
//!
//! - What is read is written again as the same bytes in the checkpoint form, which has one encoding of a sketch; the other
//!   form is read again as the same sketch.
//! - Every sketch has an estimate, and merging it with itself changes nothing.

use weir_dataflow::{Coupon, UserSketch};

/// See the module.
pub fn check(data: &[u8]) {
    let mut unread = data;
    if let Ok(sketch) = UserSketch::decode(&mut unread) {
        let read = &data[..data.len() - unread.len()];
        assert_eq!(encoded(&sketch), read, "another encoding of the same sketch was taken");
        check_sketch(&sketch);
    } else {
        assert_eq!(unread.len(), data.len(), "bytes were taken of what is no sketch");
    }
    if let Ok(sketch) = UserSketch::from_datasketches(data) {
        check_sketch(&sketch);
    }
}

fn check_sketch(sketch: &UserSketch) {
    let mut unread = encoded(sketch);
    let mut stored = unread.as_slice();
    assert_eq!(UserSketch::decode(&mut stored).as_ref(), Ok(sketch));
    assert!(stored.is_empty());
    unread.clear();
    sketch.to_datasketches(&mut unread);
    assert_eq!(UserSketch::from_datasketches(&unread).as_ref(), Ok(sketch));
    let estimate = sketch.estimate();
    let mut merged = sketch.clone();
    merged.merge(sketch);
    assert_eq!((&merged, merged.estimate()), (sketch, estimate));
}

fn encoded(sketch: &UserSketch) -> Vec<u8> {
    let mut bytes = Vec::new();
    sketch.encode(&mut bytes);
    bytes
}

/// Both forms of sketches of every size.
pub fn seeds() -> Vec<Vec<u8>> {
    let sizes = [0, 1, 5, 6, 7, 8, 40, 384, 385, 5_000, 200_000];
    sizes.into_iter().flat_map(|users| forms(&sketch_of(users))).collect()
}

/// A sketch of so many users.
pub(super) fn sketch_of(users: u32) -> UserSketch {
    let mut sketch = UserSketch::new();
    (0..users).for_each(|user| sketch.update(Coupon::of_user(&format!("user-{user:010}"))));
    sketch
}

fn forms(sketch: &UserSketch) -> [Vec<u8>; 2] {
    let mut datasketches = Vec::new();
    sketch.to_datasketches(&mut datasketches);
    [encoded(sketch), datasketches]
}
