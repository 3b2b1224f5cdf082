//! How long a question for one ad over 30 days takes, of 100,000 ads, from a table as a running job leaves it: a file for
//! each worker and window's length every few minutes.
//!
//! `cargo run --release -p weir-connectors --example delta_read_speed FOLDER [clicks/hour] [minutes a file] [days] [threads]`
//!
//! FOLDER keeps the table, and is used again where it has one: another choice of rows needs another folder. Ads are
//! clicked by Zipf's law with exponent 1.05, and asked for in three ways: the most clicked, as they are clicked, and each
//! as often as any other. What the operating system has in its cache stays there.

mod measure;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use weir_checkpoints::{Attempt, Epoch, Manifest, OutputPart, Sequence, Store, WorkerIndex};
use weir_connectors::delta::{DeltaConfig, DeltaReader, DeltaReaderLimits, DeltaSink};
use weir_connectors::objects;
use weir_dataflow::{
    Coupon, Cut, Row, SinkFactory, TopQuery, UserSketch, Window, WindowQuery, WindowRow, WorkerContext,
};

const ADS: usize = 100_000;
const EXPONENT: f64 = 1.05;
const WORKERS: u32 = 2;
const FIRST_MS: i64 = 1_735_689_600_000;
const MINUTE_MS: i64 = 60_000;
const QUESTIONS: usize = 300;

/// A line of the table ends after this long, with fewer questions.
const LINE: Duration = Duration::from_secs(15);

fn main() {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().expect("a folder for the table");
    let mut number = |default| arguments.next().and_then(|text| text.parse().ok()).unwrap_or(default);
    let (clicks_per_hour, file_minutes, days) = (number(30_000), number(5) as i64, number(30) as i64);
    let threads = number(8) as usize;
    std::fs::create_dir_all(&folder).expect("the folder can be made");
    let folder = Path::new(&folder).canonicalize().expect("the folder is there");
    let url = format!("file://{}", folder.display());
    let store = objects::open(&url).expect("a local folder opens");
    let zipf = Zipf::new();
    if store.list("clicks_agg/_delta_log/").expect("it lists").is_empty() {
        generate(&store, &zipf, clicks_per_hour, file_minutes, days);
    }
    describe(&store);
    let limits = DeltaReaderLimits::for_url(&url);
    let mut table = Table { store, zipf, days, limits };
    say(
        "question                        cache    threads  questions      p50 ms      p99 ms      max ms   rows a question  data KiB",
    );
    for window in [Window::OneHour, Window::OneMinute] {
        table.first(window);
        let warm = DeltaReader::open(table.store.clone(), table.limits.clone());
        table.measure(&warm, window, Ads::AsClicked, "filling", 1);
        for ads in [Ads::Most, Ads::AsClicked, Ads::Any] {
            for threads in [1, threads] {
                table.measure(&warm, window, ads, "warm", threads);
            }
        }
        let all = std::mem::replace(&mut table.limits.cache_bytes, 0);
        let cold = DeltaReader::open(table.store.clone(), table.limits.clone());
        table.measure(&cold, window, Ads::AsClicked, "none", 1);
        table.limits.cache_bytes = all;
    }
    table.top();
}

/// Ads in the order of their clicks.
struct Zipf {
    cumulative: Vec<f64>,
    names: Vec<Arc<str>>,
}

impl Zipf {
    fn new() -> Self {
        let mut sum = 0.0;
        let weight = |rank: usize| (rank as f64 + 1.0).powf(-EXPONENT);
        let cumulative = (0..ADS).map(|rank| {
            sum += weight(rank);
            sum
        });
        let cumulative = cumulative.collect();
        // Ranks are spread over the names.
        let names = (0..ADS).map(|rank| format!("ad-{:08}", rank * 7919 % 100_000_007).into()).collect();
        Self { cumulative, names }
    }

    fn rank(&self, random: &mut SmallRng) -> usize {
        let point = random.random::<f64>() * self.cumulative.last().copied().unwrap_or(1.0);
        self.cumulative.partition_point(|&sum| sum < point).min(ADS - 1)
    }
}

