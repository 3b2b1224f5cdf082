//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::commands::{
    check, checkpoints, clickhouse, compact, explain, generate, ingest, reconcile, run, savepoint, serve, topics, up,
    verify,
};
use crate::logging::LogFormat;
use crate::output::Output;

/// Counts ad clicks exactly once: from HTTP, Kafka or NDJSON logs to one-minute, five-minute and hourly windows in Delta
/// tables.
#[derive(Debug, Parser)]
#[command(name = "weir", version, arg_required_else_help = true, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  weir up --demo
  weir generate --clicks 1000000 --to clicks/ --oracle oracle.ndjson
  weir check job.toml
  weir run job.toml
  weir savepoint job.toml before-upgrade
  weir ingest job.toml
  weir serve job.toml
  weir verify job.toml --oracle oracle.ndjson
  weir reconcile job.toml --date 2025-01-15
  weir explain job.toml --ad ad-00000042 --window 1m --at 2026-11-24T12:03:00Z
  weir compact job.toml --watch

Exit codes: 0 done, 1 failed, 2 bad usage or configuration.
WEIR_LOG chooses what is logged to standard error, for example WEIR_LOG=debug.";

/// For every command.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct GlobalArgs {
    /// What is printed: text in columns, or JSON
    #[arg(long, global = true, value_enum, default_value = "table")]
    pub(crate) output: Output,
    /// How log lines on standard error look
    #[arg(long, global = true, value_enum, default_value = "text")]
    pub(crate) log_format: LogFormat,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Run(run::RunArgs),
    Check(check::CheckArgs),
    #[command(subcommand)]
    Checkpoints(checkpoints::CheckpointsCommand),
    #[command(subcommand)]
    Clickhouse(clickhouse::ClickHouseCommand),
    Compact(compact::CompactArgs),
    Explain(explain::ExplainArgs),
    Generate(Box<generate::GenerateArgs>),
    Ingest(ingest::IngestArgs),
    Reconcile(reconcile::ReconcileArgs),
    Savepoint(savepoint::SavepointArgs),
    Serve(serve::ServeArgs),
    #[command(subcommand)]
    Topics(topics::TopicsCommand),
    Up(up::UpArgs),
    Verify(verify::VerifyArgs),
}

/// Which job.
#[derive(Debug, Clone, Args)]
pub(crate) struct JobArgs {
    /// The job file
    #[arg(value_name = "JOB.toml")]
    pub(crate) job: PathBuf,
    /// Sets a key of the job file, before the environment (WEIR_JOB__WORKERS=4) and the file
    #[arg(short = 'D', value_name = "KEY=VALUE")]
    pub(crate) definitions: Vec<String>,
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
