use std::collections::{HashMap, HashSet};

use super::Case;
use crate::journal::{Cursor, Journal, Message};
use crate::report::Check;

/// The events that a module acts on. Commands say themselves whom they are for.
const CONSUMED: [(&str, &[&str]); 4] = [
    (
        "order",
        &[
            "product.evt.sku_priced.v1",
            "product.evt.sku_withdrawn.v1",
            "product.evt.stock_reserved.v1",
            "product.evt.stock_refused.v1",
            "product.evt.stock_committed.v1",
            "product.evt.commit_refused.v1",
            "product.evt.stock_released.v1",
            "product.evt.reservation_expired.v1",
            "product.evt.restocked.v1",
            "payment.evt.authorized.v1",
            "payment.evt.action_required.v1",
            "payment.evt.declined.v1",
            "payment.evt.captured.v1",
            "payment.evt.capture_failed.v1",
            "payment.evt.voided.v1",
            "payment.evt.refunded.v1",
            "payment.evt.refund_refused.v1",
            "user.evt.key_published.v1",
        ],
    ),
    ("product", &["user.evt.key_published.v1"]),
    ("payment", &["user.evt.key_published.v1"]),
    ("user", &[]),
];

/// No reader is ahead of what it reads, reads another history, or stands on another message than it says.
pub(super) fn cursors(case: &Case) -> Check {
    let mut check = Check::new("cursors", "every cursor stands in its source's log, on the message that it names");
    for (journal, cursor, source) in pairs(case) {
        check.look();
        let place = format!("{} at {} of {}", cursor.reader, cursor.position, cursor.source);
        if cursor.log_id != source.log_id {
            check.breach(format!("{place} reads the log {}, the source's is {}", cursor.log_id, source.log_id));
            continue;
        }
        if cursor.position > source.outbox_end {
            check.breach(format!("{place}, whose log ends at {}", source.outbox_end));
        }
        let found = source.outbox.iter().find(|message| message.position == cursor.position);
        if let Some(found) = found.filter(|found| !cursor.message_id.is_empty() && found.id != cursor.message_id) {
            check.breach(format!("{place} has read {} there, the log holds {}", cursor.message_id, found.id));
        }
        let behind = source.outbox.iter().filter(|message| message.position > cursor.position);
        let waiting = behind.filter(|message| consumes(journal.module, &message.subject)).count();
        if case.settled && waiting > 0 {
            check.breach(format!("{place} has {waiting} messages still to read"));
        }
    }
    check
}

/// What was for a reader and lies below its cursor is in its inbox or among its dead letters, once, and unchanged.
pub(super) fn once(case: &Case) -> Check {
    let mut check = Check::new(
        "read_once",
        "every message below a cursor was handled once, as it was written, or is a dead letter",
    );
    for (journal, cursor, source) in pairs(case) {
        let mut handled: HashMap<i64, (&str, &str)> = HashMap::new();
        let by_position: HashMap<i64, &Message> = source.outbox.iter().map(|row| (row.position, row)).collect();
        let module = journal.module;
        for input in &journal.inbox {
            let Some((_, position)) = input.source.as_ref().filter(|(name, _)| *name == cursor.source) else {
                continue;
            };
            let name = format!("position {position} of {}", cursor.source);
            if handled.insert(*position, (&input.id, &input.subject)).is_some() {
                check.breach(format!("{module} has handled {name} twice ({})", input.subject));
            }
            if *position > cursor.position {
                check.breach(format!("{module} has handled {name}, its cursor is at {}", cursor.position));
            }
            let written = by_position.get(position);
            let same = written.is_some_and(|row| {
                (&row.id, &row.subject, &row.key, &row.payload)
                    == (&input.id, &input.subject, &input.key, &input.payload)
            });
            check.must(same, || format!("{module} has handled {} as {name}, which is not what is there", input.id));
        }
        let letters = journal.letters.iter().map(|letter| &letter.id).chain(&case.abandoned);
        let letters: HashSet<&str> = letters.map(String::as_str).collect();
        let below = source.outbox.iter().filter(|row| row.position <= cursor.position);
        for message in below.filter(|row| consumes(module, &row.subject)) {
            let found = handled.contains_key(&message.position) || letters.contains(message.id.as_str());
            let Message { subject, key, position, .. } = message;
            check.must(found, || {
                let source = &cursor.source;
                format!("{module} never handled {subject} of {key} at {position} of {source}, and is past it")
            });
        }
    }
    check
}

/// Cursors whose source can be looked at.
fn pairs(case: &Case) -> impl Iterator<Item = (&Journal, &Cursor, &Journal)> {
    case.journals.iter().flat_map(move |journal| {
        journal.cursors.iter().filter_map(move |cursor| Some((journal, cursor, case.journal(&cursor.source)?)))
    })
}

fn consumes(module: &str, subject: &str) -> bool {
    let command = subject.split('.').collect::<Vec<_>>();
    let commanded = matches!(command.as_slice(), [_, "cmd", target, ..] if *target == module);
    commanded || CONSUMED.iter().any(|(name, subjects)| *name == module && subjects.contains(&subject))
}
