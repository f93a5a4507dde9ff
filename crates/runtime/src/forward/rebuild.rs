//! What is asked of a module's leader about rebuilds, wherever it leads.

use pangaea_bus::{Bus, BusError};
use pangaea_kernel::{Problem, ProblemKind};

use super::{Carried, Leads, TRY_TIMEOUT, Way, leader_subject, nobody_leads};
use crate::rebuilds::{RebuildReply, RebuildRequest};

// === impl Way: rebuilds ===

impl Way {
    /// # Errors
    /// A problem when the leader cannot be reached, or does not answer.
    pub(crate) async fn rebuild(
        &self,
        module: &str,
        bus: &dyn Bus,
        request: RebuildRequest,
    ) -> Result<RebuildReply, Problem> {
        let unavailable = |detail: String| Problem::new(ProblemKind::Unavailable, detail).with_retry_after(1);
        let leads = self.0.borrow().clone();
        let epoch = match leads {
            Leads::Nowhere => return Err(nobody_leads(module)),
            Leads::Here(_, rebuilds) => return Ok(rebuilds.answer(request)),
            Leads::There { epoch } => epoch,
        };
        let payload = serde_json::to_vec(&Carried::Rebuild(request))
            .map_err(|error| Problem::new(ProblemKind::Internal, error.to_string()))?;
        match bus.request(&leader_subject(module, epoch), payload.into(), None, TRY_TIMEOUT).await {
            Ok(reply) => serde_json::from_slice(&reply)
                .map_err(|_| unavailable(format!("the leader of {module} is of a release that answers otherwise"))),
            Err(BusError::NoResponders(_) | BusError::Remote { .. }) => Err(unavailable(format!(
                "the leader of {module} does not take this; it may be of a release that cannot rebuild"
            ))),
            Err(error) => Err(unavailable(format!("the leader of {module} does not answer: {error}"))),
        }
    }
}
