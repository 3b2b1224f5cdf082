//! The table in the contract, field by field.

use super::{MINIMAL, check, check_with, is_fast, with};
use crate::click::{Click, MAX_EVENT_TIME_MS};
use crate::decode::{Decoder, RejectReason::*, extra_fields};

const FULL: &str = concat!(
    r#"{"ad_id":"ad-1","user_id":"user-1","timestamp":1736952000000,"click_id":"c-1","#,
    r#""ip_address":"203.0.113.7","user_agent":"Mozilla/5.0 (X11)","price":0.25,"tag":"x","seen":true,"none":null}"#
);

#[test]
fn a_click_with_every_field() {
    let click = Click {
        ad_id: "ad-1",
        user_id: "user-1",
        timestamp: 1_736_952_000_000,
        click_id: Some("c-1"),
        ip_address: Some("203.0.113.7"),
        user_agent: Some("Mozilla/5.0 (X11)"),
    };
    check(FULL, Ok(click));
    check(FULL.replace(':', ": ").replace(",\"", ", \""), Ok(click));
    check(format!("{FULL}\r\n\t "), Ok(click));
    check(format!("\n {FULL}"), Ok(click));
    check(FULL.replace(',', "\n,\t"), Ok(click));
}

#[test]
fn what_producers_usually_write_takes_the_fast_path() {
    assert!(is_fast(FULL.as_bytes()));
    assert!(is_fast(FULL.replace(':', ": ").replace(",\"", ", \"").as_bytes()));
    assert!(is_fast(format!("{FULL}\n").as_bytes()));
    assert!(is_fast(FULL.replace("Mozilla", "Mözilla 💡").as_bytes()));
    assert!(is_fast(FULL.replace("0.25", "-1.5e-07").as_bytes()));
    assert!(is_fast(with(r#""n":0"#).as_bytes()));
    assert!(is_fast(with(r#""impression_start_timestamp":1,"impression_close_timestamp":2"#).as_bytes()));
}

#[test]
fn a_record_without_a_value() {
    for result in [Decoder::new().decode(None), Decoder::new().decode_strict(None)] {
        let rejection = result.unwrap_err();
        assert_eq!((rejection.reason, rejection.detail.as_ref()), (InvalidJson, "no value (tombstone)"));
    }
    check("", Err((InvalidJson, "empty")));
}

#[test]
fn size_goes_before_everything() {
    let fill = |bytes: usize| with(&format!(r#""fill":"{}""#, "x".repeat(bytes - with(r#""fill":"""#).len())));
    check(fill(65_536), Ok(MINIMAL));
    check(fill(65_537), Err((TooLarge, "65537 bytes")));
    check(fill(1 << 20), Err((TooLarge, "1048576 bytes")));
    check(vec![0xff; 65_537], Err((TooLarge, "65537 bytes")));
    check(format!("{}{}", with(r#""n":1"#), " ".repeat(65_536)), Err((TooLarge, "")));
}

#[test]
fn required_fields() {
    check(r#"{"ad_id":"a","user_id":"u","timestamp":1}"#, Ok(MINIMAL));
    check("{}", Err((MissingField, "ad_id")));
    check(r#"{"user_id":"u","timestamp":1}"#, Err((MissingField, "ad_id")));
    check(r#"{"ad_id":"a","timestamp":1}"#, Err((MissingField, "user_id")));
    check(r#"{"ad_id":"a","user_id":"u"}"#, Err((MissingField, "timestamp")));
    check(r#"{"AD_ID":"a","user_id":"u","timestamp":1}"#, Err((MissingField, "ad_id")));
    check(r#"{"ad_id ":"a","user_id":"u","timestamp":1}"#, Err((MissingField, "ad_id")));
}

#[test]
fn wrong_types() {
    for field in ["ad_id", "user_id", "timestamp", "click_id", "ip_address", "user_agent"] {
        for value in ["null", "true", "false", "[]", "{}", "1.5", "-1", r#"["a"]"#, r#"{"a":1}"#] {
            let others: String = [("ad_id", "\"a\""), ("user_id", "\"u\""), ("timestamp", "1")]
                .into_iter()
                .filter(|(name, _)| *name != field)
                .map(|(name, text)| format!(",\"{name}\":{text}"))
                .collect();
            check(format!("{{\"{field}\":{value}{others}}}"), Err((InvalidField, field)));
        }
    }
    check_with(r#""click_id":7"#, Err((InvalidField, "click_id")));
    check(r#"{"ad_id":7,"user_id":"u","timestamp":1}"#, Err((InvalidField, "ad_id")));
    check(r#"{"ad_id":"a","user_id":"u","timestamp":"1"}"#, Err((InvalidField, "timestamp")));
}

#[test]
fn lengths_are_of_unescaped_bytes() {
    let text = |field: &str, value: &str| match field {
        "ad_id" => format!(r#"{{"ad_id":"{value}","user_id":"u","timestamp":1}}"#),
        "user_id" => format!(r#"{{"ad_id":"a","user_id":"{value}","timestamp":1}}"#),
        _ => with(&format!(r#""{field}":"{value}""#)),
    };
    let filled = |field: &str, value: &'static str| match field {
        "ad_id" => Click { ad_id: value, ..MINIMAL },
        "user_id" => Click { user_id: value, ..MINIMAL },
        "click_id" => Click { click_id: Some(value), ..MINIMAL },
        _ => Click { user_agent: Some(value), ..MINIMAL },
    };
    for (field, min, max) in [("ad_id", 1, 256), ("user_id", 1, 256), ("click_id", 1, 128), ("user_agent", 0, 2048)] {
        for length in [0, 1, max - 1, max, max + 1, max + 2, 5000] {
            let value: &'static str = "y".repeat(length).leak();
            let expected =
                if (min..=max).contains(&length) { Ok(filled(field, value)) } else { Err((InvalidField, field)) };
            check(text(field, value), expected);
            check(text(field, &r"\u0079".repeat(length)), expected);
        }
        // Two bytes a letter, six as an escape.
        let value: &'static str = "ö".repeat(max / 2).leak();
        check(text(field, value), Ok(filled(field, value)));
        check(text(field, &r"\u00f6".repeat(max / 2)), Ok(filled(field, value)));
        check(text(field, &"ö".repeat(max / 2 + 1)), Err((InvalidField, field)));
        check(text(field, &r"\u00F6".repeat(max / 2 + 1)), Err((InvalidField, field)));
    }
}

#[test]
fn timestamps() {
    let record = |timestamp: &str| format!(r#"{{"ad_id":"a","user_id":"u","timestamp":{timestamp}}}"#);
    let accept = |timestamp: i64| check(record(&timestamp.to_string()), Ok(Click { timestamp, ..MINIMAL }));
    for timestamp in [0, 1, 9, 10, 12_345_678, 123_456_789, 1_736_952_000, 1_736_952_000_123] {
        accept(timestamp);
    }
    for power in 0..=14 {
        accept(10_i64.pow(power));
        accept(10_i64.pow(power) - 1);
    }
    accept(99_999_999_999);
    accept(100_000_000_000);
    accept(MAX_EVENT_TIME_MS);
    for beyond in ["253402300800000", "999999999999999", "1000000000000000", "9223372036854775807"] {
        check(record(beyond), Err((InvalidField, "timestamp: out of range")));
    }
    check(record("9223372036854775808"), Err((InvalidField, "timestamp: out of range")));
    check(record("18446744073709551615"), Err((InvalidField, "timestamp: out of range")));
    for wrong in ["-1", "-0", "1.0", "1.5", "0.0", "1e3", "1E3", "1e-3", "18446744073709551616", "\"1\"", "\"\""] {
        check(record(wrong), Err((InvalidField, "timestamp")));
    }
    for broken in ["", "01", "00", "+1", ".5", "1.", "1e", "0x1", "1_000", "1 000", "NaN", "Infinity", "１", "- 1"] {
        check(record(broken), Err((InvalidJson, "")));
    }
}

#[test]
fn ip_addresses() {
    for address in [
        "0.0.0.0",
        "1.2.3.4",
        "255.255.255.255",
        "203.0.113.99",
        "::",
        "::1",
        "2001:db8::1",
        "2001:DB8:0:0:1::1",
        "1:2:3:4:5:6:7:8",
        "1:2:3:4:5:6:7::",
        "::2:3:4:5:6:7:8",
        "::ffff:1.2.3.4",
        "0001:0002::",
        "fe80::1",
    ] {
        check_with(&format!(r#""ip_address":"{address}""#), Ok(Click { ip_address: Some(address), ..MINIMAL }));
    }
    check_with(r#""ip_address":"\u0031.2.3.4""#, Ok(Click { ip_address: Some("1.2.3.4"), ..MINIMAL }));
    for wrong in [
        "",
        " ",
        "1.2.3",
        "1.2.3.4.5",
        "1.2.3.256",
        "01.2.3.4",
        "1.2.3.4 ",
        " 1.2.3.4",
        "1.2.3.4:80",
        "[::1]",
        "fe80::1%eth0",
        ":::",
        "1::2::3",
        "12345::",
        "g::1",
        "1:2:3:4:5:6:7:8:9",
        "1:2:3:4:5:6:7:8::",
        "localhost",
        "1..2.3",
        ".1.2.3",
        "1.2.3.",
        "+1.2.3.4",
        "1.2.3.4/24",
        "１.2.3.4",
        "1.2.3.4.",
        "1234.1.1.1",
        "::1.2.3.400",
    ] {
        check_with(&format!(r#""ip_address":"{wrong}""#), Err((InvalidField, "ip_address")));
    }
}

#[test]
fn escapes_and_unicode() {
    let click = Click { user_agent: Some("a\"b\\c/d\u{8}\u{c}\n\r\té€💡\u{0}"), ..MINIMAL };
    check_with(r#""user_agent":"a\"b\\c\/d\b\f\n\r\t\u00e9\u20AC\ud83d\udca1\u0000""#, Ok(click));
    check_with(r#""user_agent":"日本語 ελληνικά""#, Ok(Click { user_agent: Some("日本語 ελληνικά"), ..MINIMAL }));
    check_with("\"user_agent\":\"\u{7f}\u{10ffff}\"", Ok(Click { user_agent: Some("\u{7f}\u{10ffff}"), ..MINIMAL }));
    check(r#"{"\u0061d_id":"\u0061","user\u005fid":"\u0075","timestamp":1}"#, Ok(MINIMAL));
    // Two texts with escapes, so that one must not take the other's place.
    let click = Click { click_id: Some("c\n1"), user_agent: Some("u\n2"), ..MINIMAL };
    check_with(r#""click_id":"c\n1","x":"y\n3","user_agent":"u\n2""#, Ok(click));
}

#[test]
fn doubled_keys() {
    for field in ["ad_id", "user_id", "timestamp"] {
        for value in ["\"a\"", "1", "null", "{}"] {
            check_with(&format!("\"{field}\":{value}"), Err((InvalidField, &format!("\"{field}\": the key is there"))));
        }
    }
    for members in [
        r#""k":1,"k":2"#,
        r#""k":1,"other":2,"k":[]"#,
        r#""k":"","\u006b":"""#,
        r#""kk":1,"k":2,"k":3"#,
        r#""ip_address":"1.2.3.4","k":1,"k":1"#,
        r#""\u006b":1,"k":1"#,
    ] {
        check_with(members, Err((InvalidField, "\"k\"")));
    }
    check_with(r#""user\u005fid":"b""#, Err((InvalidField, "user_id")));
    check_with(r#""":1,"":2"#, Err((InvalidField, "\"\"")));
    check_with(r#""":1,"a":2,"A":3,"aa":4,"ab":5,"abcdefgh":6,"abcdefghi":7,"abcdefg":8"#, Ok(MINIMAL));
    check_with(r#""é":1,"é":2"#, Err((InvalidField, "\"é\"")));
    // The same letter in two ways of Unicode is two keys; a key inside a value is another object's.
    check_with("\"é\":1,\"e\u{301}\":2", Ok(MINIMAL));
    check_with(r#""geo":{"ad_id":1,"ad_id":2},"list":[{"k":1,"k":1}]"#, Ok(MINIMAL));
    let members = |count: usize| (0..count).map(|n| format!("\"key-{n}\":{n}")).collect::<Vec<_>>().join(",");
    for count in [31, 32, 33, 34, 64, 3000] {
        check_with(&members(count), Ok(MINIMAL));
        check_with(&format!("{},\"key-7\":0", members(count)), Err((InvalidField, "key-7")));
    }
    let long = "k".repeat(10_000);
    check_with(&format!(r#""{long}":1,"{long}":2"#), Err((InvalidField, &"k".repeat(64))));
}

#[test]
fn one_reason_of_several() {
    // Syntax, then doubled keys, then rules in the order of the fields, then what is missing.
    check(r#"{"ad_id":7,"ad_id":8"#, Err((InvalidJson, "")));
    check(r#"{"ad_id":7,"k":1,"k":2}"#, Err((InvalidField, "\"k\"")));
    check(r#"{"user_agent":1,"timestamp":-1,"user_id":"u"}"#, Err((InvalidField, "timestamp")));
    check(r#"{"user_id":"","ad_id":""}"#, Err((InvalidField, "ad_id")));
    check(r#"{"user_agent":1,"user_id":"u"}"#, Err((InvalidField, "user_agent")));
    check(r#"{"timestamp":253402300800000,"user_id":""}"#, Err((InvalidField, "user_id")));
}

#[test]
fn a_decoder_forgets_the_record_before() {
    let mut decoder = Decoder::new();
    for _ in 0..3 {
        assert!(decoder.decode(Some(with(r#""click_id":"a\nb","k":1"#).as_bytes())).is_ok());
        assert_eq!(decoder.decode(Some(br#"{"ad_id":"a","user_id":"u","timestamp":1}"#)), Ok(MINIMAL));
        assert_eq!(decoder.decode(Some(b"{}")).unwrap_err().reason, MissingField);
        assert_eq!(decoder.decode(Some(br#"{"k":"#)).unwrap_err().reason, InvalidJson);
        assert_eq!(decoder.decode(Some(with(r#""k":1"#).as_bytes())), Ok(MINIMAL));
    }
}

#[test]
fn extra_fields_come_as_they_are() {
    let extra = |members: &str| extra_fields(with(members).as_bytes());
    assert_eq!(extra_fields(br#"{"ad_id":"a","user_id":"u","timestamp":1}"#), None);
    assert_eq!(extra(r#""click_id":"c","ip_address":"::1","user_agent":"""#), None);
    assert_eq!(extra(r#""user\u005fagent":"x""#), None);
    assert_eq!(extra(r#""n":1.50"#).as_deref(), Some(r#"{"n":1.50}"#));
    assert_eq!(
        extra(r#" "z" : "\u0041\/" , "click_id":"c" ,"a":{"b" : [1, 2]}, "\u006b":-0, "t":true ,"u":null"#).as_deref(),
        Some(r#"{"z":"\u0041\/","a":{"b" : [1, 2]},"\u006b":-0,"t":true,"u":null}"#)
    );
    for broken in ["", "[]", "{", "{\"k\"", "{\"k\":", "{k:1}", "{}", "null", "{\"k\":1,", "\u{feff}{}"] {
        assert_eq!(extra_fields(broken.as_bytes()), None, "{broken}");
    }
    assert_eq!(extra_fields(b"{\"k\":\"\xff\"}"), None);
}
