use super::Case;
use crate::report::Check;

/// A stream is a copy of its module's outbox: message by message, in order, with nothing left out, changed or added.
pub(super) fn equal(case: &Case) -> Check {
    let mut check = Check::new("streams", "every stream is its module's outbox, message by message and in order");
    for (module, stored) in case.streams.iter().flatten() {
        let Some(journal) = case.journal(module) else { continue };
        for (wanted, found) in (1..).zip(&stored.messages) {
            check.look();
            let (position, sequence) = (found.message.position, found.sequence);
            if position != wanted {
                check.breach(format!("{module}: position {position} stands at {sequence} where {wanted} belongs"));
                // What follows is out of place as well, and says nothing new.
                break;
            }
            if found.log_id != journal.log_id {
                check.breach(format!("{module}: position {position} is of the log {}", found.log_id));
            }
            match usize::try_from(position - 1).ok().and_then(|index| journal.outbox.get(index)) {
                None => check.breach(format!("{module}: position {position} is in no outbox")),
                Some(row) if *row != found.message => {
                    check.breach(format!("{module}: position {position} differs: {:?}, not {row:?}", found.message));
                }
                Some(_) => {}
            }
        }
        let end = stored.messages.last().map_or(0, |last| last.message.position);
        if case.settled && end != journal.outbox_end {
            check.breach(format!("{module}: the stream ends at position {end}, the outbox at {}", journal.outbox_end));
        }
    }
    check
}
