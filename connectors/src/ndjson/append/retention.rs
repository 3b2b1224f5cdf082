//! Which segments may go: old ones that nobody needs.
//!
//! ```text
//!   partition 0   [ read ][ read ][ needed ][ being written ]
//!                  ──────────────▶ may go, oldest first, while too old or too much
//! ```
//!
//! A partition is only ever shortened from its start, and keeps the segment that is being written.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use weir_checkpoints::{Offset, PartitionId};

use super::config::Retention;
use super::folders;
use crate::ndjson::segment::{is_segment, own_base};

/// What was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Removed {
    /// How many segments.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// A segment that is no longer written.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Full {
    path: PathBuf,
    /// The offset behind its last byte.
    end: u64,
    bytes: u64,
    modified: SystemTime,
}

/// Deletes from a log with so many partitions what may go.
pub(super) fn apply(
    folder: &Path,
    partitions: u32,
    retention: Retention,
    needed: Option<&BTreeMap<PartitionId, Offset>>,
) -> io::Result<Removed> {
    let mut removed = Removed::default();
    if retention == Retention::default() {
        return Ok(removed);
    }
    let mut total_bytes = 0;
    let mut free = Vec::new();
    for number in 0..partitions {
        let (full, bytes) = segments(&folders::partition(folder, number))?;
        total_bytes += bytes;
        free.push(not_needed(full, needed.map(|needed| needed.get(&PartitionId(number)).map_or(0, |offset| offset.0))));
    }
    for segment in expendable(free, total_bytes, retention, SystemTime::now()) {
        match fs::remove_file(&segment.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        removed.segments += 1;
        removed.bytes += segment.bytes;
    }
    Ok(removed)
}

/// The segments that lie before the first offset that is needed.
fn not_needed(full: VecDeque<Full>, needed: Option<u64>) -> VecDeque<Full> {
    full.into_iter().take_while(|segment| needed.is_none_or(|needed| segment.end <= needed)).collect()
}

/// The segments that are too old or too much, out of those that may go, partition by partition.
fn expendable(mut free: Vec<VecDeque<Full>>, mut total_bytes: u64, retention: Retention, now: SystemTime) -> Vec<Full> {
    let too_old = |modified: SystemTime| {
        retention.age.is_some_and(|age| now.duration_since(modified).unwrap_or(Duration::ZERO) > age)
    };
    let mut oldest: BinaryHeap<Reverse<(SystemTime, usize)>> = BinaryHeap::new();
    let first = |partition: &VecDeque<Full>| partition.front().map(|segment| segment.modified);
    oldest.extend(free.iter().enumerate().filter_map(|(index, part)| Some(Reverse((first(part)?, index)))));
    let mut going = Vec::new();
    while let Some(Reverse((modified, index))) = oldest.pop() {
        if !too_old(modified) && retention.bytes.is_none_or(|limit| total_bytes <= limit) {
            break;
        }
        let Some(partition) = free.get_mut(index) else { continue };
        if let Some(segment) = partition.pop_front() {
            total_bytes -= segment.bytes.min(total_bytes);
            going.push(segment);
        }
        oldest.extend(first(partition).map(|modified| Reverse((modified, index))));
    }
    going
}

/// The segments of a partition without the last one, in their order, and how many bytes it has with it.
fn segments(folder: &Path) -> io::Result<(VecDeque<Full>, u64)> {
    let mut listed = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let Some(base) = own_base(&name).filter(|_| is_segment(&name)) else { continue };
        let metadata = entry.metadata()?;
        listed.push((base, entry.path(), metadata.len(), metadata.modified()?));
    }
    listed.sort_unstable();
    let total_bytes = listed.iter().map(|segment| segment.2).sum();
    let ends = listed.iter().skip(1).map(|segment| segment.0).collect::<Vec<u64>>();
    let full = listed.into_iter().zip(ends);
    let full = full.map(|((_, path, bytes, modified), end)| Full { path, end, bytes, modified });
    Ok((full.collect(), total_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    /// Segments of 10 bytes that end at 10, 20, …, last written so many hours ago.
    fn full(partition: usize, hours_ago: &[u32], now: SystemTime) -> VecDeque<Full> {
        let segment = |(end, hours): (u64, &u32)| {
            let path = PathBuf::from(format!("{partition}/{end}"));
            Full { path, end: end * 10, bytes: 10, modified: now - HOUR * *hours }
        };
        (1..).zip(hours_ago).map(segment).collect()
    }

    fn check(partitions: &[&[u32]], age_hours: Option<u32>, bytes: Option<u64>, needed: Option<u64>, going: &[&str]) {
        let now = SystemTime::now();
        let free: Vec<VecDeque<Full>> =
            partitions.iter().enumerate().map(|(index, hours)| not_needed(full(index, hours, now), needed)).collect();
        let total_bytes = partitions.iter().map(|hours| hours.len() as u64 * 10).sum();
        let retention = Retention { age: age_hours.map(|hours| HOUR * hours), bytes };
        let gone = expendable(free, total_bytes, retention, now);
        let paths: Vec<String> = gone.iter().map(|segment| segment.path.display().to_string()).collect();
        assert_eq!(paths, going);
    }

    #[test]
    fn old_segments_go() {
        check(&[&[9, 7, 5, 3]], Some(6), None, None, &["0/1", "0/2"]);
        check(&[&[9, 7, 5, 3]], Some(10), None, None, &[]);
        check(&[&[9, 2], &[8, 7]], Some(6), None, None, &["0/1", "1/1", "1/2"]);
        check(&[&[], &[8]], Some(6), None, None, &["1/1"]);
    }

    #[test]
    fn what_is_too_much_goes_oldest_first() {
        check(&[&[9, 5], &[8, 7]], None, Some(20), None, &["0/1", "1/1"]);
        check(&[&[9, 5], &[8, 7]], None, Some(15), None, &["0/1", "1/1", "1/2"]);
        check(&[&[9, 5], &[8, 7]], None, Some(40), None, &[]);
        check(&[&[9, 5], &[8, 7]], Some(8), Some(1_000), None, &["0/1"]);
    }

    #[test]
    fn what_is_needed_stays() {
        check(&[&[9, 7, 5]], Some(1), Some(0), Some(20), &["0/1", "0/2"]);
        check(&[&[9, 7, 5]], Some(1), Some(0), Some(19), &["0/1"]);
        check(&[&[9, 7, 5]], Some(1), Some(0), Some(0), &[]);
    }

    #[test]
    fn a_partition_is_shortened_from_its_start_only() {
        // The clock went back: a younger segment lies before an older one.
        check(&[&[2, 9]], Some(6), None, None, &[]);
        check(&[&[2, 9], &[8]], Some(6), None, None, &["1/1"]);
    }
}
