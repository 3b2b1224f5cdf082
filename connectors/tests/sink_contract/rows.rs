//! Rows to write, and what a reader must find of them.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use weir_checkpoints::{Epoch, Offset, PartitionId};
use weir_dataflow::{Click, ClickRow, DeadLetterRow, LateReason, MAX_EVENT_TIME_MS, Row, RowKind, Window, WindowRow};

/// A row that owns its texts.
#[derive(Debug, Clone)]
pub(crate) struct OwnedRow {
    kind: RowKind,
    number: u64,
    epoch: u64,
    ad_id: String,
    user_id: String,
    timestamp: i64,
    click_id: Option<String>,
    ip_address: Option<String>,
    user_agent: Option<String>,
    extra: Option<String>,
    region: Option<String>,
    bytes: Option<Vec<u8>>,
    dice: u64,
    latest_ms: i64,
}

/// Everything that a row says, in one line: what a sink must give back.
pub(crate) fn describe(row: &Row<'_>) -> String {
    match row {
        Row::Window(window) | Row::Provisional(window) => format!(
            "{} {:?} region={:?} start={} clicks={} users={} sketch={:?} epoch={}",
            window.window.as_str(),
            window.ad_id,
            window.region,
            window.start_ms,
            window.click_count,
            window.unique_users,
            window.user_sketch,
            window.epoch
        ),
        Row::Archive(click) => describe_click(click, None),
        Row::Late(click, reason) => describe_click(click, Some(reason.as_str())),
        Row::DeadLetter(letter) => format!(
            "{}/{} epoch={} {} {:?} {:?}",
            letter.partition, letter.offset, letter.epoch, letter.reason, letter.detail, letter.payload
        ),
    }
}

fn describe_click(row: &ClickRow<'_>, reason: Option<&str>) -> String {
    format!(
        "{}/{} epoch={} {:?} extra={:?} region={:?} reason={reason:?}",
        row.partition, row.offset, row.epoch, row.click, row.extra, row.region
    )
}

impl OwnedRow {
    /// Row `number` of a log; the same seed gives the same row. Windows end by `latest_ms`.
    pub(crate) fn generate(kind: RowKind, seed: u64, number: u64, epoch: u64, latest_ms: i64) -> Self {
        let mut random = SmallRng::seed_from_u64(seed << 32 | number);
        let user_agents = ["Mozilla/5.0 (X11; Linux x86_64)", "", "curl/8.0", "Ünïcödé \u{1f600}"];
        let agent = user_agents[random.random_range(0..user_agents.len())];
        let bytes = (0..random.random_range(0..40)).map(|_| random.random()).collect();
        Self {
            kind,
            number,
            epoch,
            ad_id: ad_id(&mut random),
            user_id: format!("user-{}", random.random_range(0..1000)),
            timestamp: timestamp(&mut random),
            click_id: random.random_bool(0.8).then(|| format!("{:032x}", random.random::<u128>())),
            ip_address: random.random_bool(0.9).then(|| format!("10.0.{}.7", random.random::<u8>())),
            user_agent: random.random_bool(0.9).then(|| agent.to_owned()),
            extra: random.random_bool(0.3).then(|| format!("{{\"campaign\":{number}}}")),
            region: random.random_bool(0.7).then(|| format!("eu-{}", random.random_range(0..3))),
            bytes: random.random_bool(0.9).then_some(bytes),
            dice: random.random(),
            latest_ms,
        }
    }

    /// A click with a text of so many bytes, which hardly takes room in a file.
    #[allow(dead_code, reason = "of another test")]
    pub(crate) fn with_text(self, bytes: usize) -> Self {
        Self { extra: Some(format!("{{\"text\":\"{}\"}}", "x".repeat(bytes))), ..self }
    }

    /// The row, borrowed.
    pub(crate) fn as_row(&self) -> Row<'_> {
        match self.kind {
            RowKind::Window => Row::Window(self.window()),
            RowKind::Provisional => Row::Provisional(self.window()),
            RowKind::Archive => Row::Archive(self.click()),
            RowKind::Late if self.dice.is_multiple_of(2) => Row::Late(self.click(), LateReason::Late),
            RowKind::Late => Row::Late(self.click(), LateReason::Future),
            RowKind::DeadLetter => Row::DeadLetter(self.dead_letter()),
        }
    }

    fn click(&self) -> ClickRow<'_> {
        ClickRow {
            click: Click {
                ad_id: &self.ad_id,
                user_id: &self.user_id,
                timestamp: self.timestamp,
                click_id: self.click_id.as_deref(),
                ip_address: self.ip_address.as_deref(),
                user_agent: self.user_agent.as_deref(),
            },
            extra: self.extra.as_deref(),
            region: self.region.as_deref(),
            partition: PartitionId((self.dice % 3) as u32),
            offset: Offset(self.number),
            epoch: Epoch(self.epoch),
        }
    }

    fn window(&self) -> WindowRow<'_> {
        let window = Window::ALL[(self.dice % 3) as usize];
        // Counted from one end of time or the other: no two rows are for the same window.
        let from_end = (self.number as i64 + 1) * window.length_ms();
        let start_ms = if self.dice.is_multiple_of(10) { self.latest_ms - from_end } else { EVENTS_MS + from_end };
        WindowRow {
            ad_id: &self.ad_id,
            region: self.region.as_deref(),
            window,
            start_ms: start_ms - start_ms % window.length_ms(),
            click_count: self.number,
            unique_users: self.dice % 1000,
            user_sketch: self.bytes.as_deref().unwrap_or_default(),
            epoch: Epoch(self.epoch),
        }
    }

    fn dead_letter(&self) -> DeadLetterRow<'_> {
        let reasons = ["invalid_json", "missing_field", "invalid_field", "too_large"];
        let text = self.extra.as_deref().map(str::as_bytes);
        DeadLetterRow {
            reason: reasons[(self.dice % 4) as usize],
            detail: self.user_agent.as_deref().unwrap_or_default(),
            partition: PartitionId((self.dice % 3) as u32),
            offset: Offset(self.number),
            epoch: Epoch(self.epoch),
            payload: text.or(self.bytes.as_deref()),
        }
    }
}

/// Where windows are counted from.
const EVENTS_MS: i64 = 1_736_899_200_000;

/// Short ones, one that is as long as can be, and some that need care in a log's statistics.
fn ad_id(random: &mut SmallRng) -> String {
    match random.random_range(0..20) {
        0 => "x".repeat(256),
        1 => format!("{}tail", "\u{10ffff}".repeat(40)),
        2 => "ad/with space%20+=?\"\\\n".to_owned(),
        _ => format!("ad-{}", random.random_range(0..20)),
    }
}

/// Around one day, in seconds and in milliseconds, and now and then anywhere up to the end of time.
fn timestamp(random: &mut SmallRng) -> i64 {
    match random.random_range(0..20) {
        0 => 0,
        1 => MAX_EVENT_TIME_MS,
        2..10 => random.random_range(1_736_899_200..1_736_989_000),
        _ => random.random_range(1_736_899_200_000..1_736_989_000_000),
    }
}
