//! Real input: a month of a real shop's invoices as a catalogue and as orders.
//!
//! `pangaea import online-retail FILE` ([`import`]) builds the catalogue, `pangaea place-invoices FILE` ([`place`])
//! sends the invoices through the HTTP API as staff. Both read the same CSV ([`csv`]) and decide each line's outcome
//! with the same pure rules ([`classify`]), so the stock that the first creates is the stock that the second uses.
//! The outcome table ([`table`]) must equal that of `tests/retail/reconcile.py`, which shares no code with this folder.
//!
//! Nothing here knows the inside of the store: it is a client of the public API and of nothing else.

pub(crate) mod answer;
mod api;
mod classify;
pub(crate) mod client;
#[cfg(test)]
mod client_tests;
mod csv;
mod flight;
pub(crate) mod import;
mod money;
pub(crate) mod place;
mod plan;
mod progress;
mod report;
mod source;
mod table;
#[cfg(test)]
mod tests;

use std::time::Duration;

use anyhow::{Context, Result, bail};
use http_body_util::Full;
use hyper::Uri;
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const IDLE_MAX: Duration = Duration::from_secs(2);

pub(crate) type HttpClient = Client<HttpConnector, Full<Bytes>>;

/// Where the store is and who speaks to it; shared by both commands.
#[derive(clap::Args, Clone)]
pub struct StoreArgs {
    /// Base URL of the store (http only)
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub url: String,
    /// E-mail of a staff account
    #[arg(long, value_name = "EMAIL", default_value = "staff@demo.pangaea.example")]
    pub email: String,
    /// Password of that account
    #[arg(long, value_name = "PASSWORD", default_value = "demo-staff-password")]
    pub password: String,
}

// === impl StoreArgs ===

impl StoreArgs {
    /// The store's address without a trailing `/`, and a client that keeps at most `connections_max` idle connections.
    ///
    /// # Errors
    /// The address is not an `http://` URL.
    pub(crate) fn connection(&self, connections_max: usize) -> Result<(String, HttpClient)> {
        connection("--url", &self.url, connections_max)
    }
}

/// The same for an address that came as `option`.
///
/// # Errors
/// The address is not an `http://` URL.
pub(crate) fn connection(option: &str, url: &str, connections_max: usize) -> Result<(String, HttpClient)> {
    let base = url.trim_end_matches('/').to_owned();
    let uri: Uri = base.parse().with_context(|| format!("{option} {base:?} is not a URL"))?;
    if uri.scheme_str() != Some("http") || uri.host().is_none() {
        bail!("{option} {base:?} must look like http://host:port (TLS is left to a proxy beside the client)");
    }
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    connector.set_nodelay(true);
    let http = Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        // Shorter than anyone in between keeps an idle connection: one that is about to be closed must not be given a
        // request.
        .pool_idle_timeout(IDLE_MAX)
        .pool_max_idle_per_host(connections_max)
        .build(connector);
    Ok((base, http))
}
