//! `pangaea shadow`: this program's handlers of a module beside a live leader, which may be of another version.
//!
//! It reads the leader's database and nothing else: it opens no bus and performs no effect, so it cannot publish.

mod metrics;
mod summary;
mod teller;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use pangaea_journal::Database;
use pangaea_kernel::Definition;
use pangaea_replay::{Compared, Ignore, Shadow, ShadowOptions, Step};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::metrics::Figures;
use self::summary::Summary;
use self::teller::Teller;
use super::served::once_served;
use super::verify::stores::open;
use super::{ConfigArgs, DIFFERS_EXIT, parse_set};
use crate::catalogue::Catalogue;
use crate::random;

/// Between two looks at a leader that has nothing new.
const PAUSE: Duration = Duration::from_millis(50);
/// Between two tries to read a database that is away: at first, and at most.
const AWAY_FIRST: Duration = Duration::from_millis(250);
const AWAY_MAX: Duration = Duration::from_secs(5);

#[derive(Args)]
#[command(after_help = "Examples:\n  \
    pangaea shadow order --config config/apart.toml\n  \
    pangaea shadow payment --for 10m --metrics-listen 127.0.0.1:9091\n  \
    pangaea shadow product --from-start --ignore /description --stop-at-first --json\n\n\
    The leader's database is only read, in short moments; nothing is published and no effect is performed. It begins with a\n\
    copy of the module's tables, or with --from-start with the first input of all, and ends at Ctrl-C, SIGTERM or after --for.\n\
    After a difference it goes on with the state that its own handlers made, so that later ones may follow from the first.\n\
    What contracts mark as secret or personal is not shown. With --json each difference is a line, and the summary the last.\n\
    Exit code: 0 when nothing differs, 4 when something does, 1 when it could not be found out.")]
pub(crate) struct ShadowArgs {
    /// The module
    #[arg(value_name = "MODULE")]
    module: String,
    /// A profile file over the compiled-in defaults: that of the live store
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set one key, e.g. --set database.url=postgres://reader@db/store
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = parse_set)]
    set: Vec<(String, String)>,
    /// Run the module's whole history first, in place of beginning with a copy of its tables
    #[arg(long)]
    from_start: bool,
    /// End after this time, e.g. 30s, 10m, 2h
    #[arg(long = "for", value_name = "TIME", value_parser = parse_time)]
    lasting: Option<Duration>,
    /// How long a database server that is not there yet is waited for at the start, in seconds
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=600))]
    wait_s: u64,
    /// A field, subject or table that may differ: /pointer, SUBJECT:/pointer, SUBJECT, @id, table:NAME; `*` stands for one step
    #[arg(long, value_name = "PATH")]
    ignore: Vec<String>,
    /// Serve metrics for Prometheus at /metrics here, while it runs
    #[arg(long, value_name = "ADDRESS")]
    metrics_listen: Option<String>,
    /// Differing inputs told one by one; the others are counted
    #[arg(long, value_name = "N", default_value_t = 20)]
    keep: u64,
    /// End at the first input that differs
    #[arg(long)]
    stop_at_first: bool,
    /// Show secret and personal fields as they are
    #[arg(long)]
    unredacted: bool,
    /// Print differences and the summary as JSON, a line each
    #[arg(long)]
    json: bool,
}

fn parse_time(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "s" | "" => 1,
        "m" => 60,
        "h" => 3_600,
        _ => 0,
    };
    let seconds = digits.parse::<u32>().ok().map(|number| u64::from(number) * factor).filter(|seconds| *seconds > 0);
    seconds.map(Duration::from_secs).ok_or_else(|| "expected a time as 30s, 10m or 2h".to_owned())
}

