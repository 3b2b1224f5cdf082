//! `--process I --hosts FILE`: several processes that work as one.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use weir_dataflow::Layout;

use crate::Failure;

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
    /// The workers of all processes, with this many threads in each.
    pub(crate) fn layout(&self, threads: usize) -> Result<Layout, Failure> {
        let (Some(process), Some(path)) = (self.process, &self.hosts) else {
            return Ok(Layout::Threads(threads));
        };
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read --hosts {}", path.display()))
            .map_err(Failure::Usage)?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let hosts: Vec<String> = lines.map(str::to_owned).collect();
        if process >= hosts.len() {
            return Err(Failure::usage(format!(
                "--process {process} is none of the {} in {}: they are counted from 0",
                hosts.len(),
                path.display()
            )));
        }
        Ok(Layout::Cluster { process, hosts, threads })
    }

    /// Keeps standard output for what the command prints: until this is dropped, what Timely says there while processes look for
    /// each other goes to standard error.
    pub(crate) fn keep_stdout(&self) -> anyhow::Result<Option<KeptStdout>> {
        if self.process.is_none() {
            return Ok(None);
        }
        let stdout = rustix::io::dup(std::io::stdout()).context("cannot keep standard output")?;
        rustix::stdio::dup2_stdout(std::io::stderr()).context("cannot redirect standard output")?;
        Ok(Some(KeptStdout(stdout)))
    }
}

/// Gives standard output back.
pub(crate) struct KeptStdout(OwnedFd);

impl Drop for KeptStdout {
    fn drop(&mut self) {
        if let Err(error) = rustix::stdio::dup2_stdout(&self.0) {
            tracing::warn!("standard output is lost: {error}");
        }
    }
}
