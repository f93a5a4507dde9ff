use std::collections::{HashMap, HashSet};

use super::Case;
use crate::report::Check;

/// What is said with an entry of the timeline. Undoing always gives the stock back; whether money has to be let go depends
/// on how far the order had come, and shows in the provider's ledger.
const SAID: [(&str, &[&str]); 14] = [
    ("placed", &["order.evt.placed.v1", "order.cmd.product.reserve_stock.v1"]),
    ("reserved", &["order.cmd.payment.authorize.v1"]),
    ("authorized", &["order.cmd.product.commit_stock.v1"]),
    ("committed", &["order.cmd.payment.capture.v1"]),
    ("confirmed", &["order.evt.confirmed.v1"]),
    ("declined", &["order.cmd.product.release_stock.v1"]),
    ("commit_refused", &["order.cmd.product.release_stock.v1"]),
    ("cancel_requested", &["order.cmd.product.release_stock.v1"]),
    ("deadline_passed", &["order.cmd.product.release_stock.v1"]),
    ("cancelled", &["order.evt.cancelled.v1"]),
    ("stock_refused", &["order.evt.cancelled.v1"]),
    ("manual_review", &["order.evt.manual_review.v1"]),
    ("refund_requested", &["order.cmd.payment.refund.v1"]),
    ("refunded", &["order.evt.refunded.v1"]),
];

/// A timeline is dense, and ends where its order stands.
pub(super) fn timelines(case: &Case) -> Check {
    let mut check =
        Check::new("timelines", "every order's timeline is dense and ends in the order's state and version");
    for (id, order) in &case.tables.orders {
        let dense = (1..).zip(&order.timeline).all(|(wanted, entry)| wanted == entry.seq);
        check.must(dense && order.timeline.len() as i64 == order.version, || {
            format!("{id} is at version {} and has {} entries", order.version, order.timeline.len())
        });
        let last = order.timeline.last().map_or("", |entry| entry.state.as_str());
        if last != order.state {
            check.breach(format!("{id} is {}, its timeline ends at {last:?}", order.state));
        }
    }
    check
}

/// What a step of an order says is in the log: state without its message would leave everybody else behind.
pub(super) fn said(case: &Case) -> Check {
    let mut check = Check::new("said", "whatever a step has to say to others is in the log");
    if let Some(journal) = case.journal("order") {
        let mut said: HashMap<(&str, &str), usize> = HashMap::new();
        for message in &journal.outbox {
            *said.entry((message.key.as_str(), message.subject.as_str())).or_default() += 1;
        }
        for (id, order) in &case.tables.orders {
            for (event, subjects) in SAID {
                let entries = order.timeline.iter().filter(|entry| entry.event == event).count();
                for subject in subjects.iter().filter(|_| entries > 0) {
                    let found = said.get(&(id.as_str(), *subject)).copied().unwrap_or(0);
                    check.must(found >= entries, || {
                        format!("{id}: {event} happened {entries} times, {subject} was said {found} times")
                    });
                }
            }
        }
    }
    answered(case, &mut check);
    check
}

/// Product answers whatever order asks of it; a place command that was accepted has placed.
fn answered(case: &Case, check: &mut Check) {
    for journal in &case.journals {
        let causes: HashSet<&str> = journal.outbox.iter().map(|message| message.causation_id.as_str()).collect();
        for input in &journal.inbox {
            let accepted = input.answer.as_deref().is_some_and(|answer| answer.contains("\"status\":202"));
            let speaks =
                input.subject.starts_with("order.cmd.product.") || (input.subject == "order.rpc.place.v1" && accepted);
            if speaks {
                check.must(causes.contains(input.id.as_str()), || {
                    let (module, subject) = (journal.module, &input.subject);
                    format!("{module}: {subject} of {} at {} was handled and said nothing", input.key, input.position)
                });
            }
        }
    }
}

/// Goods first, money second: an order asks for its money only once its stock is sold to it.
pub(super) fn committed_before_captured(case: &Case) -> Check {
    let mut check =
        Check::new("stock_before_money", "every order had its stock committed before its money was captured");
    let Some(journal) = case.journal("order") else { return check };
    let positions: HashMap<&str, i64> = journal.inbox.iter().map(|input| (input.id.as_str(), input.position)).collect();
    let mut committed: HashMap<&str, i64> = HashMap::new();
    for input in journal.inbox.iter().filter(|input| input.subject == "product.evt.stock_committed.v1") {
        committed.entry(&input.key).or_insert(input.position);
    }
    let mut asked = HashSet::new();
    for message in journal.outbox.iter().filter(|message| message.subject == "order.cmd.payment.capture.v1") {
        if asked.insert(&message.key) {
            let cause = positions.get(message.causation_id.as_str()).copied().unwrap_or(0);
            let before = committed.get(message.key.as_str()).is_some_and(|committed| *committed <= cause);
            check.must(before, || format!("{} asked for its money before its stock was committed", message.key));
        }
    }
    check
}
