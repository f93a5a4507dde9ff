//! Commands that look at configuration and code only: they work offline, in an empty folder.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand, ValueEnum};
use pangaea_runtime::config::{BusKind, Config};
use pangaea_runtime::topology::Topology;

use super::ConfigArgs;
use crate::catalogue::{Catalogue, definitions_of};

#[derive(Subcommand)]
pub(super) enum ConfigCommand {
    /// Print every key with its value
    Show(ShowArgs),
}

#[derive(Args)]
pub(super) struct ShowArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Also say where each value came from
    #[arg(long)]
    origin: bool,
}

#[derive(Args)]
#[command(
    after_help = "Examples:\n  pangaea topology --format dot | dot -Tsvg > topology.svg\n  pangaea topology --format json\n  pangaea topology --format nats > authorization.conf"
)]
pub(super) struct TopologyArgs {
    #[arg(long, value_enum, default_value_t = Format::Mermaid)]
    format: Format,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Mermaid,
    Dot,
    Json,
    /// A NATS server's accounts, with a user for each module
    Nats,
    /// The same rights, the streams and the consumers, as JSON
    NatsJson,
}

#[derive(Args)]
pub(super) struct OpenapiArgs {
    #[command(flatten)]
    config: ConfigArgs,
}

/// Configuration and topology: what would keep `run` from starting is said here.
pub(super) fn check(args: &ConfigArgs, catalogue: &Catalogue) -> Result<ExitCode> {
    let config = args.load()?.config;
    let modules = catalogue.offline(&config)?;
    let definitions = definitions_of(&modules);
    let known: Vec<&str> = definitions.iter().map(|definition| definition.name()).collect();
    let hosted = config.hosted(&known)?;
    let mut faults: Vec<String> = definitions.iter().flat_map(|definition| definition.faults().to_vec()).collect();
    faults.extend(Topology::from_definitions(&definitions).faults(&hosted, config.bus.kind == BusKind::Memory));
    for definition in &definitions {
        let settings = config.modules.get(definition.name()).map(|module| module.settings.clone()).unwrap_or_default();
        if settings.is_object() {
            faults.extend(
                definition
                    .parse_settings(&settings)
                    .err()
                    .map(|fault| format!("modules.{}.settings: {fault}", definition.name())),
            );
        }
    }
    if let Err(fault) = pangaea_kernel::http::access_table(&pangaea_runtime::api_document(&modules)) {
        faults.push(fault);
    }
    let mut out = std::io::stdout().lock();
    for fault in &faults {
        writeln!(out, "fault: {fault}")?;
    }
    if faults.is_empty() {
        writeln!(out, "ok: {} on {:?}, {}", hosted.join(", "), config.bus.kind, database_kind(&config))?;
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::FAILURE)
}

pub(super) fn config(command: &ConfigCommand) -> Result<ExitCode> {
    let ConfigCommand::Show(args) = command;
    write!(std::io::stdout().lock(), "{}", args.config.load()?.show(args.origin))?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn topology(args: &TopologyArgs, catalogue: &Catalogue) -> Result<ExitCode> {
    let config = ConfigArgs::default().load()?.config;
    let topology = Topology::from_definitions(&catalogue.definitions(&config)?);
    let text = match args.format {
        Format::Mermaid => topology.to_mermaid(),
        Format::Dot => topology.to_dot(),
        Format::Json => topology.to_json(),
        Format::Nats => topology.to_nats_authorization(&config.bus.namespace),
        Format::NatsJson => {
            format!("{:#}\n", topology.to_nats_json(&config.bus.namespace, config.bus.stream_replicas))
        }
    };
    write!(std::io::stdout().lock(), "{text}")?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn openapi(args: &OpenapiArgs, catalogue: &Catalogue) -> Result<ExitCode> {
    let config = args.config.load()?.config;
    let document = pangaea_runtime::api_document(&catalogue.offline(&config)?);
    writeln!(std::io::stdout().lock(), "{document:#}")?;
    Ok(ExitCode::SUCCESS)
}

fn database_kind(config: &Config) -> &'static str {
    if config.database.url.starts_with("postgres") { "PostgreSQL" } else { "SQLite" }
}