/// A window under way.
#[derive(Default, Clone)]
struct Open {
    clicks: u64,
    users: UserSketch,
}

/// Windows of one length under way.
#[derive(Default)]
struct Windows {
    open: BTreeMap<usize, Open>,
}

fn generate(store: &Arc<dyn Store>, zipf: &Zipf, clicks_per_hour: u64, file_minutes: i64, days: i64) {
    let started = Instant::now();
    let config = DeltaConfig { target_file_bytes: 0, ..DeltaConfig::new("speed", "clicks") };
    let factory = DeltaSink::clicks_agg(config, store.clone());
    let mut committer = factory.committer().expect("a table is made");
    let open =
        |worker| factory.open(WorkerContext { worker: WorkerIndex(worker), workers: WORKERS, attempt: Attempt(1) });
    let mut workers: Vec<_> = (0..WORKERS).map(|worker| open(worker).expect("an empty table opens")).collect();
    let mut random = SmallRng::seed_from_u64(1);
    let coupons: Vec<Coupon> = (0..1 << 20).map(|user| Coupon::of_user(&format!("user-{user}"))).collect();
    let (mut minutes, mut hours) = (Windows::default(), Windows::default());
    let (mut epoch, mut rows, mut staging) = (0, 0_u64, 0.0);
    let mut emit = |workers: &mut Vec<Box<dyn weir_dataflow::Sink>>, windows: &mut Windows, window, start_ms, epoch| {
        let mut sketch = Vec::new();
        for (rank, open) in std::mem::take(&mut windows.open) {
            sketch.clear();
            open.users.to_datasketches(&mut sketch);
            let row = WindowRow {
                ad_id: &zipf.names[rank],
                region: None,
                window,
                start_ms,
                click_count: open.clicks,
                unique_users: open.users.estimate(),
                user_sketch: &sketch,
                epoch: Epoch(epoch),
            };
            workers[rank % WORKERS as usize].write(Row::Window(row)).expect("rows fit");
            rows += 1;
        }
    };
    for minute in 0..days * 24 * 60 {
        for _ in 0..clicks_per_hour / 60 {
            let rank = zipf.rank(&mut random);
            let coupon = coupons[random.random_range(0..coupons.len())];
            for windows in [&mut minutes, &mut hours] {
                let open = windows.open.entry(rank).or_default();
                open.clicks += 1;
                open.users.update(coupon);
            }
        }
        let start_ms = FIRST_MS + minute * MINUTE_MS;
        emit(&mut workers, &mut minutes, Window::OneMinute, start_ms, epoch + 1);
        if (minute + 1) % 60 == 0 {
            emit(&mut workers, &mut hours, Window::OneHour, start_ms - 59 * MINUTE_MS, epoch + 1);
        }
        if (minute + 1) % file_minutes == 0 || minute + 1 == days * 24 * 60 {
            epoch += 1;
            let begun = measure::cpu_seconds();
            let cut = Cut { epoch: Epoch(epoch), last: true, offsets: Vec::new() };
            let stage = |worker: &mut Box<dyn weir_dataflow::Sink>| {
                worker.stage(&cut).expect("it stages")().expect("it is written")
            };
            let outputs = workers.iter_mut().flat_map(|worker| stage(worker).outputs).collect();
            staging += measure::cpu_seconds() - begun;
            committer.commit(&manifest(epoch, outputs)).expect("it is committed");
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    say(&format!(
        "wrote {rows} rows in {seconds:.0} s, {:.2} µs of processor time a row for the files",
        staging * 1e6 / rows as f64
    ));
}

fn manifest(epoch: u64, outputs: Vec<OutputPart>) -> Manifest {
    Manifest {
        sequence: Sequence(epoch),
        workers: WORKERS,
        epoch: Epoch(epoch),
        written_ms: FIRST_MS + epoch as i64,
        outputs,
        ..Manifest::first("speed")
    }
}

fn describe(store: &Arc<dyn Store>) {
    let mut line = "table:".to_owned();
    for window in [Window::OneHour, Window::OneMinute] {
        let files = store.list(&format!("clicks_agg/window={}/", window.as_str())).expect("it lists");
        let bytes: u64 = files.iter().map(|file| file.size_bytes).sum();
        let _ = write!(line, "  {} in {} files of {:.1} MB in all", window.as_str(), files.len(), bytes as f64 / 1e6);
    }
    say(&line);
}

/// Which ads are asked for.
#[derive(Debug, Clone, Copy)]
enum Ads {
    Most,
    AsClicked,
    Any,
}

struct Table {
    store: Arc<dyn Store>,
    zipf: Zipf,
    days: i64,
    limits: DeltaReaderLimits,
}

impl Table {
    fn question(&self, window: Window, ads: Ads, random: &mut SmallRng) -> WindowQuery {
        let rank = match ads {
            Ads::Most => random.random_range(0..10),
            Ads::AsClicked => self.zipf.rank(random),
            Ads::Any => random.random_range(0..ADS),
        };
        WindowQuery {
            ads: vec![self.zipf.names[rank].clone()],
            window,
            start_ms: FIRST_MS,
            end_ms: FIRST_MS + self.days * 24 * 60 * MINUTE_MS,
            region: None,
            sketches: false,
        }
    }

    /// The very first question: log, footers and data.
    fn first(&self, window: Window) {
        let reader = DeltaReader::open(self.store.clone(), self.limits.clone());
        let started = Instant::now();
        reader.version().expect("the log is read");
        let log = started.elapsed();
        let query = self.question(window, Ads::Most, &mut SmallRng::seed_from_u64(9));
        let rows = reader.windows(&query).expect("it is answered").len();
        say(&format!(
            "first question, {}: {:.0} ms, {:.0} of them for the log; {rows} rows",
            window.as_str(),
            ms(started.elapsed()),
            ms(log)
        ));
    }

    fn measure(&self, reader: &DeltaReader, window: Window, ads: Ads, cache: &str, threads: usize) {
        let (next, before, begun) = (AtomicUsize::new(0), reader.figures(), Instant::now());
        let ask = &|thread: usize| {
            let mut random = SmallRng::seed_from_u64(100 + thread as u64);
            let mut took = Vec::new();
            while next.fetch_add(1, Ordering::Relaxed) < QUESTIONS && begun.elapsed() < LINE {
                let query = self.question(window, ads, &mut random);
                let started = Instant::now();
                std::hint::black_box(reader.windows(&query).expect("it is answered"));
                took.push(started.elapsed());
            }
            took
        };
        let mut took: Vec<Duration> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|thread| scope.spawn(move || ask(thread))).collect();
            threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
        });
        took.sort_unstable();
        let at = |share: f64| ms(took[((took.len() - 1) as f64 * share) as usize]);
        let figures = reader.figures() - before;
        say(&format!(
            "one ad, {}, {:<18} {cache:<8} {threads:>7} {:>10} {:>11.1} {:>11.1} {:>11.1} {:>17.0} {:>9.0}",
            window.as_str(),
            format!("{ads:?}"),
            took.len(),
            at(0.5),
            at(0.99),
            at(1.0),
            figures.rows_answered as f64 / took.len() as f64,
            figures.data_bytes as f64 / 1024.0 / took.len() as f64,
        ));
    }

    fn top(&self) {
        let reader = DeltaReader::open(self.store.clone(), self.limits.clone());
        let mut took = Vec::new();
        for hour in 0..self.days * 24 {
            let start_ms = FIRST_MS + hour * 60 * MINUTE_MS;
            let started = Instant::now();
            let query = TopQuery { window: Window::OneHour, start_ms, region: None, limit: 10 };
            std::hint::black_box(reader.top(&query).expect("it is answered"));
            took.push(started.elapsed());
        }
        took.sort_unstable();
        let at = |share: f64| ms(took[((took.len() - 1) as f64 * share) as usize]);
        say(&format!("top 10 of an hour: p50 {:.1} ms, p99 {:.1} ms", at(0.5), at(0.99)));
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