/// # Errors
/// When the leader's database cannot be read at the start, becomes another one, or the shadow's own fails. A difference is no
/// error.
pub(super) async fn run(args: ShadowArgs, catalogue: &Catalogue) -> Result<ExitCode> {
    let config = ConfigArgs { config: args.config.clone(), modules: None, set: args.set.clone() }.load()?.config;
    let definition = catalogue.definition(&args.module, &config)?;
    let ignore = Ignore::parse(&args.ignore).map_err(|reason| anyhow::anyhow!("--ignore: {reason}"))?;
    let redaction_key = if args.unredacted { None } else { Some(random::hex::<32>()?) };
    let options = ShadowOptions { from_start: args.from_start, ignore, redaction_key };
    let stop = CancellationToken::new();
    super::run::stop_on_signal(stop.clone())?;
    let figures = Figures::new(definition.name());
    if let Some(address) = &args.metrics_listen {
        metrics::serve(address, figures.clone(), stop.clone()).await?;
    }
    let deadline = Instant::now() + Duration::from_secs(args.wait_s);
    let opened = once_served(&config, deadline, async || open(definition.name(), &config).await);
    // No success: nothing was compared.
    let opened = stop.run_until_cancelled(opened).await;
    let database = opened.context("told to stop before the database was there")??;
    let mut following = Following::start(&args, &database, &definition, &options, figures).await?;
    if let Err(error) = following.follow(&args, &stop).await {
        following.broken_off();
        return Err(error);
    }
    let summary = following.end(&args).await?;
    stop.cancel();
    database.close().await;
    Ok(if summary.is_clean() { ExitCode::SUCCESS } else { ExitCode::from(DIFFERS_EXIT) })
}

/// A shadow, and all that is told of it.
struct Following {
    shadow: Shadow,
    summary: Summary,
    figures: Figures,
    teller: Teller,
}

// === impl Following ===

impl Following {
    async fn start(
        args: &ShadowArgs,
        database: &Database,
        definition: &Arc<Definition>,
        options: &ShadowOptions,
        figures: Figures,
    ) -> Result<Self> {
        let shadow = Shadow::start(database, definition, options).await?;
        let summary = Summary::new(definition.name(), &shadow);
        let teller = Teller::start(args.json, args.keep);
        teller.note(&summary.beginning());
        shadow.unlike().iter().for_each(|note| teller.note(note));
        Ok(Self { shadow, summary, figures, teller })
    }

    /// Until it is told to stop, its time is over, or, where that is wanted, something differs. A step is never left half-way.
    async fn follow(&mut self, args: &ShadowArgs, stop: &CancellationToken) -> Result<()> {
        let until = args.lasting.map(|lasting| Instant::now() + lasting);
        let is_over = || stop.is_cancelled() || until.is_some_and(|until| Instant::now() >= until);
        let mut away = AWAY_FIRST;
        while !is_over() {
            let pause = match self.shadow.step().await? {
                Step::Compared(compared) => {
                    self.teller.is_there();
                    away = AWAY_FIRST;
                    self.count(&compared)?;
                    if args.stop_at_first && self.summary.differing > 0 {
                        return Ok(());
                    }
                    if compared.behind > 0 { Duration::ZERO } else { PAUSE }
                }
                Step::Away(reason) => {
                    self.figures.lost();
                    self.teller.is_away(&reason);
                    let pause = away;
                    away = (away * 2).min(AWAY_MAX);
                    pause
                }
            };
            let left = until.map_or(pause, |until| pause.min(until.saturating_duration_since(Instant::now())));
            if !left.is_zero() {
                let _ = tokio::time::timeout(left, stop.cancelled()).await;
            }
        }
        Ok(())
    }

    /// Compares the tables where nothing else differed, and sums up.
    async fn end(mut self, args: &ShadowArgs) -> Result<Summary> {
        if !args.stop_at_first || self.summary.differing == 0 {
            let (steps, state) = self.shadow.last().await?;
            for compared in &steps {
                self.count(compared)?;
            }
            self.summary.state = Some(state);
        }
        self.shadow.stop().await?;
        self.summary.ends();
        self.teller.summary(&self.summary)?;
        Ok(self.summary)
    }

    /// What it has found is told all the same.
    fn broken_off(mut self) {
        self.summary.ends();
        // That standard output is closed may be the reason.
        let _ = self.teller.summary(&self.summary);
    }

    fn count(&mut self, compared: &Compared) -> Result<()> {
        self.summary.count(compared);
        self.figures.count(compared);
        self.teller.progress(compared.inputs);
        compared.differences.iter().try_for_each(|difference| self.teller.difference(difference))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::parse_time;

    #[test]
    fn times_have_units() {
        for (text, seconds) in [("30s", 30), ("45", 45), ("10m", 600), ("2h", 7_200)] {
            assert_eq!(parse_time(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "s", "0s", "1d", "-1s", "1.5m", "1 m"] {
            assert!(parse_time(text).is_err(), "{text}");
        }
    }
}
