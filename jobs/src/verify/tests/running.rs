//! A job that goes on while its tables are read.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use weir_checkpoints::{Created, Names, ObjectInfo, Store, StoreError};

use super::archive::{Archive, verify_stores};
use crate::verify::{Report, Span};

/// A store that does not have an object until a listing of some folder has been asked for.
struct Later {
    store: Arc<dyn Store>,
    hidden: String,
    /// What is asked for just before it appears.
    appears_after: Option<String>,
    appeared: Arc<AtomicBool>,
}

impl Later {
    fn new(store: &Arc<dyn Store>, hidden: &str, appears_after: Option<&str>, appeared: &Arc<AtomicBool>) -> Self {
        Self {
            store: Arc::clone(store),
            hidden: hidden.to_owned(),
            appears_after: appears_after.map(str::to_owned),
            appeared: Arc::clone(appeared),
        }
    }

    fn is_there(&self, name: &str) -> bool {
        name != self.hidden || self.appeared.load(Ordering::SeqCst)
    }

    fn ask(&self, name: &str) {
        if self.appears_after.as_ref().is_some_and(|after| name.starts_with(after)) {
            self.appeared.store(true, Ordering::SeqCst);
        }
    }
}

impl Store for Later {
    fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
        self.store.put(name, bytes)
    }

    fn put_if_absent(&self, name: &str, bytes: Vec<u8>) -> Result<Created, StoreError> {
        self.store.put_if_absent(name, bytes)
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        if self.is_there(name) { self.store.get(name) } else { Ok(None) }
    }

    fn get_range(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        let read = self.store.get_range(name, range);
        self.ask(name);
        read
    }

    fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        let objects = self.store.list(prefix)?;
        let objects = objects.into_iter().filter(|object| self.is_there(&object.name)).collect();
        self.ask(prefix);
        Ok(objects)
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.store.delete(name)
    }
}

#[track_caller]
fn assert_right(report: &Report, last_manifest: u64) {
    assert!(report.ok, "{:#?}", report.checks);
    assert_eq!(report.last_manifest, last_manifest);
}

fn newest_name(archive: &Archive) -> String {
    Names::new("clicks").manifest(archive.manifest().sequence)
}

#[test]
fn what_a_manifest_commits_and_no_table_shows_yet_is_counted() {
    let mut archive = Archive::with_rows(false);
    archive.publish(20, true);
    let report = archive.verify(true);
    assert_right(&report, 5);
    assert!(report.tables.iter().any(|table| table.table == "clicks_raw" && table.not_shown_yet > 0));
    archive.commit();
    let report = archive.verify(true);
    assert_right(&report, 5);
    assert!(report.tables.iter().all(|table| table.not_shown_yet == 0));
}

#[test]
fn tables_that_go_on_while_they_are_read_are_taken_as_they_were() {
    let mut archive = Archive::with_rows(false);
    archive.read(1, 7, 1);
    archive.checkpoint(20, true);
    let appeared = Arc::new(AtomicBool::new(false));
    let hidden = newest_name(&archive);
    let checkpoints = Later::new(&archive.checkpoints, &hidden, None, &appeared);
    let tables = Later::new(&archive.tables, "", Some("clicks_agg/_delta_log/"), &appeared);
    let report = verify_stores(&checkpoints, &tables, true, Span::default());
    assert_right(&report, 4);
    assert_eq!(report.tables.iter().map(|table| table.rows).sum::<u64>(), 226);
    assert_right(&archive.verify(true), 5);
}

#[test]
fn tables_ahead_of_every_manifest_are_found() {
    let mut archive = Archive::with_rows(false);
    archive.checkpoint(20, true);
    let never = Arc::new(AtomicBool::new(false));
    let checkpoints = Later::new(&archive.checkpoints, &newest_name(&archive), None, &never);
    let report = verify_stores(&checkpoints, archive.tables.as_ref(), false, Span::default());
    let broken = report.checks.iter().filter(|check| check.broken > 0).map(|check| check.rule);
    assert_eq!(broken.collect::<Vec<_>>(), [super::COMMITTED, super::AGREE]);
}

#[test]
fn a_checkpoint_whose_state_is_deleted_while_it_is_read_is_left_for_the_next() {
    let mut archive = Archive::with_rows(false);
    let held: Vec<String> = archive.manifest().state.iter().map(|part| part.name.clone()).collect();
    archive.checkpoint(20, true);
    for part in held {
        archive.checkpoints.delete(&part).unwrap();
    }
    let appeared = Arc::new(AtomicBool::new(false));
    let hidden = newest_name(&archive);
    let checkpoints = Later::new(&archive.checkpoints, &hidden, Some("clicks/state/"), &appeared);
    let report = verify_stores(&checkpoints, archive.tables.as_ref(), true, Span::default());
    assert_right(&report, 5);
}
