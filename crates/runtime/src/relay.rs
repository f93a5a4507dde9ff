use std::sync::Arc;
use std::time::Duration;

use pangaea_bus::{BusError, Relay};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::module_log::ModuleLog;

const BACKOFF_FIRST: Duration = Duration::from_millis(50);
/// Short, because a broker that is back should find the relay there; the link itself knows how often to try.
const BACKOFF_MAX: Duration = Duration::from_millis(250);

/// Appends a module's log to the broker until `shutdown`, and tells how far it is; a broker that is away is waited for.
///
/// # Errors
/// When the broker holds what the outbox does not: publishing more would rewrite history.
pub(crate) async fn run(
    module: &'static str,
    mut relay: Box<dyn Relay>,
    log: Arc<ModuleLog>,
    relayed: watch::Sender<u64>,
    shutdown: CancellationToken,
) -> Result<(), BusError> {
    let mut backoff = BACKOFF_FIRST;
    let mut told = None;
    loop {
        let step = tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(()),
            step = relay.step() => step,
        };
        match step {
            Ok(progress) => {
                backoff = BACKOFF_FIRST;
                told = None;
                log.relayed(progress.position);
                relayed.send_replace(progress.position);
                metrics::gauge!("pangaea_relay_position", "module" => module).set(progress.position as f64);
                observe_lag(module, &log, progress.position);
            }
            Err(error @ BusError::StreamAhead { .. }) => return Err(error),
            Err(error) => {
                // Said once for an outage, however often it is tried again.
                if told.replace(error.code()) != Some(error.code()) {
                    tracing::warn!(module, %error, "the relay cannot append; trying again");
                }
                metrics::counter!("pangaea_relay_errors_total", "module" => module).increment(1);
                observe_lag(module, &log, *relayed.borrow());
                tokio::time::sleep(backoff).await;
                backoff = (backoff * 2).min(BACKOFF_MAX);
            }
        }
    }
}

/// How many rows the broker lacks, and since when it lacks the oldest of them.
fn observe_lag(module: &'static str, log: &ModuleLog, position: u64) {
    metrics::gauge!("pangaea_relay_lag", "module" => module).set(log.last().saturating_sub(position) as f64);
    metrics::gauge!("pangaea_relay_lag_seconds", "module" => module).set(log.relay_wait().as_secs_f64());
}
