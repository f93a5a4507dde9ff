use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tracing_subscriber::{EnvFilter, Registry, reload};

use super::filter;

/// The levels of the logs, which an operator can change while the process runs. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Levels(Option<Arc<Shared>>);

struct Shared {
    handle: reload::Handle<EnvFilter, Registry>,
    configured: String,
    now: Mutex<Now>,
}

struct Now {
    filter: String,
    /// Goes back to what is configured when its time has come.
    reset: Option<JoinHandle<()>>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum LevelError {
    #[error("{0}")]
    Filter(String),
    #[error("the logs of this process are not its own to change")]
    Off,
}

// === impl Levels ===

impl Levels {
    pub(super) fn of(filter: EnvFilter, text: &str) -> (reload::Layer<EnvFilter, Registry>, Self) {
        let (layer, handle) = reload::Layer::new(filter);
        let now = Mutex::new(Now { filter: text.to_owned(), reset: None });
        (layer, Self(Some(Arc::new(Shared { handle, configured: text.to_owned(), now }))))
    }

    /// What is logged now.
    pub(crate) fn filter(&self) -> String {
        let now = |shared: &Arc<Shared>| shared.now.lock().unwrap_or_else(PoisonError::into_inner).filter.clone();
        self.0.as_ref().map(now).unwrap_or_default()
    }

    /// What is configured, and logged again after a restart.
    pub(crate) fn configured(&self) -> &str {
        self.0.as_ref().map(|shared| shared.configured.as_str()).unwrap_or_default()
    }

    /// Logs by `text` from now on, or until `lasts` is over.
    ///
    /// # Errors
    /// When the text cannot be read; then nothing has changed.
    pub(crate) fn set(&self, text: &str, lasts: Option<Duration>) -> Result<(), LevelError> {
        let shared = self.0.as_ref().ok_or(LevelError::Off)?;
        shared.set(text)?;
        let levels = self.clone();
        let reset = lasts.map(|lasts| {
            tokio::spawn(async move {
                tokio::time::sleep(lasts).await;
                if let Some(shared) = &levels.0 {
                    // It was read when the process started.
                    let _ = shared.set(&shared.configured);
                }
            })
        });
        let mut now = shared.now.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(earlier) = std::mem::replace(&mut now.reset, reset) {
            earlier.abort();
        }
        Ok(())
    }
}

// === impl Shared ===

impl Shared {
    fn set(&self, text: &str) -> Result<(), LevelError> {
        let parsed = filter::parse(text).map_err(LevelError::Filter)?;
        self.handle.reload(parsed).map_err(|_| LevelError::Off)?;
        text.clone_into(&mut self.now.lock().unwrap_or_else(PoisonError::into_inner).filter);
        tracing::info!(filter = text, "the levels of the logs are set");
        Ok(())
    }
}
