//! A second opinion about a store, formed outside of its processes: from what a client wrote down, what the provider
//! wrote down, what the databases hold and what the streams hold.
//!
//! It imports nothing of the store's own crates, on purpose, and states in its own words what must be true: who consumes
//! what, what each step of an order says, where money stands. A bug in a shared type would hide on both sides.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! let audit = pangaea_auditor::Audit {
//!     database: "sqlite:data/{module}.db".to_owned(),
//!     ledger: Some("data/provider-ledger.jsonl".into()),
//!     settled: true,
//!     ..Default::default()
//! };
//! audit.judge().await?.ensure_sound()
//! # }
//! ```
//!
//! How it is divided: `database`, `journal`, `tables`, `provider`, `stream` and `evidence` read; `checks` judge what was
//! read, purely; `report` says it. All of a store is held in memory while it is judged: about 1 KiB for each row of an
//! inbox or an outbox.

mod checks;
mod database;
mod evidence;
mod journal;
mod provider;
mod report;
mod stream;
mod tables;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

pub use report::{Check, Report};
pub use stream::connect;

use checks::Case;
use database::Source;
use evidence::Reply;
use journal::Journal;
use tables::Tables;

/// The modules of the store, in the order in which the report names them.
pub(crate) const MODULES: [&str; 4] = ["product", "order", "payment", "user"];
/// Between two looks at a store that is still at work.
const PAUSE: Duration = Duration::from_millis(250);

/// What to look at, and how strictly.
#[derive(Clone, Debug, Default)]
pub struct Audit {
    /// Where the modules' databases are: `sqlite:<file>` with `{module}` in it, `sqlite:<folder>/`, or `postgres://…` with a
    /// schema per module. Only read.
    pub database: String,
    /// The streams, when the modules talk over NATS.
    pub nats: Option<Nats>,
    /// The client's log of accepted orders: an id a line, written before it was counted.
    pub accepted: Option<PathBuf>,
    /// The provider's ledger: JSON lines.
    pub ledger: Option<PathBuf>,
    /// What clients were answered: JSON lines with `principal`, `method`, `path`, `key`, `status` and `body`.
    pub replies: Option<PathBuf>,
    /// Texts that must be nowhere.
    pub canaries: Vec<String>,
    /// Nothing is under way any more: every order must have come to its end, every reader and stream to its source's end.
    pub settled: bool,
    /// Inputs that nobody could handle are not by themselves a breach; what they keep from ending is not judged as ended.
    pub dead_letters_allowed: bool,
    /// Ids of messages that an operator has given up: nothing is left of them, and that is known.
    pub abandoned: Vec<String>,
}

/// A NATS server, and the first token of the store's subjects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nats {
    pub url: String,
    pub namespace: String,
}

// === impl Audit ===

impl Audit {
    /// Reads everything and judges it.
    ///
    /// # Errors
    /// When something that was named cannot be read: then nothing is judged.
    pub async fn judge(&self) -> Result<Report> {
        let mut journals = Vec::new();
        let mut tables = Tables::default();
        for module in MODULES {
            let Some(mut source) = Source::open(&self.database, module).await? else { continue };
            let read = async {
                journals.push(Journal::read(&mut source, module).await?);
                tables.read(&mut source, module).await
            };
            read.await.with_context(|| format!("reading the database of {module}"))?;
            source.close().await;
        }
        ensure!(!journals.is_empty(), "no module has a database at {}; name it with --database", shown(&self.database));
        let streams = match &self.nats {
            Some(nats) => Some(stream::read_all(nats, journals.iter().map(|journal| journal.module)).await?),
            None => None,
        };
        let case = Case {
            accepted: self.accepted.as_deref().map(evidence::read_accepted).transpose()?,
            ledger: self.ledger.as_deref().map(provider::read).transpose()?,
            replies: self.replies.as_deref().map(Reply::read_all).transpose()?,
            canaries: self.canaries.clone(),
            settled: self.settled,
            dead_letters_allowed: self.dead_letters_allowed,
            abandoned: self.abandoned.clone(),
            journals,
            tables,
            streams,
        };
        Ok(case.judge())
    }

    /// Judges again and again until nothing is found, for at most `within`: a store that is at work has messages under
    /// way between two databases that are read one after the other. The last report is returned.
    ///
    /// # Errors
    /// When something that was named cannot be read.
    pub async fn judge_within(&self, within: Duration) -> Result<Report> {
        let until = Instant::now() + within;
        loop {
            let report = self.judge().await?;
            if report.is_sound() || Instant::now() >= until {
                return Ok(report);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// What stands before an @ may be a password.
pub(crate) fn shown(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => match rest.rsplit_once('@') {
            Some((_, place)) => format!("{scheme}://…@{place}"),
            None => url.to_owned(),
        },
        None => url.to_owned(),
    }
}
