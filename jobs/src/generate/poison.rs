//! Records that are no clicks, one for each thing that can be wrong. Each must be rejected, whoever reads it.

use super::random::below;

/// The largest record that may be a click.
const MAX_RECORD_BYTES: usize = 65_536;
/// Too large records are rare among the poison: one in this many.
const TOO_LARGE_EVERY: u64 = 50;

type Broken = fn(&[u8], &mut Vec<u8>);

/// What can be done to a click's record.
const KINDS: [Broken; 25] = [
    // Not JSON.
    |good, out| out.extend_from_slice(good.get(..good.len() / 2).unwrap_or_default()),
    |good, out| out.extend_from_slice(good.get(..good.len() - 1).unwrap_or_default()),
    |good, out| {
        out.extend_from_slice(good);
        out.extend_from_slice(b" trailing");
    },
    |good, out| {
        out.extend_from_slice(good);
        out.extend_from_slice(good);
    },
    |_, out| out.extend_from_slice(b"hello"),
    |_, _| {},
    |_, out| out.push(b' '),
    |_, out| out.extend_from_slice(br#"{"ad_id":"a","user_id":"u","timestamp":1736952000,}"#),
    |_, out| out.extend_from_slice(br#"{"ad_id":"a","user_id":"u","timestamp":01}"#),
    |_, out| out.extend_from_slice(b"{\"ad_id\":\"a\tb\",\"user_id\":\"u\",\"timestamp\":1736952000}"),
    // Not UTF-8.
    |_, out| out.extend_from_slice(b"{\"ad_id\":\"a\xff\xfe\",\"user_id\":\"u\",\"timestamp\":1736952000}"),
    |_, out| out.extend_from_slice(b"{\"ad_id\":\"a\",\"user_id\":\"u\",\"timestamp\":1736952000,\"x\":\"\xc3\"}"),
    // JSON, but no object.
    |_, out| out.extend_from_slice(b"[]"),
    |_, out| out.extend_from_slice(b"null"),
    // A field is missing.
    |_, out| out.extend_from_slice(b"{}"),
    |_, out| out.extend_from_slice(br#"{"ad_id":"a","timestamp":1736952000}"#),
    // A field twice.
    |_, out| out.extend_from_slice(br#"{"ad_id":"a","ad_id":"b","user_id":"u","timestamp":1736952000}"#),
    // A field of the wrong type, or out of range.
    |_, out| out.extend_from_slice(br#"{"ad_id":7,"user_id":"u","timestamp":1736952000}"#),
    |_, out| out.extend_from_slice(br#"{"ad_id":"a","user_id":"u","timestamp":"1736952000"}"#),
    |_, out| out.extend_from_slice(br#"{"ad_id":"a","user_id":"u","timestamp":1736952000.5}"#),
    |_, out| out.extend_from_slice(br#"{"ad_id":"a","user_id":"u","timestamp":-1}"#),
    |_, out| out.extend_from_slice(br#"{"ad_id":"","user_id":"u","timestamp":1736952000}"#),
    |_, out| out.extend_from_slice(br#"{"ad_id":"a","user_id":"u","timestamp":1736952000,"ip_address":"999.1.1.1"}"#),
    |_, out| {
        out.extend_from_slice(b"{\"ad_id\":\"");
        out.resize(out.len() + 257, b'a');
        out.extend_from_slice(b"\",\"user_id\":\"u\",\"timestamp\":1736952000}");
    },
    |_, out| {
        out.extend_from_slice(b"{\"ad_id\":\"a\",\"user_id\":\"u\",\"timestamp\":1736952000,\"click_id\":\"");
        out.resize(out.len() + 129, b'c');
        out.extend_from_slice(b"\"}");
    },
];

/// Writes a record that is no click, made from the record of one. Returns false where it shall be a tombstone, which has
/// no bytes at all.
pub(super) fn write(bits: u64, good: &[u8], tombstones: bool, out: &mut Vec<u8>) -> bool {
    out.clear();
    if bits % TOO_LARGE_EVERY == 1 {
        too_large(out);
        return true;
    }
    let kinds = KINDS.len() as u64 + u64::from(tombstones);
    let Some(breaks) = KINDS.get(below(bits, kinds) as usize) else {
        return false;
    };
    breaks(good, out);
    true
}

/// A good click, but for its size.
fn too_large(out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"ad_id\":\"a\",\"user_id\":\"u\",\"timestamp\":1736952000,\"page\":\"");
    out.resize(MAX_RECORD_BYTES, b'x');
    out.extend_from_slice(b"\"}");
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn no_kind_is_a_click() {
        let good = br#"{"ad_id":"a","user_id":"u","timestamp":1736952000}"#;
        for (number, breaks) in KINDS.iter().enumerate() {
            let mut out = Vec::new();
            breaks(good, &mut out);
            assert!(!out.contains(&b'\n'), "kind {number} would be two lines");
            assert!(!is_click(&out), "kind {number}: {}", String::from_utf8_lossy(&out));
        }
        assert!(is_click(good));
    }

    /// A plain reading of the rules for a click.
    fn is_click(bytes: &[u8]) -> bool {
        #[derive(serde::Deserialize)]
        struct Plain {
            ad_id: String,
            user_id: String,
            timestamp: u64,
            click_id: Option<String>,
            ip_address: Option<std::net::IpAddr>,
        }
        let Ok(text) = std::str::from_utf8(bytes) else { return false };
        let Ok(plain) = serde_json::from_str::<Plain>(text) else { return false };
        let id_fits = |id: &String, most: usize| (1..=most).contains(&id.len());
        id_fits(&plain.ad_id, 256)
            && id_fits(&plain.user_id, 256)
            && plain.click_id.is_none_or(|id| id_fits(&id, 128))
            && plain.timestamp < 1 << 50
            && plain.ip_address.is_none_or(|address| !address.is_unspecified())
    }
}
