use crate::{Answer, Failure, Input, Observation};

/// Is told what an [`Executor`](crate::Executor) does, as it does it: for whoever measures, because the executor itself looks at
/// no clock. It sees what is undone afterwards, too. What it does not want to see it leaves out.
pub trait Observer: Send + Sync {
    /// The handler of an input begins.
    fn handling(&mut self, _input: &Input) {}

    /// It has ended; what it said counts only when [`Observer::committed`] follows.
    fn handled(&mut self, _input: &Input, _end: HandlingEnd<'_>) {}

    /// Everything since the last commit is about to be committed.
    fn committing(&mut self) {}

    fn committed(&mut self) {}

    /// A handler whose input is now committed had observed this.
    fn observed(&mut self, _observation: Observation) {}

    /// Everything since the last commit is as if it had not been; it may be tried again.
    fn undone(&mut self) {}
}

/// How a handler ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandlingEnd<'a> {
    Handled,
    /// A command was answered, with this HTTP status.
    Answered(u16),
    /// It failed; the same input is tried again, or becomes a dead letter.
    Failed(&'a str),
}

// === impl HandlingEnd ===

impl<'a> HandlingEnd<'a> {
    pub(crate) fn of(handled: &'a Result<Option<Answer>, Failure>, input: &Input) -> Self {
        match handled {
            Ok(Some(answer)) => Self::Answered(answer.status),
            Ok(None) => Self::Handled,
            Err(Failure::Refusal(problem)) if input.is_command() => Self::Answered(problem.status),
            Err(Failure::Refusal(_)) => Self::Failed("refused, but there is nobody to answer"),
            Err(Failure::Poison(reason)) => Self::Failed(reason),
            Err(Failure::Transient(_) | Failure::Superseded(_)) => Self::Failed("the database"),
        }
    }
}

/// Nobody looks.
impl Observer for () {}
