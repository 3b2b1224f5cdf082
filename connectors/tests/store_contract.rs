//! What every object store must do, run against each of them: a local folder, S3, Google Cloud Storage, Azure.
//!
//! The remote ones need servers, and the variables that say where they are (`remote/mod.rs`). `scripts/test` starts them;
//! without them the tests fail, since a test that was not run has not passed.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod remote;

use std::sync::{Arc, Barrier};
use std::thread;

use tempfile::TempDir;
use weir_checkpoints::{Created, Store, StoreError};
use weir_connectors::objects;

/// Runs one test of the contract against every store.
fn check(test: fn(&dyn Fn() -> Arc<dyn Store>)) {
    let folder = TempDir::new().unwrap();
    // Neither exists yet, and a space must do no harm.
    let local = format!("file://{}/a%20b/c", folder.path().display());
    for url in [local, remote::s3("store"), remote::gcs("store"), remote::azure("store")] {
        // Shown where a test fails.
        println!("{url}");
        test(&|| objects::open(&url).unwrap());
    }
}

fn names(store: &dyn Store, prefix: &str) -> Vec<String> {
    store.list(prefix).unwrap().into_iter().map(|object| object.name).collect()
}

#[test]
fn what_is_put_is_there_for_everyone() {
    check(|open| {
        let store = open();
        store.put("a/b.bin", b"first".to_vec()).unwrap();
        assert_eq!(open().get("a/b.bin").unwrap().as_deref(), Some(b"first".as_slice()));
        store.put("a/b.bin", b"second".to_vec()).unwrap();
        assert_eq!(open().get("a/b.bin").unwrap().as_deref(), Some(b"second".as_slice()));
        store.put("empty", Vec::new()).unwrap();
        assert_eq!(open().get("empty").unwrap(), Some(Vec::new()));
    });
}

#[test]
fn what_is_not_there_is_told_apart_from_failure() {
    check(|open| {
        let store = open();
        assert_eq!(store.get("nothing").unwrap(), None);
        assert_eq!(store.get("no/such/folder").unwrap(), None);
        assert!(matches!(store.get_range("nothing", 0..1), Err(StoreError::NotFound { name }) if name == "nothing"));
        assert_eq!(names(store.as_ref(), "nothing/"), Vec::<String>::new());
        assert_eq!(names(store.as_ref(), ""), Vec::<String>::new());
        store.delete("nothing").unwrap();
    });
}

#[test]
fn a_name_is_created_once() {
    check(|open| {
        let store = open();
        assert_eq!(store.put_if_absent("m/0", b"mine".to_vec()).unwrap(), Created::New);
        assert_eq!(open().put_if_absent("m/0", b"theirs".to_vec()).unwrap(), Created::Exists);
        assert_eq!(store.get("m/0").unwrap().as_deref(), Some(b"mine".as_slice()));
        store.delete("m/0").unwrap();
        assert_eq!(store.get("m/0").unwrap(), None);
        assert_eq!(store.put_if_absent("m/0", b"again".to_vec()).unwrap(), Created::New);
    });
}

#[test]
fn of_many_creates_at_once_one_wins() {
    const WRITERS: usize = 8;
    const ROUNDS: usize = 10;
    check(|open| {
        for round in 0..ROUNDS {
            let name = format!("race/{round}");
            let barrier = Arc::new(Barrier::new(WRITERS));
            let writers: Vec<_> = (0..WRITERS)
                .map(|writer| {
                    let (store, name, barrier) = (open(), name.clone(), Arc::clone(&barrier));
                    thread::spawn(move || {
                        barrier.wait();
                        store.put_if_absent(&name, vec![writer as u8; 1000]).unwrap()
                    })
                })
                .collect();
            let outcomes: Vec<Created> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
            let winners: Vec<usize> = (0..WRITERS).filter(|&writer| outcomes[writer] == Created::New).collect();
            assert_eq!(winners.len(), 1, "round {round}: {outcomes:?}");
            assert_eq!(open().get(&name).unwrap(), Some(vec![winners[0] as u8; 1000]), "round {round}");
        }
    });
}

#[test]
fn ranges_are_exact() {
    check(|open| {
        let store = open();
        let bytes: Vec<u8> = (0..=255).cycle().take(10_000).collect();
        store.put("r", bytes.clone()).unwrap();
        for range in [0..1, 0..10_000, 9_999..10_000, 4_321..8_765, 17..17] {
            let expected = &bytes[range.start as usize..range.end as usize];
            assert_eq!(store.get_range("r", range.clone()).unwrap(), expected, "{range:?}");
        }
        for range in [9_999..10_001, 10_000..10_001, 20_000..20_001] {
            assert!(matches!(store.get_range("r", range.clone()), Err(StoreError::Failed { .. })), "{range:?}");
        }
    });
}

