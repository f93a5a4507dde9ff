use serde::{Deserialize, Deserializer, Serialize};

/// Configured values that change what this module decides. All times are milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PaymentSettings {
    /// Pause between two looks at an intent whose payer has something to do.
    #[serde(deserialize_with = "wait_ms")]
    pub action_poll_ms: i64,
    /// How long a payer has, from then on the authorization is given up.
    #[serde(deserialize_with = "wait_ms")]
    pub action_wait_ms: i64,
    /// First pause before an unknown outcome is asked for again; doubles each time.
    #[serde(deserialize_with = "wait_ms")]
    pub reconcile_ms: i64,
    /// How often an unknown outcome is asked for.
    #[serde(deserialize_with = "rounds")]
    pub reconcile_rounds_max: i64,
    /// First pause before a void or refund is tried again; doubles each time. They are tried without end.
    #[serde(deserialize_with = "wait_ms")]
    pub retry_ms: i64,
    /// What the doubling pauses stop at.
    #[serde(deserialize_with = "wait_ms")]
    pub pause_ms_max: i64,
}

const DAY_MS: i64 = 86_400_000;
const ROUNDS_MAX: i64 = 1_000;

impl Default for PaymentSettings {
    fn default() -> Self {
        Self {
            action_poll_ms: 2_000,
            action_wait_ms: 600_000,
            reconcile_ms: 10_000,
            reconcile_rounds_max: 20,
            retry_ms: 5_000,
            pause_ms_max: 3_600_000,
        }
    }
}

// === impl PaymentSettings ===

impl PaymentSettings {
    /// The pause before the `round`th repetition (from 0): `first_ms`, doubled each time, up to the configured bound.
    pub fn pause_ms(&self, first_ms: i64, round: i64) -> i64 {
        let doublings = u32::try_from(round.clamp(0, 40)).unwrap_or(0);
        first_ms.saturating_mul(1 << doublings).min(self.pause_ms_max.max(first_ms))
    }
}

fn wait_ms<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    bounded(deserializer, 1, DAY_MS)
}

fn rounds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    bounded(deserializer, 1, ROUNDS_MAX)
}

fn bounded<'de, D: Deserializer<'de>>(deserializer: D, least: i64, most: i64) -> Result<i64, D::Error> {
    let value = i64::deserialize(deserializer)?;
    if (least..=most).contains(&value) {
        return Ok(value);
    }
    Err(serde::de::Error::custom(format!("{value} is out of bounds: use {least} to {most}")))
}

#[cfg(test)]
mod tests {
    use super::PaymentSettings;

    #[test]
    fn pauses_double_up_to_their_bound() {
        let settings = PaymentSettings::default();
        let pauses: Vec<i64> = (0..4).map(|round| settings.pause_ms(settings.retry_ms, round)).collect();
        assert_eq!(pauses, [5_000, 10_000, 20_000, 40_000]);
        assert_eq!(settings.pause_ms(settings.retry_ms, 1_000_000), settings.pause_ms_max);
    }

    #[test]
    fn settings_out_of_bounds_are_refused() {
        for bad in [r#"{"action_poll_ms":0}"#, r#"{"reconcile_rounds_max":1001}"#, r#"{"poll_ms":5}"#] {
            assert!(serde_json::from_str::<PaymentSettings>(bad).is_err(), "{bad}");
        }
        assert_eq!(serde_json::from_str::<PaymentSettings>("{}").unwrap(), PaymentSettings::default());
    }
}
