use std::time::Duration;

use anyhow::Result;
use pangaea_journal::JournalError;
use pangaea_runtime::config::Config;
use tokio::time::{Instant, sleep};

/// Between two tries to reach a server.
pub(super) const AGAIN: Duration = Duration::from_secs(1);

/// Does what needs a database server. It may be starting, and a pod's first connections are refused until its network policies
/// are known everywhere.
///
/// # Errors
/// When the server is still away at the deadline, and at once for every other reason.
pub(super) async fn once_served<T>(
    config: &Config,
    deadline: Instant,
    mut work: impl AsyncFnMut() -> Result<T>,
) -> Result<T> {
    let is_away = |error: &anyhow::Error| {
        let is_server = config.database.url.starts_with("postgres");
        is_server && error.downcast_ref::<JournalError>().is_some_and(JournalError::is_away)
    };
    loop {
        match work().await {
            Err(error) if is_away(&error) && Instant::now() < deadline => {
                eprintln!("waiting for the database: {error:#}");
                sleep(AGAIN).await;
            }
            done => return done,
        }
    }
}
