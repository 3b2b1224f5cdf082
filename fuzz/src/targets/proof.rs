//! Proofs that a click is billed, as `weir verify --proof FILE` reads them.
//!
//! - A proof that holds, holds for its click, its ad and its number of clicks alone.
//! - It has one form: hashes are hexadecimal digits and nothing else.

#[path = "../../../jobs/src/reconcile/proof.rs"]
mod reader;

use reader::DayProof;
use weir_dataflow::reconcile::{AdProof, Branch};

/// See the module.
pub fn check(data: &[u8]) {
    let Ok(proof) = DayProof::read(data) else { return };
    let written = serde_json::to_vec(&proof).expect("what was read can be written");
    assert_eq!(DayProof::read(&written).expect("what was written can be read"), proof);
    let Ok(root) = proof.proof.root() else {
        assert!(proof.check(None).is_err());
        return;
    };
    for branch in proof.proof.in_ad.iter().chain(&proof.proof.in_day) {
        let is_hash = branch.other.len() == 64 && branch.other.bytes().all(|digit| digit.is_ascii_hexdigit());
        assert!(is_hash, "`{}` was taken for a hash", branch.other);
    }
    assert_eq!(proof.check(None).is_ok(), proof.root == root);
    // Does it hold, the same of another click, ad or number must not.
    let right = DayProof { root, ..proof };
    right.check(Some(&right.root)).expect("it leads to this root");
    right.check(Some("of another day")).expect_err("the root is another");
    let AdProof { click_id, ad_id, clicks, .. } = right.proof.clone();
    for other in [
        AdProof { click_id: format!("{click_id}."), ..right.proof.clone() },
        AdProof { ad_id: format!("{ad_id}."), ..right.proof.clone() },
        AdProof { clicks: clicks ^ 1, ..right.proof.clone() },
    ] {
        DayProof { proof: other, ..right.clone() }.check(None).expect_err("the proof is of something else");
    }
}

/// Proofs that lead to their root, with and without branches, and one that does not.
pub fn seeds() -> Vec<Vec<u8>> {
    let branch = |bit: u8| Branch { bit, other: format!("{bit:02x}").repeat(32) };
    let proof = |in_ad: &[u8], in_day: &[u8]| {
        let proof = AdProof {
            click_id: "0b9e3a54-51a1-4b57-a2b5-6f1d3d4f8c11".to_owned(),
            ad_id: "ad-00000007".to_owned(),
            clicks: 12,
            in_ad: in_ad.iter().copied().map(branch).collect(),
            in_day: in_day.iter().copied().map(branch).collect(),
        };
        DayProof {
            job: "clicks".to_owned(),
            date: "2025-01-15".to_owned(),
            timezone: "UTC".to_owned(),
            revision: 1,
            run: "5f".repeat(32),
            manifest_hash: "6a".repeat(32),
            root: proof.root().unwrap_or_default(),
            proof,
        }
    };
    let proofs = [proof(&[], &[]), proof(&[100, 17, 3], &[64, 63, 0]), proof(&[3, 17], &[])];
    proofs.iter().filter_map(|proof| serde_json::to_vec_pretty(proof).ok()).collect()
}
