//! Recorded events as a test.
//!
//! A [`Recording`] holds what modules were given and what they said, from a store's own journals ([`record`]). [`check`] runs its
//! inputs through the handlers of *this* program, in a database of its own and without performing any effect, and compares what
//! they say now: messages, timers, effects and answers of every input, and the [exact digest](exact_digest) of the tables at the
//! end. The handlers are deterministic, so whatever differs is a change of behaviour.
//!
//! A [`Shadow`] does the same beside a live leader, whose inputs it follows as they are committed.
//!
//! [`canonical`] compares two live runs instead: it reads the databases of a store that is quiet and gives what its modules hold
//! and have said without times and positions, and with ids named after where they appear. It is for workloads without
//! contention; with it, who came first is part of the outcome.
//!
//! ```no_run
//! # async fn example(first: Vec<pangaea_journal::Database>, second: Vec<pangaea_journal::Database>)
//! # -> Result<(), pangaea_journal::JournalError> {
//! let (first, second) = (pangaea_replay::canonical(&first).await?, pangaea_replay::canonical(&second).await?);
//! assert_eq!(first.digest(), second.digest(), "{}", first.difference(&second).unwrap_or_default());
//! # Ok(())
//! # }
//! ```

mod aliases;
mod baseline;
mod canonical;
mod check;
mod compare;
mod determinism;
mod error;
mod expectation;
mod happened;
mod html_report;
mod ignore;
mod journal_check;
mod naming;
mod recompute;
mod record;
mod recording;
mod redact;
mod report;
mod scratch;
mod seek;
mod shadow;
mod shrink;
mod spot;
mod state;
mod story;
mod text;
mod text_report;
mod travel;

pub use aliases::{Aliases, ids_in};
pub use baseline::{BaselineProgram, UNHANDLED_EXIT};
pub use canonical::{Canonical, canonical};
pub use check::{CheckOptions, Progress, Until, check};
pub use compare::{Change, Difference, FieldChange, InputFacts, Utterance, UtteranceKind};
pub use determinism::{Conditions, determinism, usual_conditions};
pub use error::ReplayError;
pub use expectation::{Expectation, ModuleExpectation};
pub use happened::{Happened, RowHistory};
pub use ignore::Ignore;
pub use journal_check::{JournalReport, check_journal};
pub use recompute::recompute;
pub use record::{From, RecordOptions, record};
pub use recording::{
    EndState, Entries, Entry, EntryKind, Header, ModuleEnd, ModuleRecording, ModuleStart, Output, Recording,
    RecordingWriter, Rows, TableRows,
};
pub use report::{ModuleReport, RecordingFacts, Report, StateVerdict, TableDifference};
pub use scratch::IN_MEMORY;
pub use seek::{Concerned, concerned, find};
pub use shadow::{Compared, Copied, Shadow, ShadowOptions, Step};
pub use shrink::{Baseline, Expected, Found, Shrunk, shrink, write_entries, write_shrunk};
pub use spot::{Bound, Merged, Spot};
pub use state::{TableDigest, exact_digest};
pub use story::{Story, story};
pub use travel::{RowsWanted, TableView, Traveller, check_bounds};
