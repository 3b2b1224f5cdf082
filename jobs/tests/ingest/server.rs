//! An ingest service over an embedded log in a folder of its own.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use tempfile::TempDir;
use weir::config::IngestConfig;
use weir::ingest::{Ingest, Lag, Watched};
use weir_connectors::log::Log;
use weir_connectors::ndjson::{NdjsonLog, NdjsonLogConfig};

use crate::gate::Gate;

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
        Self::over(folder, Arc::new(log), definitions, None)
    }

    /// The same with a job that is behind.
    pub fn lagging(definitions: &[&str], lag: Lag) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = NdjsonLog::open(NdjsonLogConfig::new(folder.path().to_owned())).unwrap();
        Self::over(folder, Arc::new(log), definitions, Some(lag))
    }

    fn over(folder: TempDir, log: Arc<dyn Log>, definitions: &[&str], lag: Option<Lag>) -> Self {
        let fixed =
            ["source.kind=ndjson".to_owned(), "ingest.listen=127.0.0.1:0".to_owned(), "ingest.threads=2".to_owned()];
        let url = format!("source.url={}", folder.path().display());
        let definitions: Vec<String> =
            fixed.into_iter().chain([url]).chain(definitions.iter().map(|text| (*text).to_owned())).collect();
        let config = IngestConfig::load(None, &definitions).unwrap();
        let watched = Watched { folder: Some(folder.path().to_owned()), lag, ..Watched::default() };
        let ingest = Ingest::start(config, log, watched, None).unwrap();
        Self { address: ingest.address(), folder, ingest: Some(ingest) }
    }

    /// Stops it; the clicks in its log.
    pub fn stop(mut self) -> Vec<Value> {
        self.ingest.take().unwrap().stop().unwrap();
        clicks_in(self.folder.path())
    }

    /// How many lines are in the log now, about.
    pub fn clicks_so_far(&self) -> usize {
        let segments = walk(self.folder.path());
        segments.iter().map(|path| fs::read(path).unwrap().iter().filter(|byte| **byte == b'\n').count()).sum()
    }
}

/// A server whose log has a gate in front.
pub fn gated(definitions: &[&str]) -> (Server, Arc<Gate>) {
    let folder = tempfile::tempdir().unwrap();
    let log = NdjsonLog::open(NdjsonLogConfig::new(folder.path().to_owned())).unwrap();
    let gate = Arc::new(Gate::new(log));
    let shared: Arc<dyn Log> = Arc::clone(&gate) as Arc<dyn Log>;
    (Server::over(folder, shared, definitions, None), gate)
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
    let texts = walk(folder).into_iter().map(|path| fs::read_to_string(path).unwrap());
    let lines: Vec<Value> = texts
        .flat_map(|text| text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<_>>())
        .collect();
    lines.into_iter().filter(|value: &Value| value.get("weir_log_time_ms").is_none()).collect()
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let entries = |folder: &Path| -> Vec<PathBuf> {
        let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    };
    let partitions = entries(folder).into_iter().filter(|path| path.is_dir());
    partitions
        .flat_map(|path| entries(&path))
        .filter(|path| path.extension().is_some_and(|end| end == "ndjson"))
        .collect()
}
