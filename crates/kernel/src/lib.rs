//! What a module is.
//!
//! A [`Module`] is a deterministic function from its inbox to its outbox: [`Definition`] lists its handlers, and a handler
//! gets a message and a [`Cx`]. Everything it may know comes from `Cx`; everything it says leaves through `Cx`.
//!
//! A module author reads, in this order: [`Module`], [`Definition`], [`Cx`], [`Failure`], then [`http::Edge`] for the
//! routes. The runtime drives an [`Executor`], which is a pure step function: a batch of work in, a commit out.

mod answer;
mod clock;
mod cx;
mod definition;
mod effect;
mod executor;
mod failure;
mod history;
mod input;
mod observer;
mod outputs;
mod problem;
mod rebuild;
mod settings;

pub mod auth;
pub mod http;

pub use answer::Answer;
pub use clock::{Clock, ManualClock, SystemClock, process_clock};
pub use cx::{Cx, DerivedId};
pub use definition::{
    Definition, FindBreaches, Gauge, Handler, Histogram, Invariant, Keys, Module, Observation, Projection, ReadGauge,
    ReadNumbers, Reader, Reading, Registered, Serve, Start, Unit,
};
pub use effect::{Call, Effect, ErasedPerformer, Outcome, Performed, Performer, TryError};
pub use executor::{
    AdmittedInput, BatchResult, Done, Executor, ExecutorError, LetterOutcome, RebuildDone, RebuildStep, Replayer, Said,
    Work,
};
pub use failure::Failure;
pub use history::{History, HistoryError, Recorded, Source};
pub use input::{Input, InputKind, effect_of_result, result_id};
pub use observer::{HandlingEnd, Observer};
pub use outputs::Asked;
pub use problem::{FieldError, Problem, ProblemKind};
pub use rebuild::{
    InputDifference, LastInputs, Rebuild, RebuildError, RebuildFacts, RebuildOptions, RebuildPhase, RebuildProgress,
    RebuildReport, Steps,
};
pub use settings::{SettingsRow, settings_subject};
