mod declare;
mod invariant;
mod measure;
mod projection;
mod read;
mod reader;
mod schema;

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use pangaea_contracts::Actor;
use pangaea_journal::{IntoKey, JournalError, Migration, Record, Value, Writer};
use utoipa_axum::router::OpenApiRouter;

pub use self::invariant::{FindBreaches, Invariant};
pub use self::measure::{Gauge, Histogram, Observation, ReadGauge, ReadNumbers, Unit};
pub use self::projection::Projection;
pub use self::reader::{Reader, Reading, Start};
use self::schema::SchemaOf;
use crate::http::{Edge, HttpRequest};
use crate::{Answer, Cx, ErasedPerformer, Failure, Input};

/// A module: what it is, what it serves over HTTP, and what it does when its host has started.
pub trait Module: Send + Sync + 'static {
    /// Everything the runtime needs to know; called once.
    fn define(&self) -> Definition;

    /// Routes under the module's own prefixes. Every operation carries an `x-access` extension.
    fn routes(&self) -> OpenApiRouter<Edge>;

    /// Commands admitted at every start, under fixed ids, so that they act once in the life of a store.
    fn seed(&self) -> Vec<Input> {
        Vec::new()
    }

    /// The request that a recorded command was, for whoever sends a recording's commands to another store; `None` for what no
    /// client can send again, such as what holds sealed data. `key` is the command's, `actor` who sent it.
    fn request_of(&self, subject: &str, key: &str, payload: &serde_json::Value, actor: &Actor) -> Option<HttpRequest> {
        let _ = (subject, key, payload, actor);
        None
    }

    /// Work at the edge after the start, e.g. making sure that a signing key exists.
    fn start(&self, edge: Edge) -> BoxFuture<'_, Result<(), String>> {
        let _ = edge;
        Box::pin(async { Ok(()) })
    }
}

/// What a module declares. From this alone come routing, streams, topology and permissions.
pub struct Definition {
    name: &'static str,
    migrations: Vec<Migration>,
    handlers: BTreeMap<&'static str, Registered>,
    readers: BTreeMap<&'static str, Reader>,
    says: BTreeSet<&'static str>,
    schemas: BTreeMap<&'static str, SchemaOf>,
    performers: BTreeMap<&'static str, ErasedPerformer>,
    servers: BTreeMap<&'static str, Serve>,
    settings: SettingsType,
    invariants: Vec<Invariant>,
    projections: Vec<Projection>,
    histograms: Vec<&'static Histogram>,
    gauges: Vec<ReadGauge>,
    faults: Vec<String>,
}

/// A handler of one subject.
#[derive(Clone)]
pub struct Registered {
    pub subject: &'static str,
    /// Of what is read from a log: the reader of its own, where it has one.
    pub(crate) reader: Option<&'static str>,
    pub(crate) run: Run,
    pub(crate) wants: Option<Wants>,
}

pub(crate) type Run =
    Arc<dyn for<'a> Fn(&'a mut Cx, &str) -> BoxFuture<'a, Result<Option<Answer>, Failure>> + Send + Sync>;
pub(crate) type Wants = Arc<dyn Fn(&str, &mut Keys) + Send + Sync>;
type ParseSettings = fn(&serde_json::Value) -> Result<Arc<dyn Any + Send + Sync>, String>;

/// Answers a request from another module by reading: `(edge, JSON)` to JSON.
pub type Serve = Arc<dyn Fn(Edge, &[u8]) -> BoxFuture<'static, Result<Vec<u8>, String>> + Send + Sync>;

struct SettingsType {
    parse: ParseSettings,
    default: serde_json::Value,
}

/// The rows that the inputs of a batch will want, so that each table is read once.
#[derive(Default)]
pub struct Keys(BTreeMap<&'static str, (Load, Vec<Vec<Value>>)>);

type Load = for<'a> fn(&'a mut Writer, Vec<Vec<Value>>) -> BoxFuture<'a, Result<(), JournalError>>;

/// An `async fn(&mut Cx, M) -> Result<R, Failure>`.
pub trait Handler<'a, M, R>: Send + Sync + 'static {
    fn call(&self, cx: &'a mut Cx, message: M) -> BoxFuture<'a, Result<R, Failure>>;
}

impl<'a, M, R, F, Fut> Handler<'a, M, R> for F
where
    F: Fn(&'a mut Cx, M) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<R, Failure>> + Send + 'a,
{
    fn call(&self, cx: &'a mut Cx, message: M) -> BoxFuture<'a, Result<R, Failure>> {
        Box::pin(self(cx, message))
    }
}

// === impl Keys ===

impl Keys {
    pub fn want<R: Record>(&mut self, key: impl IntoKey) {
        let load: Load = |writer, keys| Box::pin(writer.prefetch::<R>(keys));
        self.0.entry(R::TABLE).or_insert_with(|| (load, Vec::new())).1.push(key.into_key());
    }

    pub(crate) async fn load(self, writer: &mut Writer) -> Result<(), JournalError> {
        for (load, keys) in self.0.into_values() {
            load(writer, keys).await?;
        }
        Ok(())
    }
}
