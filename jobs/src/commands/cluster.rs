//! `--process I --hosts FILE`: several processes that work as one.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use weir_dataflow::{ClusterSettings, Layout, Patience};
use xxhash_rust::xxh3::Xxh3;

use crate::Failure;
use crate::config::{JobConfig, SourceConfig, format_duration_ms};

/// How much of this program's file is read at a time.
const PIECE_BYTES: usize = 1 << 20;

/// Where this process stands among others.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ClusterArgs {
    /// Which process of a cluster this is, counted from 0
    #[arg(long, value_name = "I", requires = "hosts")]
    process: Option<usize>,
    /// The cluster's processes, one HOST:PORT a line; each runs job.workers workers
    #[arg(long, value_name = "FILE", requires = "process")]
    hosts: Option<PathBuf>,
}

impl ClusterArgs {
    /// The workers of all processes, which do together what `command` says.
    pub(crate) fn layout(&self, config: &JobConfig, command: &str) -> Result<Layout, Failure> {
        let threads = config.workers as usize;
        let (Some(process), Some(path)) = (self.process, &self.hosts) else {
            return Ok(Layout::Threads(threads));
        };
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read --hosts {}", path.display()))
            .map_err(Failure::Usage)?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let hosts: Vec<String> = lines.map(str::to_owned).collect();
        check(&hosts, path)?;
        if process >= hosts.len() {
            return Err(Failure::usage(format!(
                "--process {process} is none of the {} in {}: they are counted from 0",
                hosts.len(),
                path.display()
            )));
        }
        let facts = facts(config, command)?;
        Ok(Layout::Cluster(ClusterSettings { process, hosts, threads, facts, patience: patience(config) }))
    }
}

/// Each is a host and a port, and there once.
fn check(hosts: &[String], path: &Path) -> Result<(), Failure> {
    for (number, host) in hosts.iter().enumerate() {
        let port = host.rsplit_once(':').filter(|(name, _)| !name.is_empty()).and_then(|(_, port)| port.parse().ok());
        if port.is_none_or(|port: u16| port == 0) {
            return Err(Failure::usage(format!("{}: `{host}` is no HOST:PORT", path.display())));
        }
        if let Some(before) = hosts.iter().take(number).position(|before| before == host) {
            let places = format!("processes {before} and {number}");
            return Err(Failure::usage(format!("{}: {places} are both at {host}", path.display())));
        }
    }
    Ok(())
}

fn patience(config: &JobConfig) -> Patience {
    Patience {
        start: Duration::from_millis(config.cluster.start_timeout_ms),
        silence: Duration::from_millis(config.cluster.peer_timeout_ms),
        worker: Duration::from_millis(config.cluster.worker_timeout_ms),
    }
}

/// What processes must have in common to count the same, and to put it in the same place. Where Kafka is reached, and what a
/// process keeps for queries, is its own affair.
fn facts(config: &JobConfig, command: &str) -> Result<BTreeMap<String, String>, Failure> {
    let source = match &config.source {
        SourceConfig::Kafka(kafka) => format!("topic {}", kafka.topic),
        SourceConfig::Ndjson { url, follow } => format!("{url} (follow = {follow})"),
    };
    let time = &config.time;
    let durations = [
        ("time.out_of_orderness", time.out_of_orderness_ms),
        ("time.allowed_lateness", time.allowed_lateness_ms),
        ("time.idle_timeout", time.idle_timeout_ms),
        ("time.max_future_skew", time.max_future_skew_ms),
        ("time.max_partition_lead", time.max_partition_lead_ms),
        ("dedup.horizon", config.dedup_horizon_ms),
    ];
    let texts = [
        ("command", command.to_owned()),
        ("binary", binary()?),
        ("job.name", config.name.clone()),
        ("job.region", config.region.clone().unwrap_or_default()),
        ("source", source),
        ("checkpoint.url", config.checkpoint.url.to_string()),
        ("tables.url", config.tables.url.to_string()),
        (
            "archive",
            config.archive.map_or("off", |archive| if archive.extra { "with extra fields" } else { "on" }).to_owned(),
        ),
        ("clickhouse", config.clickhouse.as_ref().map_or("none", |clickhouse| &clickhouse.database).to_owned()),
    ];
    let durations = durations.map(|(name, duration_ms)| (name, format_duration_ms(duration_ms)));
    Ok(durations.into_iter().chain(texts).map(|(name, text)| (name.to_owned(), text)).collect())
}

/// Version and hash of this binary. Processes of two builds might not understand each other's records, and would not notice.
fn binary() -> Result<String, Failure> {
    // What runs, also where the file has been replaced since.
    let hash = File::open("/proc/self/exe").and_then(hash).context("cannot read this program's own file")?;
    Ok(format!("{} ({hash:016x})", env!("CARGO_PKG_VERSION")))
}

fn hash(mut file: File) -> io::Result<u64> {
    let (mut hasher, mut buffer) = (Xxh3::new(), vec![0; PIECE_BYTES]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.digest()),
            read => hasher.update(buffer.get(..read).unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_with_ports_and_none_is_there_twice() {
        let error = |hosts: &[&str]| {
            let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
            check(&hosts, Path::new("hosts")).err().map(|error| format!("{error:#}")).unwrap_or_default()
        };
        assert_eq!(error(&["a.example:4000", "[2001:db8::1]:4000", "127.0.0.1:4000"]), "");
        for wrong in ["a.example", "a.example:", "a.example:0", "a.example:70000", ":4000"] {
            assert!(error(&["b.example:1", wrong]).contains("is no HOST:PORT"), "{wrong}");
        }
        assert!(error(&["a:1", "b:1", "a:1"]).contains("processes 0 and 2 are both at a:1"));
    }
}
