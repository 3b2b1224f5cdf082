//! Three brokers, of which one is lost, and then another: partitions move to other leaders while the job reads them, and
//! the counts are right.

use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use crate::await_until;
use crate::cluster::Cluster;
use crate::support::TestJob;

const PARTITIONS: u32 = 6;

#[test]
fn a_job_reads_on_while_brokers_are_lost_and_leaders_move() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::start(folder.path());
    await_until("the brokers to be one cluster", || cluster.is_ready());
    let job = TestJob::on(&cluster.addresses, "brokers", PARTITIONS, &[]);
    cluster.await_in_sync(&job.topic);
    let options = "--clicks 90000 --events-per-second 30 --rate 1500 --ads 100 --users 5000 --bytes 300 --duplicates 0.03 \
                   --poison 0.005 --start";
    // The clicks span less than an hour. Kafka refuses records from more than an hour ahead.
    let start = (UNIX_EPOCH.elapsed().unwrap().as_secs() - 7200).to_string();
    let options: Vec<&str> = options.split_whitespace().chain([start.as_str()]).collect();
    thread::scope(|scope| {
        let generating = scope.spawn(|| job.generate(PARTITIONS, &options));
        let mut running = job.start(2);
        job.wait_for(&mut running, "reading", |manifest| manifest.totals().read > 0);
        for victim in [0, 1, 2] {
            let before = cluster.leaders(&job.topic);
            assert!(before.contains(&Some(victim)), "broker {victim} leads nothing: {before:?}");
            let read = job.newest().unwrap().totals().read;
            cluster.brokers[victim].kill();
            await_until("its partitions to have other leaders", || {
                let now = cluster.leaders(&job.topic);
                now.len() == PARTITIONS as usize
                    && now.iter().all(|leader| leader.is_some_and(|leader| leader != victim))
            });
            // More is counted while the broker is away, if there is still more.
            job.wait_for(&mut running, "reading without a broker", |manifest| {
                manifest.totals().read > read + 1000 || generating.is_finished()
            });
            thread::sleep(Duration::from_secs(1));
            cluster.brokers[victim].restart();
            cluster.await_in_sync(&job.topic);
            println!(
                "leaders before and after broker {victim} was lost: {before:?}, {:?}",
                cluster.leaders(&job.topic)
            );
            if victim == 1 {
                // In the middle of it, other workers take over.
                running.kill();
                running = job.start(3);
            }
        }
        generating.join().unwrap();
        let records = job.records();
        job.wait_for(&mut running, "read to the end", |manifest| manifest.totals().read == records);
        running.terminate();
    });
    job.verify();
    job.verify_with_other_engines(false);
}
