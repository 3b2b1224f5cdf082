//! A zone fails: three brokers, two ingest processes, load all the time; one broker is killed after another, among them
//! the controller.

use std::fs;
use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::Duration;

use crate::book::Book;
use crate::cluster::Cluster;
use crate::load::{Load, PATIENT, await_more};
use crate::process::{IngestProcess, weir};
use crate::{await_until, now_ms, read_back};

const TOPIC: &str = "clicks";

/// How long the load goes on without a broker, at least.
const WITHOUT: Duration = Duration::from_secs(4);

/// No longer than the log's time-out may clicks be refused by a cluster that has lost one broker.
const LONGEST_GAP: Duration = Duration::from_secs(20);

#[test]
fn a_zone_may_fail() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::start(folder.path());
    let source = format!("kind = \"kafka\"\nbrokers = \"{}\"\ntopic = \"{TOPIC}\"", cluster.addresses);
    let text = format!(
        "[job]\nname = \"clicks\"\n[source]\n{source}\n[checkpoint]\nurl = \"checkpoints\"\n[tables]\nurl = \"tables\"\n"
    );
    fs::write(folder.path().join("job.toml"), text).unwrap();
    await_until("the topic to be made", || {
        let mut create = weir();
        create.args(["topics", "create", "job.toml", "--partitions", "6"]).current_dir(folder.path());
        create.output().unwrap().status.success()
    });
    cluster.await_in_sync(TOPIC);

    let brokers = format!("source.brokers={}", cluster.addresses);
    let definitions = ["source.kind=kafka", &brokers, "source.topic=clicks", "ingest.threads=1"];
    let mut processes = [(); 2].map(|()| IngestProcess::start(folder.path(), &definitions));
    let (book, servers) = (Book::new(), [processes[0].address, processes[1].address]);
    let load = Load {
        clients: 4,
        seed: 1,
        prefix: "zone",
        servers: &servers,
        first_ms: now_ms() - 3_600_000,
        patience_ms: PATIENT,
    };
    load.during(&book, || {
        await_more(&book, 2_000);
        let controller = cluster.controller();
        let others = (0..3).filter(|index| *index != controller);
        let mut killed: Vec<usize> = others.collect();
        // The controller in the middle.
        killed.insert(1, controller);
        let mut before = Figures::default();
        before.since(&book);
        for victim in killed {
            cluster.brokers[victim].kill();
            sleep(WITHOUT);
            await_more(&book, 2_000);
            let role = if victim == controller { "the controller, " } else { "" };
            let gap = before.report(&book, &format!("{role}broker {} is killed", victim + 1));
            assert!(gap < LONGEST_GAP, "no click was accepted for {gap:?}");
            cluster.brokers[victim].restart();
            cluster.await_in_sync(TOPIC);
            before.report(&book, &format!("broker {} comes back", victim + 1));
        }
    });
    for process in &mut processes {
        assert_eq!(process.terminate(), 0, "{}", process.log());
    }
    let compared = book.compare("zone", &read_back::topic(&cluster.addresses, TOPIC).clicks);
    println!("{compared}; {}", book.facts());
}

/// What was counted up to some moment.
#[derive(Default)]
struct Figures {
    answers: u64,
    refused: u64,
    accepted: usize,
}

impl Figures {
    /// What was counted since the last time.
    fn since(&mut self, book: &Book) -> (Self, Duration) {
        let gap = book.longest_gap();
        let now = Self {
            answers: book.answers.load(Ordering::Relaxed),
            refused: book.refused.load(Ordering::Relaxed),
            accepted: book.accepted(),
        };
        let (answers, refused, accepted) =
            (now.answers - self.answers, now.refused - self.refused, now.accepted - self.accepted);
        *self = now;
        (Self { answers, refused, accepted }, gap)
    }

    fn report(&mut self, book: &Book, what: &str) -> Duration {
        let (Self { answers, refused, accepted }, gap) = self.since(book);
        let share = 100.0 * refused as f64 / answers.max(1) as f64;
        println!(
            "{what}: {accepted} clicks accepted, {refused} of {answers} answers 503 ({share:.1} %), longest gap {gap:.2?}"
        );
        gap
    }
}
