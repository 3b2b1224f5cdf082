//! The columns of `clicks_agg`: one list, from which the table, its migrations and its inserts follow.

/// The table of windows.
pub(super) const TABLE: &str = "clicks_agg";

/// How far the table is complete.
pub(super) const PROGRESS: &str = "weir_progress";

/// One row for each window: the newest.
pub(super) const LATEST: &str = "clicks_agg_latest";

/// A column.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    pub(super) name: &'static str,
    /// Its type on every server.
    pub(super) kind: &'static str,
    /// Its type where the server knows a better one.
    pub(super) better_kind: Option<&'static str>,
    /// How it is compressed, where the server lets a table say so.
    pub(super) codec: &'static str,
}

const fn column(name: &'static str, kind: &'static str, codec: &'static str) -> Column {
    Column { name, kind, better_kind: None, codec }
}

/// What an insert carries, in this order; see [`super::rows`].
pub(super) const INSERTED: [Column; 10] = [
    column("window", "Enum8('1m' = 1, '5m' = 5, '1h' = 60)", "ZSTD(1)"),
    column("ad_id", "String", "ZSTD(1)"),
    column("window_start", "DateTime('UTC')", "Delta(4), ZSTD(1)"),
    column("window_end", "DateTime('UTC')", "Delta(4), ZSTD(1)"),
    column("click_count", "UInt64", "T64, ZSTD(1)"),
    column("unique_users", "UInt64", "T64, ZSTD(1)"),
    column("user_sketch", "String", "ZSTD(1)"),
    Column { better_kind: Some("LowCardinality(String)"), ..column("region", "String", "ZSTD(1)") },
    column("epoch", "UInt64", "Delta(8), ZSTD(1)"),
    column("final", "UInt8", "ZSTD(1)"),
];

/// Of two rows for one window the one with the larger revision counts. It is the epoch, which grows over attempts.
pub(super) const REVISION: Column = column("revision", "UInt64 DEFAULT epoch", "Delta(8), ZSTD(1)");

/// All columns.
pub(super) fn all() -> impl Iterator<Item = Column> {
    INSERTED.into_iter().chain([REVISION])
}

/// The inserted columns' names, with commas.
pub(super) fn inserted_names() -> String {
    INSERTED.map(|column| column.name).join(", ")
}

impl Column {
    /// Its type, without a default.
    pub(super) fn plain_kind(&self) -> &'static str {
        self.kind.split(" DEFAULT").next().unwrap_or(self.kind)
    }
}
