//! A rebuild in a store that is stopped: this process is the module's writer for as long as it takes.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::future::BoxFuture;
use pangaea_journal::{Database, JournalError};
use pangaea_kernel::{
    Clock, Definition, Done, Executor, Rebuild, RebuildOptions, RebuildProgress, RebuildReport, Steps, SystemClock,
    Work,
};
use pangaea_runtime::config::Config;

use super::show;
use crate::catalogue::Catalogue;
use crate::commands::status_line::StatusLine;
use crate::commands::verify::stores::open;

const LOOK_EVERY: Duration = Duration::from_millis(500);

/// # Errors
/// When somebody leads the module, or why nothing was rebuilt.
pub(super) async fn rebuild(
    module: &str,
    options: RebuildOptions,
    config: &Config,
    catalogue: &Catalogue,
) -> Result<RebuildReport> {
    let definition = catalogue.definition(module, config)?;
    let database = open(definition.name(), config).await?;
    let progress = Arc::new(RebuildProgress::default());
    let shown = tokio::spawn(tell(progress.clone()));
    let report = if options.dry_run {
        Rebuild::new(definition, database.clone(), options, &progress, &mut Nobody).run().await.map_err(Into::into)
    } else {
        as_writer(definition, &database, options, &progress).await
    };
    shown.abort();
    database.close().await;
    report
}

async fn as_writer(
    definition: Arc<Definition>,
    database: &Database,
    options: RebuildOptions,
    progress: &RebuildProgress,
) -> Result<RebuildReport> {
    let writer = match database.writer(definition.all_migrations(), env!("CARGO_PKG_VERSION")).await {
        Err(locked @ JournalError::Locked { .. }) => {
            return Err(locked).context(
                "a process leads the module and does not answer at operations.listen: name its address with --operations",
            );
        }
        other => other?,
    };
    let executor = Executor::new(writer, definition.clone(), env!("CARGO_PKG_VERSION")).await?;
    let mut own = Own { executor };
    let report = Rebuild::new(definition, database.clone(), options, progress, &mut own).run().await;
    own.executor.leave().await?;
    Ok(report?)
}

async fn tell(progress: Arc<RebuildProgress>) {
    let mut line = StatusLine::new();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        line.show(|| show::progress(&progress.facts()));
    }
}

/// A comparison needs no writer.
struct Nobody;

impl Steps for Nobody {
    fn take(&mut self, _: Work) -> BoxFuture<'_, Result<Done, String>> {
        Box::pin(async { Err("a dry run writes nothing".to_owned()) })
    }

    fn rest(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

struct Own {
    executor: Executor,
}

impl Steps for Own {
    fn take(&mut self, work: Work) -> BoxFuture<'_, Result<Done, String>> {
        Box::pin(async move {
            let result = self.executor.run(&[work], SystemClock.now()).await.map_err(|error| error.to_string())?;
            result.done.into_iter().next().ok_or_else(|| "the writer gave no answer".to_owned())
        })
    }

    /// Nobody else needs the machine for this store.
    fn rest(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}
