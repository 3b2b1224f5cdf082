//! What a process says of itself when it meets another one, and what that one says to it. No I/O.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How many characters of a fact are shown.
const MOST_SHOWN: usize = 200;

/// A process introduces itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Greeting {
    pub(super) process: usize,
    pub(super) processes: usize,
    /// The newest attempt of the job when this process was started; none before the first.
    pub(super) attempt: Option<u64>,
    /// What all processes must have in common.
    pub(super) facts: BTreeMap<String, String>,
}

/// The answer to a greeting, as it is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Answer {
    Welcome,
    Refused(String),
}

/// What a process thinks of a greeting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Welcome,
    /// The other one does not belong here.
    Refused(String),
    /// The other one knows of a newer attempt: it is this process that does not belong here.
    Outdated(u64),
}

impl Greeting {
    /// What this process thinks of another one's greeting.
    ///
    /// The attempt comes first: what a process was told for an older attempt may differ in everything else. One that was
    /// started before there was any attempt may join: it cannot have been part of one.
    pub(super) fn judge(&self, other: &Self) -> Verdict {
        if let (Some(mine), Some(theirs)) = (self.attempt, other.attempt) {
            if theirs < mine {
                return Verdict::Refused(format!(
                    "attempt {mine} of the job has begun since it was started, and it takes no part in that: start it again"
                ));
            }
            if theirs > mine {
                return Verdict::Outdated(theirs);
            }
        }
        if self.processes != other.processes {
            return Verdict::Refused(format!(
                "it is one of {} processes, here there are {}: give all processes the same list of hosts",
                other.processes, self.processes
            ));
        }
        match self.difference(other) {
            Some(difference) => {
                Verdict::Refused(format!("{difference}: give all processes the same job file and binary"))
            }
            None => Verdict::Welcome,
        }
    }

    fn difference(&self, other: &Self) -> Option<String> {
        let names = self.facts.keys().chain(other.facts.keys());
        let name = names.into_iter().find(|name| self.facts.get(*name) != other.facts.get(*name))?;
        let text = |facts: &BTreeMap<String, String>| shown(facts.get(name).map_or("not known", String::as_str));
        let (name, mine, theirs) = (shown(name), text(&self.facts), text(&other.facts));
        Some(format!("{name} is {mine} in process {} and {theirs} in process {}", self.process, other.process))
    }
}

/// A text that somebody else may have sent, as it can stand in a line of a log.
fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(MOST_SHOWN).flat_map(char::escape_debug).collect();
    if text.chars().nth(MOST_SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn greeting(processes: usize, attempt: Option<u64>, workers: &str) -> Greeting {
        let facts = BTreeMap::from([("job.workers".to_owned(), workers.to_owned())]);
        Greeting { process: processes - 1, processes, attempt, facts }
    }

    #[track_caller]
    fn refused(mine: &Greeting, theirs: &Greeting, expect: &str) {
        match mine.judge(theirs) {
            Verdict::Refused(reason) => assert!(reason.contains(expect), "{reason}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_fits_is_welcome() {
        let mine = greeting(3, Some(4), "2");
        assert_eq!(mine.judge(&mine), Verdict::Welcome);
        assert_eq!(mine.judge(&greeting(3, None, "2")), Verdict::Welcome);
        assert_eq!(greeting(3, None, "2").judge(&mine), Verdict::Welcome);
    }

    #[test]
    fn what_differs_is_named() {
        let mine = greeting(3, Some(4), "2");
        refused(&mine, &greeting(3, Some(4), "1"), "job.workers is 2 in process 2 and 1 in process 2");
        refused(&mine, &greeting(2, Some(4), "2"), "one of 2 processes, here there are 3");
        let mut more = mine.clone();
        more.facts.insert("build".to_owned(), "a".to_owned());
        refused(&mine, &more, "build is not known in process 2 and a in process 2");
    }

    #[test]
    fn what_a_stranger_says_is_shown_on_one_line() {
        let mine = greeting(3, None, "2");
        refused(&mine, &greeting(3, None, "2\nall is well"), r"is 2 in process 2 and 2\nall is well in process 2");
        let Verdict::Refused(reason) = mine.judge(&greeting(3, None, &"2".repeat(60_000))) else {
            panic!("it was let in")
        };
        assert!(reason.len() < 500, "{} bytes", reason.len());
    }

    #[test]
    fn an_older_attempt_is_refused_whatever_else_differs() {
        let mine = greeting(3, Some(4), "2");
        refused(&mine, &greeting(2, Some(3), "1"), "attempt 4 of the job has begun");
        assert_eq!(mine.judge(&greeting(2, Some(5), "1")), Verdict::Outdated(5));
    }
}
