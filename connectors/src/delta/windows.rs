//! Closed windows in memory, for `clicks_agg`.

use std::sync::Arc;

use arrow_array::builder::{BinaryBuilder, StringBuilder};
use arrow_array::{Int64Array, TimestampMicrosecondArray};
use weir_checkpoints::Epoch;
use weir_dataflow::{Row, SinkError, Window, WindowRow};

use super::chunk::{AdIndex, Chunk, Columns, Key, decode_bytes, decode_number, encode_bytes, encode_numbers};
use super::table::{Table, partition_of_window};

/// Windows in the order they came.
#[derive(Default)]
pub(super) struct WindowChunk {
    /// A row's ad, and its region where it has one, follow one another.
    texts: String,
    sketches: Vec<u8>,
    heads: Vec<Head>,
}

/// The length of a region that is not there.
const NONE: u32 = u32::MAX;

/// What a window's row is beside its texts and sketch.
#[derive(Clone, Copy)]
struct Head {
    text_start: u32,
    ad_length: u32,
    region_length: u32,
    sketch_start: u32,
    sketch_length: u32,
    window: Window,
    start_ms: i64,
    click_count: u64,
    unique_users: u64,
    epoch: u64,
}

/// The largest row that is taken.
const MAX_ROW_BYTES: usize = 16 << 20;

impl WindowChunk {
    fn push_window(&mut self, row: &WindowRow<'_>) -> Result<(), SinkError> {
        let region = row.region.unwrap_or_default();
        let row_bytes = row.ad_id.len() + region.len() + row.user_sketch.len();
        if row_bytes > MAX_ROW_BYTES {
            return Err(SinkError::Refused {
                sink: Table::Agg.name().to_owned(),
                reason: format!(
                    "a window's ad, region and sketch have {row_bytes} bytes, {MAX_ROW_BYTES} at most are possible"
                ),
            });
        }
        self.heads.push(Head {
            text_start: self.texts.len() as u32,
            ad_length: row.ad_id.len() as u32,
            region_length: row.region.map_or(NONE, |region| region.len() as u32),
            sketch_start: self.sketches.len() as u32,
            sketch_length: row.user_sketch.len() as u32,
            window: row.window,
            start_ms: row.start_ms,
            click_count: row.click_count,
            unique_users: row.unique_users,
            epoch: row.epoch.0,
        });
        self.texts.push_str(row.ad_id);
        self.texts.push_str(region);
        self.sketches.extend_from_slice(row.user_sketch);
        Ok(())
    }

    /// The rows, in the order they came.
    pub(super) fn windows(&self) -> impl Iterator<Item = WindowRow<'_>> {
        self.heads.iter().map(|head| WindowRow {
            ad_id: self.ad_of(head),
            region: self.region_of(head),
            window: head.window,
            start_ms: head.start_ms,
            click_count: head.click_count,
            unique_users: head.unique_users,
            user_sketch: self.sketch_of(head),
            epoch: Epoch(head.epoch),
        })
    }

    fn ad_of(&self, head: &Head) -> &str {
        let start = head.text_start as usize;
        self.texts.get(start..start + head.ad_length as usize).unwrap_or_default()
    }

    fn region_of(&self, head: &Head) -> Option<&str> {
        let start = (head.text_start + head.ad_length) as usize;
        let length = Some(head.region_length).filter(|&length| length != NONE)?;
        self.texts.get(start..start + length as usize)
    }

    fn sketch_of(&self, head: &Head) -> &[u8] {
        let start = head.sketch_start as usize;
        self.sketches.get(start..start + head.sketch_length as usize).unwrap_or_default()
    }
}

impl Chunk for WindowChunk {
    fn clear(&mut self) {
        self.texts.clear();
        self.sketches.clear();
        self.heads.clear();
    }

    fn sized_like(&self) -> Self {
        Self {
            texts: String::with_capacity(self.texts.len()),
            sketches: Vec::with_capacity(self.sketches.len()),
            heads: Vec::with_capacity(self.heads.len()),
        }
    }

    fn push(&mut self, row: &Row<'_>) -> Result<(), SinkError> {
        match row {
            Row::Window(window) => self.push_window(window),
            Row::Provisional(_) | Row::Archive(_) | Row::Late(..) | Row::DeadLetter(_) => {
                Err(super::not_ours("a table of windows"))
            }
        }
    }

    fn rows(&self) -> usize {
        self.heads.len()
    }

    fn bytes(&self) -> usize {
        self.texts.len() + self.sketches.len() + self.heads.len() * size_of::<Head>()
    }

