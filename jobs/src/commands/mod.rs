//! One command a file.

pub(crate) mod check;
pub(crate) mod checkpoints;
pub(crate) mod clickhouse;
mod cluster;
pub(crate) mod compact;
mod dates;
pub(crate) mod explain;
mod from;
pub(crate) mod generate;
pub(crate) mod ingest;
mod ingest_wiring;
pub(crate) mod reconcile;
mod resume;
pub(crate) mod run;
pub(crate) mod savepoint;
pub(crate) mod serve;
mod signals;
mod time_arg;
pub(crate) mod topics;
pub(crate) mod up;
pub(crate) mod verify;
mod wiring;

use std::sync::Arc;

use anyhow::Context;
use weir_checkpoints::Store;

use crate::Failure;
use crate::cli::{Cli, Command, JobArgs};
use crate::config::JobConfig;

/// Does what the command line says.
pub(crate) fn run(cli: Cli) -> Result<(), Failure> {
    let output = cli.global.output;
    match cli.command {
        Command::Check(args) => check::run(&args, output),
        Command::Checkpoints(command) => checkpoints::run(&command, output),
        Command::Clickhouse(command) => clickhouse::run(&command, output),
        Command::Compact(args) => compact::run(&args, output),
        Command::Explain(args) => explain::run(&args, output),
        Command::Generate(args) => generate::run(&args, output),
        Command::Ingest(args) => ingest::run(&args, output),
        Command::Reconcile(args) => reconcile::run(&args, output),
        Command::Run(args) => run::run(&args, output),
        Command::Savepoint(args) => savepoint::run(&args, output),
        Command::Serve(args) => serve::run(&args),
        Command::Topics(command) => topics::run(&command, output),
        Command::Up(args) => up::run(&args, output),
        Command::Verify(args) => verify::run(&args, output),
    }
}

fn load(args: &JobArgs) -> Result<JobConfig, Failure> {
    Ok(JobConfig::load(&args.job, &args.definitions)?)
}

fn open_store(url: &str) -> anyhow::Result<Arc<dyn Store>> {
    weir_connectors::objects::open(url).with_context(|| format!("cannot open {url}"))
}
