//! Changes of behaviour: a store with one of them may be sound, yet it is not the store that was recorded.

use std::cell::RefCell;

use crate::{Change, plan};

thread_local! {
    static CHANGES: RefCell<Vec<Change>> = const { RefCell::new(Vec::new()) };
}

/// Whether this change is in.
pub fn changed(change: Change) -> bool {
    plan().is_some_and(|plan| plan.changes.contains(&change))
        || CHANGES.with_borrow(|changes| changes.contains(&change))
}

/// Until the returned value is dropped, this change is in for *this thread*.
#[must_use = "the change goes when this is dropped"]
pub fn with_change(change: Change) -> ChangeGuard {
    CHANGES.with_borrow_mut(|changes| {
        let before = changes.clone();
        changes.push(change);
        ChangeGuard(before)
    })
}

pub struct ChangeGuard(Vec<Change>);

impl Drop for ChangeGuard {
    fn drop(&mut self) {
        CHANGES.set(std::mem::take(&mut self.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_a_thread_goes_with_its_guard() {
        for change in Change::ALL {
            let guard = with_change(*change);
            let inner = with_change(Change::WallClock);
            for other in Change::ALL {
                assert_eq!(changed(*other), other == change || *other == Change::WallClock, "{other} with {change}");
            }
            let elsewhere = std::thread::spawn(|| Change::ALL.iter().any(|change| changed(*change)));
            assert!(!elsewhere.join().unwrap(), "{change} is in another thread too");
            drop(inner);
            assert!(changed(*change));
            drop(guard);
            assert!(!changed(*change), "{change}");
        }
    }

    #[test]
    fn a_change_reads_what_it_writes() {
        assert_eq!(Change::ALL.len(), 12);
        for change in Change::ALL {
            assert_eq!(change.to_string().parse(), Ok(*change));
        }
    }
}
