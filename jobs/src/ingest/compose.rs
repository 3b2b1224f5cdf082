//! The record that goes into the log: the click as it was sent, on one line, with what it lacked.
//!
//! ```text
//!   {"ad_id":"A","user_id":"U","timestamp":1}
//!   {"click_id":"weir-…","ip_address":"192.0.2.1","user_agent":"…","ad_id":"A","user_id":"U","timestamp":1}
//! ```
//!
//! What is added stands before the client's own fields, which are copied as they are. A valid click has no line breaks
//! but between its members, where a space does as well.

use memchr::memchr2_iter;
use weir_dataflow::MAX_PAYLOAD_BYTES;

/// What a click lacks and the request knows.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Additions<'a> {
    pub(super) click_id: Option<&'a str>,
    pub(super) ip_address: Option<&'a str>,
    pub(super) user_agent: Option<&'a str>,
}

/// Appends the record for a valid click. Additions that would make it too large for the job are left out, the id last.
pub(super) fn compose(click: &[u8], additions: &Additions<'_>, record: &mut Vec<u8>) {
    let start = record.len();
    for attempt in [*additions, Additions { ip_address: None, user_agent: None, ..*additions }, Additions::default()] {
        record.truncate(start);
        write(click, &attempt, record);
        if record.len() - start <= MAX_PAYLOAD_BYTES {
            return;
        }
    }
}

fn write(click: &[u8], additions: &Additions<'_>, record: &mut Vec<u8>) {
    let trimmed = click.trim_ascii();
    let members = trimmed.strip_prefix(b"{").unwrap_or(trimmed);
    record.push(b'{');
    let fields =
        [("click_id", additions.click_id), ("ip_address", additions.ip_address), ("user_agent", additions.user_agent)];
    for (name, value) in fields {
        let Some(value) = value else { continue };
        record.push(b'"');
        record.extend_from_slice(name.as_bytes());
        record.extend_from_slice(b"\":");
        write_text(value, record);
        record.push(b',');
    }
    let from = record.len();
    record.extend_from_slice(members);
    let copied = record.get_mut(from..).unwrap_or_default();
    let breaks: Vec<usize> = memchr2_iter(b'\n', b'\r', copied).collect();
    for at in breaks {
        if let Some(byte) = copied.get_mut(at) {
            *byte = b' ';
        }
    }
}

/// A text as JSON. Most need no escapes.
fn write_text(text: &str, record: &mut Vec<u8>) {
    if text.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
        record.push(b'"');
        record.extend_from_slice(text.as_bytes());
        record.push(b'"');
        return;
    }
    // Writing into a vector cannot fail, and a string is always JSON.
    let _ = serde_json::to_writer(record, text);
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use proptest::prelude::*;
    use weir_dataflow::Decoder;

    use super::*;

    #[track_caller]
    fn check(click: &str, additions: Additions<'_>, expected: &str) {
        let mut record = b"before".to_vec();
        compose(click.as_bytes(), &additions, &mut record);
        assert_eq!(std::str::from_utf8(&record).unwrap(), format!("before{expected}"));
    }

    #[test]
    fn what_is_there_is_kept_as_it_is() {
        check(r#"{"ad_id":"A", "n": [1, 2]}"#, Additions::default(), r#"{"ad_id":"A", "n": [1, 2]}"#);
        check(" {\r\n \"ad_id\":\"A\"\n}\n", Additions::default(), "{   \"ad_id\":\"A\" }");
    }

    #[test]
    fn what_is_lacking_is_added_in_front() {
        let additions =
            Additions { click_id: Some("i"), ip_address: Some("::1"), user_agent: Some("a \"b\" \\ \u{1} ü") };
        check(
            r#"{"ad_id":"A"}"#,
            additions,
            r#"{"click_id":"i","ip_address":"::1","user_agent":"a \"b\" \\ \u0001 ü","ad_id":"A"}"#,
        );
    }

    #[test]
    fn a_record_never_grows_too_large_for_the_job() {
        let click = |bytes: usize| {
            let frame = r#"{"ad_id":"A","user_id":"U","timestamp":1,"x":""}"#;
            frame.replace(r#""x":"""#, &format!(r#""x":"{}""#, "x".repeat(bytes - frame.len())))
        };
        let additions = Additions { click_id: Some("i"), ip_address: Some("::1"), user_agent: Some("agent") };
        let has = |bytes: usize, field: &str| {
            let mut record = Vec::new();
            compose(click(bytes).as_bytes(), &additions, &mut record);
            assert!(Decoder::new().decode(Some(&record)).is_ok());
            record.windows(field.len()).any(|window| window == field.as_bytes())
        };
        assert!(has(MAX_PAYLOAD_BYTES - 100, "user_agent"));
        assert!(!has(MAX_PAYLOAD_BYTES - 30, "user_agent"));
        assert!(has(MAX_PAYLOAD_BYTES - 30, "click_id"));
        assert!(!has(MAX_PAYLOAD_BYTES, "click_id"));
    }

    proptest! {
        #[test]
        fn the_job_reads_what_the_edge_has_read(id in ".{1,30}", ip in any::<std::net::IpAddr>(), agent in ".{0,300}") {
            let click = "{\n\t\"ad_id\": \"A\\n\", \"user_id\":\"U\",\r\n\"timestamp\":1736952000}";
            let ip = ip.to_string();
            let additions = Additions { click_id: Some(&id), ip_address: Some(&ip), user_agent: Some(&agent) };
            let mut record = Vec::new();
            compose(click.as_bytes(), &additions, &mut record);
            prop_assert!(memchr::memchr2(b'\n', b'\r', &record).is_none());
            let mut decoder = Decoder::new();
            let read = decoder.decode(Some(&record)).unwrap();
            prop_assert_eq!(read.ad_id, "A\n");
            prop_assert_eq!((read.click_id, read.ip_address), (Some(&*id), Some(&*ip)));
            prop_assert_eq!(read.user_agent, Some(&*agent));
        }
    }
}
