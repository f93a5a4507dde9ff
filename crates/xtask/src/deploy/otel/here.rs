//! What a container has and this machine has elsewhere: listening addresses, mounted files, volumes.

use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

/// How a configuration says that it listens for everybody.
const ANY_HOST: &str = "0.0.0.0:";

/// Beginnings of texts, each with what stands for it here.
#[derive(Debug)]
pub(super) struct Here(Vec<(String, String)>);

// === impl Here ===

impl Here {
    /// For a service of compose.yaml, which lies in `deploy`: it listens on `host` only, and its volumes are folders of
    /// `folder`, which are made.
    ///
    /// # Errors
    /// When a mount is not of the form `SOURCE:TARGET`, or a folder cannot be made.
    pub(super) fn of(service: &Value, deploy: &Path, folder: &Path, host: Ipv4Addr) -> Result<Self> {
        let mut pairs = vec![(ANY_HOST.to_owned(), format!("{host}:"))];
        for mount in service["volumes"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            let mut parts = mount.split(':');
            let (source, target) = parts.next().zip(parts.next()).with_context(|| format!("the mount {mount}"))?;
            let source = match source.strip_prefix("./") {
                Some(file) => deploy.join(file),
                None => {
                    let volume = folder.join("volumes").join(source);
                    std::fs::create_dir_all(&volume)?;
                    volume
                }
            };
            pairs.push((target.to_owned(), source.display().to_string()));
        }
        Ok(Self(pairs))
    }

    /// What stands for a text that begins so; None for any other.
    fn text(&self, text: &str) -> Option<String> {
        self.0.iter().find_map(|(there, here)| {
            let rest = text.strip_prefix(there)?;
            // `/etc/prometheus-old` is not below `/etc/prometheus`.
            let is_whole = !there.starts_with('/') || rest.is_empty() || rest.starts_with('/');
            is_whole.then(|| format!("{here}{rest}"))
        })
    }

    /// The service's own arguments, `--key=value` or plain, with what is mounted where it lies here.
    ///
    /// # Errors
    /// When it has none.
    pub(super) fn command(&self, service: &Value) -> Result<Vec<String>> {
        let words = service["command"].as_array().context("no command in the form of a list")?;
        let mapped = words.iter().filter_map(Value::as_str).map(|word| match word.split_once('=') {
            Some((key, value)) => format!("{key}={}", self.text(value).unwrap_or_else(|| value.to_owned())),
            None => word.to_owned(),
        });
        Ok(mapped.collect())
    }

    /// A collector's options that lay over its configuration what is elsewhere here: the file itself is what it reads.
    ///
    /// # Errors
    /// When such a value is in a list, which the option does not reach.
    pub(super) fn options(&self, config: &Value) -> Result<Vec<String>> {
        let mut options = Vec::new();
        self.collect("", config, &mut options)?;
        Ok(options)
    }

    fn collect(&self, key: &str, value: &Value, options: &mut Vec<String>) -> Result<()> {
        match value {
            Value::Object(fields) => {
                for (name, field) in fields {
                    let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                    self.collect(&key, field, options)?;
                }
            }
            Value::Array(items) => {
                let is_elsewhere = |item: &Value| item.as_str().is_some_and(|text| self.text(text).is_some());
                ensure!(!items.iter().any(is_elsewhere), "{key}: a list with what is elsewhere here");
            }
            Value::String(text) => options.extend(self.text(text).map(|here| format!("--set={key}={here}"))),
            _ => {}
        }
        Ok(())
    }

    /// A copy of a configuration with every such text replaced, for a program that has no such option.
    pub(super) fn copy(&self, config: &Value) -> Value {
        match config {
            Value::Object(fields) => fields.iter().map(|(name, field)| (name.clone(), self.copy(field))).collect(),
            Value::Array(items) => items.iter().map(|item| self.copy(item)).collect(),
            Value::String(text) => self.text(text).unwrap_or_else(|| text.clone()).into(),
            other => other.clone(),
        }
    }
}

/// The file that `--config=FILE` or `--config.file=FILE` names.
///
/// # Errors
/// When no argument names one.
pub(super) fn config_of(words: &[String]) -> Result<&str> {
    let named = |word: &'_ String| word.starts_with("--config=") || word.starts_with("--config.file=");
    match words.iter().find(|word| named(word)).and_then(|word| word.split_once('=')) {
        Some((_, file)) => Ok(file),
        None => bail!("no --config in {words:?}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::deploy::running::Folder;

    fn here(folder: &Path) -> Here {
        let service = json!({ "volumes": ["./some/config.yaml:/etc/some/config.yaml:ro", "kept:/kept"] });
        Here::of(&service, Path::new("/deploy"), folder, Ipv4Addr::new(127, 1, 2, 3)).unwrap()
    }

    #[test]
    fn a_services_own_words_name_what_lies_here() {
        let folder = Folder::make("here").unwrap();
        let here = here(folder.path());
        let service =
            json!({ "command": ["--config=/etc/some/config.yaml", "--keep=/kept/x", "--other=/keptx", "--on"] });
        let words = here.command(&service).unwrap();
        let kept = folder.path().join("volumes/kept");
        let expected =
            ["--config=/deploy/some/config.yaml", &format!("--keep={}/x", kept.display()), "--other=/keptx", "--on"];
        assert_eq!(words, expected);
        assert_eq!(config_of(&words).unwrap(), "/deploy/some/config.yaml");
        assert!(kept.is_dir());
        assert!(config_of(&words[1..]).is_err());
    }

    #[test]
    fn only_what_is_elsewhere_is_laid_over() {
        let folder = Folder::make("here").unwrap();
        let here = here(folder.path());
        let config =
            json!({ "a": { "x/y": { "endpoint": "0.0.0.0:4317" }, "b": null }, "other": "jaeger:4317", "list": ["x"] });
        assert_eq!(here.options(&config).unwrap(), ["--set=a.x/y.endpoint=127.1.2.3:4317"]);
        let copy = json!({ "a": { "x/y": { "endpoint": "127.1.2.3:4317" }, "b": null }, "other": "jaeger:4317", "list": ["x"] });
        assert_eq!(here.copy(&config), copy);
        assert!(here.options(&json!({ "list": ["0.0.0.0:1"] })).is_err());
    }
}