    fn keys<'a>(&'a self, _table: Table, chunk: u32, ads: &mut AdIndex<'a>, keys: &mut Vec<Key>) {
        for (row, head) in self.heads.iter().enumerate() {
            keys.push(Key {
                partition: partition_of_window(head.window, head.start_ms),
                ad: ads.number(self.ad_of(head)),
                time_ms: head.start_ms,
                chunk,
                row: row as u32,
            });
        }
    }

    fn gather(_table: Table, chunks: &[Arc<Self>], picks: &[Key]) -> Columns {
        let rows = || {
            picks.iter().filter_map(|pick| {
                let chunk = chunks.get(pick.chunk as usize)?;
                Some((chunk, chunk.heads.get(pick.row as usize)?))
            })
        };
        let mut ads = StringBuilder::with_capacity(picks.len(), picks.len() * 16);
        let mut regions = StringBuilder::new();
        let mut sketches = BinaryBuilder::new();
        for (chunk, head) in rows() {
            ads.append_value(chunk.ad_of(head));
            regions.append_option(chunk.region_of(head));
            sketches.append_value(chunk.sketch_of(head));
        }
        let times = |of: fn(&Head) -> i64| {
            let micros: Vec<i64> = rows().map(|(_, head)| of(head) * 1000).collect();
            Arc::new(TimestampMicrosecondArray::from(micros).with_timezone("UTC"))
        };
        let longs = |of: fn(&Head) -> u64| {
            Arc::new(Int64Array::from(rows().map(|(_, head)| of(head) as i64).collect::<Vec<i64>>()))
        };
        vec![
            ("ad_id", Arc::new(ads.finish())),
            ("window_start", times(|head| head.start_ms)),
            ("window_end", times(|head| head.start_ms + head.window.length_ms())),
            ("click_count", longs(|head| head.click_count)),
            ("unique_users", longs(|head| head.unique_users)),
            ("user_sketch", Arc::new(sketches.finish())),
            ("region", Arc::new(regions.finish())),
            ("epoch", longs(|head| head.epoch)),
        ]
    }

    fn encode(&self, out: &mut Vec<u8>) {
        encode_numbers(out, std::iter::once(self.heads.len() as u64));
        encode_bytes(out, self.texts.as_bytes());
        encode_bytes(out, &self.sketches);
        for head in &self.heads {
            let numbers = [
                u64::from(head.ad_length),
                u64::from(head.region_length),
                u64::from(head.sketch_length),
                head.window.length_ms() as u64,
                head.start_ms as u64,
                head.click_count,
                head.unique_users,
                head.epoch,
            ];
            encode_numbers(out, numbers.into_iter());
        }
    }

    fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let rows = decode_number(bytes)?;
        let texts = String::from_utf8(decode_bytes(bytes)?.to_vec()).ok()?;
        let sketches = decode_bytes(bytes)?.to_vec();
        let mut chunk = Self { texts, sketches, heads: Vec::new() };
        let (mut text_start, mut sketch_start) = (0_u32, 0_u32);
        for _ in 0..rows {
            let head = decode_head(bytes, text_start, sketch_start)?;
            let region_start = text_start.checked_add(head.ad_length)?;
            text_start = match head.region_length {
                NONE => region_start,
                length => region_start.checked_add(length)?,
            };
            sketch_start = sketch_start.checked_add(head.sketch_length)?;
            chunk.heads.push(head);
            if ![region_start, text_start].iter().all(|&end| chunk.texts.is_char_boundary(end as usize)) {
                return None;
            }
        }
        let whole = text_start as usize == chunk.texts.len() && sketch_start as usize == chunk.sketches.len();
        whole.then_some(chunk)
    }
}

fn decode_head(bytes: &mut &[u8], text_start: u32, sketch_start: u32) -> Option<Head> {
    let ad_length = u32::try_from(decode_number(bytes)?).ok()?;
    let region_length = u32::try_from(decode_number(bytes)?).ok()?;
    let sketch_length = u32::try_from(decode_number(bytes)?).ok()?;
    let length_ms = decode_number(bytes)? as i64;
    let start_ms = decode_number(bytes)? as i64;
    // In a file its times are in microseconds; no window is beyond them.
    start_ms.checked_mul(1000)?;
    start_ms.checked_add(length_ms)?.checked_mul(1000)?;
    Some(Head {
        text_start,
        ad_length,
        region_length,
        sketch_start,
        sketch_length,
        window: Window::ALL.into_iter().find(|window| window.length_ms() == length_ms)?,
        start_ms,
        click_count: decode_number(bytes)?,
        unique_users: decode_number(bytes)?,
        epoch: decode_number(bytes)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_beyond_all_time_is_not_restored() {
        let check = |start_ms: i64, expected: bool| {
            let mut chunk = WindowChunk::default();
            let row = WindowRow {
                ad_id: "ad-1",
                region: None,
                window: Window::OneHour,
                start_ms,
                click_count: 1,
                unique_users: 1,
                user_sketch: b"sketch",
                epoch: Epoch(1),
            };
            chunk.push(&Row::Window(row)).expect("a table of windows takes windows");
            let mut bytes = Vec::new();
            chunk.encode(&mut bytes);
            assert_eq!(WindowChunk::decode(&mut bytes.as_slice()).is_some(), expected, "{start_ms}");
        };
        check(1_736_949_600_000, true);
        check(i64::MAX / 1000, false);
        check(i64::MIN / 1000 - 1, false);
        check(i64::MAX, false);
    }
}
