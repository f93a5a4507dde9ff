//! A module's tests: given these inputs, when this one is handled, then these outputs and rows.
//!
//! A [`Scenario`] hosts one module or several in this process, each on its real executor over a database of its own, and
//! carries their messages to each other at once. There is no bus, no socket and no wall clock: time stands still until
//! [`Scenario::pass`], and timers fire when they are due. Modules that are not hosted are played by the test, by
//! [`Scenario::hear`]. The same inputs give the same ids, outputs and rows, so that a whole run can be kept as a golden
//! journal: [`Scenario::golden`].
//!
//! Every expectation is a `Result`, and its error says what was expected, what came, and the last messages.

mod building;
mod hosted;
mod http;
mod step;
mod transcript;
mod world;

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail, ensure};
use axum::Router;
use pangaea_contracts::{Actor, Kind, Message, Request, Subject, Timestamp};
use pangaea_journal::EffectRow;
use pangaea_kernel::http::Edge;
use pangaea_kernel::{Effect, ManualClock, Outcome, Performed};
use tokio::sync::Mutex;

pub use building::{Place, ScenarioBuilder};
pub use http::Client;
pub use step::Step;

use crate::diff::diff;
use crate::{golden, postgres};
use world::World;

/// Modules under test, in this process and in a time of their own.
pub struct Scenario {
    world: Arc<Mutex<World>>,
    clock: ManualClock,
    /// Of each module, in the order in which they are hosted.
    edges: Vec<Edge>,
    router: Router,
    access: http::AccessTable,
    /// On PostgreSQL, removed by [`Scenario::close`].
    database: Option<postgres::Database>,
    /// How many of the messages said have been looked at by [`Scenario::until`].
    seen: usize,
}

// === impl Scenario: given and when ===

impl Scenario {
    /// Where every scenario begins in time.
    pub const START: Timestamp = Timestamp::from_millis(1_764_000_000_000);

    /// A scenario without modules yet.
    pub fn builder() -> ScenarioBuilder {
        ScenarioBuilder::default()
    }

    /// The time that the modules see.
    pub fn now(&self) -> Timestamp {
        pangaea_kernel::Clock::now(&self.clock)
    }

    /// A message of a module that is not hosted here, read by all that are and that consume it. The step ends when nobody
    /// has anything to say any more.
    ///
    /// # Errors
    /// When no module here consumes it, its source is hosted and speaks for itself, or it becomes a dead letter.
    pub async fn hear<M: Message>(&mut self, message: &M) -> Result<Step> {
        self.hear_from(&Actor::system(), message).await
    }

    /// The same, caused by this actor.
    ///
    /// # Errors
    /// As [`Scenario::hear`].
    pub async fn hear_from<M: Message>(&mut self, actor: &Actor, message: &M) -> Result<Step> {
        let subject = Subject::parse(M::SUBJECT)?;
        ensure!(matches!(subject.kind, Kind::Event | Kind::Command), "{} does not travel in a log", M::SUBJECT);
        let payload = serde_json::to_string(message)?;
        self.world.lock().await.hear(&subject.owner, M::SUBJECT, message.key(), actor, payload).await
    }

    /// A command as the edge makes it, of a client who has not asked for this before.
    ///
    /// # Errors
    /// When its module is not hosted here or gives no answer. A refusal is an answer.
    pub async fn ask<M: Message>(&mut self, actor: &Actor, command: &M) -> Result<Step> {
        let subject = Subject::parse(M::SUBJECT)?;
        ensure!(subject.kind == Kind::Request, "{} is no command from the edge", M::SUBJECT);
        let payload = serde_json::to_string(command)?;
        self.world.lock().await.ask(&subject.owner, M::SUBJECT, command.key(), actor, payload).await
    }

    /// A request of another module, answered by reading: see [`Definition::serves`](pangaea_kernel::Definition::serves).
    ///
    /// # Errors
    /// When no module here serves it, or its server gives no reply: with the problem that it gives instead.
    pub async fn request<R: Request>(&self, request: &R) -> Result<R::Reply> {
        let (index, serve) = self.world.lock().await.server_of(R::SUBJECT)?;
        let reply = serve(self.edges[index].clone(), &serde_json::to_vec(request)?).await;
        Ok(serde_json::from_slice(&reply.map_err(|problem| anyhow!("{}: {problem}", R::SUBJECT))?)?)
    }

