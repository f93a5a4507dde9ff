//! Replays that compare with something else than the recording, or with nothing.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use futures_util::future::try_join_all;
use pangaea_kernel::{Clock, SystemClock};
use pangaea_replay::{
    Header, ModuleReport, Progress, Recording, RecordingWriter, ReplayError, UNHANDLED_EXIT, determinism, recompute,
    usual_conditions,
};

use super::{Pair, ReplayArgs, inputs};
use crate::commands::ticker::Ticker;

#[derive(Args)]
pub(super) struct ModeArgs {
    /// Replay in other batches, with other hash seeds and on other databases side by side, and compare these
    #[arg(long, conflicts_with_all = ["shrink", "recompute", "until"])]
    pub(super) determinism: bool,
    /// With --determinism: an empty PostgreSQL database, in which schemas are made
    #[arg(long, value_name = "URL", requires = "determinism")]
    postgres: Option<String>,
    /// Write the recording again, with the outputs and the state that this program makes of its inputs
    #[arg(long, value_name = "OUT")]
    pub(super) recompute: Option<PathBuf>,
}

pub(super) async fn determinism_of_all(args: &ReplayArgs, pairs: Vec<Pair>) -> Result<Vec<ModuleReport>> {
    let progress = Progress::default();
    let _ticker = Ticker::start("replaying", Some(inputs(&pairs)), progress.clone());
    let runs = pairs.into_iter().map(|(module, definition)| {
        let (progress, keep, postgres) = (progress.clone(), args.keep, args.modes.postgres.clone());
        let task = tokio::spawn(async move {
            determinism(&module, definition, &usual_conditions(postgres), keep, &progress).await
        });
        async move { anyhow::Ok(task.await.context("a replay was broken off")??) }
    });
    Ok(try_join_all(runs).await?.concat())
}

pub(super) async fn recompute_all(
    args: &ReplayArgs,
    recording: &Recording,
    pairs: Vec<Pair>,
    out: &Path,
) -> Result<ExitCode> {
    let made_by = env!("CARGO_PKG_VERSION").to_owned();
    let header = Header { made_by, made_at: SystemClock.now(), ..recording.header().clone() };
    let mut writer = RecordingWriter::create(out, &header, args.force)?;
    let progress = Progress::default();
    let ticker = Ticker::start("replaying", Some(inputs(&pairs)), progress.clone());
    for (module, definition) in &pairs {
        match recompute(module, definition, &mut writer, &progress).await {
            Err(unhandled @ ReplayError::Unhandled { .. }) => {
                drop(ticker);
                eprintln!("error: {unhandled}");
                return Ok(ExitCode::from(UNHANDLED_EXIT));
            }
            other => other?,
        }
    }
    let bytes = writer.finish()?;
    drop(ticker);
    println!("{} ({bytes} bytes)", out.display());
    Ok(ExitCode::SUCCESS)
}
