//! Tables of clicks written by the real sink, and all rows that are in them.

use std::path::PathBuf;
use std::sync::Arc;

use rand::Rng;
use rand::rngs::SmallRng;
use tempfile::TempDir;
use weir_checkpoints::{Attempt, Epoch, Manifest, Offset, PartitionId, Sequence, Store, WorkerIndex};
use weir_connectors::delta::{AdTrace, ClickCopy, ClicksOf, ClicksTable, DeltaConfig, DeltaSink, TraceError};
use weir_connectors::objects;
use weir_dataflow::{Click, ClickRow, Cut, LateReason, Row, Sink, SinkFactory, WorkerContext};

/// 2025-01-15, at midnight.
pub(crate) const DAY_MS: i64 = 1_736_899_200_000;

/// A click that was written, with everything that a search must give back.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Written {
    pub(crate) ad_id: String,
    pub(crate) offset: u64,
    pub(crate) partition: u32,
    pub(crate) epoch: u64,
    pub(crate) timestamp: i64,
    pub(crate) user_id: String,
    pub(crate) click_id: Option<String>,
    pub(crate) ip_address: Option<String>,
    pub(crate) user_agent: Option<String>,
    pub(crate) region: Option<String>,
    pub(crate) reason: Option<String>,
}

impl Written {
    pub(crate) fn click(&self) -> Click<'_> {
        Click {
            ad_id: &self.ad_id,
            user_id: &self.user_id,
            timestamp: self.timestamp,
            click_id: self.click_id.as_deref(),
            ip_address: self.ip_address.as_deref(),
            user_agent: self.user_agent.as_deref(),
        }
    }

    /// As a search finds it: of a click with an id the rest of an identity may be left out.
    pub(crate) fn of(copy: &ClickCopy<'_>) -> Self {
        let text = |text: Option<&str>| text.map(str::to_owned);
        Self {
            ad_id: copy.click.ad_id.to_owned(),
            offset: copy.offset.0,
            partition: copy.partition.0,
            epoch: copy.epoch.0,
            timestamp: copy.click.timestamp,
            user_id: copy.click.user_id.to_owned(),
            click_id: text(copy.click.click_id),
            ip_address: text(copy.click.ip_address),
            user_agent: text(copy.click.user_agent),
            region: text(copy.region),
            reason: text(copy.reason),
        }
    }

    fn without_the_rest(self) -> Self {
        if self.click_id.is_some() { Self { ip_address: None, user_agent: None, ..self } } else { self }
    }
}

/// A table under a local folder.
pub(crate) struct Place {
    pub(crate) folder: TempDir,
    pub(crate) table: ClicksTable,
    pub(crate) rows: Vec<Written>,
    epoch: u64,
}

impl Place {
    pub(crate) fn new(table: ClicksTable) -> Self {
        Self { folder: TempDir::new().unwrap(), table, rows: Vec::new(), epoch: 0 }
    }

    pub(crate) fn url(&self) -> String {
        format!("file://{}", self.folder.path().display())
    }

    pub(crate) fn store(&self) -> Arc<dyn Store> {
        objects::open(&self.url()).unwrap()
    }

