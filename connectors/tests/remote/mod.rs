//! The remote stores of the tests: S3, and what stands in for Google Cloud Storage and for Azure.

#![allow(dead_code, reason = "each test binary uses a part of this")]

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};
use std::{env, process};

/// An URL in the test bucket of S3 that nobody has used before.
pub(crate) fn s3(purpose: &str) -> String {
    fresh_url("s3", &S3_BUCKET, purpose)
}

/// The same in Google Cloud Storage.
pub(crate) fn gcs(purpose: &str) -> String {
    variable("GOOGLE_BASE_URL");
    fresh_url("gs", &variable("WEIR_TEST_GCS_BUCKET"), purpose)
}

/// The same in Azure.
pub(crate) fn azure(purpose: &str) -> String {
    variable("AZURE_STORAGE_ENDPOINT");
    fresh_url("az", &variable("WEIR_TEST_AZURE_CONTAINER"), purpose)
}

fn fresh_url(scheme: &str, bucket: &str, purpose: &str) -> String {
    static USED: AtomicU32 = AtomicU32::new(0);
    let started_ns = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    let number = USED.fetch_add(1, Ordering::Relaxed);
    format!("{scheme}://{bucket}/{purpose}-{}-{started_ns}-{number}", process::id())
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| {
        panic!(
            "the tests of remote stores need {name}: start a server and set it, or run scripts/test, which does both"
        )
    })
}

static S3_BUCKET: LazyLock<String> = LazyLock::new(|| {
    let endpoint = variable("WEIR_TEST_S3_ENDPOINT");
    variable("AWS_ACCESS_KEY_ID");
    variable("AWS_SECRET_ACCESS_KEY");
    point_at(&endpoint);
    variable("WEIR_TEST_S3_BUCKET")
});

/// The store reads its address from the environment alone.
#[allow(unsafe_code)]
fn point_at(endpoint: &str) {
    // SAFETY: runs once, before this process opens its first S3 store. Other tests of the process may read the
    // environment at the same time, through `std::env` alone, which takes the same lock as `set_var`.
    unsafe {
        env::set_var("AWS_ENDPOINT_URL", endpoint);
        env::set_var("AWS_ALLOW_HTTP", "true");
    }
}
