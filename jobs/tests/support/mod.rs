//! Jobs on a real Kafka and a real S3, as processes that can be killed.

#![allow(dead_code, reason = "each test binary uses a part of this")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_checkpoints::{Manifest, Names, Store};
use weir_connectors::kafka::{KafkaConfig, KafkaTopics, TopicSpec};

/// How long a job may take for anything a test waits for.
const PATIENCE: Duration = Duration::from_secs(120);

/// The address of the Kafka broker that `scripts/test` started.
pub fn kafka() -> String {
    service("WEIR_TEST_KAFKA")
}

fn service(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set: run the tests with scripts/test"))
}

/// Where the checkpoints and tables of a job are.
#[derive(Debug, Clone, Copy)]
pub enum TestStore {
    S3,
    Gcs,
    Azure,
}

impl TestStore {
    fn root(self) -> String {
        let (scheme, bucket) = match self {
            Self::S3 => ("s3", "WEIR_TEST_S3_BUCKET"),
            Self::Gcs => ("gs", "WEIR_TEST_GCS_BUCKET"),
            Self::Azure => ("az", "WEIR_TEST_AZURE_CONTAINER"),
        };
        format!("{scheme}://{}", service(bucket))
    }

    fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }
}

/// A job of a test: its own topic, folder, and prefix in a store, which is S3 where nothing else is said.
pub struct TestJob {
    pub name: String,
    pub brokers: String,
    pub topic: String,
    pub root: String,
    pub folder: tempfile::TempDir,
}

impl TestJob {
    /// Creates the topic and the job file.
    pub fn new(name: &str, partitions: u32, settings: &[(&str, &str)]) -> Self {
        Self::on(&kafka(), name, partitions, settings)
    }

    /// The same on other brokers.
    pub fn on(brokers: &str, name: &str, partitions: u32, settings: &[(&str, &str)]) -> Self {
        Self::create(TestStore::S3, brokers, format!("{name}-{}", std::process::id()), partitions, settings)
    }

    /// The same in another store.
    pub fn in_store(store: TestStore, name: &str, partitions: u32) -> Self {
        let unique = format!("{name}-{}-{}-{}", store.name(), std::process::id(), unique_number());
        Self::create(store, &kafka(), unique, partitions, &[])
    }

    fn create(store: TestStore, brokers: &str, unique: String, partitions: u32, settings: &[(&str, &str)]) -> Self {
        let job = Self {
            topic: unique.clone(),
            root: format!("{}/{unique}", store.root()),
            name: unique,
            brokers: brokers.to_owned(),
            folder: tempfile::tempdir().unwrap(),
        };
        for topic in [job.topic.clone(), format!("{}.dlq", job.topic)] {
            job.create_topic(&topic, partitions);
        }
        job.write_job_file(settings);
        job
    }

    pub fn topics(&self) -> KafkaTopics {
        KafkaTopics::new(&KafkaConfig::new(&self.brokers, &self.topic, &self.name)).unwrap()
    }

    pub fn create_topic(&self, name: &str, partitions: u32) {
        let settings = [("max.message.bytes", "4000000")];
        self.topics().create(&TopicSpec { name, partitions, replicas: None, settings: &settings }).unwrap();
    }

    fn write_job_file(&self, settings: &[(&str, &str)]) {
        let text = format!(
            "[job]\nname = \"{}\"\n[source]\nkind = \"kafka\"\nbrokers = \"{}\"\ntopic = \"{}\"\n\
             [epoch]\ninterval = \"100ms\"\n[checkpoint]\nurl = \"{root}/checkpoints\"\ninterval = \"200ms\"\n\
             [tables]\nurl = \"{root}/tables\"\nroll_interval = \"1s\"\n",
            self.name,
            self.brokers,
            self.topic,
            root = self.root,
        );
        let mut document: toml::Table = text.parse().unwrap();
        if settings.contains(&("source.kind", "ndjson")) {
            document.insert("source".to_owned(), toml::Table::new().into());
        }
        for (key, value) in settings {
            let (section, name) = key.split_once('.').unwrap();
            let section = document.entry(section).or_insert_with(|| toml::Table::new().into());
            section.as_table_mut().unwrap().insert(name.to_owned(), toml::Value::String((*value).to_owned()));
        }
        std::fs::write(self.job_file(), document.to_string()).unwrap();
    }

