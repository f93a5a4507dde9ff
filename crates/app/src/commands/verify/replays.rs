//! Whether the handlers of this program still say, and make of the tables, what the journals hold.

use anyhow::{Context, Result};
use pangaea_replay::{Progress, StateVerdict, check_journal};

use super::check::{Check, grouped};
use super::stores::{Store, Stores};
use crate::commands::ticker::Ticker;

/// Two checks for each module. One snapshot of each is looked at, so a live store shows nothing half done.
///
/// # Errors
/// When a database cannot be read.
pub(super) async fn look(stores: &Stores) -> Result<Vec<Check>> {
    let progress = Progress::default();
    let _ticker = Ticker::start("replaying the journals", None, progress.clone());
    let mut checks = Vec::new();
    for Store { definition, database } in &stores.all {
        let module = definition.name();
        let mut said = Check::new(format!("{module}: its handlers say again what they said"));
        let mut held = Check::new(format!("{module}: its tables are what its inputs make of them"));
        // Of a history with a gap nothing can be made.
        match check_journal(database, definition, &progress).await {
            Ok(report) => {
                said = said.counted(format!("{} inputs", grouped(report.inputs)));
                for one in &report.differences {
                    said.breach(format!("input {} ({})", one.input.position, one.input.subject));
                }
                let more = report.differing - report.differences.len() as u64;
                if more > 0 {
                    said.breach(format!("and {more} inputs more; `pangaea record` and `pangaea replay` tell them all"));
                }
                if report.changed_since > 0 {
                    said.set_note(format!("{} of another release say something else now", report.changed_since));
                }
                match report.state {
                    StateVerdict::Equal => {}
                    StateVerdict::NotCompared(reason) => held.set_note(format!("not compared: {reason}")),
                    StateVerdict::Differs(tables) => tables.iter().for_each(|one| held.breach(one.table.clone())),
                }
            }
            Err(pangaea_replay::ReplayError::Module { reason, .. }) => said.breach(reason),
            Err(error) => return Err(error).with_context(|| format!("replaying the journal of {module}")),
        }
        checks.extend([said, held]);
    }
    Ok(checks)
}
