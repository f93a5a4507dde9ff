use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use crate::{Action, Change, DrivenClock, Failpoint, Plant, VARIABLE};

/// What a failpoint fails with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Injected(pub Failpoint);

impl std::fmt::Display for Injected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "injected at {}", self.0)
    }
}

impl std::error::Error for Injected {}

/// The faults of this process, as its start was told.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// See [`deliveries`](crate::deliveries).
    pub(crate) deliveries: Option<usize>,
    /// See [`relay_restart`](crate::relay_restart).
    pub(crate) relay_seed: Option<u64>,
    /// See [`changed`](crate::changed).
    pub(crate) changes: Vec<Change>,
    /// See [`driven_clock`](crate::driven_clock).
    pub(crate) clock: Option<Arc<DrivenClock>>,
    plants: Vec<Plant>,
    guarded: Vec<Plant>,
    points: BTreeMap<Failpoint, Vec<Rule>>,
    reached: Mutex<BTreeMap<Failpoint, u64>>,
}

/// From the `first` time on, `times` times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rule {
    action: Action,
    first: u64,
    times: u64,
}

static PLAN: OnceLock<Plan> = OnceLock::new();

type Hook = Rc<dyn Fn(Failpoint) -> Option<Action>>;

thread_local! {
    static HOOK: RefCell<Option<Hook>> = const { RefCell::new(None) };
    static PLANTS: RefCell<ThreadPlants> = const { RefCell::new(ThreadPlants { bare: Vec::new(), guarded: Vec::new() }) };
}

/// The bugs of one thread, beside those of the process.
#[derive(Clone, Debug)]
struct ThreadPlants {
    bare: Vec<Plant>,
    guarded: Vec<Plant>,
}

/// Comes to a boundary. A crash ends the process here; in a thread with a hook it is a failure, and the hook's owner acts
/// as if the process had died.
///
/// # Errors
/// Where the plan or the hook says so.
pub async fn reach(point: Failpoint) -> Result<(), Injected> {
    let (action, hooked) = decide(point);
    if let (Some(action), false) = (action, hooked) {
        eprintln!("{VARIABLE}: {action:?} at {point}");
    }
    match action {
        None => Ok(()),
        Some(Action::Crash) if !hooked => std::process::abort(),
        Some(Action::Crash | Action::Fail) => Err(Injected(point)),
        Some(Action::Hang { millis }) => {
            tokio::time::sleep(Duration::from_millis(millis)).await;
            Ok(())
        }
    }
}

/// Not in [`reach`], because a hook must not live across its wait: it stays in its thread.
fn decide(point: Failpoint) -> (Option<Action>, bool) {
    match HOOK.with_borrow(Clone::clone) {
        Some(hook) => (hook(point), true),
        None => (plan().and_then(|plan| plan.at(point)), false),
    }
}

/// Whether this bug is in.
pub fn planted(plant: Plant) -> bool {
    plan().is_some_and(|plan| plan.plants.contains(&plant) || plan.guarded.contains(&plant))
        || PLANTS.with_borrow(|plants| plants.bare.contains(&plant) || plants.guarded.contains(&plant))
}

/// Whether the guard beneath this bug is taken away.
pub fn unguarded(plant: Plant) -> bool {
    plan().is_some_and(|plan| plan.plants.contains(&plant)) || PLANTS.with_borrow(|plants| plants.bare.contains(&plant))
}

/// Whether any fault may happen here: what is one step for speed is then done in its parts.
pub fn is_active() -> bool {
    plan().is_some_and(Plan::has_faults) || HOOK.with_borrow(Option::is_some)
}

/// Takes the faults of this process from the value of `PANGAEA_FAULTS`.
///
/// # Errors
/// When it cannot be understood.
pub fn refuse(value: Option<&OsStr>) -> Result<(), String> {
    let Some(value) = value else { return Ok(()) };
    let text = value.to_str().ok_or_else(|| format!("{VARIABLE} is not UTF-8"))?;
    let plan = Plan::parse(text).map_err(|reason| format!("{VARIABLE}: {reason}"))?;
    PLAN.set(plan).map_err(|_| format!("{VARIABLE} was taken already"))
}

/// Until the returned value is dropped, `hook` decides what happens at the failpoints that *this thread* comes to.
#[must_use = "the hook goes when this is dropped"]
pub fn with_hook(hook: impl Fn(Failpoint) -> Option<Action> + 'static) -> HookGuard {
    HookGuard(HOOK.replace(Some(Rc::new(hook))))
}

pub struct HookGuard(Option<Hook>);

impl Drop for HookGuard {
    fn drop(&mut self) {
        HOOK.set(self.0.take());
    }
}

/// Until the returned value is dropped, this bug is in for *this thread*; with its guard in place, or taken away.
#[must_use = "the bug goes when this is dropped"]
pub fn with_plant(plant: Plant, guarded: bool) -> PlantGuard {
    PLANTS.with_borrow_mut(|plants| {
        let before = plants.clone();
        if guarded { &mut plants.guarded } else { &mut plants.bare }.push(plant);
        PlantGuard(before)
    })
}

pub struct PlantGuard(ThreadPlants);

impl Drop for PlantGuard {
    fn drop(&mut self) {
        PLANTS.replace(self.0.clone());
    }
}

pub(crate) fn plan() -> Option<&'static Plan> {
    PLAN.get()
}

// === impl Plan ===

