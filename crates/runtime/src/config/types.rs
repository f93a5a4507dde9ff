use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Cidr;
use super::redact::debug_redacted;

/// Everything an operator can set. Loaded by [`Config::load`]; the bounds named on the fields have then been checked.
///
/// Its `Debug` form hides secrets, as do those of its parts.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub runtime: RuntimeConfig,
    pub http: HttpConfig,
    pub operations: OperationsConfig,
    pub bus: BusConfig,
    pub database: DatabaseConfig,
    pub writer: WriterConfig,
    pub effects: EffectsConfig,
    pub telemetry: TelemetryConfig,
    /// By the module's name.
    pub modules: BTreeMap<String, ModuleConfig>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuntimeConfig {
    /// The modules to host; none, or `*`, means all. See [`Config::hosted`].
    pub modules: Vec<String>,
    /// How long a stopping process may take to finish what it has taken in: 0 to 600,000 ms.
    pub drain_timeout_ms: u64,
    /// How many replicas of this process the operator runs: 1 to 100. The memory bus and SQLite refuse more than one.
    pub replicas: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpConfig {
    /// Where the API is served. Port 0 lets the system choose.
    pub listen: SocketAddr,
    /// From the start of a connection or the end of an answer to the next request's first byte: 1 to 86,400,000 ms. Longer
    /// than any proxy in front keeps a connection without a request.
    pub idle_timeout_ms: u64,
    /// From a request's first byte to the end of its headers: 1 to 600,000 ms.
    pub header_timeout_ms: u64,
    /// For a request's body to arrive, and for a client to take something more of its answer: 1 to 600,000 ms.
    pub body_timeout_ms: u64,
    /// For the answer: 1 to 600,000 ms. A request that asks to wait by `Prefer: wait=N` gets N seconds on top.
    pub request_timeout_ms: u64,
    /// A request's body: 1,024 to 67,108,864 bytes.
    pub body_bytes_max: usize,
    /// Open connections: 1 to 1,000,000, and no more than the system allows open files. Beyond it those give way that wait
    /// longest for their client.
    pub connections_max: usize,
    /// Proxies whose `X-Forwarded-For` is believed, at most 100. From anyone else the peer's address counts.
    pub trusted_proxies: Vec<Cidr>,
    pub rate_limit_per_minute: RateLimits,
    /// The address that clients use, without a path, when it is not the listening one.
    #[serde(default)]
    pub public_url: Option<String>,
}

/// Requests a minute, each 1 to 1,000,000,000.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimits {
    /// For each address that sends no token.
    pub anonymous: u32,
    /// For each customer.
    pub customer: u32,
    /// For each member of staff, administrators included.
    pub staff: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperationsConfig {
    /// Where health, readiness and metrics are served. Port 0 lets the system choose.
    pub listen: SocketAddr,
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BusConfig {
    pub kind: BusKind,
    /// NATS: the server's address, or several of one cluster separated by commas.
    pub url: String,
    /// The first token of every subject: 1 to 32 lower-case letters, digits and `_`, the first one a letter.
    pub namespace: String,
    /// Memory: how many of a log's newest rows stay in memory: 16 to 1,048,576.
    pub ring_rows: usize,
    /// NATS: a `.creds` file, or a file with the seed of an nkey (`SU…`).
    #[serde(default)]
    pub credentials_file: Option<PathBuf>,
    /// NATS: what the subjects of answers to this process begin with: 1 to 64 letters, digits, `_` and `-`.
    #[serde(default)]
    pub inbox_prefix: Option<String>,
    /// NATS: whether a module's leader makes its stream where that is missing. Otherwise it waits for `pangaea provision`.
    pub provision: bool,
    /// NATS: copies of each stream: 1, 3 or 5.
    pub stream_replicas: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BusKind {
    /// The logs of the modules in this process, read in place.
    Memory,
    Nats,
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseConfig {
    /// `sqlite:<file>` or `postgres://…`; `{module}` stands for the module's name.
    pub url: String,
    /// Connections for reads, for each module: 1 to 64.
    pub read_connections_max: u32,
    /// SQLite: whether a commit survives a power cut (`synchronous=FULL`).
    pub synchronous_full: bool,
    /// Whether a leader makes and migrates its tables. Otherwise it waits for `pangaea provision`.
    pub migrate: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WriterConfig {
    /// Inputs in one transaction: 1 to 4,096.
    pub batch_max: usize,
    /// Inputs that wait for the writer: `batch_max` to 1,048,576. Beyond it requests are shed.
    pub queue_max: usize,
    /// How long a command may be expected to wait for the writer: 1 to 600,000 ms. Beyond it requests are shed.
    pub wait_ms_max: u64,
    /// How many messages the module may be behind a log that it reads, or a live reader behind the module's own: 2,048 to
    /// 100,000,000. Beyond it requests are shed.
    pub reader_lag_max: u64,
    /// How long such a reader may be expected to need until it has caught up: 1 to 600,000 ms.
    pub reader_lag_ms_max: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EffectsConfig {
    /// Calls at once, for each module: 1 to 4,096.
    pub in_flight_max: usize,
    /// Effects without a result, for each module: `in_flight_max` to 1,048,576. Beyond it the module takes no deliveries and
    /// no requests until there is room; what a batch or a timer adds to it may exceed it.
    pub pending_max: usize,
    /// The wait before the second try, doubled before each later one: 1 ms to `backoff_max_ms`.
    pub backoff_initial_ms: u64,
    /// The longest wait between two tries: up to 3,600,000 ms.
    pub backoff_max_ms: u64,
    /// Failures in a row that open a target's breaker: 1 to 1,000.
    pub breaker_failures: u32,
    /// How long an open breaker stays so: 1 to 3,600,000 ms.
    pub breaker_open_ms: u64,
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TelemetryConfig {
    pub log_format: LogFormat,
    /// A level, or levels by target, as `tracing_subscriber::EnvFilter` reads them; at most 4,096 bytes.
    pub log_filter: String,
    /// Where traces, and logs and metrics if wanted, are sent over OTLP/HTTP, e.g. `http://127.0.0.1:4318`; empty means
    /// nowhere.
    pub otlp_endpoint: String,
    /// Headers of every export, e.g. for a collector that wants a token.
    #[serde(default)]
    pub otlp_headers: BTreeMap<String, String>,
    /// Whether logs go to `otlp_endpoint`, too.
    pub otlp_logs: bool,
    /// Whether what `/metrics` shows goes to `otlp_endpoint`, too.
    pub otlp_metrics: bool,
    /// The time between two exports of the metrics: 1 to 3,600 s.
    pub otlp_metrics_interval_s: u64,
    /// The share of the traces that begin here which is sampled: 0 to 1. Failures are exported whether sampled or not.
    pub trace_sample_ratio: f64,
    /// What traces call this process; empty means after the modules that it hosts.
    pub service_name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// Pretty on a terminal, JSON elsewhere.
    Auto,
    Pretty,
    Json,
}

/// A module's own part, which the module gives its meaning.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModuleConfig {
    /// Values that can change a decision; null leaves the module's own defaults. A change is an input of the module.
    #[serde(skip_serializing_if = "serde_json::Value::is_null")]
    pub settings: serde_json::Value,
    /// Values for the module's edge, which change no decision.
    #[serde(skip_serializing_if = "serde_json::Value::is_null")]
    pub options: serde_json::Value,
}

// === Debug without secrets ===

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug_redacted("Config", self, f)
    }
}

impl fmt::Debug for BusConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug_redacted("BusConfig", self, f)
    }
}

impl fmt::Debug for DatabaseConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug_redacted("DatabaseConfig", self, f)
    }
}

impl fmt::Debug for TelemetryConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug_redacted("TelemetryConfig", self, f)
    }
}

impl fmt::Debug for ModuleConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug_redacted("ModuleConfig", self, f)
    }
}
