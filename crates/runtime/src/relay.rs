use std::sync::Arc;
use std::time::Duration;

use pangaea_bus::{BusError, Relay};
use pangaea_contracts::Timestamp;
use pangaea_kernel::Clock;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::module_log::ModuleLog;

const BACKOFF_FIRST: Duration = Duration::from_millis(50);
/// Short, because a broker that is back should find the relay there; the link itself knows how often to try.
const BACKOFF_MAX: Duration = Duration::from_millis(250);
const OBSERVE_WAIT: Duration = Duration::from_millis(100);

/// Appends a module's log to the broker until `shutdown`, and tells how far it is; a broker that is away is waited for.
///
/// # Errors
/// When the broker holds what the outbox does not: publishing more would rewrite history.
pub(crate) async fn run(
    module: &'static str,
    mut relay: Box<dyn Relay>,
    log: Arc<ModuleLog>,
    clock: Arc<dyn Clock>,
    relayed: watch::Sender<u64>,
    shutdown: CancellationToken,
) -> Result<(), BusError> {
    let mut backoff = BACKOFF_FIRST;
    let (mut told, mut known) = (None, None);
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
                known = Some(progress.position);
            }
            Err(error @ BusError::StreamAhead { .. }) => return Err(error),
            Err(error) => {
                // Said once for an outage, however often it is tried again.
                if told.replace(error.code()) != Some(error.code()) {
                    tracing::warn!(module, %error, "the relay cannot append; trying again");
                }
                metrics::counter!("pangaea_relay_errors_total", "module" => module).increment(1);
                tokio::time::sleep(backoff).await;
                backoff = (backoff * 2).min(BACKOFF_MAX);
            }
        }
        // Until the broker has said once what it holds, nobody knows what it lacks.
        if let Some(position) = known {
            observe_lag(module, &log, position, clock.now()).await;
        }
    }
}

/// How many rows the broker lacks, and the age of the oldest of them.
async fn observe_lag(module: &'static str, log: &ModuleLog, position: u64, now: Timestamp) {
    let lag = log.last().saturating_sub(position);
    let oldest = async { if lag > 0 { log.next_written_at(position).await } else { None } };
    // A database that is away must not hold the relay.
    let written_at = tokio::time::timeout(OBSERVE_WAIT, oldest).await.ok().flatten();
    let age_ms = written_at.map_or(0, |written_at| now.millis_since(written_at).max(0));
    metrics::gauge!("pangaea_relay_lag", "module" => module).set(lag as f64);
    metrics::gauge!("pangaea_relay_lag_seconds", "module" => module).set(age_ms as f64 / 1e3);
}
