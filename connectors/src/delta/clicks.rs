//! Clicks in memory, for `clicks_raw` and `clicks_late`.

use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::{ArrayRef, Int32Array, Int64Array, TimestampMicrosecondArray};
use weir_checkpoints::{Epoch, Offset, PartitionId};
use weir_dataflow::{Click, ClickRow, LateReason, Row, SinkError, event_time_ms};

use super::ClickCopy;
use super::chunk::{AdIndex, Chunk, Columns, Key, decode_bytes, decode_number, encode_bytes, encode_numbers};
use super::table::{Table, day_of, hour_of};

/// A row's texts follow one another: ad, user, click id, address, agent, extra, region.
const TEXTS: usize = 7;

/// The length of a text that is not there.
const NONE: u32 = u32::MAX;

/// The longest row that is taken; a record has 64 KiB at most.
const MAX_ROW_BYTES: usize = 16 << 20;

/// Rows are gathered from all over the memory. Fetching some at once, before any is looked at, lets the processor wait for
/// all of them together: 3 times as fast as one by one (`examples/delta_rates.rs`).
const FETCHED_ROWS: usize = 32;

/// No more of a row than this is fetched ahead.
const MAX_FETCHED_BYTES: usize = 1024;

const CACHE_LINE_BYTES: usize = 64;

/// Clicks in the order they came.
#[derive(Default)]
pub(super) struct ClickChunk {
    texts: String,
    heads: Vec<Head>,
}

/// What a click is beside its texts. One cache line.
#[derive(Clone, Copy, Default)]
#[repr(align(64))]
struct Head {
    start: u32,
    lengths: [u32; TEXTS],
    partition: u32,
    reason: u32,
    timestamp: i64,
    offset: u64,
    epoch: u64,
}

impl ClickChunk {
    #[inline]
    fn push_click(&mut self, row: &ClickRow<'_>, reason: u32) -> Result<(), SinkError> {
        let click = &row.click;
        let texts = [
            Some(click.ad_id),
            Some(click.user_id),
            click.click_id,
            click.ip_address,
            click.user_agent,
            row.extra,
            row.region,
        ];
        let start = self.texts.len();
        let lengths = texts.map(|text| text.map_or(NONE, |text| text.len() as u32));
        let row_bytes: usize = texts.iter().map(|text| text.map_or(0, str::len)).sum();
        if row_bytes > MAX_ROW_BYTES {
            return Err(too_long(row, row_bytes));
        }
        self.texts.reserve(row_bytes);
        for text in texts.into_iter().flatten() {
            self.texts.push_str(text);
        }
        self.heads.push(Head {
            start: start as u32,
            lengths,
            partition: row.partition.0,
            reason,
            timestamp: click.timestamp,
            offset: row.offset.0,
            epoch: row.epoch.0,
        });
        Ok(())
    }

    /// Reads a byte of every cache line of a row's texts, for nothing but to have them in the cache.
    #[inline]
    fn fetch(&self, head: &Head) -> u32 {
        let lengths = head.lengths.iter().filter(|&&length| length != NONE);
        let row_bytes = lengths.map(|&length| length as usize).sum::<usize>().min(MAX_FETCHED_BYTES);
        let row = self.texts.as_bytes().get(head.start as usize..).unwrap_or_default();
        row.iter().take(row_bytes).step_by(CACHE_LINE_BYTES).map(|&byte| u32::from(byte)).sum()
    }

    /// The clicks, as they will stand in the table.
    pub(super) fn copies(&self, with_reason: bool) -> impl Iterator<Item = ClickCopy<'_>> {
        self.heads.iter().map(move |head| {
            let [ad_id, user_id, click_id, ip_address, user_agent, _, region] = self.texts_of(head);
            ClickCopy {
                click: Click {
                    ad_id: ad_id.unwrap_or_default(),
                    user_id: user_id.unwrap_or_default(),
                    timestamp: head.timestamp,
                    click_id,
                    ip_address,
                    user_agent,
                },
                reason: with_reason.then(|| reason_text(head.reason)),
                topic: None,
                partition: PartitionId(head.partition),
                offset: Offset(head.offset),
                epoch: Epoch(head.epoch),
                region,
                file: None,
            }
        })
    }

    /// The texts of a row. All lengths come from `push_click`, or were checked by `decode`.
    fn texts_of(&self, head: &Head) -> [Option<&str>; TEXTS] {
        let mut rest = self.texts.get(head.start as usize..).unwrap_or_default();
        head.lengths.map(|length| {
            if length == NONE {
                return None;
            }
            let (text, behind) = rest.split_at_checked(length as usize)?;
            rest = behind;
            Some(text)
        })
    }
}

