//! What Prometheus is told of a shadow. It has a few numbers of its own and no recorder: the store's would tell of handlers
//! that answer nobody.

use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use pangaea_contracts::Timestamp;
use pangaea_kernel::{Clock, SystemClock};
use pangaea_replay::Compared;
use pangaea_runtime::config::{Config, Sources};
use tokio_util::sync::CancellationToken;

/// Cheap to clone; the clones share the numbers.
#[derive(Clone)]
pub(super) struct Figures {
    module: &'static str,
    now: Arc<Mutex<Now>>,
}

#[derive(Clone, Copy, Default)]
struct Now {
    inputs: u64,
    differing: u64,
    behind: u64,
    waiting_since: Option<Timestamp>,
    is_following: bool,
}

/// Answers `GET /metrics` there until it is told to stop.
///
/// # Errors
/// When nobody can listen there.
pub(super) async fn serve(address: &str, figures: Figures, stop: CancellationToken) -> Result<()> {
    let listener = tokio::net::TcpListener::bind(address).await;
    let listener = listener.with_context(|| format!("cannot listen on {address} (--metrics-listen)"))?;
    eprintln!("metrics on http://{}/metrics", listener.local_addr()?);
    let text = move || std::future::ready(([(CONTENT_TYPE, "text/plain; version=0.0.4")], figures.text()));
    let routes = axum::Router::new().route("/metrics", get(text));
    let http = Config::load(&Sources::default())?.config.http;
    tokio::spawn(pangaea_runtime::serve_http("shadow", listener, routes, http, stop));
    Ok(())
}

// === impl Figures ===

impl Figures {
    pub(super) fn new(module: &'static str) -> Self {
        Self { module, now: Arc::default() }
    }

    pub(super) fn count(&self, compared: &Compared) {
        self.change(|now| {
            now.inputs += compared.inputs;
            now.differing += compared.differences.len() as u64;
            now.behind = compared.behind;
            now.waiting_since = compared.waiting_since;
            now.is_following = true;
        });
    }

    /// The leader's database does not answer.
    pub(super) fn lost(&self) {
        self.change(|now| now.is_following = false);
    }

    fn change(&self, change: impl FnOnce(&mut Now)) {
        change(&mut self.now.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn text(&self) -> String {
        let now = *self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let lag_seconds = now.waiting_since.map_or(0.0, seconds_since);
        let module = format!("{{module=\"{}\"}}", self.module);
        let version = format!("{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
        let mut text = String::new();
        for (name, kind, help, labels, value) in [
            ("inputs_total", "counter", "Inputs that were compared.", &module, now.inputs.to_string()),
            ("differing_total", "counter", "Those that differ.", &module, now.differing.to_string()),
            ("lag", "gauge", "Inputs that the leader has handled and this has not.", &module, now.behind.to_string()),
            ("lag_seconds", "gauge", "How long the oldest of them waits, at most.", &module, lag_seconds.to_string()),
            (
                "following",
                "gauge",
                "1 while the leader's database answers.",
                &module,
                i32::from(now.is_following).to_string(),
            ),
        ] {
            let name = format!("pangaea_shadow_{name}");
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name}{labels} {value}");
        }
        let _ = writeln!(
            text,
            "# HELP pangaea_build_info Always 1.\n# TYPE pangaea_build_info gauge\npangaea_build_info{version} 1"
        );
        text
    }
}

/// By the clock of this machine, which may be behind the leader's.
pub(super) fn seconds_since(moment: Timestamp) -> f64 {
    SystemClock.now().millis_since(moment).max(0) as f64 / 1_000.0
}
