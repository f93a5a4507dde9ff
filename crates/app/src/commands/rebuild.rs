//! `pangaea rebuild`: a module's tables made again from its history.
//!
//! A store that runs is asked for it, because only the writer of a module may touch its database. Where nobody leads, this
//! process is the writer for as long as it takes.

mod own;
mod show;

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use pangaea_kernel::{RebuildOptions, RebuildReport};
use pangaea_runtime::config::Config;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::operations::{Operations, address};
use super::status_line::StatusLine;
use super::{ConfigArgs, DIFFERS_EXIT};
use crate::catalogue::Catalogue;

const CONNECT_MAX: Duration = Duration::from_secs(2);

#[derive(Args)]
#[command(after_help = "Examples:\n  \
    pangaea rebuild order --projection timeline --dry-run\n  \
    pangaea rebuild order --projection timeline\n  \
    pangaea rebuild product --operations http://127.0.0.1:9092 --json\n  \
    pangaea rebuild payment --stopped\n\n\
    All inputs of the module are run through the handlers in a database beside it; what they make goes into shadow tables,\n\
    which take the place of the module's in one transaction. Readers see the old rows until then. Interrupted before that,\n\
    it has changed nothing. Where the handlers do not say what was said when the inputs were handled, nothing is rebuilt:\n\
    --force goes on all the same.\n\n\
    Without --operations the process at operations.listen is asked; where none answers, the module's database is opened\n\
    here. Exit code: 0 when it is done, 1 when it is not; 4 for a --dry-run that finds something to do.")]
pub(crate) struct RebuildArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The module
    #[arg(value_name = "MODULE")]
    module: String,
    /// Rebuild these of its tables only, by the name that the module gives them; all when not given
    #[arg(long, value_name = "NAME")]
    projection: Option<String>,
    /// Compare the tables with what the history makes, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Go on where the handlers do not say what was said
    #[arg(long)]
    force: bool,
    /// Operations address of a process that runs the module
    #[arg(long, value_name = "URL", conflicts_with = "stopped")]
    operations: Option<String>,
    /// Ask no process: open the database here, where nobody leads the module
    #[arg(long)]
    stopped: bool,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

/// # Errors
/// Why nothing was rebuilt.
pub(super) async fn run(args: RebuildArgs, catalogue: &Catalogue) -> Result<ExitCode> {
    let config = args.config.load()?.config;
    let report = match &args.operations {
        Some(url) => ask(&Operations::at(url)?, &args).await?,
        None if !args.stopped && answers(&config).await => ask(&Operations::configured(&config)?, &args).await?,
        None => own::rebuild(&args.module, args.options(), &config, catalogue).await?,
    };
    let mut out = std::io::stdout().lock();
    if args.json {
        let mut text = serde_json::to_value(&report)?;
        text["clean"] = json!(report.is_clean());
        writeln!(out, "{text:#}")?;
    } else {
        write!(out, "{}", show::text(&report))?;
    }
    let is_found = report.dry_run && !report.is_clean();
    Ok(if is_found { ExitCode::from(DIFFERS_EXIT) } else { ExitCode::SUCCESS })
}

/// Has the leader do it, and shows its progress.
async fn ask(operations: &Operations, args: &RebuildArgs) -> Result<RebuildReport> {
    let RebuildOptions { projection, dry_run, force } = args.options();
    let wanted = json!({ "module": args.module, "projection": projection, "dry_run": dry_run, "force": force });
    let (mut status, mut end) = (StatusLine::new(), None);
    let asked = operations.post_for_lines("/rebuild", &wanted, |mut line: Value| {
        match line.get_mut("progress").map(Value::take) {
            Some(facts) => {
                if let Ok(facts) = serde_json::from_value(facts) {
                    status.show(|| show::progress(&facts));
                }
            }
            None => end = Some(line),
        }
        Ok(())
    });
    asked.await?;
    drop(status);
    let end = end.context(
        "the answer broke off; nothing has changed unless the tables were being swapped: see with --dry-run, or rebuild again",
    )?;
    if let Some(problem) = end.get("problem") {
        bail!("{}", problem["detail"].as_str().unwrap_or("the rebuild has come to no end"));
    }
    serde_json::from_value(end["done"].clone()).context("the store reports otherwise than this program reads")
}

async fn answers(config: &Config) -> bool {
    let connected = tokio::time::timeout(CONNECT_MAX, TcpStream::connect(address(config))).await;
    connected.is_ok_and(|connected| connected.is_ok())
}

// === impl RebuildArgs ===

impl RebuildArgs {
    fn options(&self) -> RebuildOptions {
        RebuildOptions { projection: self.projection.clone(), dry_run: self.dry_run, force: self.force }
    }
}
