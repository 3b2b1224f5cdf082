//! A bug that was put here, so that a run can show that it would find one. `scripts/fuzz` looks for it before anything else.
//!
//! ```text
//!   ad id ──▶ click ──▶ Decoder ──▶ ad id ──▶ 'w' ──▶ 'e' ──▶ 'i' ──▶ 'r' ──▶ panic
//! ```
//!
//! To guess four bytes at once takes too long: they are found one after the other, by whoever sees that each of them led
//! further.

use std::hint::black_box;

use serde_json::json;
use weir_dataflow::Decoder;

const DOORS: &[u8; 4] = b"weir";

/// See the module.
pub fn check(data: &[u8]) {
    let Ok(ad_id) = str::from_utf8(data) else { return };
    let click = json!({ "ad_id": ad_id, "user_id": "u", "timestamp": 1 }).to_string();
    let mut decoder = Decoder::new();
    let Ok(click) = decoder.decode(Some(click.as_bytes())) else { return };
    let mut ad_id = click.ad_id.bytes();
    for door in DOORS {
        if ad_id.next() != Some(*door) {
            return;
        }
        // Else the compiler may make one comparison of all, and there would be nothing on the way.
        black_box(door);
    }
    panic!("the planted bug was found");
}

/// An ad.
pub fn seeds() -> Vec<Vec<u8>> {
    vec![b"ad-00000007".to_vec()]
}
