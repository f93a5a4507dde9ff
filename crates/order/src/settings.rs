use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

/// Doublings of a backoff, at most: beyond it the bound has long been reached.
const DOUBLINGS_MAX: u32 = 20;
/// 30 days.
const TIME_MS_MAX: i64 = 30 * 86_400_000;
const TRIES_MAX: u32 = 100;

/// The deadlines of the saga. All times are in milliseconds, from 1 to 30 days.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OrderSettings {
    /// How long stock is held for an order that is being paid.
    #[serde(deserialize_with = "time_ms")]
    pub reservation_ttl_ms: i64,
    /// How long an answer to reserve, authorize, commit or the first capture may take.
    #[serde(deserialize_with = "time_ms")]
    pub answer_timeout_ms: i64,
    /// How often each of them is asked, the first time included, before the order is cancelled with compensation; 1 to 100.
    #[serde(deserialize_with = "tries")]
    pub answer_tries_max: u32,
    /// How long the customer may take to complete a payment.
    #[serde(deserialize_with = "time_ms")]
    pub action_timeout_ms: i64,
    /// How long after a failed capture it is tried again; doubles with each.
    #[serde(deserialize_with = "time_ms")]
    pub capture_retry_ms: i64,
    #[serde(deserialize_with = "time_ms")]
    pub capture_retry_max_ms: i64,
    /// How long captures are tried before a person has to decide.
    #[serde(deserialize_with = "time_ms")]
    pub capture_give_up_ms: i64,
    /// How long after an unanswered void, release, refund or restock it is sent again; doubles with each, without end.
    #[serde(deserialize_with = "time_ms")]
    pub compensation_retry_ms: i64,
    #[serde(deserialize_with = "time_ms")]
    pub compensation_retry_max_ms: i64,
}

// === impl OrderSettings ===

impl OrderSettings {
    /// How long to wait after a capture that failed for the `retry`th time, from 0.
    pub(crate) fn capture_backoff_ms(&self, retry: u32) -> i64 {
        backoff_ms(self.capture_retry_ms, self.capture_retry_max_ms, retry)
    }

    pub(crate) fn compensation_backoff_ms(&self, retry: u32) -> i64 {
        backoff_ms(self.compensation_retry_ms, self.compensation_retry_max_ms, retry)
    }
}

fn backoff_ms(first_ms: i64, max_ms: i64, retry: u32) -> i64 {
    first_ms.saturating_mul(1 << retry.min(DOUBLINGS_MAX)).min(max_ms)
}

impl Default for OrderSettings {
    fn default() -> Self {
        Self {
            reservation_ttl_ms: 900_000,
            answer_timeout_ms: 30_000,
            answer_tries_max: 3,
            action_timeout_ms: 600_000,
            capture_retry_ms: 5_000,
            capture_retry_max_ms: 900_000,
            capture_give_up_ms: 86_400_000,
            compensation_retry_ms: 30_000,
            compensation_retry_max_ms: 900_000,
        }
    }
}

fn time_ms<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    match i64::deserialize(deserializer)? {
        millis @ 1..=TIME_MS_MAX => Ok(millis),
        other => Err(D::Error::custom(format!("a time is from 1 to {TIME_MS_MAX} ms (30 days), not {other}"))),
    }
}

fn tries<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    match u32::deserialize(deserializer)? {
        tries @ 1..=TRIES_MAX => Ok(tries),
        other => Err(D::Error::custom(format!("answer_tries_max is from 1 to {TRIES_MAX}, not {other}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::OrderSettings;

    #[test]
    fn reads_what_it_writes_and_refuses_what_has_no_sense() {
        let settings = OrderSettings::default();
        let value = serde_json::to_value(&settings).unwrap();
        assert_eq!(serde_json::from_value::<OrderSettings>(value).unwrap(), settings);
        for bad in
            [r#"{"answer_timeout_ms":0}"#, r#"{"answer_tries_max":0}"#, r#"{"capture_retry_ms":-1}"#, r#"{"tries":3}"#]
        {
            assert!(serde_json::from_str::<OrderSettings>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn backoffs_double_up_to_their_bound() {
        let settings = OrderSettings::default();
        let delays: Vec<i64> = [0, 1, 2, 7, 8, 400].map(|retry| settings.capture_backoff_ms(retry)).to_vec();
        assert_eq!(delays, [5_000, 10_000, 20_000, 640_000, 900_000, 900_000]);
    }
}
