//! `pangaea record`: a store's journals as one file that can be replayed anywhere.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Args;
use pangaea_contracts::Timestamp;
use pangaea_kernel::{Clock, SystemClock};
use pangaea_replay::{
    EndState, From, Header, Ignore, ModuleEnd, Progress, RecordOptions, RecordingWriter, Until, record,
};
use serde_json::json;

use super::ConfigArgs;
use super::ticker::Ticker;
use super::verify::stores::open;
use crate::catalogue::Catalogue;
use crate::random;

#[derive(Args)]
#[command(after_help = "Examples:\n  \
    pangaea record -o today.rec\n  \
    pangaea record --modules order,payment --from 2026-11-01T00:00:00Z -o november.rec\n  \
    pangaea record --config config/apart.toml --to 20000 -o first.rec --json\n\n\
    The store may run: of each module what is committed when its turn comes is recorded. What contracts mark as secret or\n\
    personal is replaced by texts of its own, the same for the same value, so that the recording still replays.\n\
    `pangaea replay FILE` replays it.")]
pub(crate) struct RecordArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The first input: a moment (RFC 3339) or a position of each module's inbox; the first of all when not given
    #[arg(long, value_name = "T|POS", value_parser = parse_place)]
    from: Option<Place>,
    /// The last input, likewise; the newest when not given
    #[arg(long, value_name = "T|POS", value_parser = parse_place)]
    to: Option<Place>,
    /// What this release may say otherwise than the one that handled the inputs, as for `pangaea replay`
    #[arg(long, value_name = "PATH")]
    ignore: Vec<String>,
    /// Keep secret and personal fields as they are
    #[arg(long)]
    unredacted: bool,
    /// Where to write the recording
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// Replace FILE where it exists
    #[arg(long)]
    force: bool,
    /// Print what was recorded as JSON
    #[arg(long)]
    json: bool,
}

/// A place in a history.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    Position(u64),
    Time(Timestamp),
}

pub(super) fn parse_place(text: &str) -> Result<Place, String> {
    if let Ok(position) = text.parse() {
        return Ok(Place::Position(position));
    }
    let time = serde_json::from_value(text.into());
    time.map(Place::Time).map_err(|_| "expected a position (1, 2 …) or a moment as 2026-11-27T08:00:00Z".to_owned())
}

/// # Errors
/// When a database cannot be read, or the file not be written; then there is no file.
pub(super) async fn run(args: RecordArgs, catalogue: &Catalogue) -> Result<ExitCode> {
    let config = args.config.load()?.config;
    let definitions = catalogue.wanted(&config)?;
    ensure!(!definitions.is_empty(), "no module is to be recorded (--modules, runtime.modules)");
    let options = RecordOptions {
        from: args.from.map(|place| match place {
            Place::Position(position) => From::Position(position),
            Place::Time(time) => From::Time(time),
        }),
        to: args.to.map(Place::until),
        ignore: Ignore::parse(&args.ignore).map_err(|reason| anyhow::anyhow!("--ignore: {reason}"))?,
        // Nothing that is redacted can be guessed and tried without it, and it is kept nowhere.
        redaction_key: if args.unredacted { None } else { Some(random::hex::<32>()?) },
    };
    let made_by = env!("CARGO_PKG_VERSION").to_owned();
    let header = Header { made_by, made_at: SystemClock.now(), redacted: !args.unredacted };
    let mut writer = RecordingWriter::create(&args.output, &header, args.force)?;
    let progress = Progress::default();
    let ticker = Ticker::start("recording", None, progress.clone());
    let mut ends = Vec::new();
    for definition in definitions {
        let database = open(definition.name(), &config).await?;
        let end = record(&database, &definition, &options, &mut writer, &progress).await?;
        database.close().await;
        ends.push((definition.name(), end));
    }
    let bytes = writer.finish()?;
    drop(ticker);
    print(&args, &ends, bytes)?;
    Ok(ExitCode::SUCCESS)
}

fn print(args: &RecordArgs, ends: &[(&str, ModuleEnd)], bytes: u64) -> Result<()> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    if args.json {
        let modules: Vec<_> = ends.iter().map(|(module, end)| json!({ "module": module, "end": end })).collect();
        let file = args.output.display().to_string();
        writeln!(
            out,
            "{:#}",
            json!({ "file": file, "bytes": bytes, "redacted": !args.unredacted, "modules": modules })
        )?;
        return Ok(());
    }
    for (module, end) in ends {
        let times = end.times.map(|(first, last)| format!(", {first} to {last}")).unwrap_or_default();
        writeln!(out, "{module}: {} inputs, {} messages{times}", end.inputs, end.outputs)?;
        if let EndState::Unknown(reason) = &end.end {
            writeln!(out, "  its tables are not compared by a replay: {reason}")?;
        }
    }
    writeln!(out, "{} ({bytes} bytes{})", args.output.display(), if args.unredacted { ", not redacted" } else { "" })?;
    Ok(())
}

// === impl Place ===

impl Place {
    pub(super) fn until(self) -> Until {
        match self {
            Self::Position(position) => Until::Position(position),
            Self::Time(time) => Until::Time(time),
        }
    }
}
