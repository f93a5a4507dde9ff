//! One transaction holds an input, the place it was read from and all that it brought about: never a part of them.

use std::collections::HashMap;

use pangaea_contracts::Timestamp;
use pangaea_faults::{Plant, unguarded};

use crate::pending::Pending;
use crate::{JournalError, Writer};

impl Writer {
    /// Whether the open transaction is whole. A part alone would be lost, or done again, by a crash before the rest: so
    /// whoever commits asks first.
    ///
    /// # Errors
    /// [`JournalError::Torn`] says what is missing; the transaction must be rolled back.
    pub fn check_whole(&self) -> Result<(), JournalError> {
        self.pending.check_whole()
    }
}

// === impl Pending ===

impl Pending {
    pub(crate) fn check_whole(&self) -> Result<(), JournalError> {
        let inputs: HashMap<&str, Timestamp> =
            self.inbox.iter().map(|(row, _)| (row.id.as_str(), row.admitted_at)).collect();
        if !is_torn_on_purpose() {
            self.check_cursors(&inputs)?;
            self.check_inputs()?;
        }
        self.check_letters(&inputs)?;
        self.check_messages(&inputs)
    }

    /// A dead letter goes when its input is handled, or when it is given up.
    fn check_letters(&self, inputs: &HashMap<&str, Timestamp>) -> Result<(), JournalError> {
        let mut ended = self.dead_letters.iter().filter(|(_, letter)| letter.is_none()).map(|(id, _)| id);
        match ended.find(|id| !inputs.contains_key(id.as_str()) && !self.abandoned.contains(*id)) {
            Some(id) if !unguarded(Plant::DeadLetterLostOnRedrive) => {
                Err(JournalError::Torn(format!("the dead letter {id} goes, and its input is not handled")))
            }
            _ => Ok(()),
        }
    }

    /// A cursor moves over an input that is handled here, or put among the dead letters, or was for somebody else.
    fn check_cursors(&self, inputs: &HashMap<&str, Timestamp>) -> Result<(), JournalError> {
        for (name, cursor) in &self.cursors {
            let id = cursor.message_id.as_str();
            let is_buried = self.dead_letters.get(id).is_some_and(Option::is_some);
            if !inputs.contains_key(id) && !is_buried && !self.skips.contains(name) {
                let (source, position) = (&cursor.source, cursor.position);
                return Err(JournalError::Torn(format!(
                    "the cursor in {source} moves to {position} without the work of {id}"
                )));
            }
        }
        Ok(())
    }

    /// A message is handled where the cursor moves behind it, or where it is taken from the dead letters.
    fn check_inputs(&self) -> Result<(), JournalError> {
        for (row, _) in &self.inbox {
            let Some((source, position)) = &row.source else { continue };
            let is_passed =
                self.cursors.values().any(|cursor| cursor.source == *source && cursor.position >= *position);
            let is_redriven = self.dead_letters.get(&row.id).is_some_and(Option::is_none);
            if !is_passed && !is_redriven {
                return Err(JournalError::Torn(format!(
                    "{} is handled, and the cursor in {source} does not move to {position}",
                    row.id
                )));
            }
        }
        Ok(())
    }

    /// A message is said with the input that caused it, and at that input's time.
    fn check_messages(&self, inputs: &HashMap<&str, Timestamp>) -> Result<(), JournalError> {
        for message in &self.outbox {
            match inputs.get(message.causation_id.as_str()) {
                Some(admitted_at) if *admitted_at == message.time || unguarded(Plant::WallClockInAHandler) => {}
                None if unguarded(Plant::OutboxInAnotherTransaction) => {}
                Some(admitted_at) => {
                    return Err(JournalError::Torn(format!(
                        "{} says that it is {}, and its input was admitted at {admitted_at}",
                        message.subject, message.time
                    )));
                }
                None => {
                    return Err(JournalError::Torn(format!(
                        "{} is said without {}, which caused it",
                        message.subject, message.causation_id
                    )));
                }
            }
        }
        Ok(())
    }
}

fn is_torn_on_purpose() -> bool {
    unguarded(Plant::CursorBeforeWork) || unguarded(Plant::CursorInAnotherTransaction)
}
