//! What there is once for an index of a closed day.
//!
//! - What is read is written again as the same bytes: its hash stands in the record of the day.

use weir_dataflow::reconcile::DayIndex;

/// See the module.
pub fn check(data: &[u8]) {
    if let Ok(index) = DayIndex::parse("fuzzed", data) {
        assert!(index.to_bytes() == data, "what was read is written as it was");
        assert!(index.segments().count() as u64 <= data.len() as u64, "nothing is made up");
    }
}

/// An index of nothing, and one with a segment, a click that came twice, and a tree of one part.
pub fn seeds() -> Vec<Vec<u8>> {
    let empty = DayIndex::default().to_bytes();
    let mut full = empty.get(..8).unwrap_or_default().to_vec();
    let name = b"days/2025-01-15/index/0-2/0000-000000.segment";
    for part in [&1_u32.to_le_bytes()[..], &(name.len() as u32).to_le_bytes(), name] {
        full.extend_from_slice(part);
    }
    // The size and the footer's place and hash; then a key, an ad, a minute and a place; then an ad and a part of its tree.
    for (count, bytes) in [(None, [&900_u64.to_le_bytes()[..], &[0; 24]].concat()), (Some(1_u32), vec![7; 38])] {
        count.into_iter().for_each(|count| full.extend_from_slice(&count.to_le_bytes()));
        full.extend_from_slice(&bytes);
    }
    for part in [&1_u32.to_le_bytes()[..], &[3; 8], &1_u32.to_le_bytes(), &[9; 53]] {
        full.extend_from_slice(part);
    }
    vec![empty, full]
}
