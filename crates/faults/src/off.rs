use std::ffi::OsStr;
use std::sync::Arc;

use crate::{Action, Change, Failpoint, Plant, VARIABLE};

/// What a failpoint fails with: nothing, in this build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Injected {}

impl std::fmt::Display for Injected {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {}
    }
}

impl std::error::Error for Injected {}

/// A clock that a test moves: none, in this build.
#[derive(Clone, Copy, Debug)]
pub enum DrivenClock {}

// === impl DrivenClock ===

impl DrivenClock {
    pub fn now_ms(&self) -> i64 {
        match *self {}
    }
}

/// # Errors
/// Never, in this build.
#[inline(always)]
pub async fn reach(_: Failpoint) -> Result<(), Injected> {
    Ok(())
}

#[inline(always)]
pub const fn planted(_: Plant) -> bool {
    false
}

#[inline(always)]
pub const fn changed(_: Change) -> bool {
    false
}

#[inline(always)]
pub const fn unguarded(_: Plant) -> bool {
    false
}

#[inline(always)]
pub const fn is_active() -> bool {
    false
}

#[inline(always)]
pub const fn deliveries() -> usize {
    1
}

#[inline(always)]
pub const fn relay_restart(_: u64) -> Option<u64> {
    None
}

#[inline(always)]
pub const fn driven_clock() -> Option<Arc<DrivenClock>> {
    None
}

/// Does nothing in this build: [`is_active`] stays false, which tells.
#[must_use]
pub fn with_hook(_: impl Fn(Failpoint) -> Option<Action> + 'static) -> HookGuard {
    HookGuard(())
}

/// Does nothing in this build.
#[must_use]
pub fn with_plant(_: Plant, _: bool) -> PlantGuard {
    PlantGuard(())
}

/// Does nothing in this build.
#[must_use]
pub fn with_change(_: Change) -> ChangeGuard {
    ChangeGuard(())
}

pub struct ChangeGuard(());

pub struct HookGuard(());

pub struct PlantGuard(());

/// Refuses the value of `PANGAEA_FAULTS`: this build has no faults.
///
/// # Errors
/// When it is set at all.
pub fn refuse(value: Option<&OsStr>) -> Result<(), String> {
    match value {
        None => Ok(()),
        Some(_) => Err(format!("{VARIABLE} is set, but this build has no faults to put in; unset it")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_without_faults_refuses_to_be_told_of_any() {
        assert_eq!(refuse(None), Ok(()));
        for told in [
            "plant:float_money",
            "guarded:float_money",
            "change:random_id",
            "commit.before=crash",
            "clock:/tmp/now",
            "",
        ] {
            let reason = refuse(Some(OsStr::new(told))).unwrap_err();
            assert!(reason.contains(VARIABLE) && reason.contains("unset it"), "{reason}");
        }
    }

    #[tokio::test]
    async fn nothing_is_planted_and_nothing_fails() {
        for plant in Plant::ALL {
            assert!(!planted(*plant) && !unguarded(*plant), "{plant}");
        }
        for change in Change::ALL {
            assert!(!changed(*change), "{change}");
        }
        for point in Failpoint::ALL {
            assert_eq!(reach(*point).await, Ok(()), "{point}");
        }
        assert!(!is_active() && driven_clock().is_none());
    }
}
