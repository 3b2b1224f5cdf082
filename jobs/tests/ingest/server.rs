//! An ingest service over an embedded log in a folder of its own.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use tempfile::TempDir;
use weir::config::IngestConfig;
use weir::ingest::{Ingest, Watched};
use weir_connectors::log::Log;
use weir_connectors::ndjson::{NdjsonLog, NdjsonLogConfig};

pub struct Server {
    pub address: SocketAddr,
    pub folder: TempDir,
    ingest: Option<Ingest>,
}

impl Server {
    /// Starts one with these settings.
    pub fn start(definitions: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = NdjsonLog::open(NdjsonLogConfig::new(folder.path().to_owned())).unwrap();
        Self::over(folder, Arc::new(log), definitions)
    }

    /// The same over any log.
    pub fn over(folder: TempDir, log: Arc<dyn Log>, definitions: &[&str]) -> Self {
        let fixed =
            ["source.kind=ndjson".to_owned(), "ingest.listen=127.0.0.1:0".to_owned(), "ingest.threads=2".to_owned()];
        let url = format!("source.url={}", folder.path().display());
        let definitions: Vec<String> =
            fixed.into_iter().chain([url]).chain(definitions.iter().map(|text| (*text).to_owned())).collect();
        let config = IngestConfig::load(None, &definitions).unwrap();
        let watched = Watched { folder: Some(folder.path().to_owned()), ..Watched::default() };
        let ingest = Ingest::start(config, log, watched).unwrap();
        Self { address: ingest.address(), folder, ingest: Some(ingest) }
    }

    /// Stops it; the clicks in its log.
    pub fn stop(mut self) -> Vec<Value> {
        self.ingest.take().unwrap().stop().unwrap();
        clicks_in(self.folder.path())
    }

    /// The clicks that are in the log now.
    pub fn clicks(&self) -> Vec<Value> {
        clicks_in(self.folder.path())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(ingest) = self.ingest.take() {
            let _ = ingest.stop();
        }
    }
}

/// Reads the segments as anybody could: one JSON object a line, control lines left out.
pub fn clicks_in(folder: &Path) -> Vec<Value> {
    let mut clicks = Vec::new();
    for partition in fs::read_dir(folder).unwrap() {
        let partition = partition.unwrap().path();
        if !partition.is_dir() {
            continue;
        }
        let mut segments: Vec<_> = fs::read_dir(partition).unwrap().map(|entry| entry.unwrap().path()).collect();
        segments.sort();
        for segment in segments.iter().filter(|path| path.extension().is_some_and(|ending| ending == "ndjson")) {
            for line in fs::read_to_string(segment).unwrap().lines() {
                let value: Value = serde_json::from_str(line).unwrap();
                if value.get("weir_log_time_ms").is_none() {
                    clicks.push(value);
                }
            }
        }
    }
    clicks
}
