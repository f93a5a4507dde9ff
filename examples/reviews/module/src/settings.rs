use serde::{Deserialize, Serialize};

/// `[modules.reviews.settings]`: values that change what handlers decide, so that a change of them is an input.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReviewsSettings {
    /// How long a review is held back before it can be read, in milliseconds.
    pub hold_ms: i64,
}
