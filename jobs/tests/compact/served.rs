//! Questions while their table is compacted: no window is missing or there twice at any moment.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::bench::{Bench, Click};
use crate::days::run_in_parts;
use crate::process::{Process, free_address, get, succeeds, wait_ready};

const START_MS: i64 = 1_736_899_200_000;
const MINUTES: i64 = 600;

#[test]
fn answers_are_the_same_at_every_moment_of_a_compaction() {
    let bench = Bench::new("");
    let log: Vec<Click> = (0..MINUTES * 6)
        .map(|n| Click::new(format!("c-{n}"), &format!("ad-{}", n % 3), START_MS + n * 10_000))
        .collect();
    let parts: Vec<Vec<Click>> = log.chunks(700).map(<[Click]>::to_vec).collect();
    run_in_parts(&bench, &parts, &[]);
    let address = free_address();
    let listen = format!("serve.listen={address}");
    let server = Process::start(bench.path(), &["serve", "job.toml", "-D", &listen]);
    wait_ready(address);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut asked = 0_i64;
            while !done.load(Ordering::Relaxed) || asked < 3 {
                // Another end each time, so that no answer is kept.
                let end = START_MS / 1000 + MINUTES * 60 + asked;
                let target = format!("/v1/stats?ad_id=ad-1&window=1m&start={}&end={end}", START_MS / 1000);
                let answer = get(address, &target);
                let windows = answer["data"].as_array().unwrap();
                let counts: Vec<u64> = windows.iter().map(|window| window["click_count"].as_u64().unwrap()).collect();
                assert_eq!(counts, vec![2; MINUTES as usize], "question {asked}");
                asked += 1;
            }
            asked
        });
        for (round, target) in ["64KiB", "256KiB", "64MiB"].into_iter().enumerate() {
            let compact = ["compact", "job.toml", "--min-files", "2", "--target", target];
            succeeds(&bench.weir(&compact));
            if round > 0 {
                succeeds(&bench.weir(&[&compact[..], &["--delete-replaced", "1ms"]].concat()));
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(600));
        done.store(true, Ordering::Relaxed);
        println!("{} questions", asking.join().unwrap());
    });
    server.terminate();
}
