//! What the job file says about an NDJSON log.

/// An NDJSON log, and whether it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NdjsonConfig {
    /// A file, a folder or a prefix: `file:///…`, `s3://…`, `gs://…`, `az://…`.
    pub url: String,
    /// True: read on as the log grows. False: read what there is when the source is opened, then end.
    pub follow: bool,
}