    pub fn job_file(&self) -> PathBuf {
        self.folder.path().join("job.toml")
    }

    pub fn oracle(&self) -> PathBuf {
        self.folder.path().join("oracle.ndjson")
    }

    /// Fills the topic and writes the oracle.
    pub fn generate(&self, partitions: u32, options: &[&str]) {
        self.generate_to(&format!("kafka://{}/{}", self.brokers, self.topic), partitions, options);
    }

    /// Fills another log and writes the oracle.
    pub fn generate_to(&self, to: &str, partitions: u32, options: &[&str]) {
        let (oracle, partitions) = (self.oracle().display().to_string(), partitions.to_string());
        let mut arguments = vec!["generate", "--to", to, "--oracle", &oracle, "--partitions", &partitions];
        arguments.extend(options);
        let output = weir().args(arguments).output().unwrap();
        expect(&output, 0, "generate");
    }

    /// How many records the oracle says there are.
    pub fn records(&self) -> u64 {
        let text = std::fs::read_to_string(self.oracle()).unwrap();
        let header: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        header["totals"]["read"].as_u64().unwrap()
    }

    /// Starts `weir run` with some number of workers.
    pub fn start(&self, workers: usize) -> RunningJob {
        self.start_with(workers, &[])
    }

    /// Starts it with further arguments.
    pub fn start_with(&self, workers: usize, arguments: &[&str]) -> RunningJob {
        self.spawn(workers, arguments, &[])
    }

    /// Starts it with more in its environment.
    pub fn start_in(&self, workers: usize, environment: &[(&str, &str)]) -> RunningJob {
        self.spawn(workers, &[], environment)
    }

    fn spawn(&self, workers: usize, arguments: &[&str], environment: &[(&str, &str)]) -> RunningJob {
        let mut command = weir();
        command
            .arg("run")
            .arg(self.job_file())
            .args(["-D", &format!("job.workers={workers}"), "--output", "json"])
            .args(arguments)
            .envs(environment.iter().copied());
        RunningJob::spawn(command, self.folder.path())
    }

    pub fn checkpoints(&self) -> Arc<dyn Store> {
        weir_connectors::objects::open(&format!("{}/checkpoints", self.root)).unwrap()
    }

    /// The manifests, oldest first.
    pub fn manifests(&self) -> Vec<Manifest> {
        manifests(self.checkpoints().as_ref(), &self.name)
    }

    pub fn newest(&self) -> Option<Manifest> {
        newest(self.checkpoints().as_ref(), &self.name)
    }

    /// Waits until the newest manifest is as it should be.
    pub fn wait_for(&self, running: &mut RunningJob, what: &str, reached: impl Fn(&Manifest) -> bool) -> Manifest {
        wait_for(running, what, || self.newest().filter(&reached))
    }

    /// Another attempt takes the job over while clicks come, and reads to their end; the first one stops.
    pub fn race(&self, generate: impl FnOnce() + Send) {
        std::thread::scope(|scope| {
            let generating = scope.spawn(generate);
            let mut first = self.start(2);
            self.wait_for(&mut first, "read something", |manifest| manifest.totals().read > 0);
            let mut second = self.start(1);
            assert_eq!(first.wait(), Some(1), "{}", first.log());
            assert!(first.log().contains("took over the job"), "{}", first.log());
            generating.join().unwrap();
            let records = self.records();
            self.wait_for(&mut second, "read to the end", |manifest| manifest.totals().read == records);
            second.terminate();
        });
        self.verify();
        let attempts: Vec<u64> = self.manifests().iter().map(|manifest| manifest.attempt.0).collect();
        assert!(attempts.is_sorted(), "attempts take turns: {attempts:?}");
        assert_eq!(attempts.last(), Some(&2));
    }

