//! Which replica of a module leads: asked of the database, again and again.

use std::sync::Arc;
use std::time::Duration;

use pangaea_contracts::Timestamp;
use pangaea_journal::{Candidate, JournalError, Kind, Writer};
use pangaea_kernel::{Clock as _, SystemClock};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::CODE_VERSION;
use crate::module_host::Member;
use crate::term::{Ended, Term, TermError};

/// Between two tries for the lock: a standby is there a moment after the leader's session has ended.
const POLL: Duration = Duration::from_millis(250);
/// A part that cannot begin is given so much time before it is tried again.
const BEGIN_AGAIN: Duration = Duration::from_millis(500);

/// Leads one module whenever it can, and stands by for it otherwise.
pub(crate) struct Election {
    pub(crate) member: Arc<Member>,
    /// Told once: the module leads here, or another replica leads it; or why neither can be.
    pub(crate) settled: Option<oneshot::Sender<Result<(), TermError>>>,
    /// Ends it; a term that runs is handed over.
    pub(crate) stop: CancellationToken,
    /// Cancelled when a part has failed that an operator has to look at.
    pub(crate) failed: CancellationToken,
}

// === impl Election ===

impl Election {
    /// Runs until `stop`, and returns the term that runs then.
    pub(crate) async fn run(mut self) -> Option<Term> {
        let mut candidate = Candidate::new(self.member.database.clone());
        loop {
            let stop = self.stop.clone();
            let elected = tokio::select! {
                () = stop.cancelled() => return None,
                elected = self.elect(&mut candidate) => elected,
            };
            let begun = match elected {
                Ok(writer) => Term::begin(self.member.clone(), writer).await,
                Err(error) => Err(error.into()),
            };
            let term = match begun {
                Ok(term) => term,
                Err(error) => {
                    self.cannot_begin(error).await?;
                    continue;
                }
            };
            self.settle(Ok(()));
            match self.lead(&term).await {
                None => return Some(term),
                Some(Ended::Lost) => term.abandon().await,
                Some(Ended::Failed) => {
                    self.failed.cancel();
                    return Some(term);
                }
            }
        }
    }

    /// Leads until told to stop (`None`), or until the term ends by itself.
    async fn lead(&self, term: &Term) -> Option<Ended> {
        let leader = metrics::gauge!("pangaea_leader", "module" => self.member.name());
        leader.set(1.0);
        let ended = tokio::select! {
            () = self.stop.cancelled() => None,
            ended = term.ended() => Some(ended),
        };
        leader.set(0.0);
        ended
    }

    /// Waits until this replica is the leader.
    ///
    /// # Errors
    /// What waiting will not mend.
    async fn elect(&mut self, candidate: &mut Candidate) -> Result<Writer, JournalError> {
        metrics::gauge!("pangaea_leader", "module" => self.member.name()).set(0.0);
        let mut said = None;
        loop {
            let migrations = self.member.definition.all_migrations();
            let error = match candidate.try_lead(migrations, CODE_VERSION, self.machine_time()).await {
                Ok(writer) => return Ok(writer),
                Err(error) if !self.passes(&error) => return Err(error),
                Err(error) => error,
            };
            if said != Some(error.code()) {
                said = Some(error.code());
                match &error {
                    JournalError::Locked { .. } => tracing::info!(module = self.member.name(), "standing by"),
                    other => tracing::warn!(module = self.member.name(), %other, "this replica cannot lead now"),
                }
            }
            self.follow_leader().await;
            if matches!(error, JournalError::Locked { .. }) {
                self.settle(Ok(()));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// What is held against the server's clock. A clock that a test drives says nothing about this machine's.
    fn machine_time(&self) -> Timestamp {
        let clock = &self.member.clock;
        if clock.is_driven() { SystemClock.now() } else { clock.now() }
    }

    /// Keeps what a standby knows of the leader: where to send commands, and that something has been committed.
    async fn follow_leader(&self) {
        // A database that does not answer leaves what was known.
        if let Ok(Ok(Some(head))) = tokio::time::timeout(POLL, self.member.database.head()).await {
            self.member.way.leads_there(head.epoch);
            self.member.changes.tell(head.inbox_end);
        }
    }

    /// Whether another try may succeed without anybody doing anything here. A file that another process holds is a
    /// mistake, a schema that another replica leads is the rule.
    fn passes(&self, error: &JournalError) -> bool {
        use JournalError as E;
        match self.member.database.kind() {
            Kind::Sqlite => false,
            Kind::Postgres => matches!(
                error,
                E::Locked { .. }
                    | E::Open { .. }
                    | E::Unavailable(_)
                    | E::CommitUnknown(_)
                    | E::ClockOff { .. }
                    | E::TooOld { .. }
                    | E::NotMigrated { .. }
                    | E::Denied(_)
            ),
        }
    }

    /// `None` when this process must not go on.
    async fn cannot_begin(&mut self, error: TermError) -> Option<()> {
        let passes = match &error {
            TermError::Database(error) => self.passes(error),
            TermError::Bus(error) => error.is_transient(),
            TermError::Module(_) => self.settled.is_none(),
        };
        if passes {
            tracing::warn!(module = self.member.name(), %error, "this replica could not begin to lead");
            tokio::time::sleep(BEGIN_AGAIN).await;
            return Some(());
        }
        tracing::error!(module = self.member.name(), %error, "this replica cannot lead");
        self.settle(Err(error));
        self.failed.cancel();
        None
    }

    fn settle(&mut self, outcome: Result<(), TermError>) {
        if let Some(settled) = self.settled.take() {
            // The host that no longer waits is stopping.
            let _ = settled.send(outcome);
        }
    }
}
