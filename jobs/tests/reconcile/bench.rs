//! A job in a folder, its log, and what billing reads of it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, RecordBatch};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};

use crate::process::{succeeds, weir};

pub struct Bench {
    folder: tempfile::TempDir,
}

/// A click for a log.
#[derive(Debug, Clone)]
pub struct Click {
    pub id: String,
    pub ad: String,
    pub user: String,
    pub time_ms: i64,
    pub address: &'static str,
}

/// What is billed for an ad.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Billed {
    pub clicks: i64,
    pub users: i64,
}

/// An entry of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    pub ad: String,
    pub reason: String,
    pub before: i64,
    pub after: i64,
    pub run: String,
}

impl Click {
    pub fn new(id: impl Into<String>, ad: &str, time_ms: i64) -> Self {
        let id = id.into();
        // Few enough that a sketch of them is exact.
        let user = id.bytes().map(usize::from).sum::<usize>() % 89;
        Self { user: format!("user-{user}"), id, ad: ad.to_owned(), time_ms, address: "192.0.2.1" }
    }

    fn line(&self) -> String {
        let Self { id, ad, user, time_ms, address } = self;
        json!({ "click_id": id, "ad_id": ad, "user_id": user, "timestamp": time_ms, "ip_address": address }).to_string()
    }
}

impl Bench {
    /// Short lateness, small epochs: what comes some thousand records late is late. (Records are polled 2048 at a time.)
    pub fn new(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "[job]\nname = \"clicks\"\nworkers = 2\n[source]\nkind = \"ndjson\"\nurl = \"log/\"\n\
             [time]\nout_of_orderness = \"1s\"\nallowed_lateness = \"1m\"\n[dedup]\nhorizon = \"3m\"\n\
             [epoch]\ninterval = \"20ms\"\nmax_records = 50\n[checkpoint]\nurl = \"checkpoints\"\ninterval = \"50ms\"\n\
             [tables]\nurl = \"tables\"\nroll_interval = \"1s\"\n{more}"
        );
        std::fs::write(folder.path().join("job.toml"), text).unwrap();
        Self { folder }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Appends clicks to a partition of the log.
    pub fn append(&self, partition: u32, clicks: &[Click]) {
        let folder = self.path().join("log").join(partition.to_string());
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("00000000000000000000.ndjson");
        let mut file = std::fs::File::options().create(true).append(true).open(path).unwrap();
        let mut lines = String::new();
        clicks.iter().for_each(|click| writeln!(lines, "{}", click.line()).unwrap());
        file.write_all(lines.as_bytes()).unwrap();
    }

    pub fn weir(&self, arguments: &[&str]) -> std::process::Output {
        weir(self.path(), arguments).args(["--output", "json"]).output().unwrap()
    }

    pub fn run(&self) {
        succeeds(&self.weir(&["run", "job.toml"]));
    }

    /// Reconciles one day that must work.
    #[track_caller]
    pub fn reconcile(&self, date: &str, more: &[&str]) -> Value {
        let output = self.weir(&[&["reconcile", "job.toml", "--date", date], more].concat());
        succeeds(&output);
        let days: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(days.as_array().unwrap().len(), 1);
        days[0].clone()
    }

    /// Reconciles a day that must stay as it is, and returns all that was said.
    #[track_caller]
    pub fn refused(&self, date: &str, more: &[&str]) -> String {
        let output = self.weir(&[&["reconcile", "job.toml", "--date", date], more].concat());
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }

    /// What the table says of a day.
    pub fn billed(&self, date: &str) -> BTreeMap<String, Billed> {
        let mut ads = BTreeMap::new();
        self.rows("billing_daily", date, |batch, at| {
            let billed = Billed { clicks: long(batch, "click_count", at), users: long(batch, "unique_users", at) };
            assert_eq!(text(batch, "status", at), "final");
            let ad = text(batch, "ad_id", at);
            assert!(ads.insert(ad.clone(), billed).is_none(), "{ad} is there twice");
        });
        ads
    }

    /// The counts alone.
    pub fn counts(&self, date: &str) -> BTreeMap<String, i64> {
        self.billed(date).into_iter().map(|(ad, billed)| (ad, billed.clicks)).collect()
    }

    /// The ledger of a day.
    pub fn ledger(&self, date: &str) -> Vec<Entry> {
        let mut entries = Vec::new();
        self.rows("corrections", date, |batch, at| {
            let (before, after) = (long(batch, "streamed", at), long(batch, "recounted", at));
            assert_eq!(long(batch, "delta", at), after - before);
            let offsets: Value = serde_json::from_str(&text(batch, "offsets", at)).unwrap();
            assert!(offsets.is_object());
            let [ad, reason, run] = ["ad_id", "reason", "run"].map(|column| text(batch, column, at));
            entries.push(Entry { ad, reason, before, after, run });
        });
        entries
    }

    fn rows(&self, table: &str, date: &str, mut take: impl FnMut(&RecordBatch, usize)) {
        let folder = self.path().join("tables").join(table);
        for path in live(&folder).iter().filter(|path| path.starts_with(&format!("date={date}/"))) {
            let file = std::fs::File::open(folder.join(path)).unwrap();
            for batch in ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap() {
                let batch = batch.unwrap();
                (0..batch.num_rows()).for_each(|at| take(&batch, at));
            }
        }
    }
}

/// The files that a table's log lists, in the order in which they came.
pub fn live(table: &Path) -> Vec<String> {
    let mut files = Vec::new();
    for (_, action) in actions(table) {
        if let Some(path) = action["add"]["path"].as_str() {
            assert!(!files.contains(&path.to_owned()), "{path} is added twice");
            files.push(path.to_owned());
        }
        if let Some(path) = action["remove"]["path"].as_str() {
            files.retain(|file| file != path);
        }
    }
    files
}

/// All actions of a log, with the version that they are of.
pub fn actions(table: &Path) -> Vec<(PathBuf, Value)> {
    let folder = table.join("_delta_log");
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut versions: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    versions.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    versions.sort();
    let lines = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<(PathBuf, Value)> =
            text.lines().map(|line| (path.clone(), serde_json::from_str(line).unwrap())).collect();
        lines
    };
    versions.into_iter().flat_map(lines).collect()
}

/// What a plain loop bills: the first copy of each click, in the order in which they are given, on the day of its time.
pub fn expected(clicks: &[Click], start_ms: i64, end_ms: i64) -> BTreeMap<String, Billed> {
    let mut seen = HashSet::new();
    let mut ads: HashMap<&str, (i64, BTreeSet<&str>)> = HashMap::new();
    for click in clicks.iter().filter(|click| seen.insert(click.id.as_str())) {
        if (start_ms..end_ms).contains(&click.time_ms) {
            let (count, users) = ads.entry(&click.ad).or_default();
            *count += 1;
            users.insert(&click.user);
        }
    }
    let billed = |(ad, (clicks, users)): (&str, (i64, BTreeSet<&str>))| {
        (ad.to_owned(), Billed { clicks, users: users.len() as i64 })
    };
    ads.into_iter().map(billed).collect()
}

fn text(batch: &RecordBatch, column: &str, at: usize) -> String {
    let array = batch.column_by_name(column).unwrap().as_string::<i32>();
    if array.is_null(at) { String::new() } else { array.value(at).to_owned() }
}

fn long(batch: &RecordBatch, column: &str, at: usize) -> i64 {
    batch.column_by_name(column).unwrap().as_primitive::<Int64Type>().value(at)
}
