use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Args;
use pangaea_kernel::{Histogram, process_clock};
use pangaea_runtime::config::{BusKind, Config};
use pangaea_runtime::{Host, Started, telemetry};
use pangaea_user::User;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::ConfigArgs;
use crate::catalogue::{Catalogue, Modules, Outside};
use crate::provider::Provider;

const DEMO_CUSTOMER: &str = "customer@demo.pangaea.example";
/// Of the demo catalogue; a test places it as printed.
const DEMO_ORDER: &str = r#"{"lines":[{"sku":"TEA-EARL-GREY-100","quantity":2}],"payment_token":"tok_ok"}"#;

#[derive(Args, Default)]
#[command(after_help = "Examples:\n  \
    pangaea run\n  \
    pangaea run --set http.listen=127.0.0.1:8081 --set operations.listen=127.0.0.1:9091\n  \
    pangaea run --modules order --config config/apart.toml")]
pub(crate) struct RunArgs {
    #[command(flatten)]
    config: ConfigArgs,
}

/// Runs until Ctrl-C or SIGTERM, then finishes what has been taken.
pub(super) async fn run(args: RunArgs, catalogue: &Catalogue) -> Result<ExitCode> {
    let config = args.config.load()?.config;
    let telemetry = telemetry::init(&config, &histograms(&config, catalogue)?)?;
    let provider = Provider::of(&config).await?;
    let outside = Outside { provider_url: provider.url.clone(), may_write: true };
    let Modules { all: modules, user } = catalogue.build(&config, &outside)?;
    let shutdown = CancellationToken::new();
    stop_on_signal(shutdown.clone())?;
    let embedded = provider.is_embedded();
    let outcome = match Host::build(config.clone(), modules, process_clock(), telemetry.clone()).await {
        Ok(host) => host.run(shutdown, |started| announce(&config, user, started, embedded)).await,
        Err(error) => Err(error),
    };
    provider.stop().await;
    telemetry.shut_down().await;
    outcome?;
    Ok(ExitCode::SUCCESS)
}

/// Those of all modules, before any of them is built in earnest: what starts them wants to log.
fn histograms(config: &Config, catalogue: &Catalogue) -> Result<Vec<&'static Histogram>> {
    let definitions = catalogue.definitions(config)?;
    Ok(definitions.iter().flat_map(|definition| definition.histograms().to_vec()).collect())
}

/// Cancels the token at SIGTERM or Ctrl-C.
pub(super) fn stop_on_signal(shutdown: CancellationToken) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be caught")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be caught")?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        shutdown.cancel();
    });
    Ok(())
}

/// Says where everything is. Where the demo accounts live, a token and lines to try it are printed too.
fn announce(config: &Config, user: Arc<User>, started: Started, embedded_provider: bool) {
    let config = config.clone();
    tokio::spawn(async move {
        let token = demo_token(&config, &user, &started).await;
        // A closed pipe must not end a store that runs.
        let _ = write_welcome(&config, &started, embedded_provider, token.as_deref());
    });
}

async fn demo_token(config: &Config, user: &User, started: &Started) -> Option<String> {
    let demo = config.modules.get("user")?.options.get("demo_accounts")?.as_bool()?;
    let hosted = started.modules.iter().find(|module| module.module() == "user").filter(|_| demo)?;
    match user.demo_token(hosted.edge(), DEMO_CUSTOMER).await {
        Ok(token) => Some(token),
        Err(problem) => {
            tracing::warn!(%problem, "no demo token");
            None
        }
    }
}

fn write_welcome(
    config: &Config,
    started: &Started,
    embedded_provider: bool,
    token: Option<&str>,
) -> std::io::Result<()> {
    let names: Vec<&str> = started.modules.iter().map(|module| module.module()).collect();
    let base = config.http.public_url.clone().unwrap_or_else(|| format!("http://{}", started.api));
    let bus = match config.bus.kind {
        BusKind::Memory => "memory".to_owned(),
        BusKind::Nats => "NATS".to_owned(),
    };
    let mut out = std::io::stdout().lock();
    writeln!(out, "Pangaea {} is ready.", pangaea_runtime::CODE_VERSION)?;
    writeln!(out, "  modules     {}", names.join(", "))?;
    writeln!(out, "  bus         {bus}")?;
    writeln!(out, "  API         {base}/v1   ({base}/openapi.json)")?;
    writeln!(out, "  operations  http://{}   (/healthz, /readyz, /metrics)", started.operations)?;
    if embedded_provider {
        writeln!(out, "  provider    simulator inside this process: no money moves")?;
    }
    if let Some(token) = token.filter(|_| names.contains(&"order")) {
        write_try_this(&mut out, &base, token)?;
    }
    out.flush()
}

fn write_try_this(out: &mut impl Write, base: &str, token: &str) -> std::io::Result<()> {
    writeln!(out, "\nTry this (the token is a demo customer's, for ten minutes):\n")?;
    writeln!(out, "  TOKEN={token}")?;
    writeln!(out, "  curl -s '{base}/v1/products?limit=3'")?;
    writeln!(out, "  curl -s {base}/v1/orders -H \"Authorization: Bearer $TOKEN\" \\")?;
    writeln!(
        out,
        "    -H 'Content-Type: application/json' -H \"Idempotency-Key: $(date +%s%N)\" -H 'Prefer: wait=10' \\"
    )?;
    writeln!(out, "    -d '{}'", DEMO_ORDER)?;
    writeln!(out)
}
