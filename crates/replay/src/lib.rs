//! Whether two runs did the same.
//!
//! [`canonical`] reads the databases of a store that is quiet and gives what its modules hold and have said, in a form that is
//! the same for two live runs of one workload: without times and positions, and with ids named after where they appear. It is
//! for workloads without contention; with it, who came first is part of the outcome.
//!
//! ```no_run
//! # async fn example(first: Vec<pangaea_journal::Database>, second: Vec<pangaea_journal::Database>)
//! # -> Result<(), pangaea_journal::JournalError> {
//! let (first, second) = (pangaea_replay::canonical(&first).await?, pangaea_replay::canonical(&second).await?);
//! assert_eq!(first.digest(), second.digest(), "{}", first.difference(&second).unwrap_or_default());
//! # Ok(())
//! # }
//! ```

mod canonical;
mod naming;
mod text;

pub use canonical::{Canonical, canonical};
