use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use pangaea_simulator::{Simulator, SimulatorConfig};
use tokio_util::sync::CancellationToken;

#[derive(Args)]
#[command(after_help = "Examples:\n  \
    pangaea simulate-provider --listen 127.0.0.1:8099 --ledger data/provider-ledger.jsonl\n  \
    PANGAEA__MODULES__PAYMENT__OPTIONS__PROVIDER__URL=http://127.0.0.1:8099 pangaea run")]
pub(crate) struct SimulateArgs {
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:8099")]
    listen: SocketAddr,
    /// The ledger file, appended to; kept in memory when not given
    #[arg(long)]
    ledger: Option<PathBuf>,
    /// Decides what the flaky tokens do
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Added to every answer, in milliseconds
    #[arg(long, default_value_t = 0)]
    latency_ms: u64,
}

pub(super) async fn run(args: SimulateArgs) -> Result<ExitCode> {
    let SimulateArgs { listen, ledger, seed, latency_ms } = args;
    let config = SimulatorConfig { listen, ledger, seed, latency_ms, ..SimulatorConfig::default() };
    let simulator = Simulator::bind(config).await?;
    writeln!(std::io::stdout().lock(), "the provider simulator listens on http://{}", simulator.addr())?;
    let stop = CancellationToken::new();
    super::run::stop_on_signal(stop.clone())?;
    simulator.run(stop).await.context("the simulator has stopped")?;
    Ok(ExitCode::SUCCESS)
}
