//! Effects, as the runtime performs them: a try is recorded before its call, one that may have happened is asked about.

use std::time::Duration;

use pangaea_contracts::Timestamp;
use pangaea_contracts::order::Reason;
use pangaea_faults::{Failpoint, reach};
use pangaea_journal::EffectRow;
use pangaea_kernel::{Call, ErasedPerformer, Input, InputKind, TryError, Work, result_id};

use crate::Sabotage;
use crate::host::{Job, Origin};
use crate::world::World;

const BACKOFF_FIRST_MS: i64 = 250;
const BACKOFF_MAX_MS: i64 = 5_000;

/// An effect on its way to its result, in the memory of its process.
pub(crate) struct EffectTask {
    row: EffectRow,
    ask_first: bool,
    backoff_ms: i64,
    phase: Phase,
}

/// Times are the module's own.
enum Phase {
    /// Another try has to be recorded.
    ToRecord,
    Ready,
    /// The call is made; what it brings is known here and there at this time.
    Called {
        answer: Result<String, TryError>,
        until_ms: i64,
    },
    Pausing {
        until_ms: i64,
    },
    /// The writer has something of it to do.
    Waiting,
}

// === impl EffectTask ===

impl EffectTask {
    /// Its first try is recorded, and no call was made.
    pub(crate) fn new(row: EffectRow) -> Self {
        Self { row, ask_first: false, backoff_ms: BACKOFF_FIRST_MS, phase: Phase::Ready }
    }

    /// Begun before this process: it may have happened.
    pub(crate) fn inherited(row: EffectRow) -> Self {
        Self { row, ask_first: true, backoff_ms: BACKOFF_FIRST_MS, phase: Phase::ToRecord }
    }

    /// The try is recorded: now it may be made.
    pub(crate) fn recorded(&mut self, row: EffectRow) {
        self.row = row;
        self.phase = Phase::Ready;
    }

    /// When it goes on by itself; `None` while the writer has to act first.
    pub(crate) fn due_ms(&self) -> Option<i64> {
        match &self.phase {
            Phase::ToRecord | Phase::Ready => Some(i64::MIN / 2),
            Phase::Called { until_ms, .. } | Phase::Pausing { until_ms } => Some(*until_ms),
            Phase::Waiting => None,
        }
    }

    fn call(&self, performer: &ErasedPerformer, sabotage: Option<Sabotage>) -> Call<String> {
        let operation_id = match sabotage {
            Some(Sabotage::EffectRetriedUnderANewKey) => format!("{}x{}", self.row.id, self.row.tries),
            _ => self.row.id.clone(),
        };
        Call {
            operation_id,
            effect: self.row.payload.clone(),
            attempt: self.row.tries,
            deadline_at: self.row.deadline_at,
            timeout: Duration::from_millis(performer.try_timeout_ms.max(1) as u64),
            traceparent: None,
        }
    }

    fn result(&self, payload: String) -> Input {
        let row = &self.row;
        Input {
            id: result_id(&row.id),
            kind: InputKind::EffectResult { effect_id: row.id.clone() },
            subject: row.subject.clone(),
            key: row.key.clone(),
            causation_id: row.causation_id.clone(),
            correlation_id: row.correlation_id.clone(),
            actor: row.actor.clone(),
            traceparent: None,
            payload,
            secrets: Vec::new(),
        }
    }
}

// === impl World: effects ===

impl World {
    /// Effects that can go on now: the host and the effect's id.
    pub(crate) fn effects_due(&self) -> Vec<(usize, String)> {
        let mut due = Vec::new();
        for (index, host) in self.hosts.iter().enumerate() {
            let Some(up) = &host.up else { continue };
            let now_ms = host.now(self.now_ms).as_millis();
            let ready = up.effects.iter().filter(|(_, task)| task.due_ms().is_some_and(|due| due <= now_ms));
            due.extend(ready.map(|(id, _)| (index, id.clone())));
        }
        due
    }

