use std::io::Write;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, anyhow, bail};
use clap::{Args, Subcommand};
use pangaea_contracts::Role;
use pangaea_kernel::{Problem, process_clock};
use pangaea_runtime::Host;
use pangaea_runtime::config::BusKind;
use pangaea_runtime::telemetry::Telemetry;
use tokio_util::sync::CancellationToken;

use super::ConfigArgs;
use crate::catalogue::{Catalogue, Modules, Outside};
use crate::provider::Provider;

#[derive(Subcommand)]
pub(crate) enum UserCommand {
    /// Create an account in a stopped store
    Create(CreateArgs),
}

#[derive(Args)]
#[command(after_help = "Examples:\n  \
    printf '%s' \"$PASSWORD\" | pangaea user create --email ada@example.com --role admin --password-stdin\n  \
    pangaea user create --email ada@example.com --role staff --password 'a long password'\n\n\
    The store must not run: its user database has one writer. In a running store an administrator uses\n\
    POST /v1/users and PUT /v1/users/{id}/roles.")]
pub(crate) struct CreateArgs {
    #[command(flatten)]
    config: ConfigArgs,
    #[arg(long)]
    email: String,
    /// Shown to the account's owner only; what stands before the @ when not given
    #[arg(long)]
    name: Option<String>,
    #[arg(long, value_parser = parse_role, default_value = "customer")]
    role: Role,
    /// 10 to 128 characters; other users of this machine may see it, so prefer --password-stdin
    #[arg(long, conflicts_with = "password_stdin")]
    password: Option<String>,
    /// Read the password from standard input
    #[arg(long)]
    password_stdin: bool,
}

fn parse_role(text: &str) -> Result<Role, String> {
    text.parse()
}

pub(super) async fn run(command: UserCommand, catalogue: &Catalogue) -> Result<ExitCode> {
    let UserCommand::Create(args) = command;
    let password = password(&args)?;
    let mut config = args.config.load()?.config;
    // The user module by itself: on a bus of its own, on any free port, with the operator's database.
    config.runtime.modules = vec!["user".to_owned()];
    config.bus.kind = BusKind::Memory;
    config.http.listen = ([127, 0, 0, 1], 0).into();
    config.operations.listen = ([127, 0, 0, 1], 0).into();
    let outside = Outside { provider_url: Provider::nowhere().url, may_write: true };
    let Modules { all: modules, user: accounts } = catalogue.build(&config, &outside)?;
    let host = Host::build(config, modules, process_clock(), Telemetry::off()).await?;

    let stop = CancellationToken::new();
    let outcome = Arc::new(Mutex::new(None));
    let (stopping, filled) = (stop.clone(), outcome.clone());
    host.run(stop, move |started| {
        tokio::spawn(async move {
            let created = match started.modules.first() {
                Some(user) => {
                    let name = args.name.as_deref().unwrap_or_else(|| local_part(&args.email));
                    let created = accounts.create_user(user.edge(), &args.email, &password, name, &[args.role]).await;
                    created.map_err(|problem| fault(&problem))
                }
                None => Err(anyhow!("the user module did not start")),
            };
            if let Ok(mut outcome) = filled.lock() {
                *outcome = Some(created);
            }
            stopping.cancel();
        });
    })
    .await?;
    let created = outcome.lock().ok().and_then(|mut outcome| outcome.take()).context("nothing was created")??;
    writeln!(std::io::stdout().lock(), "{created}")?;
    Ok(ExitCode::SUCCESS)
}

/// An account must have a name; the module says what is wrong with an address that is none.
fn local_part(email: &str) -> &str {
    email.split('@').next().unwrap_or(email)
}

/// The fields of a problem are the options of this command.
fn fault(problem: &Problem) -> anyhow::Error {
    let options =
        problem.errors.iter().map(|error| format!("--{}: {}", error.pointer.trim_start_matches('/'), error.detail));
    let options: Vec<String> = options.collect();
    if options.is_empty() { anyhow!("{problem}") } else { anyhow!("{}", options.join("; ")) }
}

fn password(args: &CreateArgs) -> Result<String> {
    if let Some(password) = &args.password {
        return Ok(password.clone());
    }
    if !args.password_stdin {
        bail!("give --password, or --password-stdin and the password on standard input");
    }
    let mut text = String::new();
    std::io::stdin().read_line(&mut text).context("standard input")?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}