#[test]
fn listings_are_ordered_and_stay_in_their_folder() {
    check(|open| {
        let store = open();
        for name in ["b/2", "b/10", "b/1/x", "bb/1", "a", "b.json", "c/date=2026-01-01/part-0.parquet"] {
            store.put(name, name.as_bytes().to_vec()).unwrap();
        }
        assert_eq!(names(store.as_ref(), "b/"), ["b/1/x", "b/10", "b/2"]);
        assert_eq!(names(store.as_ref(), "c/"), ["c/date=2026-01-01/part-0.parquet"]);
        assert_eq!(
            names(store.as_ref(), ""),
            ["a", "b.json", "b/1/x", "b/10", "b/2", "bb/1", "c/date=2026-01-01/part-0.parquet"]
        );
        let listed = store.list("b/").unwrap();
        assert_eq!(listed[1].size_bytes, 4);
        let now_ms = chrono::Utc::now().timestamp_millis();
        assert!((now_ms - listed[1].modified_ms).abs() < 60_000, "{} against {now_ms}", listed[1].modified_ms);
    });
}

#[test]
fn long_listings_are_whole() {
    check(|open| {
        let store = open();
        let expected: Vec<String> = (0..1_100).map(|i| format!("many/{i:05}")).collect();
        for name in &expected {
            store.put(name, Vec::new()).unwrap();
        }
        assert_eq!(names(store.as_ref(), "many/"), expected);
    });
}

#[test]
fn large_objects_come_back_whole() {
    check(|open| {
        let store = open();
        let bytes: Vec<u8> = (0..(18u32 << 20) / 4).flat_map(|i| i.wrapping_mul(0x9E37_79B9).to_le_bytes()).collect();
        store.put("large", bytes.clone()).unwrap();
        assert!(store.get("large").unwrap().as_deref() == Some(bytes.as_slice()));
        assert_eq!(store.list("").unwrap()[0].size_bytes, bytes.len() as u64);
        assert_eq!(store.put_if_absent("large", b"x".to_vec()).unwrap(), Created::Exists);
        assert_eq!(store.put_if_absent("large2", bytes.clone()).unwrap(), Created::New);
        assert!(store.get("large2").unwrap().as_deref() == Some(bytes.as_slice()));
    });
}

#[test]
fn bad_names_are_refused() {
    check(|open| {
        let store = open();
        for name in ["", "/a", "a//b", "../a"] {
            assert!(matches!(store.put(name, Vec::new()), Err(StoreError::Failed { .. })), "`{name}`");
            assert!(matches!(store.get(name), Err(StoreError::Failed { .. })), "`{name}`");
        }
    });
}

#[test]
fn a_call_from_an_async_thread_works() {
    check(|open| {
        let store = open();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async { store.put("x", b"y".to_vec()) }).unwrap();
        assert_eq!(store.get("x").unwrap().as_deref(), Some(b"y".as_slice()));
    });
}

#[test]
fn azure_has_a_second_name() {
    let url = remote::azure("names");
    objects::open(&url).unwrap().put("a", b"b".to_vec()).unwrap();
    let other = objects::open(&url.replace("az://", "abfss://")).unwrap();
    assert_eq!(other.get("a").unwrap().as_deref(), Some(b"b".as_slice()));
}

#[test]
fn a_bucket_that_is_not_there_is_told_apart_from_an_object() {
    for url in ["s3://weir-test-nowhere/a", "gs://weir-test-nowhere/a", "az://weir-test-nowhere/a"] {
        remote::s3("nowhere");
        let store = objects::open(url).unwrap();
        let failures = [store.put("b", Vec::new()).unwrap_err(), store.put_if_absent("b", Vec::new()).unwrap_err()];
        for failure in failures.map(|error| error.to_string()) {
            assert!(failure.contains("there is no such bucket or container"), "{url}: {failure}");
        }
    }
}

#[test]
fn urls_that_name_no_store_are_refused_with_advice() {
    for url in ["", "data/clicks", "/data/clicks", "ftp://host/x", "memory:///x"] {
        let error = objects::open(url).err().unwrap_or_else(|| panic!("`{url}` was taken")).to_string();
        assert!(error.contains("file:///path, s3://bucket/path"), "{error}");
    }
}

#[test]
fn a_disk_that_refuses_is_a_failure_and_not_a_doubt() {
    let folder = TempDir::new().unwrap();
    let store = objects::open(&format!("file://{}", folder.path().display())).unwrap();
    store.put("a", Vec::new()).unwrap();
    // `a` is a file, so nothing can be below it.
    let outcome = store.put("a/b", Vec::new());
    assert!(matches!(outcome, Err(StoreError::Failed { .. })), "{outcome:?}");
}
