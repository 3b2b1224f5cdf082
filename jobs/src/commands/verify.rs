//! `weir verify`: whether what is stored keeps the rules.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;

use crate::Failure;
use crate::cli::JobArgs;
use crate::commands::checkpoints::describe_origin;
use crate::commands::time_arg::parse_time;
use crate::commands::{load, open_store};
use crate::output::{Output, facts, grouped, table};
use crate::reconcile::DayProof;
use crate::verify::{Report, Scope, Span, TableRows, Verification, verify};
use crate::whole_file::write_whole;

/// Re-checks the rules over what a job has stored, and compares it with an oracle
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct VerifyArgs {
    /// The job file
    #[arg(value_name = "JOB.toml", required_unless_present = "proof")]
    job: Option<PathBuf>,
    /// Sets a key of the job file, before the environment (WEIR_JOB__WORKERS=4) and the file
    #[arg(short = 'D', value_name = "KEY=VALUE")]
    definitions: Vec<String>,
    /// Checks a proof that weir explain --click has written, without any of the job's data
    #[arg(long, value_name = "FILE", conflicts_with = "job")]
    proof: Option<PathBuf>,
    /// With --proof: the root of the day's clicks, as it is known from elsewhere
    #[arg(long, value_name = "HEX", requires = "proof")]
    root: Option<String>,
    /// Reads every data file whole: its bytes against the hashes in log and manifests, its rows against the log, and no
    /// record twice
    #[arg(long)]
    files: bool,
    /// Looks at windows and files from this time on; sums and conservation are always of everything
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    from: Option<i64>,
    /// Looks at windows and files before this time
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    until: Option<i64>,
    /// Writes the whole report as JSON, whatever is found
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
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
  weir verify job.toml --files --report audit.json
  weir verify job.toml --files --from 2025-01-15T00:00:00Z --until 2025-01-16T00:00:00Z
  weir verify job.toml --oracle oracle.ndjson
  weir verify --proof proof.json --root 9f2c41…

Reads the manifests and the Delta tables from their stores. While the job is running, what it has committed so far is
checked; an oracle says most about a job that has ended. Times are days, RFC 3339, or unix seconds; files are looked
at by the day and hour of their clicks.
Without --files, every data file is looked for in a listing of the store, those of clicks_agg are read, and of the clicks
the log says how many there are. Each rule says how many things it was checked on: none means that it says nothing.
Exit codes: 0 all rules hold, 1 something differs (the first twenty of each kind are named).";

pub(crate) fn run(args: &VerifyArgs, output: Output) -> Result<(), Failure> {
    if let Some(path) = &args.proof {
        return check_proof(path, args.root.as_deref(), output);
    }
    let job = args.job.clone().unwrap_or_default();
    let config = load(&JobArgs { job, definitions: args.definitions.clone() })?;
    let checkpoints = open_store(config.checkpoint.url.as_str())?;
    let tables = open_store(config.tables.url.as_str())?;
    let report = verify(&Verification {
        job: &config.name,
        checkpoints: checkpoints.as_ref(),
        tables: tables.as_ref(),
        checkpoints_url: config.checkpoint.url.as_str(),
        tables_url: config.tables.url.as_str(),
        archive: config.archive.is_some(),
        files: args.files,
        span: Span { from_ms: args.from, until_ms: args.until },
        oracle: args.oracle.as_deref(),
        late_for_certain: args.late_for_certain,
    })?;
    if let Some(path) = &args.report {
        write_report(path, &report)?;
    }
    output.print(&report, describe)?;
    if report.ok {
        return Ok(());
    }
    let broken = report.checks.iter().filter(|check| check.broken > 0).count();
    Err(anyhow::anyhow!("job {}: {broken} of {} rules are broken", report.job, report.checks.len()).into())
}

fn check_proof(path: &Path, root: Option<&str>, output: Output) -> Result<(), Failure> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read --proof {}", path.display()));
    let proof = DayProof::read(&bytes.map_err(Failure::Usage)?)
        .with_context(|| format!("{} is no proof of weir explain --click", path.display()))?;
    proof.check(root).with_context(|| format!("{} proves nothing", path.display()))?;
    let known =
        if root.is_some() { "the known one" } else { "compare it with what you were told when the day was closed" };
    Ok(output.print(&proof, |proof| {
        facts(&[
            ("proof", "sound".to_owned()),
            (
                "click",
                format!("{} is one of the {} that ", proof.proof.click_id, grouped(proof.proof.clicks))
                    + &format!("{} is billed for on {} in {}", proof.proof.ad_id, proof.date, proof.timezone),
            ),
            ("revision", format!("{}, run {}", proof.revision, proof.run)),
            ("manifest", proof.manifest_hash.clone()),
            ("root of clicks", format!("{}: {known}", proof.root)),
        ])
    })?)
}