    /// One step of an effect.
    ///
    /// # Errors
    /// When the simulation finds something wrong.
    pub(crate) async fn go_on_with_effect(&mut self, index: usize, id: &str) -> Result<(), String> {
        let host = &mut self.hosts[index];
        let now = host.now(self.now_ms);
        let Some(up) = &mut host.up else { return Ok(()) };
        let Some(mut task) = up.effects.remove(id) else { return Ok(()) };
        let performer = host.definition.performer(&task.row.subject).cloned();
        let performer = performer.ok_or_else(|| format!("no performer for {}", task.row.subject))?;
        self.till.set_now(self.now_ms);
        match std::mem::replace(&mut task.phase, Phase::Waiting) {
            Phase::ToRecord => self.record_try(index, &mut task, &performer, now).await,
            Phase::Ready if now >= task.row.deadline_at => {
                let reason = Reason::new("deadline", format!("no outcome after {} tries", task.row.tries));
                let payload = performer.give_up(&task.row.payload, reason)?;
                self.queue_result(index, &task, payload, "gives up");
            }
            Phase::Ready => self.make_call(&mut task, &performer, now).await,
            Phase::Called { answer: Ok(payload), .. } => self.queue_result(index, &task, payload, "has its outcome"),
            Phase::Called { answer: Err(error), .. } => {
                task.ask_first |= matches!(error, TryError::Unknown(_));
                let until_ms = now.as_millis() + task.backoff_ms / 2 + self.random.between(0, task.backoff_ms / 2);
                task.backoff_ms = (task.backoff_ms * 2).min(BACKOFF_MAX_MS);
                task.phase = Phase::Pausing { until_ms };
                self.step(&format!("effect {id} pauses after: {error}"));
            }
            Phase::Pausing { .. } => task.phase = Phase::ToRecord,
            Phase::Waiting => {}
        }
        if let Some(up) = &mut self.hosts[index].up {
            up.effects.insert(id.to_owned(), task);
        }
        self.bury_the_dead(index, false);
        Ok(())
    }

    async fn record_try(&mut self, index: usize, task: &mut EffectTask, performer: &ErasedPerformer, now: Timestamp) {
        if reach(Failpoint::TryBefore).await.is_err() {
            task.phase = Phase::ToRecord;
            return;
        }
        let (effect_id, expires_at) = (task.row.id.clone(), now.plus_millis(performer.try_timeout_ms));
        self.step(&format!("effect {effect_id} has its try {} recorded", task.row.tries + 1));
        let work = vec![Work::Try { effect_id: effect_id.clone(), expires_at }];
        if let Some(up) = &mut self.hosts[index].up {
            up.results.push_back(Job { from: Origin::Try(effect_id), work });
        }
    }

    fn queue_result(&mut self, index: usize, task: &EffectTask, payload: String, what: &str) {
        self.step(&format!("effect {} {what}: {payload}", task.row.id));
        let job = Job { from: Origin::Result(task.row.id.clone()), work: vec![Work::Input(task.result(payload))] };
        if let Some(up) = &mut self.hosts[index].up {
            up.results.push_back(job);
        }
    }

    /// The provider acts, or not, at once; when its answer is here is another matter.
    async fn make_call(&mut self, task: &mut EffectTask, performer: &ErasedPerformer, now: Timestamp) {
        let answer = performer.run(task.call(performer, self.sabotage), task.ask_first).await;
        let patience_ms = performer.try_timeout_ms;
        let (answer, took_ms) = match answer {
            _ if self.calm => (answer, 1),
            Ok(payload) => {
                let slow = self.random.chance(12);
                let took_ms = self.random.between(1, if slow { patience_ms * 2 } else { 300 });
                if took_ms < patience_ms {
                    (Ok(payload), took_ms)
                } else {
                    (Err(TryError::Unknown(format!("no answer within {patience_ms} ms"))), patience_ms)
                }
            }
            // A connection that breaks is noticed at once, a call that is lost when the caller is out of patience.
            Err(TryError::Unknown(reason)) => {
                let took_ms = if self.random.chance(50) { patience_ms } else { self.random.between(1, 100) };
                (Err(TryError::Unknown(reason)), took_ms)
            }
            Err(TryError::NotDone(reason)) => (Err(TryError::NotDone(reason)), self.random.between(1, 50)),
        };
        let told = if answer.is_ok() { "an outcome" } else { "none" };
        let asked = if task.ask_first { ", asking first" } else { "" };
        self.step(&format!("effect {} tries {}{asked}: {told} in {took_ms} ms", task.row.id, task.row.tries));
        for note in self.till.take_notes() {
            self.trace.add(&note);
            self.say(&note);
        }
        task.phase = Phase::Called { answer, until_ms: now.as_millis() + took_ms };
    }
}