    /// Runs `weir verify` against the oracle and expects no difference.
    pub fn verify(&self) {
        let output = weir().arg("verify").arg(self.job_file()).arg("--oracle").arg(self.oracle()).output().unwrap();
        expect(&output, 0, "verify");
    }

    /// Reads the tables with delta-rs, pyarrow and DuckDB and compares them with the oracle. Of a job that has not ended,
    /// open windows may be missing.
    pub fn verify_with_other_engines(&self, ended: bool) {
        let script = PathBuf::from(service("WEIR_TEST_SCRIPTS")).join("verify_tables.py");
        let mut command = Command::new(service("WEIR_TEST_PYTHON"));
        command.arg(script).arg(format!("{}/tables", self.root)).arg("--oracle").arg(self.oracle());
        if !ended {
            command.arg("--unfinished");
        }
        expect(&command.output().unwrap(), 0, "verify_tables.py");
    }
}

/// A job process.
pub struct RunningJob {
    child: Child,
    log: PathBuf,
}

impl RunningJob {
    /// Starts it, with a log of its own in `folder`.
    pub fn spawn(mut command: Command, folder: &Path) -> Self {
        let log = folder.join(format!("run-{}.log", unique_number()));
        let child = command.stdout(Stdio::piped()).stderr(File::create(&log).unwrap()).spawn().unwrap();
        Self { child, log }
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Holds it where it is, as a process that gets no processor time; `CONT` lets it go on.
    pub fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{signal}"), &pid]).status().unwrap().success());
    }

    /// Asks it to stop, and expects that it does so in order.
    pub fn terminate(&mut self) {
        self.signal("TERM");
        let status = self.wait();
        assert_eq!(status, Some(0), "{}", self.log());
    }

    /// Waits for its end; returns its exit code. A signal that ended it is none.
    pub fn wait(&mut self) -> Option<i32> {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait().unwrap() {
                assert!(status.code().is_some(), "{status}\n{}", self.log());
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.kill();
        panic!("it did not end within {PATIENCE:?}\n{}", self.log());
    }

    /// Waits for its end, but not for long.
    pub fn wait_at_most(&mut self, time: Duration) {
        let began = Instant::now();
        while began.elapsed() < time && self.child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for its end; whether a signal ended it.
    pub fn wait_for_signal(&mut self) -> bool {
        use std::os::unix::process::ExitStatusExt;
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.signal().is_some();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }

    pub fn expect_running(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("it ended: {status}\n{}", self.log());
        }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for RunningJob {
    fn drop(&mut self) {
        // Ended already, or a test has failed.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

/// Waits until something is there while a job runs.
pub fn wait_for<T>(running: &mut RunningJob, what: &str, there: impl Fn() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = there() {
            return found;
        }
        running.expect_running();
        assert!(began.elapsed() < PATIENCE, "not {what} within {PATIENCE:?}\n{}", running.log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A job's manifests, oldest first.
pub fn manifests(store: &dyn Store, job: &str) -> Vec<Manifest> {
    let listed = store.list(&Names::new(job).manifests()).unwrap();
    listed
        .iter()
        .map(|object| Manifest::parse(&object.name, &store.get(&object.name).unwrap().unwrap()).unwrap())
        .collect()
}

/// A job's newest manifest.
pub fn newest(store: &dyn Store, job: &str) -> Option<Manifest> {
    let newest = store.list(&Names::new(job).manifests()).unwrap().pop()?;
    Some(Manifest::parse(&newest.name, &store.get(&newest.name).unwrap().unwrap()).unwrap())
}

pub fn weir() -> Command {
    Command::new(env!("CARGO_BIN_EXE_weir"))
}

#[track_caller]
pub fn expect(output: &Output, code: i32, what: &str) {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{what}\n{out}\n{err}");
}

fn unique_number() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
