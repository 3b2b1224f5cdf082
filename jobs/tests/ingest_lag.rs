//! Clicks are refused while the job is too far behind in a real topic, and taken again when it has caught up.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "ingest/client.rs"]
#[allow(dead_code, reason = "each test binary uses a part of this")]
mod client;
mod support;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use client::{Answer, post_json};
use support::{TestJob, weir};

const PATIENCE: Duration = Duration::from_secs(60);

struct Ingest {
    address: SocketAddr,
    child: Child,
}

impl Ingest {
    fn start(job: &TestJob, more: &[&str]) -> Self {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let listen = format!("ingest.listen={address}");
        let mut command = weir();
        command.arg("ingest").arg(job.job_file()).args(["-D", &listen]).args(more).stderr(Stdio::null());
        let child = command.spawn().unwrap();
        let started = Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(started.elapsed() < PATIENCE, "ingest does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { address, child }
    }

    /// Posts clicks until one is answered like this.
    fn post_until(&self, status: u16) -> Answer {
        let started = Instant::now();
        for number in 0.. {
            let at = started.elapsed().as_nanos();
            let click =
                format!(r#"{{"ad_id":"a","user_id":"u","timestamp":1790000000,"click_id":"{status}-{number}-{at}"}}"#);
            let answer = post_json(self.address, click);
            if answer.status == status {
                return answer;
            }
            assert!(started.elapsed() < PATIENCE, "never {status}, last {answer:?}");
            std::thread::sleep(Duration::from_millis(100));
        }
        unreachable!("the numbers do not end")
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_job_that_is_behind_in_kafka_sheds_until_it_has_caught_up() {
    let job = TestJob::new("lag", 2, &[]);
    job.generate(2, &["--clicks", "5000", "--bytes", "300"]);
    let ingest = Ingest::start(&job, &["-D", "ingest.shed.max_lag=2000"]);
    let refused = ingest.post_until(503).expect_problem(503, "overloaded");
    assert_eq!(refused.header("retry-after"), Some("10"));
    let mut running = job.start(1);
    job.wait_for(&mut running, "read to the end", |manifest| manifest.totals().read >= 5000);
    ingest.post_until(202);
    running.kill();
}
