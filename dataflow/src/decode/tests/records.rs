//! Records written by structure, so that most come near to a click, and then damaged or not.

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

const KEYS: [&str; 25] = [
    "ad_id",
    "user_id",
    "timestamp",
    "click_id",
    "ip_address",
    "user_agent",
    "ad_id",
    "user_id",
    "timestamp",
    "k",
    "k2",
    "",
    "price",
    r"ad\u005fid",
    r"\u006b",
    "campaign_id_number_1",
    "campaign_id_number_2",
    "campaign_xd_number_1",
    "é",
    "timestamps",
    "user_agenT",
    "\u{7f}",
    r"\n",
    r"\ud800",
    "a\"b",
];

const VALUES: [&str; 58] = [
    "\"a\"",
    "\"u\"",
    "\"user-1\"",
    "\"\"",
    "\" \"",
    "1736952000",
    "1736952000123",
    "0",
    "-0",
    "00",
    "1",
    "-1",
    "1.0",
    "1e3",
    "1E-2",
    "0.25",
    "-12.5e+3",
    "1e999",
    "1.",
    ".5",
    "253402300799999",
    "253402300800000",
    "9007199254740993",
    "9223372036854775808",
    "18446744073709551616",
    "12345678",
    "1234567",
    "123456789012345",
    "1234567890123456",
    "true",
    "false",
    "null",
    "tru",
    "nullx",
    "[]",
    "{}",
    "[1,[2,{\"k\":null}]]",
    "{\"ad_id\":\"x\",\"ad_id\":1}",
    "[1,]",
    "{\"k\":1,}",
    "[{\"k\":[]}, 2]",
    "[1}",
    "\"1.2.3.4\"",
    "\"::1\"",
    "\"1.2.3.256\"",
    "\"2001:db8::7\"",
    "\"é€💡\"",
    r#""\u00e9""#,
    r#""\ud83d\udca1""#,
    r#""\ud83d""#,
    r#""\q""#,
    "\"\t\"",
    "\"a,b:c}d\"",
    "\"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\"",
    "\"unclosed",
    "",
    "@",
    "\"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"",
];

const SPACES: [&str; 8] = ["", "", "", "", "", " ", "  ", "\n"];

/// The record of a seed.
pub(in crate::decode) fn record_of(seed: u64) -> Vec<u8> {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut record = if random.random_bool(0.6) { likely(&mut random) } else { unlikely(&mut random) };
    if random.random_bool(0.5) {
        for _ in 0..random.random_range(1..4) {
            damage(&mut record, &mut random);
        }
    }
    record
}

/// A click in most cases: the required fields, good values, some unknown fields.
pub(in crate::decode) fn likely(random: &mut SmallRng) -> Vec<u8> {
    let mut members = vec![
        format!(r#""ad_id":"ad-{}""#, random.random_range(0..1000)),
        format!(r#""user_id":"{:x}""#, random.random::<u64>()),
        format!(r#""timestamp":{}"#, random.random::<u64>() >> random.random_range(12..64)),
    ];
    let optional = [
        r#""click_id":"0194f3c2-7d1e-7c3a-9b1f-2a6d1c0e5f77""#,
        r#""ip_address":"203.0.113.7""#,
        r#""ip_address":"::1""#,
        r#""user_agent":"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Safari/537.36""#,
        r#""user_agent":"""#,
        r#""price":0.125"#,
        r#""country":"DE""#,
        r#""viewable":true"#,
        r#""note":null"#,
        r#""title":"Größe 💡""#,
        r#""n":-17"#,
        r#""rate":1.5e-7"#,
        r#""url":"https:\/\/example.org""#,
        r#""geo":{"lat":1}"#,
        r#""device":{"width":320, "touch":true, "os":{"name":"x","name":"y"}}"#,
        r#""tags":["a", "b",[],[1,{}]]"#,
        r#""nested":{"ad_id":"x","timestamp":[],"t":{ "a":[null]}}"#,
    ];
    for _ in 0..random.random_range(0..6) {
        members.push((*optional.choose(random).unwrap()).to_owned());
    }
    let at = random.random_range(0..members.len());
    members.rotate_left(at);
    let separator = *[",", ",", ", "].choose(random).unwrap();
    let end = *["}", "}", "}\n"].choose(random).unwrap();
    format!("{{{}{end}", members.join(separator)).into_bytes()
}

/// Members of any key and any value.
fn unlikely(random: &mut SmallRng) -> Vec<u8> {
    let mut record = String::from("{");
    for member in 0..random.random_range(0..9) {
        if member > 0 {
            record.push(',');
        }
        let mut space = || *SPACES.choose(random).unwrap();
        let (first, second, third, fourth) = (space(), space(), space(), space());
        let key = KEYS.choose(random).unwrap();
        let value = VALUES.choose(random).unwrap();
        record += &format!("{first}\"{key}\"{second}:{third}{value}{fourth}");
    }
    record.push('}');
    record.into_bytes()
}

/// Changes a byte or some.
pub(in crate::decode) fn damage(record: &mut Vec<u8>, random: &mut SmallRng) {
    if record.is_empty() {
        return;
    }
    let at = random.random_range(0..record.len());
    match random.random_range(0..8) {
        0 => record[at] ^= 1 << random.random_range(0..8),
        1 => record[at] = random.random(),
        2 => record[at] = *br#""{}[]:,\ 019.-+eEtfnau"#.choose(random).unwrap(),
        3 => record.truncate(at),
        4 => {
            record.remove(at);
        }
        5 => record.insert(at, *b"\"\\{}[]:, \n\t\r0x-.e\0\x1f\x7f\x80\xc3\xa9\xff".choose(random).unwrap()),
        6 => {
            let end = (at + random.random_range(1..40)).min(record.len());
            let piece = record[at..end].to_vec();
            let to = random.random_range(0..=record.len());
            record.splice(to..to, piece);
        }
        _ => {
            let end = (at + random.random_range(1..20)).min(record.len());
            record.drain(at..end);
        }
    }
}
