//! What a user costs: `cargo run --release -p weir-dataflow --example sketch_speed`.

use std::hint::black_box;
use std::time::Instant;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use weir_dataflow::{Coupon, UserSketch};

const CLICKS: usize = 200_000;
const ROUNDS: usize = 20;

fn main() {
    hash_speed();
    for users in [3, 50, 100, 300, 384, 1000, 10_000, 100_000] {
        update_speed(users);
    }
    for users in [3, 100, 384, 1000, 100_000] {
        close_speed(users);
    }
    many_panes(200_000, 75);
}

fn hash_speed() {
    for example in ["u123456", "user-12345678", "0f8fad5b-d9cb-469f-a165-70867728950e"] {
        let hash = ns_each(CLICKS, |_| {
            black_box(Coupon::of_user(black_box(example)));
        });
        println!("coupon of {:2} bytes          {hash:6.1} ns", example.len());
    }
}

/// Clicks by `users` users, in a sketch that has seen nearly all of them, and from the first click on.
fn update_speed(users: usize) {
    let coupons = clicks(users, CLICKS);
    let mut sketch = sketch_of(&coupons);
    let known = ns_each(CLICKS, |click| sketch.update(coupons[click]));
    let clicks_a_pane = (users * 4 / 3).min(CLICKS);
    let fresh = ns_each(CLICKS / clicks_a_pane, |pane| {
        black_box(sketch_of(&coupons[pane * clicks_a_pane..(pane + 1) * clicks_a_pane]));
    }) / clicks_a_pane as f64;
    println!(
        "{users:8} users: update {known:6.1} ns, from an empty sketch on {fresh:6.1} ns, heap {} bytes",
        sketch.heap_bytes()
    );
}

/// What happens to a sketch when its window closes or a checkpoint is taken.
fn close_speed(users: usize) {
    let (left, right) = (sketch_of(&distinct(0..users)), sketch_of(&distinct(users / 2..users / 2 * 3)));
    let mut bytes = Vec::with_capacity(8192);
    let estimate = ns_each(1000, |_| {
        black_box(left.estimate());
    });
    let public = ns_each(1000, |_| {
        bytes.clear();
        left.to_datasketches(&mut bytes);
    });
    let encode = ns_each(1000, |_| {
        bytes.clear();
        left.encode(&mut bytes);
    });
    let size = bytes.len();
    let decode = ns_each(1000, |_| {
        let _ = black_box(UserSketch::decode(&mut bytes.as_slice()));
    });
    let merge = ns_each(1000, |_| {
        let mut merged = left.clone();
        merged.merge(&right);
        black_box(merged);
    });
    println!(
        "{users:8} users: estimate {estimate:6.0} ns, to_datasketches {public:6.0} ns, encode {encode:6.0} ns \
         ({size} bytes), decode {decode:6.0} ns, clone and merge {merge:6.0} ns"
    );
}

/// Clicks that hit panes at random: what the caches do not hold.
fn many_panes(panes: usize, users_a_pane: usize) {
    let mut rng = SmallRng::seed_from_u64(1);
    let mut sketches = vec![UserSketch::new(); panes];
    let clicks = panes * users_a_pane;
    let start = Instant::now();
    for _ in 0..clicks {
        sketches[rng.random_range(0..panes)]
            .update(Coupon((rng.random_range(1..4) << 26) | rng.random_range(0..1 << 26)));
    }
    let update = start.elapsed().as_nanos() as f64 / clicks as f64;
    let heap_bytes: usize = sketches.iter().map(UserSketch::heap_bytes).sum();
    let bytes_a_user = heap_bytes as f64 / clicks as f64;
    println!("{panes} panes of {users_a_pane} users: update {update:.0} ns, heap {bytes_a_user:.1} bytes a user");
}

fn clicks(users: usize, clicks: usize) -> Vec<Coupon> {
    let mut rng = SmallRng::seed_from_u64(users as u64);
    (0..clicks).map(|_| Coupon::of_user(&format!("user-{}", rng.random_range(0..users)))).collect()
}

fn distinct(users: std::ops::Range<usize>) -> Vec<Coupon> {
    users.map(|user| Coupon::of_user(&format!("user-{user}"))).collect()
}

fn sketch_of(coupons: &[Coupon]) -> UserSketch {
    let mut sketch = UserSketch::new();
    coupons.iter().for_each(|&coupon| sketch.update(coupon));
    sketch
}

/// The best of several rounds: what the code costs when nothing else runs.
fn ns_each(times: usize, mut run: impl FnMut(usize)) -> f64 {
    let mut round = || {
        let start = Instant::now();
        (0..times).for_each(&mut run);
        start.elapsed().as_nanos() as f64 / times as f64
    };
    (0..ROUNDS).map(|_| round()).fold(f64::INFINITY, f64::min)
}
