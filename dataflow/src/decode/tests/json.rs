//! JSON itself: what must be read, and what is none, wherever in the record it stands.

use super::{MINIMAL, check, check_with};
use crate::click::Click;
use crate::decode::RejectReason::InvalidJson;

const BROKEN: super::Expected<'static> = Err((InvalidJson, ""));

#[test]
fn values_that_are_json() {
    for value in [
        "0",
        "-0",
        "1",
        "-1",
        "10",
        "0.0",
        "0.5",
        "-0.5",
        "1e5",
        "1E5",
        "1e+5",
        "1e-5",
        "1.5e10",
        "0e0",
        "0E+0",
        "123456789012345678901234567890",
        "0.1234567890123456789012345678901234567890",
        "1e-400",
        "1e308",
        "1e00005",
        "true",
        "false",
        "null",
        r#""""#,
        r#"" ""#,
        r#""/""#,
        r#""\/""#,
        r#""a b,c:d}e{f]g[""#,
        r#""\ud800\udc00""#,
        r#""\uDBFF\uDFFF""#,
        r#""\u0000""#,
        r#""\uFFFF""#,
        "\"\u{7f}\"",
        "\"\u{2028}\"",
        "[]",
        "[ ]",
        "{}",
        "{ }",
        "[1,2,[3,[4]]]",
        r#"{"a":{"b":{"c":null}}}"#,
        "[\n1\t,\r2 ]",
        r#"[true,false,null,"x",1.5,{"k":[]}]"#,
    ] {
        check_with(&format!("\"k\":{value}"), Ok(MINIMAL));
        check_with(&format!("\"k\": {value}, \"l\" :\n{value}"), Ok(MINIMAL));
        check_with(&format!("\"k\":[{value},{{\"l\":{value}}}]"), Ok(MINIMAL));
    }
}

#[test]
fn values_that_are_not_json() {
    for value in [
        "",
        " ",
        "+1",
        "01",
        "-01",
        "-",
        "--1",
        "1.",
        ".1",
        "-.1",
        "1.e5",
        "1e",
        "1e+",
        "1e1.5",
        "0x10",
        "1_0",
        "1a",
        "1-",
        "1.2.3",
        "1ee5",
        "1e5e5",
        "NaN",
        "nan",
        "Infinity",
        "-Infinity",
        "inf",
        "True",
        "TRUE",
        "tru",
        "truee",
        "true1",
        "nul",
        "nulll",
        "fals",
        "falsee",
        "undefined",
        "none",
        "'x'",
        "x",
        r#""x"#,
        r#"x""#,
        r#""\x41""#,
        r#""\a""#,
        r#""\u12""#,
        r#""\u12g4""#,
        r#""\U0041""#,
        r#""\"#,
        r#""\""#,
        r#""\ud800""#,
        r#""\udc00""#,
        r#""\ud800x""#,
        r#""\ud800\u0041""#,
        r#""\udc00\ud800""#,
        r#""\ud800\ud800\udc00""#,
        "\"\n\"",
        "\"\t\"",
        "\"\u{1}\"",
        "\"\u{1f}\"",
        "\"\0\"",
        "[",
        "]",
        "[1",
        "[1,",
        "[1,]",
        "[,1]",
        "[1 2]",
        "[1:2]",
        "{",
        "}",
        "{1}",
        "{1:2}",
        r#"{"a"}"#,
        r#"{"a":}"#,
        r#"{"a":1,}"#,
        r#"{,"a":1}"#,
        r#"{"a":1 "b":2}"#,
        r#"{'a':1}"#,
        "{a:1}",
        r#"{"a"::1}"#,
        "[}",
        "{]",
        "1//",
        "1/**/",
        "/**/1",
        "1 1",
        "\"a\" \"b\"",
        "\u{a0}1",
        "\u{feff}1",
        "\u{c}1",
        "\u{b}1",
        "１",
        "@",
        "1e999",
        "-1e999",
        "\"\"\"\"",
        "\"a\"b\"",
        ",",
        ":",
        "1,,",
        "1;",
    ] {
        check_with(&format!("\"k\":{value}"), BROKEN);
        check_with(&format!("\"k\":{value},\"l\":1"), BROKEN);
        check_with(&format!("\"k\": {value}, \"l\" : 1"), BROKEN);
        check_with(&format!("\"k\":[{value},{{\"l\":{value}}}]"), BROKEN);
    }
    check_with(&format!("\"k\":{}", "9".repeat(400)), BROKEN);
    check_with(&format!("\"k\":1{}", "0".repeat(308)), Ok(MINIMAL));
    check_with(&format!("\"k\":1{}e99", "0".repeat(63)), Ok(MINIMAL));
    check_with(&format!("\"k\":0.{}", "9".repeat(400)), Ok(MINIMAL));
}

#[test]
fn broken_members() {
    for members in [
        "",
        ",",
        "\"k\"",
        "\"k\":",
        ":1",
        "\"k\" 1",
        "\"k\",1",
        "\"k\":1,",
        ",\"k\":1",
        "\"k\":1,,\"l\":1",
        "k:1",
        "1:1",
        "\"k\":1 \"l\":1",
        "\"k\":1;\"l\":1",
        "null",
        "null:1",
        "'k':1",
        "\"k:1",
        "k\":1",
        "\"k\"\"l\":1",
        "\"k\":\"l\":1",
        "\"k\":1}",
        "\"k\":1}{",
        "{\"k\":1}",
        "\"k\n\":1",
        "\"\\ud800\":1",
        "\"\\x\":1",
        "\"k\"=1",
        "  ",
        " ,  \"k\":1",
        "\"k\":1}\0",
        "\"k\":1} x",
        "\"k\":1},",
        "\"k\":1}]",
    ] {
        check_with(members, BROKEN);
    }
}

