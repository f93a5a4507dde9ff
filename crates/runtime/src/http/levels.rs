//! `/log-filter` on the operations listener: what is logged, changed while the process runs.

use std::time::Duration;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use pangaea_kernel::{Problem, ProblemKind};
use serde::{Deserialize, Serialize};

use crate::telemetry::{LevelError, Levels};

/// A day: who needs it for longer configures it.
const LASTS_S_MAX: u64 = 86_400;

#[derive(Serialize)]
struct Shown {
    filter: String,
    configured: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    filter: String,
    /// Then what is configured holds again; without it, until the next change or start.
    #[serde(default)]
    lasts_s: Option<u64>,
}

pub(super) fn routes<S: Clone + Send + Sync + 'static>(levels: Levels) -> Router<S> {
    Router::new().route("/log-filter", get(show).put(set)).with_state(levels)
}

async fn show(State(levels): State<Levels>) -> Json<Shown> {
    Json(Shown { filter: levels.filter(), configured: levels.configured().to_owned() })
}

async fn set(State(levels): State<Levels>, Json(wanted): Json<Wanted>) -> Result<Json<Shown>, Problem> {
    if let Some(lasts_s) = wanted.lasts_s.filter(|lasts_s| !(1..=LASTS_S_MAX).contains(lasts_s)) {
        let detail = format!("lasts_s is {lasts_s}: write 1 to {LASTS_S_MAX} seconds, or leave it out");
        return Err(Problem::new(ProblemKind::Invalid, detail));
    }
    levels.set(&wanted.filter, wanted.lasts_s.map(Duration::from_secs)).map_err(|error| match error {
        LevelError::Filter(detail) => Problem::new(ProblemKind::Invalid, format!("filter: {detail}")),
        LevelError::Off => Problem::new(ProblemKind::Unavailable, error.to_string()),
    })?;
    Ok(show(State(levels)).await)
}
