//! `weir verify`: whether what is stored keeps the rules.

use std::path::PathBuf;

use clap::Args;

use crate::Failure;
use crate::cli::JobArgs;
use crate::commands::{load, open_store};
use crate::output::{Output, facts, grouped, table};
use crate::verify::{Report, Verification, verify};

/// Re-checks the rules over what a job has stored, and compares it with an oracle
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    job: JobArgs,
    /// The right answer, as `weir generate --oracle` wrote it
    #[arg(long, value_name = "FILE")]
    oracle: Option<PathBuf>,
    /// The oracle's late clicks were written after a checkpoint of everything before: none may have been counted
    #[arg(long, requires = "oracle")]
    late_for_certain: bool,
}

const EXAMPLES: &str = "\
Examples:
  weir verify job.toml
  weir verify job.toml --oracle oracle.ndjson

Reads the manifests and the Delta tables from their stores. While the job is running, what it has committed so far is
checked; an oracle says most about a job that has ended.
Exit codes: 0 all rules hold, 1 something differs (the first twenty of each kind are named).";

pub(crate) fn run(args: &VerifyArgs, output: Output) -> Result<(), Failure> {
    let config = load(&args.job)?;
    let checkpoints = open_store(config.checkpoint.url.as_str())?;
    let tables = open_store(config.tables.url.as_str())?;
    let report = verify(&Verification {
        job: &config.name,
        checkpoints: checkpoints.as_ref(),
        tables: tables.as_ref(),
        tables_url: config.tables.url.as_str(),
        archive: config.archive.is_some(),
        oracle: args.oracle.as_deref(),
        late_for_certain: args.late_for_certain,
    })?;
    output.print(&report, |report| describe(report, config.tables.url.as_str()))?;
    if report.ok {
        return Ok(());
    }
    let broken = report.checks.iter().filter(|check| check.broken > 0).count();
    Err(anyhow::anyhow!("job {}: {broken} of {} rules are broken", report.job, report.checks.len()).into())
}

fn describe(report: &Report, tables_url: &str) -> String {
    let totals = &report.totals;
    let state = if report.ended {
        "ended, everything is in the tables"
    } else {
        "not ended: open windows are not in the tables"
    };
    let mut lines = vec![
        ("job", format!("{}, {state}", report.job)),
        (
            "newest checkpoint",
            format!("epoch {}, attempt {}, {} manifests", report.epoch, report.attempt, report.manifests),
        ),
        ("clicks read", grouped(totals.read)),
        ("counted", grouped(totals.counted)),
        ("duplicate", grouped(totals.duplicate)),
        ("late", grouped(totals.late)),
        ("future", grouped(totals.future)),
        ("rejected", grouped(totals.rejected)),
    ];
    for table in &report.tables {
        lines.push((table.table, format!("{} rows in {} files", grouped(table.rows), grouped(table.files))));
    }
    if let Some(compared) = &report.compared {
        let (mean, max) = (compared.mean_user_error * 100.0, compared.max_user_error * 100.0);
        lines.push((
            "windows compared",
            format!("{}, {} not in the table yet", grouped(compared.windows), grouped(compared.not_yet)),
        ));
        lines.push(("users' error", format!("{mean:.3} % on average, {max:.1} % at most")));
    }
    lines.push(("tables", tables_url.to_owned()));
    lines.push(("try", report.query.clone()));
    let rows = report.checks.iter().map(|check| {
        let result =
            if check.broken == 0 { "holds".to_owned() } else { format!("BROKEN {} times", grouped(check.broken)) };
        vec![result, check.rule.to_owned()]
    });
    let mut text = facts(&lines);
    text.push('\n');
    text.push_str(&table(&["", "rule"], &[], rows));
    text.push('\n');
    for check in report.checks.iter().filter(|check| check.broken > 0) {
        text.push_str(&format!("\n{}, but:\n", check.rule));
        for example in &check.examples {
            text.push_str(&format!("  {example}\n"));
        }
    }
    text
}
