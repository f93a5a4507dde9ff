use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use pangaea_faults::{Action, Failpoint, HookGuard, with_hook};

/// The failpoints of this thread, as the scheduler has set them.
///
/// A crash fails the step at its point; from then on every point fails until [`Crashes::take_death`], because a dead
/// process does nothing more. Whoever drives the step then drops all that the process had in memory.
pub(crate) struct Crashes {
    state: Rc<RefCell<State>>,
    _hook: HookGuard,
}

#[derive(Default)]
struct State {
    armed: Option<Armed>,
    died_at: Option<Failpoint>,
    failed_at: Option<Failpoint>,
}

/// What happens at the `left`th passing of a point.
struct Armed {
    point: Failpoint,
    left: u32,
    action: Action,
}

/// How often a run died, and failed to do a step, where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultCounts {
    pub crashes: BTreeMap<&'static str, u64>,
    pub failures: BTreeMap<&'static str, u64>,
}

// === impl Crashes ===

impl Crashes {
    pub(crate) fn new() -> Self {
        let state: Rc<RefCell<State>> = Rc::default();
        let seen = state.clone();
        Self { state, _hook: with_hook(move |point| seen.borrow_mut().reach(point)) }
    }

    /// Sets the fault of the next step.
    pub(crate) fn arm(&self, point: Failpoint, passing: u32, action: Action) {
        self.state.borrow_mut().armed = Some(Armed { point, left: passing, action });
    }

    /// Takes back what has not happened.
    pub(crate) fn disarm(&self) {
        self.state.borrow_mut().armed = None;
    }

    /// Where the process has died since the last call.
    pub(crate) fn take_death(&self) -> Option<Failpoint> {
        self.state.borrow_mut().died_at.take()
    }

    /// Where a step has failed since the last call, without a death.
    pub(crate) fn take_failure(&self) -> Option<Failpoint> {
        self.state.borrow_mut().failed_at.take()
    }
}

// === impl State ===

impl State {
    fn reach(&mut self, point: Failpoint) -> Option<Action> {
        if self.died_at.is_some() {
            return Some(Action::Crash);
        }
        let armed = self.armed.as_mut().filter(|armed| armed.point == point)?;
        armed.left = armed.left.saturating_sub(1);
        if armed.left > 0 {
            return None;
        }
        let action = self.armed.take()?.action;
        match action {
            Action::Crash => self.died_at = Some(point),
            Action::Fail | Action::Hang { .. } => self.failed_at = Some(point),
        }
        Some(action)
    }
}

// === impl FaultCounts ===

impl FaultCounts {
    pub(crate) fn add(&mut self, other: &Self) {
        for (mine, theirs) in [(&mut self.crashes, &other.crashes), (&mut self.failures, &other.failures)] {
            for (point, count) in theirs {
                *mine.entry(point).or_insert(0) += count;
            }
        }
    }
}
