//! `pangaea replay`: a recording through the handlers of this program.

mod expected;
mod live;
mod modes;
mod shown;
mod shrink;
mod state;
mod step;
mod story;
mod ways;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use clap::Args;
use futures_util::future::try_join_all;
use pangaea_kernel::Definition;
use pangaea_replay::{CheckOptions, Ignore, ModuleRecording, ModuleReport, Progress, Recording, Report, check};
use pangaea_runtime::config::{Config, Overrides, Sources};

use self::ways::{Target, WaysArgs, WaysCommand, parse_target};
use super::ticker::Ticker;
use super::{DIFFERS_EXIT, has_colours};
use crate::catalogue::Catalogue;

#[derive(Args)]
#[command(after_help = "Examples:\n  \
    pangaea replay today.rec\n  \
    pangaea replay today.rec --modules order --ignore order.evt.placed.v1:/placed_at --json\n  \
    pangaea replay today.rec --html report.html\n  \
    pangaea replay today.rec --until ord_01m855w2c7fy1ab13bd5cde8kq\n  \
    pangaea replay today.rec --step --modules order\n  \
    pangaea replay today.rec state --at 2026-11-27T08:00:00Z --module product\n  \
    pangaea replay today.rec --live http://127.0.0.1:8080 --speed 10\n  \
    pangaea replay today.rec --determinism --postgres postgres://localhost/empty\n  \
    pangaea replay today.rec --shrink --baseline ./pangaea-before --output tests\n\n\
    Nothing outside is touched, unless --live is given: each module's inputs run in a database of their own, which is gone at the end,\n\
    and no effect is performed. Exit code: 0 when nothing differs, 4 when something does, 1 when it could not be found out; with\n\
    --recompute 5 when an input cannot be handled.")]
pub(crate) struct ReplayArgs {
    /// The recording
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Compare outputs and state with what was recorded (the default)
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    modes: modes::ModeArgs,
    #[command(flatten)]
    shrink: shrink::ShrinkArgs,
    #[command(flatten)]
    expected: expected::ExpectedArgs,
    /// Replay these modules only, separated by commas
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    modules: Vec<String>,
    /// A field, subject or table that may differ: /pointer, SUBJECT:/pointer, SUBJECT, @id, table:NAME; `*` stands for one step
    #[arg(long, value_name = "PATH")]
    ignore: Vec<String>,
    /// Stop behind this input: a moment (RFC 3339), a position of each module's inbox, or the id of an order or of anything
    /// else, whose story is told
    #[arg(long, value_name = "T|POS|ORDER", value_parser = parse_target)]
    until: Option<Target>,
    /// Differing inputs told one by one per module; the others are counted
    #[arg(long, value_name = "N", default_value_t = 20)]
    keep: usize,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
    /// Write the report as one HTML file, too
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Replace files that exist
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    ways: WaysArgs,
    #[command(subcommand)]
    command: Option<WaysCommand>,
}

/// A recorded module, and what this program makes of it.
type Pair = (ModuleRecording, Arc<Definition>);

/// # Errors
/// When the recording is refused, or the replay itself fails; a difference is no error.
pub(super) async fn run(args: ReplayArgs, catalogue: &Catalogue) -> Result<ExitCode> {
    let recording = Recording::open(&args.file)?;
    let ignore = [args.ignore.clone(), args.expected.ignored()?].concat();
    let ignore = Ignore::parse(&ignore).map_err(|reason| anyhow::anyhow!("--ignore: {reason}"))?;
    if let Some(code) = ways::take(&args, &recording, catalogue, &ignore).await? {
        return Ok(code);
    }
    let pairs = pairs(&recording, &args.modules, catalogue)?;
    if args.shrink.shrink {
        return shrink::run(&args, &recording, pairs, &ignore).await;
    }
    if let Some(out) = &args.modes.recompute {
        return modes::recompute_all(&args, &recording, pairs, out).await;
    }
    let modules = if args.modes.determinism {
        modes::determinism_of_all(&args, pairs).await?
    } else {
        let until = args.until.as_ref().and_then(Target::until);
        check_all(pairs, &CheckOptions { ignore, until, keep: args.keep, ..CheckOptions::default() }).await?
    };
    let report = Report::new(&recording, modules);
    print(&args, &report)?;
    let is_as_expected = args.expected.judge(&report, &args.ignore, args.force)?;
    Ok(if is_as_expected { ExitCode::SUCCESS } else { ExitCode::from(DIFFERS_EXIT) })
}

/// Every module in a task of its own.
async fn check_all(pairs: Vec<Pair>, options: &CheckOptions) -> Result<Vec<ModuleReport>> {
    let progress = Progress::default();
    let _ticker = Ticker::start("replaying", Some(inputs(&pairs)), progress.clone());
    let checks = pairs.into_iter().map(|(module, definition)| {
        let (options, progress) = (options.clone(), progress.clone());
        let task = tokio::spawn(async move { check(&module, definition, &options, &progress).await });
        async move { anyhow::Ok(task.await.context("a replay was broken off")??) }
    });
    try_join_all(checks).await
}

fn print(args: &ReplayArgs, report: &Report) -> Result<()> {
    use std::io::Write;
    if let Some(file) = &args.html {
        std::fs::write(file, report.html()).with_context(|| file.display().to_string())?;
    }
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{:#}", serde_json::to_value(report)?)?;
    } else {
        write!(out, "{}", report.text(has_colours()))?;
    }
    Ok(())
}

fn inputs(pairs: &[Pair]) -> u64 {
    pairs.iter().map(|(module, _)| module.end.inputs).sum()
}

/// The recorded modules to replay, each with what this program makes of it.
fn pairs(recording: &Recording, wanted: &[String], catalogue: &Catalogue) -> Result<Vec<Pair>> {
    let config = Config::load(&Sources::of_process(None, Overrides::default()))?.config;
    let definitions = catalogue.definitions(&config)?;
    if let Some(unknown) = wanted.iter().find(|name| recording.module(name).is_none()) {
        let known: Vec<_> = recording.modules().iter().map(ModuleRecording::name).collect();
        bail!("--modules names {unknown:?}; the recording holds {}", known.join(", "));
    }
    let is_wanted = |module: &&ModuleRecording| wanted.is_empty() || wanted.iter().any(|name| name == module.name());
    let pair = |module: &ModuleRecording| {
        let definition = definitions.iter().find(|definition| definition.name() == module.name());
        let definition = definition.with_context(|| {
            format!("the recording holds the module {}, which this program does not have (--modules)", module.name())
        });
        Ok((module.clone(), definition?.clone()))
    };
    recording.modules().iter().filter(is_wanted).map(pair).collect()
}

/// Replays a recording and panics with the differences, where there are any: the whole of a test.
///
/// # Panics
/// When the recording cannot be read, or something differs.
pub async fn assert_replays_clean(catalogue: &Catalogue, file: &std::path::Path) {
    let replayed = async {
        let recording = Recording::open(file)?;
        let modules = check_all(pairs(&recording, &[], catalogue)?, &CheckOptions::default()).await?;
        anyhow::Ok(Report::new(&recording, modules))
    };
    match replayed.await {
        Ok(report) => assert!(report.is_clean(), "{}:\n{}", file.display(), report.text(false)),
        Err(error) => panic!("{}: {error:#}", file.display()),
    }
}
