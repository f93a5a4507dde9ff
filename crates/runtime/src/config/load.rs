use std::collections::BTreeMap;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::error::Fault;
use super::layers::{self, Layer};
use super::redact::is_secret;
use super::shape::Shape;
use super::{Config, ConfigError, validate};

/// What is read, from the weakest to the strongest. The compiled-in defaults lie below all of it.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// A TOML file (`--config F`), at most 1 MiB.
    pub profile: Option<PathBuf>,
    /// Names and values of environment variables; those not named `PANGAEA__…` are ignored.
    pub environment: Vec<(String, String)>,
    pub overrides: Overrides,
}

/// What the command line sets.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--modules a,b`: `runtime.modules`.
    pub modules: Option<Vec<String>>,
    /// `http.listen`.
    pub http_listen: Option<SocketAddr>,
    /// `operations.listen`.
    pub operations_listen: Option<SocketAddr>,
    /// `--set http.listen=127.0.0.1:80`: dotted keys and their values, read as the environment's are. They win over the
    /// fields above.
    pub set: Vec<(String, String)>,
}

/// A configuration that has been checked, and where it came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    /// The file, variable or argument that set each leaf, by dotted key. Optional keys that nobody set are not in it.
    pub origins: BTreeMap<String, String>,
}

pub(super) const ENVIRONMENT_PREFIX: &str = "PANGAEA__";
/// What the origin of a variable starts with; its name follows.
pub(super) const ENVIRONMENT_ORIGIN: &str = "environment variable ";
pub(super) const DEFAULT_ORIGIN: &str = "config/default.toml";
const DEFAULT_TOML: &str = include_str!("../../../../config/default.toml");
const PROFILE_BYTES_MAX: u64 = 1 << 20;

// === impl Config ===

impl Config {
    /// Merges the layers, refuses unknown keys, and checks every bound.
    ///
    /// # Errors
    /// Says which keys are wrong, where they were set, and what to write instead.
    pub fn load(sources: &Sources) -> Result<Loaded, ConfigError> {
        let (default, _) = parse(&layers::merge(vec![Layer::toml(DEFAULT_ORIGIN, DEFAULT_TOML)?])?)?;
        let shape = Shape::of(&default)?;
        let merged = layers::merge(sources.layers(&shape)?)?;
        let faults = shape.faults(&merged.tree, &merged.origins);
        if !faults.is_empty() {
            return Err(ConfigError::Invalid(faults));
        }
        let (config, origins) = parse(&merged)?;
        let faults = validate::faults(&config, &origins);
        if !faults.is_empty() {
            return Err(ConfigError::Invalid(faults));
        }
        Ok(Loaded { config, origins })
    }
}

fn parse(merged: &layers::Merged) -> Result<(Config, BTreeMap<String, String>), ConfigError> {
    let layers::Merged { tree, origins } = merged;
    serde_path_to_error::deserialize(tree).map(|config| (config, origins.clone())).map_err(|error| {
        let key = error.path().to_string();
        let leaf = key.split('[').next().unwrap_or(&key);
        let detail =
            if is_secret(leaf) { "is of the wrong type".to_owned() } else { plain(leaf, &error.inner().to_string()) };
        ConfigError::Invalid(vec![Fault { origin: origins.get(leaf).cloned(), key, detail }])
    })
}

/// An error of serde in words that an operator knows.
fn plain(key: &str, error: &str) -> String {
    if key.ends_with(".listen") {
        return format!("{error}: write an address and a port, such as 127.0.0.1:8080");
    }
    ["u64", "u32", "usize"]
        .into_iter()
        .fold(error.to_owned(), |text, name| text.replace(&format!("expected {name}"), "expected a whole number"))
}

// === impl Sources ===

impl Sources {
    /// The environment of this process, beside the given file and command line.
    pub fn of_process(profile: Option<PathBuf>, overrides: Overrides) -> Self {
        Self { profile, environment: layers::process_environment(), overrides }
    }

    fn layers(&self, shape: &Shape) -> Result<Vec<Layer>, ConfigError> {
        let mut layers = vec![Layer::toml(DEFAULT_ORIGIN, DEFAULT_TOML)?];
        if let Some(path) = &self.profile {
            layers.push(Layer::toml(&path.display().to_string(), &read_profile(path)?)?);
        }
        for (name, text) in &self.environment {
            if let Some(key) = name.strip_prefix(ENVIRONMENT_PREFIX) {
                let path: Vec<String> = key.split("__").map(str::to_ascii_lowercase).collect();
                layers.push(one_key(shape, format!("{ENVIRONMENT_ORIGIN}{name}"), &path, text)?);
            }
        }
        layers.extend(self.overrides.layers(shape)?);
        Ok(layers)
    }
}

fn one_key(shape: &Shape, origin: String, path: &[String], text: &str) -> Result<Layer, ConfigError> {
    if path.iter().any(String::is_empty) {
        let detail =
            "a part of the name is empty; write SECTION__KEY in a variable and section.key in an argument".to_owned();
        return Err(ConfigError::Invalid(vec![Fault { key: path.join("."), origin: Some(origin), detail }]));
    }
    let value = shape.read_text(path, text);
    Layer::key(origin, path, &value)
}

fn read_profile(path: &Path) -> Result<String, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(PROFILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > PROFILE_BYTES_MAX {
        let detail = format!("it is longer than {PROFILE_BYTES_MAX} bytes");
        return Err(ConfigError::Syntax { origin: path.display().to_string(), detail });
    }
    Ok(text)
}

/// The name of the environment variable that sets a dotted key.
pub(super) fn variable(key: &str) -> String {
    format!("{ENVIRONMENT_PREFIX}{}", key.to_ascii_uppercase().replace('.', "__"))
}

// === impl Overrides ===

impl Overrides {
    /// Takes `section.key=value`, the argument of `--set`.
    ///
    /// # Errors
    /// When there is no `=` or no key.
    pub fn parse_set(argument: &str) -> Result<(String, String), String> {
        match argument.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.to_owned())),
            _ => Err(format!("{argument:?} sets nothing; write section.key=value, such as http.listen=127.0.0.1:8081")),
        }
    }

    fn layers(&self, shape: &Shape) -> Result<Vec<Layer>, ConfigError> {
        let Self { modules, http_listen, operations_listen, set } = self;
        let fields = [
            ("--modules", ["runtime", "modules"], modules.clone().map(Value::from)),
            ("http.listen", ["http", "listen"], http_listen.map(|address| Value::from(address.to_string()))),
            (
                "operations.listen",
                ["operations", "listen"],
                operations_listen.map(|address| Value::from(address.to_string())),
            ),
        ];
        let mut layers = Vec::new();
        for (argument, path, value) in fields {
            if let Some(value) = value {
                layers.push(Layer::key(format!("command line, {argument}"), &path.map(str::to_owned), &value)?);
            }
        }
        for (key, text) in set {
            let path: Vec<String> = key.split('.').map(str::to_owned).collect();
            layers.push(one_key(shape, format!("command line, --set {key}"), &path, text)?);
        }
        Ok(layers)
    }
}
