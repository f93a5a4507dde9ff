//! Streams made by a job, for modules that may not make any.

use std::time::Duration;

use super::config::NatsConfig;
use super::link::Link;
use super::stream;
use crate::BusError;

/// A stream, and whether it was missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvidedStream {
    pub stream: String,
    pub is_new: bool,
}

/// Makes the streams of these sources where they are missing. The broker is waited for.
///
/// # Errors
/// [`BusError::Configuration`] when a stream is there and is another one; [`BusError::Unavailable`] when the broker is not
/// there within `patience`; what the broker says.
pub async fn provision(
    config: NatsConfig,
    sources: &[&str],
    patience: Duration,
) -> Result<Vec<ProvidedStream>, BusError> {
    let link = Link::connect(config).await?;
    let connected = async {
        // The turn first: a connection that comes in between ends it.
        let mut turn = link.turn();
        while !link.connected() {
            link.turned(turn).await;
            turn = link.turn();
        }
    };
    if tokio::time::timeout(patience, connected).await.is_err() {
        return Err(BusError::Unavailable(link.config.url.clone()));
    }
    let mut provided = Vec::with_capacity(sources.len());
    for source in sources {
        let is_new = stream::provide(&link, source).await?;
        provided.push(ProvidedStream { stream: stream::name(&link.config.namespace, source), is_new });
    }
    link.close().await;
    Ok(provided)
}
