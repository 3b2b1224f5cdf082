//! The `weir` command: what a job is told (configuration, command line), and what it tells (metrics, progress, reports).
//!
//! ```text
//!   cli ──▶ commands/* ──▶ config        the job file, checked
//!                     ├──▶ generate      synthetic clicks, and the right answer
//!                     ├──▶ verify        what is stored against the rules, and against the right answer
//!                     ├──▶ explain       where a number comes from
//!                     ├──▶ ingest        clicks over HTTP into the log;  http: what every service shares
//!                     ├──▶ dashboard     the page that shows it all
//!                     └──▶ metrics, progress
//! ```
//!
//! The aggregation itself is in `weir-dataflow`, the outside systems are in `weir-connectors`; here they are only put
//! together.

pub mod config;
pub mod dashboard;
pub mod explain;
pub mod generate;
pub mod http;
pub mod ingest;
pub mod metrics;
pub mod progress;
pub mod reconcile;
pub mod serve;
pub mod verify;

mod cli;
mod commands;
mod failure;
mod logging;
mod output;
mod whole_file;

use std::process::ExitCode;

use clap::Parser;

pub use failure::Failure;

/// Runs the command that the process was given. Exit codes: 0 done, 1 failed, 2 bad usage or configuration.
#[must_use]
pub fn main() -> ExitCode {
    abort_on_panic();
    let cli = cli::Cli::parse();
    logging::start(cli.global.log_format);
    match commands::run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            failure.exit_code()
        }
    }
}

/// A worker thread that panics would leave the others waiting for it, and its dropped input would look like the end of the
/// source. The process must end instead, and start again from its newest checkpoint.
fn abort_on_panic() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        std::process::abort();
    }));
}
