//! What hosts modules, naming none: the writer, readers, relay, effects, HTTP, configuration, telemetry, drain.
//!
//! A [`Host`] is built from a [`Config`](config::Config) and a catalogue of modules; which of them run here is
//! configuration. Every module gets the same parts:
//!
//! ```text
//!   HTTP ─┐                    ┌─ answers
//!   logs ─┼─► queue ─► writer ─┼─ log ─► bus ─► other modules' readers
//!  results┘   (bounded)  │     └─ effects ─► performers ─► results
//!                        └─ one commit per batch
//! ```
//!
//! The writer is a task that owns a [`kernel::Executor`](pangaea_kernel::Executor); everything else talks to it through
//! its bounded queue, so nothing else can write.

pub mod config;
pub mod telemetry;
pub mod topology;

mod admission;
mod appends;
mod breaker;
mod effects;
mod election;
mod forward;
mod gauges;
mod handling;
mod host;
mod http;
mod letters;
mod module_host;
mod module_log;
mod queue;
mod reader;
mod rebuilds;
mod recovered;
mod relay;
mod term;
mod waiting;
mod ways;
mod writer;

pub use host::{Host, HostError, Started, nats_config};
pub use http::openapi::api_document;
pub use http::serve_http;
pub use module_host::ModuleHandle;

/// The version of this build, recorded with every input.
pub const CODE_VERSION: &str = env!("CARGO_PKG_VERSION");
