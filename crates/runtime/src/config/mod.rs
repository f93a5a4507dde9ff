//! What an operator can set, where each value came from, and what is wrong with it.
//!
//! Four layers, each over the one before: the compiled-in `config/default.toml`, a profile file, the environment
//! (`PANGAEA__SECTION__KEY`), the command line. The default file names every key: what it does not name is unknown, and an
//! unknown key is an error. Layers are merged before anything is parsed, so no type here has a default of its own.

mod cidr;
mod error;
mod layers;
mod load;
mod redact;
mod shape;
mod show;
mod types;
mod validate;

pub use cidr::{Cidr, CidrError};
pub use error::{ConfigError, Fault};
pub use load::{Loaded, Overrides, Sources};
pub use types::{
    BusConfig, BusKind, Config, DatabaseConfig, EffectsConfig, HttpConfig, LogFormat, ModuleConfig, OperationsConfig,
    RateLimits, RuntimeConfig, TelemetryConfig, WriterConfig,
};

#[cfg(test)]
mod tests;
