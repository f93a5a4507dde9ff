mod invariant;
mod projection;
mod reader;
mod schema;

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use pangaea_contracts::{Actor, Kind, Message, Request, Subject};
use pangaea_journal::{IntoKey, JournalError, Migration, Record, Value, Writer};
use serde::Serialize;
use serde::de::DeserializeOwned;
use utoipa_axum::router::OpenApiRouter;

pub use self::invariant::{FindBreaches, Invariant};
pub use self::projection::Projection;
pub use self::reader::{Reader, Reading, Start};
use self::schema::SchemaOf;
use crate::http::{Edge, HttpRequest};
use crate::{Answer, Cx, Effect, ErasedPerformer, Failure, Input, Performed, Performer, Problem};

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

// === impl Definition: building ===

impl Definition {
    /// A module that keeps the published token keys, as every module does, and nothing else yet.
    pub fn new(name: &'static str) -> Self {
        let definition = Self {
            name,
            migrations: vec![crate::settings::MIGRATION],
            handlers: BTreeMap::new(),
            readers: BTreeMap::new(),
            says: BTreeSet::new(),
            schemas: BTreeMap::new(),
            performers: BTreeMap::new(),
            servers: BTreeMap::new(),
            settings: SettingsType { parse: |_| Ok(Arc::new(())), default: serde_json::Value::Null },
            invariants: Vec::new(),
            projections: Vec::new(),
            faults: Vec::new(),
        };
        if name == crate::auth::KEY_SOURCE { definition } else { definition.on(crate::auth::key_published) }
    }

    #[must_use]
    pub fn migrations(mut self, migrations: &[Migration]) -> Self {
        self.migrations.extend_from_slice(migrations);
        self
    }

    /// Configured values that can change a decision. Handlers read them with `cx.settings::<T>()`.
    #[must_use]
    pub fn settings<T>(mut self) -> Self
    where
        T: Serialize + DeserializeOwned + Default + Send + Sync + 'static,
    {
        self.settings = SettingsType {
            parse: |value| {
                let settings: T = serde_json::from_value(value.clone()).map_err(|error| error.to_string())?;
                Ok(Arc::new(settings))
            },
            default: serde_json::to_value(T::default()).unwrap_or_default(),
        };
        self
    }

    /// A command from HTTP (an `rpc` subject under this module's name); the answer is stored.
    #[must_use]
    pub fn command<M: Message>(mut self, handler: impl for<'a> Handler<'a, M, Answer>) -> Self {
        self.expect::<M>(&[Kind::Request], true);
        self.register::<M>(Arc::new(move |cx, payload| match decode::<M>(payload) {
            Ok(message) => {
                let future = handler.call(cx, message);
                Box::pin(async move { future.await.map(Some) })
            }
            Err(failure) => Box::pin(async { Err(failure) }),
        }))
    }

    /// An event of any module, or a command from another module to this one.
    #[must_use]
    pub fn on<M: Message>(mut self, handler: impl for<'a> Handler<'a, M, ()>) -> Self {
        self.expect::<M>(&[Kind::Event, Kind::Command], false);
        self.register_plain::<M, M>(handler)
    }

    /// As [`on`](Definition::on), read by a reader of its own: for a subject that a later release consumes of a source which
    /// the module reads already.
    #[must_use]
    pub fn on_from<M: Message>(mut self, reader: Reader, handler: impl for<'a> Handler<'a, M, ()>) -> Self {
        self.faults.extend(reader.fault(self.name, self.readers.insert(reader.name, reader)));
        self = self.on::<M>(handler);
        if let Some(registered) = self.handlers.get_mut(M::SUBJECT) {
            registered.reader = Some(reader.name);
        }
        self
    }

    /// A timer of this module that has come due.
    #[must_use]
    pub fn timer<M: Message>(mut self, handler: impl for<'a> Handler<'a, M, ()>) -> Self {
        self.expect::<M>(&[Kind::Timer], true);
        self.may_say::<M>();
        self.register_plain::<M, M>(handler)
    }

    /// An effect of this module: who performs it, and what is done with its result.
    #[must_use]
    pub fn effect<E: Effect>(
        mut self,
        performer: Arc<dyn Performer<E>>,
        handler: impl for<'a> Handler<'a, Performed<E>, ()>,
    ) -> Self {
        self.expect::<E>(&[Kind::Effect], true);
        self.may_say::<E>();
        self.performers.insert(E::SUBJECT, ErasedPerformer::new(performer));
        self.register_plain::<E, Performed<E>>(handler)
    }

    /// Declares an event of this module.
    #[must_use]
    pub fn emits<M: Message>(mut self) -> Self {
        self.expect::<M>(&[Kind::Event], true);
        self.may_say::<M>();
        self
    }

    /// Declares a command of this module to another one.
    #[must_use]
    pub fn sends<M: Message>(mut self) -> Self {
        self.expect::<M>(&[Kind::Command], true);
        self.may_say::<M>();
        self
    }

    /// A request of other modules that only reads: it is answered at the edge and leaves no trace in the inbox.
    #[must_use]
    pub fn serves<R, F, Fut>(mut self, server: F) -> Self
    where
        R: Request,
        F: Fn(Edge, R) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<R::Reply, Problem>> + Send + 'static,
    {
        self.expect::<R>(&[Kind::Request], true);
        let serve: Serve = Arc::new(move |edge, payload| {
            let request = serde_json::from_slice::<R>(payload).map_err(|error| format!("cannot decode: {error}"));
            let server = server.clone();
            Box::pin(async move {
                let reply = server(edge, request?).await.map_err(|problem| problem.to_string())?;
                serde_json::to_vec(&reply).map_err(|error| error.to_string())
            })
        });
        self.servers.insert(R::SUBJECT, serve);
        self
    }