fn write_report(path: &Path, report: &Report) -> anyhow::Result<()> {
    let mut json = serde_json::to_vec_pretty(report).context("cannot write JSON")?;
    json.push(b'\n');
    write_whole(path, &json).with_context(|| format!("cannot write the report to {}", path.display()))
}

fn describe(report: &Report) -> String {
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
        ("its manifest", format!("number {}, SHA-256 {}", report.last_manifest, report.manifest_hash)),
        ("clicks read", grouped(totals.read)),
        ("counted", grouped(totals.counted)),
        ("duplicate", grouped(totals.duplicate)),
        ("late", grouped(totals.late)),
        ("future", grouped(totals.future)),
        ("rejected", grouped(totals.rejected)),
    ];
    if let Some(origin) = &report.origin {
        let text = describe_origin(origin);
        lines.insert(1, ("forked from", format!("{text}; what was in its tables by then is not looked at here")));
    }
    for table in &report.tables {
        lines.push((table.table, describe_table(table)));
    }
    if let Some(compared) = &report.compared {
        let (mean, max) = (compared.mean_user_error * 100.0, compared.max_user_error * 100.0);
        lines.push((
            "windows compared",
            format!("{}, {} not in the table yet", grouped(compared.windows), grouped(compared.not_yet)),
        ));
        if compared.elsewhere > 0 {
            lines.push(("before the fork", format!("{} windows, not looked for here", grouped(compared.elsewhere))));
        }
        lines.push(("users' error", format!("{mean:.3} % on average, {max:.1} % at most")));
    }
    lines.push(("checkpoints", report.places.checkpoints.clone()));
    lines.push(("tables", report.places.tables.clone()));
    lines.push(("looked at", describe_scope(&report.scope)));
    lines.push(("try", report.query.clone()));
    let rows = report.checks.iter().map(|check| {
        let result = match (check.broken, check.checked) {
            (0, 0) => "nothing to check".to_owned(),
            (0, _) => "holds".to_owned(),
            (broken, _) => format!("BROKEN {} times", grouped(broken)),
        };
        vec![result, grouped(check.checked), check.rule.to_owned()]
    });
    let mut text = facts(&lines);
    text.push('\n');
    text.push_str(&table(&["", "checked", "rule"], &[1], rows));
    text.push('\n');
    for check in report.checks.iter().filter(|check| check.broken > 0) {
        text.push_str(&format!("\n{}, but:\n", check.rule));
        for example in &check.examples {
            text.push_str(&format!("  {example}\n"));
        }
    }
    text
}

fn describe_table(table: &TableRows) -> String {
    let mut text = format!("{} rows in {} files", grouped(table.rows), grouped(table.files));
    let mut add = |number: u64, what: &str| {
        if number > 0 {
            text.push_str(&format!(", {} {what}", grouped(number)));
        }
    };
    add(table.compacted, "of the files compacted of others");
    add(table.held_back, "more wait for a file");
    add(table.not_shown_yet, "of the files not shown yet: the job does it when it goes on");
    add(table.without_hash, "of the files read without a hash to compare with");
    text
}

fn describe_scope(scope: &Scope) -> String {
    let from = scope.from.as_deref().unwrap_or("the first");
    let until = scope.until.as_deref().unwrap_or("the last");
    let files = if scope.files { "every file was read" } else { "clicks were not read, see --files" };
    format!("windows and files from {from} until {until}; {files}")
}