    pub(crate) fn name(&self) -> &'static str {
        if self.table == ClicksTable::Late { "clicks_late" } else { "clicks_raw" }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join(self.name())
    }

    /// Writes rows into files, one for each partition of the table, and lists them in a manifest; shows them or not.
    pub(crate) fn write(&mut self, rows: Vec<Written>, shown: bool) -> Manifest {
        self.epoch += 1;
        let config = DeltaConfig { target_file_bytes: 0, ..DeltaConfig::new("tracing", "clicks") };
        let factory = match self.table {
            ClicksTable::Archive => DeltaSink::clicks_raw(config, self.store()),
            ClicksTable::Late => DeltaSink::clicks_late(config, self.store()),
        };
        let mut committer = factory.committer().unwrap();
        let worker = WorkerContext { worker: WorkerIndex(0), workers: 1, attempt: Attempt(1) };
        let mut sink = factory.open(worker).unwrap();
        rows.iter().for_each(|row| write(sink.as_mut(), row));
        let offsets = vec![(PartitionId(0), Offset(1), Offset(9))];
        let cut = Cut { epoch: Epoch(self.epoch), last: true, offsets };
        let outputs = sink.stage(&cut).unwrap()().unwrap().outputs;
        let manifest = manifest(self.epoch, outputs);
        if shown {
            committer.commit(&manifest).unwrap();
        }
        self.rows.extend(rows);
        manifest
    }

    /// What a search finds, in the order of the rows.
    pub(crate) fn find(&self, of: &ClicksOf<'_>, manifest: Option<&Manifest>) -> Result<Vec<Written>, TraceError> {
        let mut found = Vec::new();
        AdTrace::new(self.store(), &self.url()).clicks(self.table, of, manifest, |copy| {
            assert!(copy.file.is_some_and(|file| file.path.starts_with(self.name())));
            found.push(Written::of(&copy).without_the_rest());
        })?;
        found.sort();
        Ok(found)
    }

    /// The right answer, by a plain loop.
    pub(crate) fn expected(&self, of: &ClicksOf<'_>) -> Vec<Written> {
        let mut expected = Vec::new();
        for row in &self.rows {
            let time_ms = row.click().event_time_ms();
            if row.ad_id == of.ad_id && of.from_ms <= time_ms && time_ms < of.until_ms {
                expected.push(row.clone().without_the_rest());
            }
        }
        expected.sort();
        expected
    }

    #[track_caller]
    pub(crate) fn check(&self, of: &ClicksOf<'_>) -> usize {
        let found = self.find(of, None).unwrap();
        assert_eq!(found.len(), self.expected(of).len(), "{of:?}");
        // Where some click has no id, more may be read than is needed.
        let bare = |rows: Vec<Written>| rows.into_iter().map(Written::without_the_rest).collect::<Vec<_>>();
        assert_eq!(bare(found.clone()), bare(self.expected(of)), "{of:?}");
        found.len()
    }
}

fn write(sink: &mut dyn Sink, row: &Written) {
    let click = ClickRow {
        click: row.click(),
        extra: None,
        region: row.region.as_deref(),
        partition: PartitionId(row.partition),
        offset: Offset(row.offset),
        epoch: Epoch(row.epoch),
    };
    let reason = row.reason.as_deref().map(|reason| match reason {
        "late" => LateReason::Late,
        _ => LateReason::Future,
    });
    sink.write(reason.map_or(Row::Archive(click), |reason| Row::Late(click, reason))).unwrap();
}

fn manifest(epoch: u64, outputs: Vec<weir_checkpoints::OutputPart>) -> Manifest {
    Manifest {
        sequence: Sequence(epoch),
        epoch: Epoch(epoch),
        written_ms: DAY_MS + epoch as i64,
        outputs,
        ..Manifest::first("tracing")
    }
}

/// Short names, long ones that statistics must shorten, and some that need escapes.
pub(crate) fn ad_id(random: &mut SmallRng) -> String {
    match random.random_range(0..16) {
        0 => "x".repeat(256),
        1 => format!("{}tail", "\u{10ffff}".repeat(40)),
        2 => "ad/with space%20+=?\"\\\n".to_owned(),
        3 => format!("{}{}", "same start of more than sixty-four bytes ".repeat(3), random.random_range(0..4)),
        4 => "Ünïcödé \u{1f600}".to_owned(),
        _ => format!("ad-{}", random.random_range(0..40)),
    }
}

/// A click between `hours` before and after midnight.
pub(crate) fn click(random: &mut SmallRng, table: ClicksTable, number: u64, hours: i64) -> Written {
    let ms = DAY_MS + random.random_range(-hours * 3_600_000..hours * 3_600_000);
    let maybe = |random: &mut SmallRng, text: String| Some(text).filter(|_| random.random_range(0..4) > 0);
    Written {
        ad_id: ad_id(random),
        offset: number,
        partition: random.random_range(0..4),
        epoch: random.random_range(1..9),
        timestamp: if random.random() { ms } else { ms / 1000 },
        user_id: format!("user-{}", random.random_range(0..50)),
        click_id: maybe(random, format!("click-{}", number / 2)),
        ip_address: maybe(random, "192.0.2.1".to_owned()),
        user_agent: maybe(random, format!("agent {}", number % 5)),
        region: maybe(random, "eu-1".to_owned()),
        reason: (table == ClicksTable::Late).then(|| ["late", "future"][random.random_range(0..2)].to_owned()),
    }
}

/// A question, near what there is.
pub(crate) fn times(random: &mut SmallRng) -> (i64, i64) {
    let length_ms = [60_000, 300_000, 3_600_000, 86_400_000][random.random_range(0..4)];
    let from_ms = DAY_MS + random.random_range(-7 * 3_600_000..7 * 3_600_000);
    let from_ms = from_ms.div_euclid(length_ms) * length_ms;
    (from_ms, from_ms + length_ms)
}