    /// Names the rows that a message's handler will want.
    #[must_use]
    pub fn wants<M: Message>(mut self, keys: impl Fn(&M, &mut Keys) + Send + Sync + 'static) -> Self {
        match self.handlers.get_mut(M::SUBJECT) {
            Some(registered) => {
                registered.wants = Some(Arc::new(move |payload, wanted| {
                    if let Ok(message) = serde_json::from_str::<M>(payload) {
                        keys(&message, wanted);
                    }
                }));
            }
            None => self.faults.push(format!("{} has keys but no handler", M::SUBJECT)),
        }
        self
    }

    fn register_plain<M: Message, P: DeserializeOwned + Send + 'static>(
        self,
        handler: impl for<'a> Handler<'a, P, ()>,
    ) -> Self {
        self.register::<M>(Arc::new(move |cx, payload| match decode::<P>(payload) {
            Ok(message) => {
                let future = handler.call(cx, message);
                Box::pin(async move { future.await.map(|()| None) })
            }
            Err(failure) => Box::pin(async { Err(failure) }),
        }))
    }

    fn register<M: Message>(mut self, run: Run) -> Self {
        self.know::<M>();
        if self
            .handlers
            .insert(M::SUBJECT, Registered { subject: M::SUBJECT, reader: None, run, wants: None })
            .is_some()
        {
            self.faults.push(format!("{} has two handlers", M::SUBJECT));
        }
        self
    }

    fn expect<M: Message>(&mut self, kinds: &[Kind], own: bool) {
        let fault = match Subject::parse(M::SUBJECT) {
            Err(error) => Some(error.to_string()),
            Ok(subject) if !kinds.contains(&subject.kind) => Some(format!("{} is of the wrong kind here", M::SUBJECT)),
            Ok(subject) if own && subject.owner != self.name => {
                Some(format!("{} is not {}'s to declare", M::SUBJECT, self.name))
            }
            Ok(subject) if !own && subject.target.as_deref().is_some_and(|target| target != self.name) => {
                Some(format!("{} is addressed to another module than {}", M::SUBJECT, self.name))
            }
            Ok(_) => None,
        };
        self.faults.extend(fault);
    }
}

fn decode<M: DeserializeOwned>(payload: &str) -> Result<M, Failure> {
    serde_json::from_str(payload).map_err(|error| Failure::poison(format!("cannot decode: {error}")))
}

// === impl Definition: reading ===

impl Definition {
    pub fn name(&self) -> &'static str {
        self.name
    }

    pub fn all_migrations(&self) -> &[Migration] {
        &self.migrations
    }

    pub fn handler(&self, subject: &str) -> Option<&Registered> {
        self.handlers.get(subject)
    }

    pub fn performs_effects(&self) -> bool {
        !self.performers.is_empty()
    }

    pub fn performer(&self, subject: &str) -> Option<&ErasedPerformer> {
        self.performers.get(subject)
    }

    pub fn server(&self, subject: &str) -> Option<&Serve> {
        self.servers.get(subject)
    }

    /// Requests that this module answers by reading.
    pub fn served(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.servers.keys().copied()
    }

    pub fn says(&self, subject: &str) -> bool {
        self.says.contains(subject)
    }

    /// Subjects read from logs, by the module that speaks them.
    pub fn consumed(&self) -> BTreeMap<String, BTreeSet<&'static str>> {
        let mut sources: BTreeMap<String, BTreeSet<&'static str>> = BTreeMap::new();
        for subject in self.handlers.keys() {
            if let Ok(parsed) = Subject::parse(subject)
                && matches!(parsed.kind, Kind::Event | Kind::Command)
            {
                sources.entry(parsed.owner).or_default().insert(subject);
            }
        }
        sources
    }

    /// What each reader of this module reads of each source, every subject of [`consumed`](Definition::consumed) once.
    pub fn readings(&self) -> Vec<Reading> {
        let mut readings: BTreeMap<(String, String), Reading> = BTreeMap::new();
        for (source, subjects) in self.consumed() {
            for subject in subjects {
                let reader = self.reader_of(subject);
                let start = self.handlers.get(subject).and_then(|handler| self.readers.get(handler.reader?));
                let reading = Reading {
                    reader: reader.clone(),
                    source: source.clone(),
                    start: start.map_or(Start::History, |reader| reader.start),
                    subjects: BTreeSet::new(),
                };
                readings.entry((reader, source.clone())).or_insert(reading).subjects.insert(subject);
            }
        }
        readings.into_values().collect()
    }

    /// The reader of a subject, by the name that its cursors have.
    pub fn reader_of(&self, subject: &str) -> String {
        let own = self.handlers.get(subject).and_then(|handler| handler.reader);
        own.map_or_else(|| self.name.to_owned(), |own| reader::full_name(self.name, own))
    }

    /// Every subject this module handles.
    pub fn handled(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.handlers.keys().copied()
    }

    /// Every subject this module may say, timers and effects included.
    pub fn said(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.says.iter().copied()
    }

    pub fn default_settings(&self) -> &serde_json::Value {
        &self.settings.default
    }

    /// # Errors
    /// Says which field is wrong.
    pub fn parse_settings(&self, value: &serde_json::Value) -> Result<Arc<dyn Any + Send + Sync>, String> {
        (self.settings.parse)(value)
    }

    /// What is wrong with this declaration; the host refuses to start with any.
    pub fn faults(&self) -> &[String] {
        &self.faults
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