#[test]
fn texts_that_are_no_object() {
    for text in [
        " ",
        "\n",
        "null",
        "true",
        "7",
        "-1.5",
        "\"\"",
        "\"x\"",
        "[]",
        "[1]",
        "x",
        "{",
        "}",
        "{]",
        "{{}}",
        "[{}]",
        "\0",
        "{}{}",
        "{} {}",
        "{},",
        "{}x",
        "\u{feff}{}",
        "{\"",
        "{\"ad_id",
        "{\"ad_id\"",
        "{\"ad_id\":",
        "{\"ad_id\":\"",
        "{\"ad_id\":\"a\"",
        "{\"ad_id\":\"a\",",
        "{\"ad_id\":\"a\",}",
        "\"",
        "\\",
        "//",
        "{}//",
        "{ , }",
    ] {
        check(text, BROKEN);
    }
    // A whole click, but in an array, doubled, or with something behind it.
    let click = r#"{"ad_id":"a","user_id":"u","timestamp":1}"#;
    check(format!("{click} \n\t\r"), Ok(MINIMAL));
    for text in [
        format!("[{click}]"),
        format!("{click}{click}"),
        format!("{click}\n{click}"),
        format!("{click}\0"),
        format!("{click}\u{c}"),
        format!("\u{c}{click}"),
        format!("{click}\u{a0}"),
        format!("{click}x"),
        format!("{click}\""),
    ] {
        check(text, BROKEN);
    }
}

#[test]
fn every_prefix_of_a_click_is_broken() {
    let click = r#"{"ad_id":"a","user_id":"u","timestamp":1736952000,"k":[1.5,"é\n",null],"ip_address":"::1"}"#;
    for end in 1..click.len() {
        check(&click.as_bytes()[..end], BROKEN);
    }
}

#[test]
fn invalid_utf8() {
    for bytes in [
        b"\xff".as_slice(),
        b"\x80",
        b"\xc3",
        b"\xc0\x80",
        b"\xc1\xbf",
        b"\xe0\x80\x80",
        b"\xed\xa0\x80",
        b"\xf0\x80\x80\x80",
        b"\xf4\x90\x80\x80",
        b"\xf5\x80\x80\x80",
        b"\xe2\x82",
        b"\xf0\x9f\x92",
        b"\xc3\xc3",
    ] {
        for (before, behind) in [
            (r#"{"ad_id":""#, r#"","user_id":"u","timestamp":1}"#),
            (r#"{"ad_id":"a","user_id":"u","timestamp":1,"k":""#, r#""}"#),
            (r#"{"ad_id":"a","user_id":"u","timestamp":1,""#, r#"":1}"#),
            (r#"{"ad_id":"a","user_id":"u","timestamp":1"#, "}"),
            (r#"{"ad_id":"a","user_id":"u","timestamp":1}"#, ""),
            ("", r#"{"ad_id":"a","user_id":"u","timestamp":1}"#),
        ] {
            let payload = [before.as_bytes(), bytes, behind.as_bytes()].concat();
            check(payload, Err((InvalidJson, &format!("invalid UTF-8 at byte {}", before.len()))));
        }
    }
}

#[test]
fn nesting() {
    let nested = |levels: usize| format!("\"k\":{}{}", "[".repeat(levels), "]".repeat(levels));
    check_with(&nested(126), Ok(MINIMAL));
    check_with(&nested(127), Err((InvalidJson, "recursion limit")));
    check_with(&nested(30_000), Err((InvalidJson, "recursion limit")));
    check_with(&format!("\"k\":{}", "[".repeat(60_000)), Err((InvalidJson, "recursion limit")));
    check_with(&format!("\"k\":{}", "{\"k\":".repeat(10_000)), Err((InvalidJson, "recursion limit")));
    check("[".repeat(65_536), BROKEN);
    check("{\"ad_id\":".repeat(7_000), BROKEN);
}

#[test]
fn whitespace_is_json_s_own() {
    let record = |space: &str| {
        format!(
            "{space}{{{space}\"ad_id\"{space}:{space}\"a\"{space},\"user_id\":\"u\",\"timestamp\":1{space}}}{space}"
        )
    };
    for space in ["", " ", "  ", "\n", "\r\n", "\t", " \n \t \r "] {
        check(record(space), Ok(MINIMAL));
    }
    for space in ["\u{b}", "\u{c}", "\0", "\u{a0}", "\u{2003}", "\u{85}", "\u{feff}", "\u{7f}"] {
        check(record(space), BROKEN);
    }
}

#[test]
fn strings_that_span_blocks() {
    for length in 0..260 {
        let user_agent: &'static str = "u".repeat(length).leak();
        let click = Click { user_agent: Some(user_agent), ..MINIMAL };
        check_with(&format!("\"user_agent\":\"{user_agent}\",\"k\":\"{user_agent}\""), Ok(click));
        check_with(&format!("\"user_agent\":\"{user_agent}\",\"k\":\"{user_agent}"), BROKEN);
        check_with(&format!("\"user_agent\":\"{user_agent}\u{1}\",\"k\":1"), BROKEN);
    }
}