fn too_long(row: &ClickRow<'_>, row_bytes: usize) -> SinkError {
    SinkError::Refused {
        sink: "delta".to_owned(),
        reason: format!(
            "the click at offset {} of partition {} has {row_bytes} bytes of text, {MAX_ROW_BYTES} at most are possible",
            row.offset, row.partition
        ),
    }
}

impl Chunk for ClickChunk {
    fn clear(&mut self) {
        self.texts.clear();
        self.heads.clear();
    }

    fn sized_like(&self) -> Self {
        let room = self.texts.len() + self.texts.len() / 16;
        Self { texts: String::with_capacity(room), heads: Vec::with_capacity(self.heads.len()) }
    }

    #[inline]
    fn push(&mut self, row: &Row<'_>) -> Result<(), SinkError> {
        match row {
            Row::Archive(click) => self.push_click(click, 0),
            Row::Late(click, reason) => self.push_click(click, reason_number(*reason)),
            Row::Window(_) | Row::Provisional(_) | Row::DeadLetter(_) => Err(super::not_ours("a table of clicks")),
        }
    }

    #[inline]
    fn rows(&self) -> usize {
        self.heads.len()
    }

    #[inline]
    fn bytes(&self) -> usize {
        self.texts.len() + self.heads.len() * size_of::<Head>()
    }

    fn keys<'a>(&'a self, table: Table, chunk: u32, ads: &mut AdIndex<'a>, keys: &mut Vec<Key>) {
        let partition_of = if table == Table::Raw { hour_of } else { day_of };
        for (row, head) in self.heads.iter().enumerate() {
            let [ad_id, ..] = self.texts_of(head);
            let time_ms = event_time_ms(head.timestamp);
            keys.push(Key {
                partition: partition_of(time_ms),
                ad: ads.number(ad_id.unwrap_or_default()),
                time_ms,
                chunk,
                row: row as u32,
            });
        }
    }

    fn gather(table: Table, chunks: &[Arc<Self>], picks: &[Key]) -> Columns {
        let mut columns = Gathered::with_capacity(picks.len(), table == Table::Late);
        let mut rows: Vec<(&Self, Head)> = Vec::with_capacity(FETCHED_ROWS);
        for some in picks.chunks(FETCHED_ROWS) {
            rows.clear();
            rows.extend(some.iter().filter_map(|pick| {
                let chunk = chunks.get(pick.chunk as usize)?;
                Some((chunk.as_ref(), *chunk.heads.get(pick.row as usize)?))
            }));
            let fetched: u32 = rows.iter().map(|(chunk, head)| chunk.fetch(head)).sum();
            std::hint::black_box(fetched);
            for (chunk, head) in &rows {
                columns.push(head, chunk.texts_of(head));
            }
        }
        columns.finish()
    }

    fn encode(&self, out: &mut Vec<u8>) {
        encode_numbers(out, std::iter::once(self.heads.len() as u64));
        encode_bytes(out, self.texts.as_bytes());
        for text in 0..TEXTS {
            encode_numbers(
                out,
                self.heads.iter().map(|head| u64::from(head.lengths.get(text).copied().unwrap_or(NONE))),
            );
        }
        encode_numbers(out, self.heads.iter().map(|head| u64::from(head.partition)));
        encode_numbers(out, self.heads.iter().map(|head| u64::from(head.reason)));
        encode_numbers(out, self.heads.iter().map(|head| head.timestamp as u64));
        encode_numbers(out, self.heads.iter().map(|head| head.offset));
        encode_numbers(out, self.heads.iter().map(|head| head.epoch));
    }

    fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let rows = usize::try_from(decode_number(bytes)?).ok()?;
        let texts = String::from_utf8(decode_bytes(bytes)?.to_vec()).ok()?;
        if rows > bytes.len() {
            return None;
        }
        let mut heads = vec![Head::default(); rows];
        for text in 0..TEXTS {
            for head in &mut heads {
                *head.lengths.get_mut(text)? = u32::try_from(decode_number(bytes)?).ok()?;
            }
        }
        for head in &mut heads {
            head.partition = u32::try_from(decode_number(bytes)?).ok()?;
        }
        for head in &mut heads {
            head.reason = u32::try_from(decode_number(bytes)?).ok()?;
        }
        for head in &mut heads {
            head.timestamp = decode_number(bytes)? as i64;
        }
        for head in &mut heads {
            head.offset = decode_number(bytes)?;
        }
        for head in &mut heads {
            head.epoch = decode_number(bytes)?;
        }
        place(&mut heads, &texts)?;
        Some(Self { texts, heads })
    }
}

