use std::collections::HashSet;

use super::Case;
use crate::report::Check;

/// What a client was told stays true.
pub(super) fn accepted(case: &Case) -> Check {
    let mut check = Check::new("accepted", "every order that a client was told of is there, and told of once");
    let mut seen = HashSet::new();
    for id in case.accepted.iter().flatten() {
        // A timeline alone is what is left of an order.
        let is_there = case.tables.orders.get(id).is_some_and(|order| !order.state.is_empty());
        check.must(is_there, || format!("{id} was accepted and is lost"));
        if !seen.insert(id) {
            check.breach(format!("two requests were told of {id}"));
        }
    }
    check
}

/// An order ends once: confirmed or cancelled, or is left to a person, and says so.
pub(super) fn ends(case: &Case) -> Check {
    let mut check =
        Check::new("one_end", "every order has at most one end, has said it once, and has it when all is quiet");
    let stuck = case.stuck();
    let mut said: std::collections::HashMap<(&str, &str), u64> = std::collections::HashMap::new();
    for message in case.journal("order").into_iter().flat_map(|journal| &journal.outbox) {
        *said.entry((message.key.as_str(), message.subject.as_str())).or_default() += 1;
    }
    for (id, order) in &case.tables.orders {
        check.look();
        let count = |subject| said.get(&(id.as_str(), subject)).copied().unwrap_or(0);
        let (confirmed, cancelled) = (count("order.evt.confirmed.v1"), count("order.evt.cancelled.v1"));
        let expected = (u64::from(order.is_paid()), u64::from(order.state == "cancelled"));
        if (confirmed, cancelled) != expected {
            check.breach(format!(
                "{id} is {}, and was said to be confirmed {confirmed} times, cancelled {cancelled} times",
                order.state
            ));
        }
        let waits = case.dead_letters_allowed && stuck.contains(id.as_str());
        if case.settled && !waits && !order.is_settled() {
            check.breach(format!("{id} is {} and has no end", order.state));
        }
    }
    check
}