impl Plan {
    fn parse(text: &str) -> Result<Self, String> {
        let mut plan = Self::default();
        for word in text.split_whitespace() {
            if let Some(name) = word.strip_prefix("plant:") {
                plan.plants.push(name.parse()?);
            } else if let Some(name) = word.strip_prefix("guarded:") {
                plan.guarded.push(name.parse()?);
            } else if let Some(name) = word.strip_prefix("change:") {
                plan.changes.push(name.parse()?);
            } else if let Some(times) = word.strip_prefix("redeliver:") {
                plan.deliveries = Some(times.parse().map_err(|_| format!("{times:?} is not a number"))?);
            } else if let Some(seed) = word.strip_prefix("restart_relay:") {
                plan.relay_seed = Some(seed.parse().map_err(|_| format!("{seed:?} is not a number"))?);
            } else if let Some(file) = word.strip_prefix("clock:") {
                plan.clock = Some(Arc::new(DrivenClock::open(Path::new(file))?));
            } else {
                let (name, rule) = word.split_once('=').ok_or_else(|| format!("{word:?} names no action"))?;
                plan.points.entry(name.parse()?).or_default().push(Rule::parse(rule)?);
            }
        }
        Ok(plan)
    }

    /// A clock that is driven is no fault: the store does the same by it, in the same steps.
    fn has_faults(&self) -> bool {
        let repeats = self.deliveries.is_some() || self.relay_seed.is_some();
        repeats || !(self.plants.is_empty() && self.guarded.is_empty() && self.points.is_empty())
    }

    fn at(&self, point: Failpoint) -> Option<Action> {
        let rules = self.points.get(&point)?;
        let mut reached = self.reached.lock().unwrap_or_else(PoisonError::into_inner);
        let time = reached.entry(point).or_insert(0);
        *time += 1;
        let holds = |rule: &&Rule| *time >= rule.first && *time - rule.first < rule.times;
        rules.iter().find(holds).map(|rule| rule.action)
    }
}

// === impl Rule ===

impl Rule {
    /// `ACTION[@FIRST][xTIMES]`
    fn parse(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse::<u64>().map_err(|_| format!("{text:?} is not a number"));
        // Only after the @, because no action's name ends in a number.
        let (rest, times) = match text.rsplit_once('x') {
            Some((rest, times)) if times.bytes().all(|byte| byte.is_ascii_digit()) && !times.is_empty() => {
                (rest, number(times)?)
            }
            _ => (text, 1),
        };
        let (action, first) = match rest.split_once('@') {
            Some((action, first)) => (action, number(first)?),
            None => (rest, 1),
        };
        let action = match action.split_once(':') {
            None if action == "crash" => Action::Crash,
            None if action == "fail" => Action::Fail,
            Some(("hang", millis)) => Action::Hang { millis: number(millis)? },
            _ => return Err(format!("{action:?} is none of crash, fail, hang:<milliseconds>")),
        };
        Ok(Self { action, first: first.max(1), times })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_documentation_shows() {
        let plan = Plan::parse(
            "plant:relay_skips_a_row guarded:float_money change:wrong_rounding change:random_id commit.before=crash \
             append.after=fail@3 handler.before=hang:3000@2x5 redeliver:3 restart_relay:42",
        )
        .unwrap();
        assert_eq!((plan.deliveries, plan.relay_seed), (Some(3), Some(42)));
        assert_eq!(plan.plants, [Plant::RelaySkipsARow]);
        assert_eq!(plan.guarded, [Plant::FloatMoney]);
        assert_eq!(plan.changes, [Change::WrongRounding, Change::RandomId]);
        let actions = |point, times: usize| (0..times).map(|_| plan.at(point)).collect::<Vec<_>>();
        assert_eq!(actions(Failpoint::CommitBefore, 2), [Some(Action::Crash), None]);
        assert_eq!(actions(Failpoint::AppendAfter, 4), [None, None, Some(Action::Fail), None]);
        let hang = Some(Action::Hang { millis: 3000 });
        assert_eq!(actions(Failpoint::HandlerBefore, 7), [None, hang, hang, hang, hang, hang, None]);
        assert_eq!(plan.at(Failpoint::TakeBefore), None);
        assert!(plan.has_faults() && !Plan::default().has_faults());
        for bad in [
            "commit.before",
            "nowhere=crash",
            "commit.before=explode",
            "plant:none",
            "change:float_money",
            "change:",
            "append.after=fail@soon",
            "redeliver:often",
            "clock:/there/is/no/such/file",
        ] {
            assert!(Plan::parse(bad).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_hook_decides_for_its_thread_until_it_is_dropped() {
        let guard = with_hook(|point| (point == Failpoint::CommitAfter).then_some(Action::Crash));
        assert!(is_active());
        assert_eq!(reach(Failpoint::CommitBefore).await, Ok(()));
        assert_eq!(reach(Failpoint::CommitAfter).await, Err(Injected(Failpoint::CommitAfter)));
        drop(guard);
        assert_eq!(reach(Failpoint::CommitAfter).await, Ok(()));
    }

    #[test]
    fn a_plant_of_a_thread_goes_with_its_guard() {
        let outer = with_plant(Plant::FloatMoney, true);
        assert!(planted(Plant::FloatMoney) && !unguarded(Plant::FloatMoney));
        let inner = with_plant(Plant::FloatMoney, false);
        assert!(unguarded(Plant::FloatMoney) && !planted(Plant::RelaySkipsARow));
        drop(inner);
        assert!(!unguarded(Plant::FloatMoney));
        drop(outer);
        assert!(!planted(Plant::FloatMoney));
    }
}
