//! How long decoding takes, by the fast path and by the strict one.
//!
//! ```sh
//! cargo run --release -p weir-dataflow --example decode_speed
//! ```
//!
//! Each kind of record comes in 4,096 different ones, read in turn, so that neither the branch predictor nor the cache
//! knows them by heart. The best of many rounds is shown: what the code costs when nothing disturbs it. On one core of
//! an AMD EPYC (Zen 4, 3.7 GHz), in nanoseconds a record:
//!
//! ```text
//! record                              bytes     decode     strict
//! large                                 492      108.4      607.5
//! large, IPv6                           518      122.9      625.3
//! large, spaces after : and ,           521      114.6      644.7
//! large, a user agent not in ASCII      493      121.8      628.4
//! large, members in any order           492      545.7     1053.3
//! large, one escape                     493      703.5      733.7
//! small                                 228       64.4      291.6
//! ```
//!
//! A nested object costs what its members do: on another, busier machine 216 ns beside 201 ns for the flat record.

use std::hint::black_box;
use std::time::Instant;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use weir_dataflow::Decoder;

const RECORDS: usize = 4096;
const ROUNDS: usize = 1000;
const SEED: u64 = 7;

/// Writes a record.
type Make = fn(&mut StdRng) -> String;

fn main() {
    let kinds: [(&str, Make); 8] = [
        ("large", large),
        ("large, with a nested object", nested),
        ("large, IPv6", large_ipv6),
        ("large, spaces after : and ,", |random| spaced(&large(random))),
        ("large, a user agent not in ASCII", |random| large(random).replace("Mozilla", "Mözilla")),
        ("large, members in any order", shuffled),
        ("large, one escape", |random| large(random).replace("Mozilla/", r"Mozilla\/")),
        ("small", small),
    ];
    // For a profiler: arguments leave one path and one kind of record.
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runs = |position: usize, name: &str| arguments.get(position).is_none_or(|wanted| wanted == name);
    println!("{:34} {:>6} {:>10} {:>10}   ns a record", "record", "bytes", "decode", "strict");
    for (name, make) in kinds.into_iter().filter(|(name, _)| runs(1, name)) {
        let mut random = StdRng::seed_from_u64(SEED);
        let records: Vec<Vec<u8>> = (0..RECORDS).map(|_| make(&mut random).into_bytes()).collect();
        let bytes = records.iter().map(Vec::len).sum::<usize>() / RECORDS;
        let mut decoder = Decoder::new();
        print!("{name:34} {bytes:>6}");
        if runs(0, "decode") {
            print!(" {:>10.1}", measure(&records, |record| decoder.decode(Some(record)).is_ok()));
        }
        if runs(0, "strict") {
            print!(" {:>10.1}", measure(&records, |record| decoder.decode_strict(Some(record)).is_ok()));
        }
        println!();
    }
}

/// The best round's nanoseconds a record.
fn measure(records: &[Vec<u8>], mut decode: impl FnMut(&[u8]) -> bool) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for record in records {
            assert!(decode(black_box(record)), "not accepted: {}", String::from_utf8_lossy(record));
        }
        best = best.min(start.elapsed().as_nanos() as f64 / records.len() as f64);
    }
    best
}

/// A click with all that a browser's SDK sends along, about 500 bytes.
fn large(random: &mut StdRng) -> String {
    let octets: [u8; 4] = random.random();
    large_from(random, &std::net::Ipv4Addr::from(octets).to_string())
}

fn large_ipv6(random: &mut StdRng) -> String {
    let mut segments: [u16; 8] = random.random();
    segments[0] = 0x2001;
    large_from(random, &std::net::Ipv6Addr::from(segments).to_string())
}

fn large_from(random: &mut StdRng, ip_address: &str) -> String {
    format!(
        concat!(
            r#"{{"ad_id":"ad-{}","user_id":"user-{:x}","timestamp":{},"click_id":"{}","ip_address":"{}","#,
            r#""user_agent":"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{}.0.0.0 Safari/537.36","#,
            r#""campaign_id":"cmp-{}","publisher_id":"pub-{}","placement":"sidebar-{}","country":"DE","device":"desktop","#,
            r#""bid_price":{:.4},"position":{},"viewable":{},"#,
            r#""referrer":"https://news.example.org/articles/{}"}}"#,
        ),
        random.random_range(1..1_000_000),
        random.random::<u32>(),
        random.random_range(1_736_000_000_000_u64..1_737_000_000_000),
        uuid(random),
        ip_address,
        random.random_range(90..140),
        random.random_range(1..10_000),
        random.random_range(1..100_000),
        random.random_range(1..20),
        random.random_range(0.0..3.0),
        random.random_range(1..12),
        random.random::<bool>(),
        random.random_range(1..10_000_000),
    )
}

/// What is known of the device in an object of its own.
fn nested(random: &mut StdRng) -> String {
    let width = random.random_range(320..2560);
    large(random).replace(r#""device":"desktop""#, &format!(r#""device":{{"width":{width},"touch":true}}"#))
}

/// As a producer with a hash map writes it. None of these records is like the one before.
fn shuffled(random: &mut StdRng) -> String {
    let record = large(random);
    // No comma but those between members is followed by a quote.
    let mut members: Vec<&str> =
        record[1..record.len() - 1].split(",\"").map(|member| member.trim_matches('"')).collect();
    members.shuffle(random);
    let members: Vec<String> = members.iter().map(|member| format!("\"{member}{}", closing_quote(member))).collect();
    format!("{{{}}}", members.join(","))
}

/// The quote that splitting took from a member whose value is a string.
fn closing_quote(member: &str) -> &str {
    if member.contains(":\"") { "\"" } else { "" }
}

/// The six fields alone.
fn small(random: &mut StdRng) -> String {
    let octets: [u8; 4] = random.random();
    format!(
        concat!(
            r#"{{"ad_id":"ad-{}","user_id":"user-{:x}","timestamp":{},"click_id":"{}","ip_address":"{}","#,
            r#""user_agent":"Mozilla/5.0 (X11; Linux x86_64; rv:{}.0) Gecko/20100101 Firefox"}}"#
        ),
        random.random_range(1..1_000_000),
        random.random::<u32>(),
        random.random_range(1_736_000_000_u64..1_737_000_000),
        uuid(random),
        std::net::Ipv4Addr::from(octets),
        random.random_range(90..140),
    )
}

fn uuid(random: &mut StdRng) -> String {
    let digits = format!("{:032x}", random.random::<u128>());
    [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
}

/// With a space behind every colon and comma outside the strings, as some encoders write.
fn spaced(json: &str) -> String {
    let mut spaced = String::new();
    let mut inside = false;
    for character in json.chars() {
        inside ^= character == '"';
        spaced.push(character);
        if !inside && matches!(character, ':' | ',') {
            spaced.push(' ');
        }
    }
    spaced
}
