//! The way out of a module's edge to the module that publishes token keys.

use std::sync::Arc;
use std::time::Duration;

use pangaea_bus::Bus;
use pangaea_contracts::Message;
use pangaea_contracts::user::TokenKeyRequest;
use pangaea_kernel::auth::AskForKey;

const KEY_REQUEST_TIMEOUT: Duration = Duration::from_secs(1);

/// A module that meets an unknown key asks whoever publishes keys, once, by request/reply.
pub(crate) fn ask_for_key(bus: Arc<dyn Bus>) -> AskForKey {
    Arc::new(move |request| {
        let bus = bus.clone();
        Box::pin(async move {
            let payload = serde_json::to_vec(&request).ok()?;
            let reply = bus.request(TokenKeyRequest::SUBJECT, payload.into(), None, KEY_REQUEST_TIMEOUT).await;
            serde_json::from_slice(&reply.ok()?).ok()?
        })
    })
}
