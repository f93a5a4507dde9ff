use std::collections::{HashMap, HashSet};

use super::Case;
use crate::report::Check;

/// Positions from 1 without a gap or a repeat, up to the end that the head row names.
pub(super) fn dense(case: &Case) -> Check {
    let mut check = Check::new("logs_dense", "every inbox and outbox is dense from 1 to the end its head row names");
    for journal in &case.journals {
        let inbox = journal.inbox.iter().map(|row| row.position).collect::<Vec<_>>();
        let outbox = journal.outbox.iter().map(|row| row.position).collect::<Vec<_>>();
        for (log, positions, end) in [("inbox", inbox, journal.inbox_end), ("outbox", outbox, journal.outbox_end)] {
            check.look();
            let module = journal.module;
            if let Some((wanted, found)) = (1..).zip(&positions).find(|(wanted, found)| wanted != *found) {
                check.breach(format!("{module}: the {log} has {found} where position {wanted} belongs"));
            }
            if positions.len() as i64 != end {
                let rows = positions.len();
                check.breach(format!("{module}: the {log} has {rows} rows, its head row says that it ends at {end}"));
            }
        }
    }
    check
}

/// An input happens once, and time does not run backwards.
pub(super) fn inputs(case: &Case) -> Check {
    let mut check = Check::new("inputs_once", "every input was admitted once, and none before an earlier one");
    for journal in &case.journals {
        let (mut ids, mut last) = (HashSet::new(), 0);
        for input in &journal.inbox {
            let (module, position, subject) = (journal.module, input.position, &input.subject);
            check.must(ids.insert(&input.id), || {
                format!("{module}: the input {} ({subject}) is there again at position {position}", input.id)
            });
            if input.admitted_at < last {
                check.breach(format!("{module}: the input at {position} was admitted before the one in front of it"));
            }
            last = last.max(input.admitted_at);
        }
        if last > journal.last_time {
            check.breach(format!("{}: an input was admitted at {last}, after the head row's time", journal.module));
        }
    }
    check
}

/// What an input brought about carries the input's time: a handler that asked a clock of its own would show here.
pub(super) fn times(case: &Case) -> Check {
    let mut check = Check::new("times", "whatever an input brought about has the time at which it was admitted");
    for journal in &case.journals {
        let inputs = journal.inputs_by_id();
        for message in &journal.outbox {
            check.look();
            let (module, id) = (journal.module, &message.id);
            match inputs.get(message.causation_id.as_str()) {
                None => check.breach(format!(
                    "{module}: the message {id} at {} was caused by {}, which is no input",
                    message.position, message.causation_id
                )),
                Some(input) if input.admitted_at != message.created_at => check.breach(format!(
                    "{module}: the message {id} says {}, its cause was admitted at {}",
                    message.created_at, input.admitted_at
                )),
                Some(_) => {}
            }
        }
    }
    timelines(case, &mut check);
    check
}

fn timelines(case: &Case, check: &mut Check) {
    let Some(journal) = case.journal("order") else { return };
    let mut moments: HashMap<&str, HashSet<i64>> = HashMap::new();
    let about = journal.inbox.iter().map(|input| (input.key.as_str(), input.admitted_at));
    // The command that placed an order is about its principal: the order had no id yet.
    let placed = journal.outbox.iter().filter(|message| message.subject == "order.evt.placed.v1");
    for (key, at) in about.chain(placed.map(|message| (message.key.as_str(), message.created_at))) {
        moments.entry(key).or_default().insert(at);
    }
    for (id, order) in &case.tables.orders {
        let known = |at: i64| moments.get(id.as_str()).is_some_and(|moments| moments.contains(&at));
        check.must(known(order.placed_at), || format!("{id} was placed at {}, when no input was", order.placed_at));
        for entry in &order.timeline {
            let (event, at) = (&entry.event, entry.at);
            check.must(known(at), || format!("{id}: {event} happened at {at}, when no input about it was admitted"));
        }
    }
}
