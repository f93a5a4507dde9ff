//! The payment provider of a store: configured by URL, or a simulator inside this process.

use std::path::PathBuf;

use anyhow::{Context, Result};
use pangaea_runtime::config::Config;
use pangaea_simulator::{Simulator, SimulatorConfig};
use serde::Deserialize;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PaymentOptions {
    provider: ProviderOptions,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProviderOptions {
    /// Empty: the simulator is embedded.
    url: String,
    ledger: PathBuf,
}

/// The provider that this process speaks to, and the simulator if it runs inside.
pub(crate) struct Provider {
    pub(crate) url: String,
    embedded: Option<(CancellationToken, JoinHandle<()>)>,
}

// === impl Provider ===

impl Provider {
    /// The configured provider; without one, and where payment runs here, the simulator on loopback with its own ledger.
    ///
    /// # Errors
    /// When the simulator cannot listen or its ledger cannot be read.
    pub(crate) async fn of(config: &Config) -> Result<Self> {
        let options: PaymentOptions = crate::catalogue::options(config, "payment")?;
        let wanted = &config.runtime.modules;
        let hosted = wanted.is_empty() || wanted.iter().any(|name| name == "*" || name == "payment");
        if !options.provider.url.is_empty() || !hosted {
            return Ok(Self::at(options.provider.url));
        }
        if let Some(folder) = options.provider.ledger.parent() {
            std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        let simulator = SimulatorConfig { ledger: Some(options.provider.ledger), ..SimulatorConfig::default() };
        let simulator = Simulator::bind(simulator).await.context("the embedded provider simulator")?;
        let url = format!("http://{}", simulator.addr());
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            if let Err(error) = simulator.run(stopped).await {
                tracing::error!(%error, "the provider simulator has stopped");
            }
        });
        Ok(Self { url, embedded: Some((stop, task)) })
    }

    /// For commands that never speak to it.
    pub(crate) fn nowhere() -> Self {
        Self::at(String::new())
    }

    fn at(url: String) -> Self {
        let url = if url.is_empty() { "http://127.0.0.1:9".to_owned() } else { url };
        Self { url, embedded: None }
    }

    pub(crate) fn is_embedded(&self) -> bool {
        self.embedded.is_some()
    }

    pub(crate) async fn stop(self) {
        if let Some((stop, task)) = self.embedded {
            stop.cancel();
            let _ = task.await;
        }
    }
}
