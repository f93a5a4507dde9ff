//! `pangaea provision`: schemas, tables and streams, made by a role of its own so that modules need no right to make any.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use pangaea_bus::ProvidedStream;
use pangaea_journal::{Database, DatabaseOptions, Provisioned};
use pangaea_kernel::Definition;
use pangaea_runtime::config::{BusKind, Config};
use pangaea_runtime::nats_config;
use serde_json::json;
use tokio::time::Instant;

use super::ConfigArgs;
use super::served::{AGAIN, once_served};
use crate::catalogue::Catalogue;

#[derive(Args)]
#[command(after_help = "Examples:\n  \
    pangaea provision --config config/apart.toml\n  \
    PANGAEA__DATABASE__URL=postgres://provisioner@db/pangaea pangaea provision --grant-to '{module}'\n  \
    pangaea provision --no-streams --json\n\n\
    Makes what is missing and changes nothing else, so that it may run before every release, while the store runs. Modules\n\
    with database.migrate = false and bus.provision = false wait for it. A migration that older releases cannot write past is\n\
    applied only while nobody leads the module.")]
pub(crate) struct ProvisionArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// PostgreSQL: the role that may read and write a module's rows, where the server has it
    #[arg(long, value_name = "ROLE", default_value = "{module}")]
    grant_to: String,
    /// Leave schemas, tables and rights alone
    #[arg(long)]
    no_tables: bool,
    /// Leave streams alone
    #[arg(long)]
    no_streams: bool,
    /// How long a server that is not there yet is waited for, in seconds
    #[arg(long, value_name = "S", default_value_t = 60, value_parser = clap::value_parser!(u64).range(0..=3_600))]
    wait_s: u64,
    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
}

/// # Errors
/// When a server does not answer in time, or refuses; what was done until then stays done.
pub(super) async fn run(args: ProvisionArgs, catalogue: &Catalogue) -> Result<ExitCode> {
    let config = args.config.load()?.config;
    let definitions = catalogue.wanted(&config)?;
    let deadline = Instant::now() + Duration::from_secs(args.wait_s);
    let mut tables = Vec::new();
    if !args.no_tables {
        for definition in &definitions {
            tables.push((definition.name(), tables_of(definition, &config, &args.grant_to, deadline).await?));
        }
    }
    let streams = match config.bus.kind {
        BusKind::Nats if !args.no_streams => streams_of(&definitions, &config, deadline).await?,
        BusKind::Nats | BusKind::Memory => Vec::new(),
    };
    print(&args, &tables, &streams)
}

async fn tables_of(
    definition: &Arc<Definition>,
    config: &Config,
    grant_to: &str,
    deadline: Instant,
) -> Result<Provisioned> {
    let module = definition.name();
    let options = DatabaseOptions {
        url: config.database.url.clone(),
        read_connections_max: 1,
        synchronous_full: config.database.synchronous_full,
    };
    let role = grant_to.replace("{module}", module);
    let done = once_served(config, deadline, async || {
        let database = Database::open(module, &options).await?;
        let done = database.provision(definition.all_migrations(), env!("CARGO_PKG_VERSION"), Some(&role)).await;
        database.close().await;
        Ok(done?)
    });
    done.await.with_context(|| format!("the tables of {module}"))
}

async fn streams_of(
    definitions: &[Arc<Definition>],
    config: &Config,
    deadline: Instant,
) -> Result<Vec<ProvidedStream>> {
    let sources: Vec<&str> = definitions.iter().map(|one| one.name()).collect();
    let patience = deadline.saturating_duration_since(Instant::now()).max(AGAIN);
    let provided = pangaea_bus::provision(nats_config(config), &sources, patience).await;
    provided.context("the streams; is bus.url right, and may this user make them?")
}

fn print(args: &ProvisionArgs, tables: &[(&str, Provisioned)], streams: &[ProvidedStream]) -> Result<ExitCode> {
    if tables.is_empty() && streams.is_empty() {
        bail!("there was nothing to provision: no module is chosen, or all is left out");
    }
    let mut out = std::io::stdout().lock();
    if args.json {
        let tables: Vec<_> = tables
            .iter()
            .map(|(module, done)| json!({ "module": module, "applied": done.applied, "granted_to": done.granted_to }))
            .collect();
        let streams: Vec<_> = streams.iter().map(|one| json!({ "stream": one.stream, "is_new": one.is_new })).collect();
        writeln!(out, "{:#}", json!({ "tables": tables, "streams": streams }))?;
        return Ok(ExitCode::SUCCESS);
    }
    for (module, done) in tables {
        let applied = if done.applied.is_empty() { "nothing".to_owned() } else { done.applied.join(", ") };
        let granted = done.granted_to.as_ref().map(|role| format!("; rows for the role {role}")).unwrap_or_default();
        writeln!(out, "tables of {module}: applied {applied}{granted}")?;
    }
    for one in streams {
        writeln!(out, "stream {}: {}", one.stream, if one.is_new { "made" } else { "there" })?;
    }
    Ok(ExitCode::SUCCESS)
}
