//! Whether the table's count is the number of distinct clicks, and if not, why: a pure function of what was found.

use serde::Serialize;

use super::report::State;

/// What there is to judge, of the closed part of a window.
#[derive(Debug, Clone, Copy)]
pub(super) struct Evidence {
    pub(super) state: State,
    /// Clicks that the table shows.
    pub(super) table: u64,
    /// Clicks of closed windows that are held back for it.
    pub(super) held_back: u64,
    /// What the archive says; none where there is none.
    pub(super) archive: Option<Counted>,
    /// Late and future clicks.
    pub(super) not_on_time: u64,
}

/// What the archive says.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counted {
    /// Distinct clicks on time, by the window alone.
    pub(super) distinct: u64,
    /// Of them, those whose first copy turned out to be of another window.
    pub(super) elsewhere: u64,
    /// Second copies that came when the first may have been forgotten.
    pub(super) again: u64,
    /// Records that the archive should have, all in all, and does not.
    pub(super) missing: u64,
}

/// What it comes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// In one word.
    pub code: Code,
    /// Whether each click counts once, where it should: none where that cannot be told.
    pub right: Option<bool>,
    /// The table's count less the distinct clicks on time in the archive.
    pub difference: Option<i64>,
    /// In a sentence.
    pub text: String,
    /// What the difference is made of.
    pub reasons: Vec<Reason>,
}

/// What it comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The table's count equals the distinct clicks on time.
    Agrees,
    /// It does not, and it is known why.
    Explained,
    /// It does not, and nothing that was found says why.
    Unexplained,
    /// The window still takes clicks.
    Open,
    /// There is no archive to compare with.
    ArchiveOff,
    /// The archive lacks records, so nothing can be told.
    ArchiveIncomplete,
    /// There is no click of the ad in the window.
    NoClicks,
}

/// A part of a difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// In a word: `held_back`, `first_copy_elsewhere`, `counted_again` or `archive_incomplete`.
    pub code: &'static str,
    /// What it adds to the table's count, compared with the archive.
    pub clicks: i64,
    /// In a sentence.
    pub text: String,
}

pub(super) fn judge(evidence: &Evidence) -> Verdict {
    let verdict = judge_closed(evidence);
    let is_compared = matches!(verdict.code, Code::Agrees | Code::Explained | Code::Unexplained);
    if evidence.state == State::PartlyClosed && is_compared {
        return Verdict { text: format!("Of the hours that are closed so far: {}", verdict.text), ..verdict };
    }
    verdict
}

fn judge_closed(evidence: &Evidence) -> Verdict {
    let Some(counted) = evidence.archive else { return without_archive(evidence) };
    if evidence.state == State::Open {
        return open(evidence, Some(counted.distinct));
    }
    let known = evidence.table + evidence.held_back;
    let difference = signed(evidence.table) - signed(counted.distinct);
    if known == 0 && counted.distinct == 0 && counted.missing == 0 {
        return no_clicks(evidence);
    }
    let mut reasons = Vec::new();
    if evidence.held_back > 0 {
        reasons.push(held_back(evidence.held_back));
    }
    if known == counted.distinct {
        return agreement(difference, reasons);
    }
    if counted.elsewhere > 0 {
        reasons.push(elsewhere(counted.elsewhere));
    }
    let rest = signed(known) - (signed(counted.distinct) - signed(counted.elsewhere));
    if rest > 0 && rest.unsigned_abs() <= counted.again {
        reasons.push(again(rest));
    } else if rest > 0 && counted.missing > 0 {
        reasons.push(incomplete(rest, counted.missing));
        return verdict(
            Code::ArchiveIncomplete,
            None,
            Some(difference),
            "The table's count is larger than what the archive has, but the archive lacks records of this job: whether \
             they are clicks of this ad and window cannot be shown.",
            reasons,
        );
    } else if rest != 0 {
        let text = "The table's count and the distinct clicks on time in the archive differ, and nothing that was found \
                    says why. Run `weir verify` on this job, and keep its checkpoints and tables as they are.";
        return verdict(Code::Unexplained, Some(false), Some(difference), text, reasons);
    }
    if rest > 0 {
        let text = "The table's count is larger than the distinct clicks on time in the archive, and it is known why: some \
                    clicks were counted twice.";
        return verdict(Code::Explained, Some(false), Some(difference), text, reasons);
    }
    let text = "The table's count differs from the distinct clicks on time in the archive, and it is known why.";
    verdict(Code::Explained, Some(true), Some(difference), text, reasons)
}

fn agreement(difference: i64, reasons: Vec<Reason>) -> Verdict {
    if reasons.is_empty() {
        let text = "The table's count equals the distinct clicks on time in the archive.";
        return verdict(Code::Agrees, Some(true), Some(difference), text, reasons);
    }
    let text = "The table's count, together with the rows that are held back for it, equals the distinct clicks on time in \
                the archive.";
    verdict(Code::Explained, Some(true), Some(difference), text, reasons)
}

fn without_archive(evidence: &Evidence) -> Verdict {
    if evidence.state == State::Open {
        return open(evidence, None);
    }
    let text = "The archive is switched off (archive.enabled = false): which clicks are behind the count, and whether it is \
                right, cannot be shown.";
    let reasons = Some(evidence.held_back).filter(|held| *held > 0).map(held_back);
    verdict(Code::ArchiveOff, None, None, text, reasons.into_iter().collect())
}

