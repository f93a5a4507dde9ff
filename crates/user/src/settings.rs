use pangaea_kernel::http::Edge;
use serde::{Deserialize, Serialize};

/// The user module's settings: how long tokens and sessions live.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UserSettings {
    /// Life of an access token, 30 to 600 seconds. It cannot be taken back: after a sign-out it is good until it ends.
    #[serde(deserialize_with = "access_token_seconds")]
    pub access_token_seconds: u32,
    /// Life of a session after its last refresh, 1 to 365 days.
    #[serde(deserialize_with = "session_days")]
    pub session_days: u32,
    /// How long a refresh token that has just been used is taken once more, because its answer may have been lost, 0 to
    /// 60,000 milliseconds.
    #[serde(deserialize_with = "refresh_grace_ms")]
    pub refresh_grace_ms: u32,
}

// === impl UserSettings ===

impl UserSettings {
    pub(crate) fn of(edge: &Edge) -> Self {
        // The host has parsed them before; without any they are null.
        serde_json::from_value(edge.settings().clone()).unwrap_or_default()
    }

    pub(crate) fn session_ms(&self) -> i64 {
        i64::from(self.session_days) * 24 * 3_600_000
    }
}

impl Default for UserSettings {
    fn default() -> Self {
        Self { access_token_seconds: 600, session_days: 30, refresh_grace_ms: 10_000 }
    }
}

fn bounded<'de, D: serde::Deserializer<'de>>(deserializer: D, name: &str, min: u32, max: u32) -> Result<u32, D::Error> {
    let value = u32::deserialize(deserializer)?;
    if (min..=max).contains(&value) {
        return Ok(value);
    }
    Err(serde::de::Error::custom(format!("{name} is {value}; it is from {min} to {max}")))
}

fn access_token_seconds<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    bounded(deserializer, "access_token_seconds", 30, 600)
}

fn session_days<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    bounded(deserializer, "session_days", 1, 365)
}

fn refresh_grace_ms<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    bounded(deserializer, "refresh_grace_ms", 0, 60_000)
}

#[cfg(test)]
mod tests {
    use super::UserSettings;

    #[test]
    fn values_are_bounded() {
        let parse = |text| serde_json::from_str::<UserSettings>(text);
        assert_eq!(parse("{}").unwrap(), UserSettings::default());
        assert_eq!(parse(r#"{"access_token_seconds":60}"#).unwrap().access_token_seconds, 60);
        assert!(parse(r#"{"access_token_seconds":3600}"#).unwrap_err().to_string().contains("from 30 to 600"));
        assert!(parse(r#"{"session_days":0}"#).is_err());
        assert!(parse(r#"{"sesion_days":3}"#).is_err());
    }
}
