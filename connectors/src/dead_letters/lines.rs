//! One rejected record, one line.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use weir_dataflow::DeadLetterRow;

#[derive(Serialize)]
struct Line<'a> {
    reason: &'a str,
    detail: &'a str,
    topic: &'a str,
    partition: u32,
    offset: u64,
    epoch: u64,
    payload: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
}

/// Appends the line of a record, line end included.
pub(super) fn append(lines: &mut Vec<u8>, topic: &str, row: &DeadLetterRow<'_>) -> Result<(), serde_json::Error> {
    let text = row.payload.map(std::str::from_utf8);
    let line = Line {
        reason: row.reason,
        detail: row.detail,
        topic,
        partition: row.partition.0,
        offset: row.offset.0,
        epoch: row.epoch.0,
        payload: text.and_then(Result::ok),
        payload_base64: row.payload.filter(|_| matches!(text, Some(Err(_)))).map(|bytes| STANDARD.encode(bytes)),
    };
    serde_json::to_writer(&mut *lines, &line)?;
    lines.push(b'\n');
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use weir_checkpoints::{Epoch, Offset, PartitionId};

    use super::*;

    fn check(payload: Option<&[u8]>, expect: &str) {
        let row = DeadLetterRow {
            reason: "invalid_json",
            detail: "line \"1\"",
            partition: PartitionId(2),
            offset: Offset(17),
            epoch: Epoch(3),
            payload,
        };
        let mut lines = Vec::new();
        append(&mut lines, "clicks", &row).unwrap();
        let start =
            r#"{"reason":"invalid_json","detail":"line \"1\"","topic":"clicks","partition":2,"offset":17,"epoch":3,"#;
        assert_eq!(String::from_utf8(lines).unwrap(), format!("{start}{expect}}}\n"));
    }

    #[test]
    fn the_original_bytes_can_be_had_back() {
        check(Some(b"{oops"), r#""payload":"{oops""#);
        check(Some("a\nb\u{0}ü".as_bytes()), r#""payload":"a\nb\u0000ü""#);
        check(Some(b"\xff\x00a"), r#""payload":null,"payload_base64":"/wBh""#);
        check(Some(b""), r#""payload":"""#);
        check(None, r#""payload":null"#);
    }
}
