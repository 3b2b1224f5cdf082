//! What a reader may use.

use std::num::NonZeroUsize;
use std::thread;
use std::time::Duration;

/// What a reader may use.
#[derive(Debug, Clone)]
pub struct DeltaReaderLimits {
    /// Footers, page indexes and bloom filters are kept as long as they take no more than this.
    pub cache_bytes: u64,
    /// The data that one question may read, and its answer in memory, together.
    pub query_bytes: u64,
    /// The log is looked at for new versions at most this often, however many questions there are.
    pub refresh_interval: Duration,
    /// Files that are read at once beside those that the callers' own threads read, all questions together.
    pub parallel_reads: usize,
}

impl DeltaReaderLimits {
    /// The usual limits for a table at this URL. Of a local disk no more files are read at once than there are cores; of
    /// a remote store many, since each only waits.
    #[must_use]
    pub fn for_url(url: &str) -> Self {
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self {
            cache_bytes: 256 << 20,
            query_bytes: 256 << 20,
            refresh_interval: Duration::from_millis(500),
            parallel_reads: if url.starts_with("file:") { cores } else { 32 },
        }
    }
}
