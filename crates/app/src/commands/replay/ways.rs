//! Which way a recording is replayed, where it is not the comparison.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use pangaea_kernel::{Definition, Module};
use pangaea_replay::{Bound, Ignore, ModuleRecording, Recording, Until};
use pangaea_runtime::config::{Config, Overrides, Sources};

use super::{ReplayArgs, live, pairs, state, step, story};
use crate::catalogue::Catalogue;
use crate::commands::record::{Place, parse_place};

/// Options of the ways that are not the comparison.
#[derive(Args)]
pub(super) struct WaysArgs {
    /// Go input by input: shows what each says and which rows it changes, and waits for a command (h lists them)
    #[arg(long, conflicts_with_all = ["check", "html", "json", "live"])]
    step: bool,
    #[command(flatten)]
    live: live::LiveArgs,
}

#[derive(Subcommand)]
pub(super) enum WaysCommand {
    /// Show the rows of modules' tables as they were at some moment
    State(state::StateArgs),
}

/// Where a replay ends.
#[derive(Clone, Debug)]
pub(super) enum Target {
    Place(Place),
    /// With the last input that concerns it.
    Id(String),
}

pub(super) fn parse_target(text: &str) -> Result<Target, String> {
    if let Ok(place) = parse_place(text) {
        return Ok(Target::Place(place));
    }
    match text.trim() {
        "" => Err("expected a position (1, 2 …), a moment as 2026-11-27T08:00:00Z, or an id".to_owned()),
        id => Ok(Target::Id(id.to_owned())),
    }
}

/// Takes another way than the comparison, where one is asked for; `None` where none is.
///
/// # Errors
/// When the way cannot be gone to its end.
pub(super) async fn take(
    args: &ReplayArgs,
    recording: &Recording,
    catalogue: &Catalogue,
    ignore: &Ignore,
) -> Result<Option<ExitCode>> {
    let pairs = |wanted: &[String]| pairs(recording, wanted, catalogue);
    if let Some(WaysCommand::State(state)) = &args.command {
        let wanted = state.module.as_ref().map_or_else(|| args.modules.clone(), |module| vec![module.clone()]);
        return state::run(state, pairs(&wanted)?, args.json).await.map(Some);
    }
    if args.ways.live.live.is_some() {
        let modules = modules(pairs(&args.modules)?, catalogue)?;
        let bound = bound(args, modules.iter().map(|(module, _)| module)).await?;
        return live::run(&args.ways.live, recording, modules, bound, args.json).await.map(Some);
    }
    if args.ways.step {
        let pairs = pairs(&args.modules)?;
        let bound = bound(args, pairs.iter().map(|(module, _)| module)).await?;
        return step::run(pairs, bound, ignore.clone()).await.map(Some);
    }
    match &args.until {
        Some(Target::Id(id)) => {
            story::refuse_html(args.html.is_some())?;
            story::run(pairs(&args.modules)?, id, ignore.clone(), args.json).await.map(Some)
        }
        _ => Ok(None),
    }
}

async fn bound(args: &ReplayArgs, modules: impl Iterator<Item = &ModuleRecording>) -> Result<Bound> {
    Ok(match &args.until {
        None => Bound::End,
        Some(Target::Place(place)) => Bound::Until(place.until()),
        Some(Target::Id(id)) => {
            let modules: Vec<_> = modules.cloned().collect();
            Bound::Spot(story::found(&modules, id).await?.last)
        }
    })
}

/// The modules of the program itself: they know their routes.
fn modules(
    pairs: Vec<(ModuleRecording, Arc<Definition>)>,
    catalogue: &Catalogue,
) -> Result<Vec<(ModuleRecording, Arc<dyn Module>)>> {
    let config = Config::load(&Sources::of_process(None, Overrides::default()))?.config;
    let all = catalogue.offline(&config)?;
    let mut modules = Vec::with_capacity(pairs.len());
    for (recording, definition) in pairs {
        let Some(module) = all.iter().find(|module| module.define().name() == definition.name()) else {
            bail!("this program does not have the module {}", definition.name());
        };
        modules.push((recording, module.clone()));
    }
    Ok(modules)
}

// === impl Target ===

impl Target {
    /// Of a comparison, which has no story to tell.
    pub(super) fn until(&self) -> Option<Until> {
        match self {
            Self::Place(place) => Some(place.until()),
            Self::Id(_) => None,
        }
    }
}
