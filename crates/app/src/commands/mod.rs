//! The command line. Every subcommand is a file of its own; this one only names them.

mod dead_letters;
mod edge;
mod inspect;
pub(crate) mod load;
mod operations;
mod provision;
mod rebuild;
mod record;
pub(crate) mod replay;
mod run;
mod secrets;
mod served;
mod shadow;
mod simulate;
mod status_line;
mod ticker;
mod trace;
mod user;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use pangaea_runtime::config::{Config, Loaded, Overrides, Sources};

use crate::catalogue::Catalogue;
use crate::retail;

/// An online store whose modules run in one process or apart, by configuration alone
#[derive(Parser)]
#[command(
    name = "pangaea",
    version,
    after_help = "Examples:\n  \
    pangaea                                  the whole store, on embedded defaults\n  \
    pangaea run --modules order,product --config config/mixed.toml\n  \
    pangaea check --config config/apart.toml\n  \
    pangaea config show --origin\n  \
    pangaea topology --format mermaid"
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Run the store, or some of its modules (the default)
    Run(run::RunArgs),
    /// Check configuration and topology, offline
    Check(ConfigArgs),
    /// Show the configuration
    #[command(subcommand)]
    Config(inspect::ConfigCommand),
    /// Make schemas, tables and streams, with a role of its own
    Provision(provision::ProvisionArgs),
    /// Make new secrets for a placement with least rights
    Secrets(secrets::SecretsArgs),
    /// Draw who speaks to whom
    Topology(inspect::TopologyArgs),
    /// Print the OpenAPI 3.1 document
    Openapi(inspect::OpenapiArgs),
    /// Bring a catalogue into a running store
    #[command(subcommand)]
    Import(Import),
    /// Place a real shop's invoices through the HTTP API
    PlaceInvoices(retail::place::PlaceArgs),
    /// Check the invariants of a stopped or a live store
    Verify(verify::VerifyArgs),
    /// Tell what happened to an order, from the journals
    Order(trace::OrderArgs),
    /// Tell what happened within a trace, from the journals
    Trace(trace::TraceArgs),
    /// Write a store's journals into a file that can be replayed
    Record(record::RecordArgs),
    /// Run a recording through this program's handlers, and compare
    Replay(Box<replay::ReplayArgs>),
    /// Run this program's handlers of a module beside a live leader, and compare
    Shadow(shadow::ShadowArgs),
    /// Make a module's tables again from its history, while the store runs
    Rebuild(rebuild::RebuildArgs),
    /// Look at what could not be handled, redrive or abandon it
    #[command(subcommand)]
    DeadLetters(dead_letters::DeadLettersCommand),
    /// Place orders at a given rate, or as fast as the store takes them
    Load(load::LoadArgs),
    /// Serve the payment provider simulator
    SimulateProvider(simulate::SimulateArgs),
    /// Manage accounts
    #[command(subcommand)]
    User(user::UserCommand),
    /// Route paths of one address to several processes
    Edge(edge::EdgeArgs),
}

#[derive(Subcommand)]
enum Import {
    OnlineRetail(retail::import::ImportArgs),
}

/// Which configuration a command works with.
#[derive(Args, Clone, Default)]
pub(crate) struct ConfigArgs {
    /// A profile file over the compiled-in defaults
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Modules to run here, separated by commas; all when not given
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    modules: Option<Vec<String>>,
    /// Set one key, e.g. --set http.listen=127.0.0.1:8081
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = parse_set)]
    set: Vec<(String, String)>,
}

/// How a command ends that compares and has found a difference.
const DIFFERS_EXIT: u8 = 4;

/// Whether standard output shows colours. `NO_COLOR` is respected.
fn has_colours() -> bool {
    console::Term::stdout().is_term() && console::colors_enabled()
}

fn parse_set(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE, e.g. http.listen=127.0.0.1:8081")?;
    Ok((key.to_owned(), value.to_owned()))
}

// === impl ConfigArgs ===

impl ConfigArgs {
    fn load(&self) -> Result<Loaded> {
        let overrides = Overrides { modules: self.modules.clone(), set: self.set.clone(), ..Overrides::default() };
        Ok(Config::load(&Sources::of_process(self.config.clone(), overrides))?)
    }
}

pub(crate) async fn dispatch(cli: Cli, catalogue: &Catalogue) -> Result<ExitCode> {
    let command = cli.command.unwrap_or_else(|| Command::Run(run::RunArgs::default()));
    match command {
        Command::Run(args) => run::run(args, catalogue).await,
        Command::Check(args) => inspect::check(&args, catalogue),
        Command::Config(command) => inspect::config(&command),
        Command::Topology(args) => inspect::topology(&args, catalogue),
        Command::Openapi(args) => inspect::openapi(&args, catalogue),
        Command::Provision(args) => provision::run(args, catalogue).await,
        Command::Secrets(args) => secrets::run(&args, catalogue),
        Command::Import(Import::OnlineRetail(args)) => retail::import::run(args).await.map(|()| ExitCode::SUCCESS),
        Command::PlaceInvoices(args) => retail::place::run(args).await,
        Command::Verify(args) => verify::run(args, catalogue).await,
        Command::Order(args) => trace::order(args, catalogue).await,
        Command::Trace(args) => trace::trace(args, catalogue).await,
        Command::Record(args) => record::run(args, catalogue).await,
        Command::Replay(args) => replay::run(*args, catalogue).await,
        Command::Shadow(args) => shadow::run(args, catalogue).await,
        Command::Rebuild(args) => rebuild::run(args, catalogue).await,
        Command::DeadLetters(command) => dead_letters::run(command).await,
        Command::Load(args) => load::run(args).await,
        Command::SimulateProvider(args) => simulate::run(args).await,
        Command::User(command) => user::run(command, catalogue).await,
        Command::Edge(args) => edge::run(args).await,
    }
}