    /// Lets time pass. Timers fire in the order in which they are due, each at its moment.
    ///
    /// # Errors
    /// When a timer becomes a dead letter, or is refused after a write.
    pub async fn pass(&mut self, millis: i64) -> Result<Step> {
        let until = self.now().plus_millis(millis);
        self.world.lock().await.pass_until(until).await
    }

    /// Gives the oldest effect of this type that waits this outcome.
    ///
    /// # Errors
    /// When none waits.
    pub async fn finish<E: Effect>(&mut self, outcome: Outcome<E::Output>) -> Result<Step> {
        let mut world = self.world.lock().await;
        let Some((index, row)) = world.oldest_effect(E::SUBJECT) else {
            bail!("no effect {} waits for a result\n{}", E::SUBJECT, world.tail().await);
        };
        let effect: E = serde_json::from_str(&row.payload).context("the stored effect")?;
        let payload = serde_json::to_string(&Performed { effect, outcome })?;
        world.finish(index, &row, payload).await
    }

    /// Has the modules' own performers do what waits, once each.
    ///
    /// # Errors
    /// When a try gives no outcome; its effect goes on waiting.
    pub async fn perform(&mut self) -> Result<Step> {
        self.world.lock().await.perform().await
    }

    /// A client with the access token of this actor. Requests go through the module's own routes and access rules.
    pub fn client(&self, actor: &Actor) -> Client<'_> {
        Client::new(self, Some(actor.clone()))
    }

    /// A client without a token.
    pub fn anonymous(&self) -> Client<'_> {
        Client::new(self, None)
    }
}

// === impl Scenario: then ===

impl Scenario {
    /// Effects without a result, the oldest first.
    pub async fn effects(&self) -> Vec<EffectRow> {
        self.world.lock().await.effects()
    }

    /// Lets time pass, for at most `within_ms`, until a message of this type is said that `wanted` accepts. A message is
    /// found once: the next call looks at those after it.
    ///
    /// # Errors
    /// When none is said in time: what was expected, and the last messages.
    pub async fn until<M: Message>(&mut self, within_ms: i64, wanted: impl Fn(&M) -> bool) -> Result<M> {
        let limit = self.now().plus_millis(within_ms);
        let mut world = self.world.lock().await;
        loop {
            if let Some((index, found)) = world.find(self.seen, &wanted)? {
                self.seen = index + 1;
                return Ok(found);
            }
            match world.next_timer().filter(|due| *due <= limit) {
                Some(due) => drop(world.pass_until(due).await?),
                None => break,
            }
        }
        let tail = world.tail().await;
        bail!("expected: {} within {within_ms} ms\ncame: none that is wanted\n{tail}", M::SUBJECT)
    }

    /// The rows that a query gives, each as its columns joined by ` | `; a column without a value is `-`.
    ///
    /// # Errors
    /// When the module is not hosted, or its database refuses the query.
    pub async fn rows(&self, module: &str, select: &str) -> Result<Vec<String>> {
        self.world.lock().await.rows(module, select).await
    }

    /// Expects these rows of a query; see [`Scenario::rows`].
    ///
    /// # Errors
    /// When they are others: line by line what differs, and the last messages.
    pub async fn expect_rows(&self, module: &str, select: &str, expected: &[&str]) -> Result<()> {
        let came = self.rows(module, select).await?;
        let expected: Vec<String> = expected.iter().map(ToString::to_string).collect();
        if came == expected {
            return Ok(());
        }
        let tail = self.world.lock().await.tail().await;
        bail!("{select}\n(- expected, + came)\n{}\n{tail}", diff(&expected.join("\n"), &came.join("\n")))
    }

    /// All that has come in and gone out, a line each: the golden journal's text.
    pub async fn transcript(&self) -> String {
        self.world.lock().await.transcript_text()
    }

    /// Compares the transcript with a file. Tests run in their package's folder, so that a path begins there. With
    /// `PANGAEA_UPDATE_GOLDEN=1` in the environment the file is written instead.
    ///
    /// # Errors
    /// When the file is not there, or line by line what differs.
    pub async fn golden(&self, path: impl AsRef<Path>) -> Result<()> {
        golden::check(path.as_ref(), &self.transcript().await)
    }

    /// The end of a test: the modules' own invariants are looked at, every module stops as it does in a drain, and a database
    /// on a server is removed. A test that fails before it leaves that database behind.
    ///
    /// # Errors
    /// When there is a dead letter, an invariant does not hold, or a database refuses.
    pub async fn close(self) -> Result<()> {
        let Self { world, database, .. } = self;
        let stopped = world.lock().await.stop().await;
        if let Some(database) = database {
            database.delete().await?;
        }
        stopped
    }
}
