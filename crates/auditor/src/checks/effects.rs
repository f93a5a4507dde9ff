use std::collections::{HashMap, HashSet};

use super::Case;
use crate::report::Check;

/// What the provider was asked to do was asked under keys that payment has recorded, one for each operation.
pub(super) fn operations(case: &Case) -> Check {
    let mut check =
        Check::new("one_key", "every operation at the provider has one key, and it is one that payment recorded");
    let Some(journal) = case.journal("payment") else { return check };
    let results = journal.inbox.iter().map(|input| &input.id).chain(journal.letters.iter().map(|letter| &letter.id));
    let ended: HashSet<&str> = results.filter_map(|id| id.strip_suffix(":result")).collect();
    let pending: HashSet<&str> = journal.effects.iter().map(|effect| effect.id.as_str()).collect();
    for id in pending.intersection(&ended) {
        check.breach(format!("the effect {id} has a result and is still to be done"));
    }
    let mut authorized: HashMap<&str, HashSet<&str>> = HashMap::new();
    for line in case.ledger.iter().flatten() {
        let makes_intent = line.payment_method.is_some();
        // A payer who confirms an intent does so under a key of his own.
        if line.operation == "authorize" && !makes_intent {
            continue;
        }
        let key = line.key.as_str();
        check.must(ended.contains(key) || pending.contains(key), || {
            format!(
                "the provider did {} for {} under {key}, which payment never recorded",
                line.operation, line.reference
            )
        });
        if makes_intent {
            authorized.entry(&line.reference).or_default().insert(key);
        }
    }
    for (reference, keys) in authorized {
        if keys.len() > 1 {
            check.breach(format!("{reference} was authorized under {} keys", keys.len()));
        }
    }
    check
}

/// A timer becomes an input once, and is gone then.
pub(super) fn timers(case: &Case) -> Check {
    let mut check = Check::new("timers_once", "every timer fired at most once, and is not set any more when it has");
    for journal in &case.journals {
        let mut fired = HashSet::new();
        for input in journal.inbox.iter().filter(|input| input.subject.contains(".tmr.")) {
            check.must(fired.insert(input.id.as_str()), || {
                format!("{}: the timer {} ({}) has fired twice", journal.module, input.id, input.subject)
            });
        }
        for timer in journal.timers.iter().filter(|timer| fired.contains(timer.id.as_str())) {
            check.breach(format!("{}: {} of {} has fired and is still set", journal.module, timer.subject, timer.key));
        }
    }
    check
}

/// What nobody could handle is kept, in order, and nothing of it was handled as well.
pub(super) fn letters(case: &Case) -> Check {
    let mut check = Check::new("dead_letters", "no input is left as a dead letter, and none is both dead and handled");
    for journal in &case.journals {
        let handled: HashSet<&str> = journal.inbox.iter().map(|input| input.id.as_str()).collect();
        let mut keys = HashSet::new();
        for letter in &journal.letters {
            check.look();
            let name = format!("{}: {} of {} ({})", journal.module, letter.subject, letter.key, letter.state);
            if !case.dead_letters_allowed {
                check.breach(format!("{name}: {}", letter.error));
            }
            if handled.contains(letter.id.as_str()) {
                check.breach(format!("{name} was handled too"));
            }
            if letter.state == "parked" && !keys.contains(letter.key.as_str()) {
                check.breach(format!("{name} is parked at {} behind nothing", letter.position));
            }
            keys.insert(letter.key.as_str());
        }
    }
    check
}
