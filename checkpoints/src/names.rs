//! Object names, built in one place.
//!
//! ```text
//! <job>/manifests/00000000000000000042.json                 numbered without gaps
//! <job>/state/00000000000000000871-3-0-dedup.part           epoch, attempt, worker, kind
//! <job>/savepoints/before-upgrade.json                      a manifest that is kept under a name
//! <job>/savepoints/pins/4711-6b3f-0.json                    one that is about to be
//! <job>/days/2025-01-15/000002.json                         date, revision
//! <job>/days/2025-01-15/checked                             what it was last recounted from
//! <job>/days/2025-01-15/index/9f2c41d0-2/day                of a run with two workers: names the segments beside it
//! ```

use crate::{Attempt, Epoch, Sequence, WorkerIndex};

/// The names of one job's objects, below the checkpoint URL.
#[derive(Debug, Clone)]
pub struct Names {
    job: String,
}

impl Names {
    /// The names of the job `job`.
    #[must_use]
    pub fn new(job: &str) -> Self {
        Self { job: job.to_owned() }
    }

    /// The job's name.
    #[must_use]
    pub fn job(&self) -> &str {
        &self.job
    }

    /// The folder of all manifests.
    #[must_use]
    pub fn manifests(&self) -> String {
        format!("{}/manifests/", self.job)
    }

    /// The manifest of one number.
    #[must_use]
    pub fn manifest(&self, sequence: Sequence) -> String {
        format!("{}/manifests/{:020}.json", self.job, sequence.0)
    }

    /// The number of the manifest with this name.
    #[must_use]
    pub fn sequence_of(&self, name: &str) -> Option<Sequence> {
        let digits = name.strip_prefix(&self.manifests())?.strip_suffix(".json")?;
        if digits.len() != 20 {
            return None;
        }
        digits.parse().ok().map(Sequence)
    }

    /// The folder of all closed days.
    #[must_use]
    pub fn days(&self) -> String {
        format!("{}/days/", self.job)
    }

    /// The record of a revision of a day, which is written `2025-01-15`.
    #[must_use]
    pub fn day(&self, date: &str, revision: u32) -> String {
        format!("{}/days/{date}/{revision:06}.json", self.job)
    }

    /// What a day was last recounted from without anything new.
    #[must_use]
    pub fn day_checked(&self, date: &str) -> String {
        format!("{}/days/{date}/checked", self.job)
    }

    /// The folder of all indexes of a day.
    #[must_use]
    pub fn day_indexes(&self, date: &str) -> String {
        format!("{}/days/{date}/index/", self.job)
    }

    /// The day of the record with this name.
    #[must_use]
    pub fn date_of_record<'a>(&self, name: &'a str) -> Option<&'a str> {
        let (date, record) = name.strip_prefix(&self.days())?.split_once('/')?;
        let revision = record.strip_suffix(".json")?;
        (revision.len() == 6 && revision.parse::<u32>().is_ok()).then_some(date)
    }

    /// The folder of all savepoints, and of pins.
    #[must_use]
    pub fn savepoints(&self) -> String {
        format!("{}/savepoints/", self.job)
    }

    /// The savepoint with a name.
    #[must_use]
    pub fn savepoint(&self, name: &str) -> String {
        format!("{}/savepoints/{name}.json", self.job)
    }

    /// The name of the savepoint that this object is; none of a pin.
    #[must_use]
    pub fn name_of_savepoint<'a>(&self, object: &'a str) -> Option<&'a str> {
        let name = object.strip_prefix(&self.savepoints())?.strip_suffix(".json")?;
        (!name.contains('/')).then_some(name)
    }

    /// What keeps the state of a manifest while a savepoint is made of it.
    #[must_use]
    pub fn pin(&self, token: &str) -> String {
        format!("{}/savepoints/pins/{token}.json", self.job)
    }

    /// The folder of all state parts.
    #[must_use]
    pub fn state(&self) -> String {
        format!("{}/state/", self.job)
    }

    /// The state part of one kind that a worker writes at the end of an epoch.
    #[must_use]
    pub fn part(&self, epoch: Epoch, attempt: Attempt, worker: WorkerIndex, kind: &str) -> String {
        let kind = kind.replace('/', "-");
        format!("{}/state/{:020}-{attempt}-{worker}-{kind}.part", self.job, epoch.0)
    }

    /// What the state part of another job, or of this one, is called here.
    #[must_use]
    pub fn copied_part(&self, part: &str) -> String {
        format!("{}/state/{}", self.job, part.rsplit('/').next().unwrap_or(part))
    }

    /// The epoch of the state part with this name.
    #[must_use]
    pub fn epoch_of_part(&self, name: &str) -> Option<Epoch> {
        let file = name.strip_prefix(&self.state())?;
        file.split('-').next()?.parse().ok().map(Epoch)
    }

    /// The attempt that wrote the state part with this name.
    #[must_use]
    pub fn attempt_of_part(&self, name: &str) -> Option<Attempt> {
        let file = name.strip_prefix(&self.state())?;
        file.split('-').nth(1)?.parse().ok().map(Attempt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        let names = Names::new("clicks");
        assert_eq!(names.sequence_of(&names.manifest(Sequence(42))), Some(Sequence(42)));
        assert_eq!(names.sequence_of("clicks/manifests/42.json"), None);
        assert_eq!(names.date_of_record(&names.day("2025-01-15", 2)), Some("2025-01-15"));
        for other in [names.day_checked("2025-01-15"), format!("{}0-2/day", names.day_indexes("2025-01-15"))] {
            assert_eq!(names.date_of_record(&other), None, "{other}");
        }
        let part = names.part(Epoch(7), Attempt(3), WorkerIndex(1), "carried/clicks_raw");
        assert_eq!(names.attempt_of_part(&part), Some(Attempt(3)));
        assert!(!part.trim_start_matches(&names.state()).contains('/'));
        assert_eq!(Names::new("fork").copied_part(&part), part.replace("clicks/state/", "fork/state/"));
        assert_eq!(names.name_of_savepoint(&names.savepoint("a.b-1")), Some("a.b-1"));
        assert_eq!(names.name_of_savepoint(&names.pin("1-2")), None);
    }
}
