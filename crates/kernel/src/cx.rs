use std::any::Any;
use std::sync::Arc;

use pangaea_contracts::trace::handling_traceparent;
use pangaea_contracts::{
    Actor, Envelope, Kind, Message, OrderId, PAYLOAD_BYTES_MAX, PaymentId, ProductId, RefundId, SessionId, SkuId,
    Subject, Timestamp, UserId, digest_text, moment_text,
};
use pangaea_faults::{Plant, planted};
use pangaea_journal::{EffectRow, EffectState, IntoKey, Record, Row, Statement, TimerRow, Value, Writer};

use crate::outputs::{Outputs, TimerChange};
use crate::{Definition, Effect, Failure, Histogram, Input};

/// All that a handler may know and all it may say, for one input.
///
/// Time, ids and settings are functions of the input, so the same input gives the same outputs whenever it runs.
pub struct Cx {
    pub(crate) writer: Writer,
    pub(crate) definition: Arc<Definition>,
    pub(crate) settings: Arc<dyn Any + Send + Sync>,
    pub(crate) input: Input,
    /// Of all that the handler says: the span of this input's handling.
    pub(crate) traceparent: Option<String>,
    pub(crate) now: Timestamp,
    pub(crate) outputs: Outputs,
}

/// An id type whose values a handler may derive.
pub trait DerivedId: Sized {
    fn derived(text: String) -> Option<Self>;
    const PREFIX: &'static str;
}

macro_rules! derived_ids {
    ($($type:ty),*) => {$(
        impl DerivedId for $type {
            const PREFIX: &'static str = <$type>::PREFIX;

            fn derived(text: String) -> Option<Self> {
                text.parse().ok()
            }
        }
    )*};
}

derived_ids!(OrderId, PaymentId, ProductId, RefundId, SessionId, SkuId, UserId);

impl Cx {
    /// Takes the next input, and forgets what was said for the one before.
    pub(crate) fn begin(&mut self, input: &Input, now: Timestamp) {
        let parent = input.traceparent.as_deref();
        self.traceparent = parent.and_then(|parent| handling_traceparent(parent, self.definition.name(), &input.id));
        self.input = input.clone();
        self.now = now;
        self.outputs = Outputs::default();
    }
}

// === impl Cx: what a handler may know ===

impl Cx {
    /// When this input was admitted to the module; recorded with it.
    pub fn now(&self) -> Timestamp {
        if planted(Plant::WallClockInAHandler) { wall_clock() } else { self.now }
    }

    /// The principal that was verified at the edge.
    pub fn actor(&self) -> &Actor {
        &self.input.actor
    }

    /// The id of the input: names the request that caused all this.
    pub fn input_id(&self) -> &str {
        &self.input.id
    }

    /// The module's settings, as they were when this input was admitted.
    ///
    /// # Errors
    /// When the module declared settings of another type: a bug.
    pub fn settings<T: Send + Sync + 'static>(&self) -> Result<Arc<T>, Failure> {
        self.settings
            .clone()
            .downcast::<T>()
            .map_err(|_| Failure::poison(format!("the module has no settings of type {}", std::any::type_name::<T>())))
    }

    /// A new id: derived from the input's id and a counter, sortable by time.
    ///
    /// # Errors
    /// Never for the id types of the contracts.
    pub fn id<I: DerivedId>(&mut self) -> Result<I, Failure> {
        I::derived(self.id_text(I::PREFIX)).ok_or_else(|| Failure::poison("the derived id is not valid"))
    }

    /// A new id as text that begins with `prefix`, which ends in its only `_`; for an id type of the module's own, and derived
    /// as by [`Cx::id`].
    ///
    /// Milliseconds of `now` (ten digits of base 32), then a hash of the module, the input and the counter: two modules that
    /// handle one message never derive the same id.
    pub fn id_text(&mut self, prefix: &str) -> String {
        self.outputs.ids += 1;
        let module = self.definition.name();
        derived_id(prefix, self.now, &[module, &self.input.id, &self.input.subject], self.outputs.ids)
    }
}

/// A planted bug: what a handler must never look at.
fn wall_clock() -> Timestamp {
    #[expect(clippy::disallowed_methods, reason = "a bug on purpose, which an auditor must find")]
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Timestamp::from_millis(now.map_or(0, |since| since.as_millis() as i64))
}

fn derived_id(prefix: &str, now: Timestamp, cause: &[&str; 3], count: u32) -> String {
    let hash = digest_text(&[cause[0].as_bytes(), cause[1].as_bytes(), cause[2].as_bytes(), &count.to_be_bytes()], 16);
    format!("{prefix}{}{hash}", moment_text(now))
}

// === impl Cx: rows ===

impl Cx {
    /// # Errors
    /// When the row cannot be read.
    pub async fn get<R: Record>(&mut self, key: impl IntoKey) -> Result<Option<R>, Failure> {
        Ok(self.writer.get(key).await?)
    }

    /// Reads rows of one table by many keys at once.
    ///
    /// # Errors
    /// When the rows cannot be read.
    pub async fn prefetch<R: Record>(&mut self, keys: impl IntoIterator<Item = Vec<Value>>) -> Result<(), Failure> {
        Ok(self.writer.prefetch::<R>(keys).await?)
    }