/// Finds where each row's texts start, and that every text is one.
fn place(heads: &mut [Head], texts: &str) -> Option<()> {
    let mut rest = texts;
    for head in heads {
        head.start = u32::try_from(texts.len() - rest.len()).ok()?;
        for length in head.lengths.into_iter().filter(|&length| length != NONE) {
            rest = rest.split_at_checked(length as usize)?.1;
        }
    }
    rest.is_empty().then_some(())
}

const fn reason_number(reason: LateReason) -> u32 {
    match reason {
        LateReason::Late => 0,
        LateReason::Future => 1,
    }
}

const fn reason_text(number: u32) -> &'static str {
    match number {
        0 => LateReason::Late.as_str(),
        _ => LateReason::Future.as_str(),
    }
}

/// Columns that are being filled.
struct Gathered {
    texts: [StringBuilder; TEXTS],
    /// Filled for the late table only.
    reasons: StringBuilder,
    with_reasons: bool,
    timestamps: Vec<i64>,
    event_times: Vec<i64>,
    partitions: Vec<i32>,
    offsets: Vec<i64>,
    epochs: Vec<i64>,
}

impl Gathered {
    fn with_capacity(rows: usize, with_reasons: bool) -> Self {
        let text = |bytes: usize| StringBuilder::with_capacity(rows, rows * bytes);
        Self {
            texts: [text(16), text(32), text(40), text(16), text(128), text(0), text(0)],
            reasons: text(0),
            with_reasons,
            timestamps: Vec::with_capacity(rows),
            event_times: Vec::with_capacity(rows),
            partitions: Vec::with_capacity(rows),
            offsets: Vec::with_capacity(rows),
            epochs: Vec::with_capacity(rows),
        }
    }

    #[inline]
    fn push(&mut self, head: &Head, texts: [Option<&str>; TEXTS]) {
        for (column, text) in self.texts.iter_mut().zip(texts) {
            column.append_option(text);
        }
        if self.with_reasons {
            self.reasons.append_value(reason_text(head.reason));
        }
        self.timestamps.push(head.timestamp);
        self.event_times.push(event_time_ms(head.timestamp).saturating_mul(1000));
        self.partitions.push(head.partition as i32);
        self.offsets.push(head.offset as i64);
        self.epochs.push(head.epoch as i64);
    }

    fn finish(mut self) -> Columns {
        let names = ["ad_id", "user_id", "click_id", "ip_address", "user_agent", "extra", "region"];
        let texts = names.into_iter().zip(&mut self.texts);
        let mut columns: Columns = texts.map(|(name, column)| (name, Arc::new(column.finish()) as ArrayRef)).collect();
        columns.push(("reason", Arc::new(self.reasons.finish())));
        columns.push(("timestamp", Arc::new(Int64Array::from(self.timestamps))));
        let event_times = TimestampMicrosecondArray::from(self.event_times).with_timezone("UTC");
        columns.push(("event_time", Arc::new(event_times)));
        columns.push(("partition", Arc::new(Int32Array::from(self.partitions))));
        columns.push(("offset", Arc::new(Int64Array::from(self.offsets))));
        columns.push(("epoch", Arc::new(Int64Array::from(self.epochs))));
        columns
    }
}
