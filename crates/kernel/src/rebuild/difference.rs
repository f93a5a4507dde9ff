//! What was said of an input beside what is said of it now.

use pangaea_contracts::Envelope;
use serde::{Deserialize, Serialize};

use crate::{Input, Recorded, Said};

/// An input of which something else is said now than was said when it was handled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputDifference {
    pub position: u64,
    pub id: String,
    pub subject: String,
    pub key: String,
    /// The release that handled it.
    pub handled_by: String,
    /// In a sentence, without what the messages hold.
    pub what: String,
}

// === impl InputDifference ===

impl InputDifference {
    /// How what is said of an input now is another thing; `None` where it is not.
    pub(super) fn between(was: &Recorded, is: &Said) -> Option<Self> {
        let what = what_differs(was, is)?;
        let Input { id, subject, key, .. } = was.input.input.clone();
        Some(Self { position: was.position, id, subject, key, handled_by: was.handled_by.clone(), what })
    }
}

fn what_differs(recorded: &Recorded, said: &Said) -> Option<String> {
    if let Some(reason) = &said.failure {
        return Some(format!("it can no longer be handled: {reason}"));
    }
    for (was, is) in recorded.messages.iter().zip(&said.messages) {
        if was.subject != is.subject {
            return Some(format!("it said {}, and now says {}", was.subject, is.subject));
        }
        if !is_same_message(was, is) {
            return Some(format!("it says {} otherwise now", was.subject));
        }
    }
    if let Some(lost) = recorded.messages.get(said.messages.len()) {
        return Some(format!("it no longer says {}", lost.subject));
    }
    if let Some(more) = said.messages.get(recorded.messages.len()) {
        return Some(format!("it says {} now", more.subject));
    }
    if recorded.answer != said.answer {
        return Some("it is answered otherwise now".to_owned());
    }
    let asks_the_same = recorded.asked.as_ref().is_none_or(|asked| *asked == said.asked);
    (!asks_the_same).then(|| "it asks for other timers or effects now".to_owned())
}

/// What a message says of its trace is no part of what it says: it changed between releases, and no state depends on it.
fn is_same_message(was: &Envelope, is: &Envelope) -> bool {
    was.id == is.id
        && was.key == is.key
        && was.payload == is.payload
        && was.correlation_id == is.correlation_id
        && was.actor == is.actor
        && was.time == is.time
}
