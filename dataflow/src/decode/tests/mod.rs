//! What decoding accepts and rejects: `contract` by the fields' rules, `json` by the syntax, and `agreement` that both
//! paths always say the same.

mod agreement;
mod contract;
mod json;

use super::{Decoder, RejectReason};
use crate::click::Click;

/// A click with the required fields alone.
const MINIMAL: Click<'static> =
    Click { ad_id: "a", user_id: "u", timestamp: 1, click_id: None, ip_address: None, user_agent: None };

/// What a record must decode to: a click, or a reason with a part of its message.
type Expected<'a> = Result<Click<'a>, (RejectReason, &'a str)>;

/// Decodes by both paths, and compares each with what is expected.
#[track_caller]
fn check(input: impl AsRef<[u8]>, expected: Expected<'_>) {
    let payload = input.as_ref();
    let shown = String::from_utf8_lossy(payload.get(..200).unwrap_or(payload)).into_owned();
    let mut decoder = Decoder::new();
    let strict = decoder.decode_strict(Some(payload));
    match (&strict, expected) {
        (Ok(click), Ok(wanted)) => assert_eq!(*click, wanted, "{shown}"),
        (Err(rejection), Err((reason, part))) => {
            assert_eq!(rejection.reason, reason, "{shown}: {rejection}");
            assert!(rejection.detail.contains(part), "{shown}: {part:?} is not in {rejection}");
        }
        _ => panic!("{shown}: expected {expected:?}, found {strict:?}"),
    }
    assert_eq!(Decoder::new().decode(Some(payload)), strict, "{shown}: the paths differ");
}

/// Checks that a record of the required fields and these members decodes to this.
#[track_caller]
fn check_with(members: &str, expected: Expected<'_>) {
    check(with(members), expected);
}

/// The required fields and these members.
fn with(members: &str) -> String {
    format!(r#"{{"ad_id":"a","user_id":"u","timestamp":1,{members}}}"#)
}

/// Whether the fast path takes a record.
fn is_fast(payload: &[u8]) -> bool {
    super::fast::decode(payload, &mut super::fast::Buffers::default()).is_some()
}
