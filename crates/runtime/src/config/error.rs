use std::fmt;
use std::path::PathBuf;

/// Why there is no configuration to run with.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read the configuration file {}: {source}; give a file that exists with --config", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{origin} is not TOML: {detail}")]
    Syntax { origin: String, detail: String },
    #[error("the configuration is not usable:{}", list(.0))]
    Invalid(Vec<Fault>),
}

/// One thing that is wrong, with the key and the layer that it was set in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The key, dotted: `http.listen`.
    pub key: String,
    /// The file, variable or argument, where one is known.
    pub origin: Option<String>,
    /// What is wrong, and what to do.
    pub detail: String,
}

fn list(faults: &[Fault]) -> String {
    faults.iter().map(|fault| format!("\n  {fault}")).collect()
}

// === impl ConfigError ===

impl ConfigError {
    /// The single faults, for those who list them; none where the sources could not be read at all.
    pub fn faults(&self) -> &[Fault] {
        match self {
            ConfigError::Invalid(faults) => faults,
            ConfigError::Unreadable { .. } | ConfigError::Syntax { .. } => &[],
        }
    }
}

// === impl Fault ===

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Some(origin) => write!(f, "{} ({origin}): {}", self.key, self.detail),
            None => write!(f, "{}: {}", self.key, self.detail),
        }
    }
}
