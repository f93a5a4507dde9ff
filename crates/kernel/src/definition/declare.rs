use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;

use pangaea_contracts::{Kind, Message, Request, Subject};
use pangaea_journal::Migration;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Definition, Handler, Keys, Reader, Registered, Run, Serve, SettingsType};
use crate::http::Edge;
use crate::{Answer, Effect, ErasedPerformer, Failure, Performed, Performer, Problem};

// === impl Definition ===

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
            histograms: Vec::new(),
            gauges: Vec::new(),
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
    pub fn wants<M: Message>(self, keys: impl Fn(&M, &mut Keys) + Send + Sync + 'static) -> Self {
        self.name_ahead::<M, M>(keys)
    }

    /// Names the rows that the handler of an effect's result will want.
    #[must_use]
    pub fn wants_result<E: Effect>(self, keys: impl Fn(&Performed<E>, &mut Keys) + Send + Sync + 'static) -> Self {
        self.name_ahead::<E, Performed<E>>(keys)
    }

    fn name_ahead<M: Message, P: DeserializeOwned>(
        mut self,
        keys: impl Fn(&P, &mut Keys) + Send + Sync + 'static,
    ) -> Self {
        match self.handlers.get_mut(M::SUBJECT) {
            Some(registered) => {
                registered.wants = Some(Arc::new(move |payload, wanted| {
                    if let Ok(message) = serde_json::from_str::<P>(payload) {
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