    pub fn put<R: Record>(&mut self, row: R) {
        self.writer.put(row);
    }

    pub fn delete<R: Record>(&mut self, key: impl IntoKey) {
        self.writer.delete::<R>(key);
    }

    /// The way out for what rows by key cannot say. It flushes, and makes the batch cost more: prefer rows.
    ///
    /// # Errors
    /// When the database refuses the statement.
    pub async fn sql(&mut self, statement: Statement) -> Result<Vec<Row>, Failure> {
        self.outputs.used_sql = true;
        Ok(self.writer.sql(statement).await?)
    }
}

// === impl Cx: what a handler may say ===

impl Cx {
    /// Says that something happened.
    pub fn emit<M: Message>(&mut self, event: &M) {
        self.say(event, Kind::Event);
    }

    /// Asks another module to act.
    pub fn send<M: Message>(&mut self, command: &M) {
        self.say(command, Kind::Command);
    }

    /// Asks to be told later; there is one timer per subject and key, and setting it again moves it.
    pub fn after<M: Message>(&mut self, delay_ms: i64, timer: &M) {
        let Some(payload) = self.encode(timer, Kind::Timer) else { return };
        let row = TimerRow {
            key: timer.key(),
            subject: M::SUBJECT.to_owned(),
            id: self.id_text("tmr_"),
            due_at: self.now.plus_millis(delay_ms.max(0)),
            causation_id: self.input.id.clone(),
            correlation_id: self.input.correlation_id.clone(),
            traceparent: self.traceparent.clone(),
            payload,
        };
        self.outputs.timers.push(TimerChange::Set(row));
    }

    /// Takes back the timer of this type with this key, if there is one.
    pub fn cancel<M: Message>(&mut self, key: &str) {
        self.outputs.timers.push(TimerChange::Cancel { key: key.to_owned(), subject: M::SUBJECT.to_owned() });
    }

    /// Asks for something to be done outside, and returns the operation's id. The result comes back as an input.
    ///
    /// Its first try is recorded in this very transaction, so that no call is ever made without a trace of it.
    pub fn perform<E: Effect>(&mut self, effect: &E) -> String {
        let id = self.id_text("op_");
        let Some(payload) = self.encode(effect, Kind::Effect) else { return id };
        self.outputs.effects.push(EffectRow {
            id: id.clone(),
            subject: E::SUBJECT.to_owned(),
            key: effect.key(),
            state: EffectState::Pending,
            deadline_at: self.now.plus_millis(E::DEADLINE_MS),
            causation_id: self.input.id.clone(),
            correlation_id: self.input.correlation_id.clone(),
            actor: self.input.actor.clone(),
            traceparent: self.traceparent.clone(),
            payload,
            tries: 1,
            try_expires_at: self.now.plus_millis(E::TRY_TIMEOUT_MS),
        });
        id
    }

    /// Measures something for the operator: `measured` is in the histogram's unit, `value` one that it declares for its label.
    ///
    /// It counts once this input is committed. What is undone is not counted, nor is a replay, a rebuild or a shadow. Nothing can
    /// read it back, so that no decision depends on it; a commit of which the process never hears is not counted either.
    pub fn observe(&mut self, histogram: &'static Histogram, value: &'static str, measured: f64) {
        match self.definition.observation(histogram, value, measured) {
            Ok(observation) => self.outputs.observations.push(observation),
            Err(fault) => {
                self.outputs.fault.get_or_insert(fault);
            }
        }
    }

    fn say<M: Message>(&mut self, message: &M, kind: Kind) {
        let Some(payload) = self.encode(message, kind) else { return };
        let id = self.id_text("msg_");
        self.outputs.messages.push(Envelope {
            id,
            subject: M::SUBJECT.to_owned(),
            source: String::new(),
            log_id: String::new(),
            position: 0,
            key: message.key(),
            causation_id: self.input.id.clone(),
            correlation_id: self.input.correlation_id.clone(),
            actor: self.input.actor.clone(),
            time: self.now(),
            traceparent: self.traceparent.clone(),
            payload,
        });
    }

    /// Notes the first thing that may not be said; the executor makes it poison, in every profile.
    fn encode<M: Message>(&mut self, message: &M, kind: Kind) -> Option<String> {
        let encoded = self.check::<M>(kind).and_then(|()| {
            let payload = serde_json::to_string(message).map_err(|error| format!("{}: {error}", M::SUBJECT))?;
            if payload.len() > PAYLOAD_BYTES_MAX {
                return Err(format!("{} is {} bytes; at most {PAYLOAD_BYTES_MAX} travel", M::SUBJECT, payload.len()));
            }
            Ok(payload)
        });
        encoded.map_err(|fault| self.outputs.fault.get_or_insert(fault).clone()).ok()
    }

    fn check<M: Message>(&self, kind: Kind) -> Result<(), String> {
        let subject = Subject::parse(M::SUBJECT).map_err(|error| error.to_string())?;
        if subject.kind != kind {
            return Err(format!("{} cannot be said as a {}", M::SUBJECT, kind.token()));
        }
        if self.definition.says(M::SUBJECT) {
            Ok(())
        } else {
            Err(format!("{} is not declared by {}", M::SUBJECT, self.definition.name()))
        }
    }
}
