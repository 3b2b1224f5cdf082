//! Answers that are still true.
//!
//! An answer of final windows stays; one with open windows is true until the next change of what is in memory, or for
//! a moment where changes cannot be seen. What an answer is true for (watermark) is written anew each time.

use std::time::{Duration, Instant};

use bytes::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

/// How long an answer of final windows is kept: reconciliation may restate them.
const FINAL_FOR: Duration = Duration::from_secs(60);

/// How long an answer is kept whose changes cannot be seen.
const UNSEEN_FOR: Duration = Duration::from_millis(250);

/// About how large an answer is, for the number of places.
const TYPICAL_BYTES: u64 = 2_000;

/// An answer that may be sent again.
#[derive(Clone)]
pub(super) struct Kept {
    /// The body without what it is true for.
    pub(super) data: Bytes,
    pub(super) etag: String,
    pub(super) watermark: Option<i64>,
    pub(super) valid: Valid,
}

/// Until when an answer is true.
#[derive(Debug, Clone, Copy)]
pub(super) enum Valid {
    /// All windows are final.
    Final(Instant),
    /// Until this number changes, and no longer than until this moment: where no click comes, a day may be closed.
    Changes(u64, Instant),
    /// Until this moment.
    Until(Instant),
}

impl Valid {
    /// For an answer that was made while `changes` was the number, read before.
    pub(super) fn of(is_final: bool, changes: Option<u64>) -> Self {
        match changes {
            _ if is_final => Self::Final(Instant::now() + FINAL_FOR),
            Some(changes) => Self::Changes(changes, Instant::now() + FINAL_FOR),
            None => Self::Until(Instant::now() + UNSEEN_FOR),
        }
    }

    fn holds(self, changes: Option<u64>) -> bool {
        match self {
            Self::Final(until) | Self::Until(until) => Instant::now() < until,
            Self::Changes(then, until) => changes == Some(then) && Instant::now() < until,
        }
    }
}

/// The kept answers by request.
pub(super) struct Answers {
    kept: Cache<String, Kept, ByBytes>,
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<String, Kept> for ByBytes {
    fn weight(&self, request: &String, kept: &Kept) -> u64 {
        (request.len() + kept.data.len() + kept.etag.len() + size_of::<Kept>()) as u64
    }
}

impl Answers {
    pub(super) fn new(bytes: u64) -> Self {
        let places = usize::try_from(bytes / TYPICAL_BYTES).unwrap_or(usize::MAX);
        Self { kept: Cache::with_weighter(places.max(16), bytes, ByBytes) }
    }

    pub(super) fn get(&self, request: &str, changes: Option<u64>) -> Option<Kept> {
        self.kept.get(request).filter(|kept| kept.valid.holds(changes))
    }

    pub(super) fn keep(&self, request: String, kept: Kept) {
        self.kept.insert(request, kept);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_true_until_something_changes() {
        let answers = Answers::new(1 << 20);
        let kept = |valid| Kept { data: Bytes::new(), etag: String::new(), watermark: None, valid };
        answers.keep("open".to_owned(), kept(Valid::of(false, Some(7))));
        answers.keep("final".to_owned(), kept(Valid::of(true, Some(7))));
        answers.keep("unseen".to_owned(), kept(Valid::of(false, None)));
        answers.keep("old".to_owned(), kept(Valid::Until(Instant::now())));
        let known = |changes| ["open", "final", "unseen", "old"].map(|request| answers.get(request, changes).is_some());
        assert_eq!(known(Some(7)), [true, true, true, false]);
        answers.keep("quiet".to_owned(), kept(Valid::Changes(7, Instant::now())));
        assert!(answers.get("quiet", Some(7)).is_none(), "it may be of a day that was closed meanwhile");
        assert_eq!(known(Some(8)), [false, true, true, false]);
    }

    #[test]
    fn what_is_kept_has_a_bound() {
        let answers = Answers::new(100_000);
        for request in 0..1_000 {
            let data = Bytes::from(vec![0; 1_000]);
            let kept = Kept { data, etag: String::new(), watermark: None, valid: Valid::of(true, None) };
            answers.keep(request.to_string(), kept);
        }
        assert!(answers.kept.weight() <= 100_000);
        assert!((0..1_000).any(|request| answers.get(&request.to_string(), None).is_some()));
    }
}
