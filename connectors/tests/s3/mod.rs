//! The S3 server of the tests.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};
use std::{env, process};

/// An URL in the test bucket that nobody has used before.
pub(crate) fn fresh_url(purpose: &str) -> String {
    static USED: AtomicU32 = AtomicU32::new(0);
    let bucket = &*BUCKET;
    let started_ns = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    let number = USED.fetch_add(1, Ordering::Relaxed);
    format!("s3://{bucket}/{purpose}-{}-{started_ns}-{number}", process::id())
}

static BUCKET: LazyLock<String> = LazyLock::new(|| {
    let variable = |name: &str| {
        env::var(name).unwrap_or_else(|_| {
            panic!("the S3 tests need {name}: start a server and set it, or run scripts/test, which does both")
        })
    };
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
