//! What happened to one thing: every input that concerns it.

use std::sync::Arc;

use pangaea_kernel::Definition;
use serde::{Deserialize, Serialize};

use crate::ReplayError;
use crate::happened::Happened;
use crate::ignore::Ignore;
use crate::recording::ModuleRecording;
use crate::seek::Concerned;
use crate::spot::Bound;
use crate::travel::Traveller;

/// The story of an id, through all modules, by time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Story {
    pub id: String,
    pub inputs: Vec<Happened>,
    /// Inputs that concern it and are not told: too many do.
    pub more: u64,
}

/// Replays up to the last input that concerns the id, and tells of each that does.
///
/// # Errors
/// When the file has changed, or a replay's database fails.
pub async fn story(
    modules: Vec<(ModuleRecording, Arc<Definition>)>,
    concerned: &Concerned,
    ignore: Ignore,
) -> Result<Story, ReplayError> {
    let mut traveller = Traveller::at_start(modules, Bound::Spot(concerned.last), ignore).await?;
    let mut inputs = Vec::with_capacity(concerned.spots.len());
    for spot in &concerned.spots {
        traveller.pass(|passed| passed < *spot).await?;
        inputs.extend(traveller.step().await?);
    }
    traveller.pass(|_| true).await?;
    traveller.stop().await?;
    let more = concerned.inputs - inputs.len() as u64;
    Ok(Story { id: concerned.id.clone(), inputs, more })
}

// === impl Story ===

impl Story {
    /// Whether this program does in all of it what was recorded.
    pub fn is_as_recorded(&self) -> bool {
        self.inputs.iter().all(Happened::is_as_recorded)
    }
}
