//! Where the clicks of a body begin and end. What is in them is for the decoder to judge, one by one.

use memchr::{memchr, memchr2};

/// A body that is no JSON array, with the reason.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotAnArray(pub(super) &'static str);

/// The lines of a body; empty ones do not count. The last one needs no line break.
pub(super) fn lines(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = body;
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let end = memchr(b'\n', rest).unwrap_or(rest.len());
            let (line, behind) = rest.split_at(end);
            rest = behind.get(1..).unwrap_or_default();
            if !line.trim_ascii().is_empty() {
                return Some(line);
            }
        }
        None
    })
}

/// The items of a JSON array: what stands between the commas of its own level.
///
/// Only brackets and strings are looked at, so an item may be anything; but each item is where a full parser would
/// see it, if the array is valid. An array that does not end, or has something behind it, has no items.
pub(super) fn array_items(body: &[u8]) -> Result<Vec<&[u8]>, NotAnArray> {
    let Some(inside) = body.trim_ascii().strip_prefix(b"[") else {
        return Err(NotAnArray("not an array"));
    };
    let mut items = Vec::new();
    let (mut depth, mut item, mut at) = (0usize, 0, 0);
    while let Some(byte) = inside.get(at) {
        match byte {
            b'"' => at = end_of_string(inside, at + 1).ok_or(NotAnArray("a string does not end"))?,
            b'[' | b'{' => depth += 1,
            b']' if depth == 0 => {
                let last = inside.get(item..at).unwrap_or_default();
                if !(items.is_empty() && last.trim_ascii().is_empty()) {
                    items.push(last);
                }
                let behind = inside.get(at + 1..).unwrap_or_default();
                return if behind.is_empty() { Ok(items) } else { Err(NotAnArray("something stands behind its end")) };
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => {
                items.push(inside.get(item..at).unwrap_or_default());
                item = at + 1;
            }
            _ => {}
        }
        at += 1;
    }
    Err(NotAnArray("it does not end"))
}

/// The place of the quote that ends a string.
fn end_of_string(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        at += memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes.get(at) == Some(&b'"') {
            return Some(at);
        }
        at += 2;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts<'a>(items: impl IntoIterator<Item = &'a [u8]>) -> Vec<&'a str> {
        items.into_iter().map(|item| std::str::from_utf8(item).unwrap()).collect()
    }

    #[test]
    fn lines_are_counted_without_empty_ones() {
        assert_eq!(texts(lines(b"")), [""; 0]);
        assert_eq!(texts(lines(b"\n \r\n")), [""; 0]);
        assert_eq!(texts(lines(b"a\n\nb\r\n c")), ["a", "b\r", " c"]);
    }

    #[test]
    fn items_stand_between_the_commas_of_their_level() {
        let check = |body: &str, expected: &[&str]| {
            assert_eq!(texts(array_items(body.as_bytes()).unwrap()), expected, "{body}");
        };
        check("[]", &[]);
        check(" [ ]\n", &[]);
        check("[1]", &["1"]);
        check(r#"[{"a":[1,2]},{"b":"],\"\\"}, 3 ]"#, &[r#"{"a":[1,2]}"#, r#"{"b":"],\"\\"}"#, " 3 "]);
        check("[,]", &["", ""]);
        check("[1,]", &["1", ""]);
    }

    #[test]
    fn what_is_no_array_says_why() {
        let check =
            |body: &str, expected| assert_eq!(array_items(body.as_bytes()), Err(NotAnArray(expected)), "{body}");
        check("{}", "not an array");
        check("", "not an array");
        check("[", "it does not end");
        check("[[]", "it does not end");
        check("[}{]", "it does not end");
        check(r#"["]"#, "a string does not end");
        check(r#"["\"]"#, "a string does not end");
        check(r#"["\"#, "a string does not end");
        check("[] []", "something stands behind its end");
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            any::<i64>().prop_map(Into::into),
            "[\\[\\]{},\"\\\\ a-c]{0,12}".prop_map(serde_json::Value::String),
            Just(serde_json::Value::Null),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
                prop::collection::btree_map("[\\[\\]{},\"a-c]{0,4}", inner, 0..5)
                    .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_full_parser_sees_the_same(items in prop::collection::vec(json(), 0..6), pretty: bool) {
            let array = serde_json::Value::Array(items.clone());
            let text = if pretty { format!("{array:#}") } else { array.to_string() };
            let found = array_items(text.as_bytes()).unwrap();
            let parsed: Vec<serde_json::Value> =
                found.into_iter().map(|item| serde_json::from_slice(item).unwrap()).collect();
            prop_assert_eq!(parsed, items);
        }

        #[test]
        fn nothing_panics(body in prop::collection::vec(prop::sample::select(b"[]{}\",\\ a".to_vec()), 0..40)) {
            let _ = array_items(&body);
            let _ = lines(&body).count();
        }
    }
}
