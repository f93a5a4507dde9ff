use std::fmt::Write as _;

use serde_json::Value;

use super::Loaded;
use super::redact::{join, redacted};

// === impl Loaded ===

impl Loaded {
    /// One line for each leaf key, sorted, secrets redacted: `http.listen = "127.0.0.1:8080"  # config/default.toml`.
    /// Optional keys that nobody set are shown as comments.
    pub fn show(&self, with_origin: bool) -> String {
        // Every field is data that has just been deserialised: only a map with keys that are not text could fail here.
        let tree = serde_json::to_value(&self.config).unwrap_or_default();
        let mut text = String::new();
        self.show_below("", &redacted("", &tree), with_origin, &mut text);
        text
    }

    fn show_below(&self, key: &str, value: &Value, with_origin: bool, text: &mut String) {
        if let Value::Object(keys) = value {
            for (name, inner) in keys {
                self.show_below(&join(key, name), inner, with_origin, text);
            }
            return;
        }
        // Writing to a string cannot fail.
        let _ = match (value, self.origins.get(key).filter(|_| with_origin)) {
            (Value::Null, _) => writeln!(text, "# {key} is not set"),
            (value, Some(origin)) => writeln!(text, "{key} = {value}  # {origin}"),
            (value, None) => writeln!(text, "{key} = {value}"),
        };
    }
}
