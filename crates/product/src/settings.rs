use serde::{Deserialize, Deserializer, Serialize};

/// Configured values that change what product decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProductSettings {
    /// A reservation holds at most this long, whatever order asks for; 1 s to 30 days.
    #[serde(deserialize_with = "reservation_ttl_ms_max")]
    pub reservation_ttl_ms_max: i64,
}

const TTL_MS_MIN: i64 = 1_000;
const TTL_MS_MAX: i64 = 30 * 24 * 3_600_000;

fn reservation_ttl_ms_max<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let ttl_ms = i64::deserialize(deserializer)?;
    if (TTL_MS_MIN..=TTL_MS_MAX).contains(&ttl_ms) {
        return Ok(ttl_ms);
    }
    Err(serde::de::Error::custom(format!("reservation_ttl_ms_max is from {TTL_MS_MIN} to {TTL_MS_MAX}, not {ttl_ms}")))
}

// === impl ProductSettings ===

impl Default for ProductSettings {
    fn default() -> Self {
        Self { reservation_ttl_ms_max: 24 * 3_600_000 }
    }
}

impl ProductSettings {
    pub(crate) fn bounded_ttl_ms(&self, wanted_ms: i64) -> i64 {
        wanted_ms.clamp(TTL_MS_MIN, self.reservation_ttl_ms_max.max(TTL_MS_MIN))
    }
}