fn open(evidence: &Evidence, distinct: Option<u64>) -> Verdict {
    let text = match distinct {
        Some(distinct) => format!(
            "The window is not closed yet, so the table does not show it: it still takes clicks. Distinct clicks on time so \
             far: {distinct}."
        ),
        None => "The window is not closed yet, so the table does not show it: it still takes clicks.".to_owned(),
    };
    // What the table shows of a window that is open was closed when a later checkpoint was taken, just now.
    let difference = distinct.filter(|_| evidence.table > 0).map(|distinct| signed(evidence.table) - signed(distinct));
    verdict(Code::Open, None, difference, &text, Vec::new())
}

fn no_clicks(evidence: &Evidence) -> Verdict {
    let text = match evidence.not_on_time {
        0 => "There is no click of this ad in this window, in no table. Is the ad's id spelt as in the clicks?"
            .to_owned(),
        late => {
            format!("No click of this ad and window counts: there are only {late} that are late or from the future.")
        }
    };
    verdict(Code::NoClicks, Some(true), Some(0), &text, Vec::new())
}

fn held_back(clicks: u64) -> Reason {
    Reason {
        code: "held_back",
        clicks: -signed(clicks),
        text: "in windows that are closed, whose rows wait in the checkpoint for a file of useful size (tables.roll_interval)"
            .to_owned(),
    }
}

fn elsewhere(clicks: u64) -> Reason {
    Reason {
        code: "first_copy_elsewhere",
        clicks: -signed(clicks),
        text: "have a copy with another time (or region), which was read first: the click counts there".to_owned(),
    }
}

fn again(clicks: i64) -> Reason {
    Reason {
        code: "counted_again",
        clicks,
        text: "came again when the first copy was no longer remembered (dedup.horizon), and were counted twice"
            .to_owned(),
    }
}

fn incomplete(clicks: i64, missing: u64) -> Reason {
    Reason {
        code: "archive_incomplete",
        clicks,
        text: format!(
            "are not in the archive, which lacks {missing} records of this job: it was switched on later, or files were \
             removed from it"
        ),
    }
}

fn verdict(code: Code, right: Option<bool>, difference: Option<i64>, text: &str, reasons: Vec<Reason>) -> Verdict {
    Verdict { code, right, difference, text: text.to_owned(), reasons }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence(table: u64, held_back: u64, distinct: u64) -> Evidence {
        let archive = Some(Counted { distinct, ..Counted::default() });
        Evidence { state: State::Closed, table, held_back, archive, not_on_time: 0 }
    }

    #[track_caller]
    fn check(evidence: Evidence, code: Code, right: Option<bool>, reasons: &[(&str, i64)]) {
        let verdict = judge(&evidence);
        assert_eq!((verdict.code, verdict.right), (code, right), "{verdict:?}");
        let found: Vec<(&str, i64)> = verdict.reasons.iter().map(|reason| (reason.code, reason.clicks)).collect();
        assert_eq!(found, reasons);
        if let (Code::Explained, Some(difference)) = (verdict.code, verdict.difference) {
            assert_eq!(difference, reasons.iter().map(|(_, clicks)| clicks).sum::<i64>());
        }
    }

    fn with(evidence: Evidence, change: impl FnOnce(&mut Counted)) -> Evidence {
        let mut counted = evidence.archive.unwrap_or_default();
        change(&mut counted);
        Evidence { archive: Some(counted), ..evidence }
    }

    #[test]
    fn equal_counts_agree() {
        check(evidence(5, 0, 5), Code::Agrees, Some(true), &[]);
        check(evidence(0, 0, 0), Code::NoClicks, Some(true), &[]);
        // What might explain a difference does not matter where there is none.
        check(with(evidence(5, 0, 5), |counted| counted.again = 3), Code::Agrees, Some(true), &[]);
    }

    #[test]
    fn differences_are_explained_by_what_was_found() {
        check(evidence(3, 2, 5), Code::Explained, Some(true), &[("held_back", -2)]);
        let again = with(evidence(7, 0, 5), |counted| counted.again = 2);
        check(again, Code::Explained, Some(false), &[("counted_again", 2)]);
        let elsewhere = with(evidence(4, 0, 5), |counted| counted.elsewhere = 1);
        check(elsewhere, Code::Explained, Some(true), &[("first_copy_elsewhere", -1)]);
        let both = with(evidence(5, 1, 5), |counted| (counted.elsewhere, counted.again) = (2, 3));
        let expected = [("held_back", -1), ("first_copy_elsewhere", -2), ("counted_again", 3)];
        check(both, Code::Explained, Some(false), &expected);
    }

    #[test]
    fn what_nothing_explains_is_said_to_be_so() {
        check(evidence(6, 0, 5), Code::Unexplained, Some(false), &[]);
        check(evidence(4, 0, 5), Code::Unexplained, Some(false), &[]);
        check(with(evidence(9, 0, 5), |counted| counted.again = 3), Code::Unexplained, Some(false), &[]);
        check(
            with(evidence(9, 0, 5), |counted| counted.missing = 1),
            Code::ArchiveIncomplete,
            None,
            &[("archive_incomplete", 4)],
        );
        // An archive that has too much does not lack it.
        check(with(evidence(4, 0, 5), |counted| counted.missing = 1), Code::Unexplained, Some(false), &[]);
    }

    #[test]
    fn what_cannot_be_compared_is_not_judged() {
        check(Evidence { state: State::Open, ..evidence(0, 0, 5) }, Code::Open, None, &[]);
        check(Evidence { archive: None, ..evidence(5, 0, 0) }, Code::ArchiveOff, None, &[]);
        check(Evidence { archive: None, state: State::Open, ..evidence(0, 0, 0) }, Code::Open, None, &[]);
    }
}
