//! What one transaction does with each piece of work.

use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use pangaea_contracts::{Envelope, Timestamp};
use pangaea_faults::{Failpoint, Plant, reach, unguarded};
use pangaea_journal::{CursorRow, DeadLetterState, EffectRow, InboxRow, JournalError, Mark};
use tracing::Instrument;

use super::abort::Abort;
use super::{Cursors, Done, Executor, cursor_row, timer_input};
use crate::outputs::{Asked, TimerChange};
use crate::settings::SettingsRow;
use crate::{Answer, Failure, HandlingEnd, Input, InputKind, Observation, Problem, ProblemKind};

/// What is gathered while a batch runs, and dropped when it does not commit.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) done: Vec<Done>,
    pub(super) effects: Vec<EffectRow>,
    pub(super) effects_ended: Vec<String>,
    pub(super) observations: Vec<Observation>,
    pub(super) cursors: Cursors,
    /// The keys of the dead letters that are new, and of those that are gone; a key stands once for each.
    pub(super) parked: Vec<String>,
    pub(super) letters_ended: Vec<String>,
    pub(super) answers: HashMap<String, (String, Answer)>,
    pub(super) attempts_ended: Vec<String>,
    pub(super) timers_changed: HashSet<(String, String)>,
    pub(super) next_timer: Option<Timestamp>,
    pub(super) timers_fired: u32,
    pub(super) refusals_after_write: u32,
}

/// A command that its handler refused.
pub(super) struct Refused {
    pub(super) answer: Answer,
    /// Before it refused; nothing of it is left.
    pub(super) had_written: bool,
}

// === impl Executor: the parts of a batch ===

impl Executor {
    pub(super) async fn fire_timers(
        &mut self,
        batch: &mut Batch,
        now: Timestamp,
        timers_max: usize,
    ) -> Result<(), Abort> {
        let due = self.cx.writer.timers_due(now, timers_max).await?;
        let all = due.len() < timers_max;
        batch.next_timer = if all { self.cx.writer.next_timer_after(now).await? } else { Some(now) };
        for timer in due {
            let name = (timer.key.clone(), timer.subject.clone());
            if batch.timers_changed.contains(&name) {
                continue;
            }
            let input = timer_input(&timer);
            reach(Failpoint::TimerBefore).await?;
            self.cx.writer.cancel_timer(&timer.key, &timer.subject);
            batch.timers_fired += 1;
            self.input(batch, &input, now).await?;
            reach(Failpoint::TimerAfter).await?;
        }
        Ok(())
    }

    pub(super) fn advance(&mut self, batch: &mut Batch, moved: CursorRow, after: u64) -> Done {
        match self.follows(batch, &moved, after) {
            Some(done) => done,
            None => {
                self.cx.writer.skip_to(moved.clone());
                batch.cursors.insert((moved.reader.clone(), moved.source.clone()), moved);
                Done::Handled
            }
        }
    }

    /// Where a delivery moves its reader's cursor, and the position after which it must stand; none for other inputs.
    pub(super) fn moves_cursor(&self, input: &Input) -> Option<(CursorRow, u64)> {
        let InputKind::Delivery { source, log_id, after, position } = &input.kind else { return None };
        let reader = self.cx.definition.reader_of(&input.subject);
        Some((cursor_row(&reader, source, log_id, *position, &input.id), *after))
    }

    /// `None` when what lies after `after` and up to `moved` follows the reader's cursor.
    pub(super) fn follows(&self, batch: &Batch, moved: &CursorRow, after: u64) -> Option<Done> {
        let name = (moved.reader.clone(), moved.source.clone());
        let Some(cursor) = batch.cursors.get(&name).or_else(|| self.state.cursors.get(&name)) else {
            return (after > 0).then_some(Done::Gap { expected_after: 0 });
        };
        if cursor.log_id != moved.log_id {
            return Some(Done::LogReset { expected: cursor.log_id.clone() });
        }
        if moved.position <= cursor.position {
            return Some(Done::Duplicate);
        }
        (after > cursor.position).then_some(Done::Gap { expected_after: cursor.position })
    }

    pub(super) fn move_cursor(&mut self, batch: &mut Batch, moved: CursorRow) {
        self.cx.writer.move_cursor(moved.clone());
        batch.cursors.insert((moved.reader.clone(), moved.source.clone()), moved);
    }

    /// Commits the transaction, if it is whole: the end of the log as it is then.
    pub(super) async fn commit(&mut self) -> Result<Vec<Arc<Envelope>>, JournalError> {
        self.cx.writer.check_whole()?;
        self.observer.committing();
        let log = self.cx.writer.commit().await?.into_iter().map(Arc::new).collect();
        self.observer.committed();
        Ok(log)
    }

    pub(super) fn try_again(&mut self, batch: &mut Batch, effect_id: &str, expires_at: Timestamp) -> Done {
        let current =
            batch.effects.iter().rev().find(|row| row.id == effect_id).or_else(|| self.state.effects.get(effect_id));
        let Some(row) = current else { return Done::Tried(None) };
        let row = EffectRow { tries: row.tries + 1, try_expires_at: expires_at, ..row.clone() };
        self.cx.writer.write_effect(row.clone());
        batch.effects.push(row.clone());
        Done::Tried(Some(row))
    }

    pub(super) async fn input(&mut self, batch: &mut Batch, input: &Input, now: Timestamp) -> Result<Done, Abort> {
        match self.admit(batch, input, now)? {
            Some(done) => Ok(done),
            None => self.run_handler(batch, input, now).await,
        }
    }

    /// Runs the handler of an input that has been admitted, and records both.
    pub(super) async fn run_handler(
        &mut self,
        batch: &mut Batch,
        input: &Input,
        now: Timestamp,
    ) -> Result<Done, Abort> {
        let mark = self.cx.writer.mark();
        self.cx.begin(input, now);
        self.observer.handling(input);
        reach(Failpoint::HandlerBefore).await?;
        let handled = self.handle(input).await;
        self.observer.handled(input, HandlingEnd::of(&handled, input));
        reach(Failpoint::HandlerAfter).await?;
        let failure = match handled {
            Ok(answer) => {
                let asked =
                    Asked::encode(&self.cx.outputs.asked()).map_err(|error| Abort::Poison(error.to_string()))?;
                self.write_outputs(batch);
                self.record(batch, input, now, answer.clone(), asked);
                return Ok(answer.map_or(Done::Handled, Done::Answered));
            }
            Err(failure) => failure,
        };
        let Refused { answer, had_written } = self.refused(input, failure, mark)?;
        batch.refusals_after_write += u32::from(had_written);
        self.record(batch, input, now, Some(answer.clone()), String::new());
        Ok(Done::Answered(answer))
    }

    /// What a handler's failure comes to: a refused command is answered, and what its handler wrote is taken back. Nothing
    /// else can be gone on with.
    pub(super) fn refused(&mut self, input: &Input, failure: Failure, mark: Mark) -> Result<Refused, Abort> {
        let used_sql = std::mem::take(&mut self.cx.outputs).used_sql;
        let had_written = self.cx.writer.changed_since(mark);
        match failure {
            Failure::Transient(error) | Failure::Superseded(error) => Err(Abort::Journal(error)),
            Failure::Poison(reason) => Err(Abort::Poison(reason)),
            Failure::Refusal(problem) if input.is_command() && !(used_sql && had_written) => {
                if had_written {
                    self.cx.writer.rollback_to(mark);
                }
                Ok(Refused { answer: Answer::from(*problem), had_written })
            }
            Failure::Refusal(problem) => {
                let reason = format!("refused, but there is nobody to answer, or SQL had been written: {problem}");
                Err(Abort::Poison(reason))
            }
        }
    }

    /// Whether the input needs no handler: a repeat, out of its place, or parked behind a dead letter.
    fn admit(&mut self, batch: &mut Batch, input: &Input, now: Timestamp) -> Result<Option<Done>, Abort> {
        let parked = self.state.parked.contains_key(&input.key) || batch.parked.contains(&input.key);
        match &input.kind {
            InputKind::Command { fingerprint } => {
                if let Some((first, answer)) = batch.answers.get(&input.id) {
                    let is_repeat = first == fingerprint || unguarded(Plant::NoIdempotencyScope);
                    let answer = if is_repeat { replayed(answer) } else { key_reused() };
                    return Ok(Some(Done::Answered(answer)));
                }
                return Ok(parked.then(|| Done::Answered(parked_answer())));
            }
            InputKind::Delivery { .. } => {
                if let Some((moved, after)) = self.moves_cursor(input) {
                    if let Some(done) = self.follows(batch, &moved, after) {
                        return Ok(Some(done));
                    }
                    self.move_cursor(batch, moved);
                }
            }
            InputKind::EffectResult { effect_id } => {
                let ended = batch.effects_ended.contains(effect_id);
                if ended || !self.state.effects.contains_key(effect_id) {
                    return Ok(Some(Done::Duplicate));
                }
                self.cx.writer.end_effect(effect_id);
                batch.effects_ended.push(effect_id.clone());
            }
            // Its commit was answered by nobody, and has happened.
            InputKind::Settings if batch.answers.contains_key(&input.id) => return Ok(Some(Done::Duplicate)),
            InputKind::Timer | InputKind::Settings => {}
        }
        if parked && input.kind != InputKind::Settings {
            let letter = self.dead_letter(
                batch,
                input,
                DeadLetterState::Parked,
                "waits behind a dead letter of its key",
                0,
                now,
            )?;
            self.cx.writer.write_dead_letter(letter);
            batch.parked.push(input.key.clone());
            return Ok(Some(Done::Dead));
        }
        Ok(None)
    }

    /// Calls the handler; a panic in it is poison.
    pub(super) async fn handle(&mut self, input: &Input) -> Result<Option<Answer>, Failure> {
        if input.kind == InputKind::Settings {
            let value = serde_json::from_str(&input.payload).map_err(|error| Failure::poison(error.to_string()))?;
            self.cx.settings = self.cx.definition.parse_settings(&value).map_err(Failure::Poison)?;
            self.cx.writer.put(SettingsRow { name: SettingsRow::NAME.to_owned(), value: input.payload.clone() });
            return Ok(None);
        }
        let Some(run) = self.cx.definition.handler(&input.subject).map(|handler| handler.run.clone()) else {
            return Err(Failure::poison(format!("there is no handler for {}", input.subject)));
        };
        let (cx, payload) = (&mut self.cx, &input.payload);
        // What a handler logs is found by its trace and by what it belongs to.
        let span = tracing::info_span!(
            "handle",
            subject = input.subject,
            input_id = input.id,
            correlation_id = input.correlation_id,
            trace_id = input.trace_id()
        );
        let outcome = AssertUnwindSafe(async move { run(cx, payload).await }).catch_unwind().instrument(span).await;
        let answer =
            outcome.map_err(|panic| Failure::poison(format!("the handler panicked: {}", panic_text(&*panic))))??;
        match self.cx.outputs.fault.take() {
            Some(fault) => Err(Failure::Poison(fault)),
            None => Ok(answer),
        }
    }

    fn write_outputs(&mut self, batch: &mut Batch) {
        let mut outputs = std::mem::take(&mut self.cx.outputs);
        batch.observations.append(&mut outputs.observations);
        outputs.messages.into_iter().for_each(|message| self.cx.writer.append_outbox(message));
        for change in outputs.timers {
            match change {
                TimerChange::Set(row) => {
                    batch.next_timer = Some(batch.next_timer.map_or(row.due_at, |next| next.min(row.due_at)));
                    batch.timers_changed.insert((row.key.clone(), row.subject.clone()));
                    self.cx.writer.set_timer(row);
                }
                TimerChange::Cancel { key, subject } => {
                    self.cx.writer.cancel_timer(&key, &subject);
                    batch.timers_changed.insert((key, subject));
                }
            }
        }
        for effect in outputs.effects {
            self.cx.writer.write_effect(effect.clone());
            batch.effects.push(effect);
        }
    }

    /// The input's row of the inbox: with it the input has happened.
    fn record(&mut self, batch: &mut Batch, input: &Input, now: Timestamp, answer: Option<Answer>, asked: String) {
        let fingerprint = match &input.kind {
            InputKind::Command { fingerprint } => Some(fingerprint.clone()),
            _ => None,
        };
        if let (Some(fingerprint), Some(answer)) = (&fingerprint, &answer) {
            batch.answers.insert(input.id.clone(), (fingerprint.clone(), answer.clone()));
        }
        if self.attempted.contains(&input.id) {
            self.cx.writer.end_attempts(&input.id);
            batch.attempts_ended.push(input.id.clone());
        }
        let source = match &input.kind {
            InputKind::Delivery { source, position, .. } => Some((source.clone(), *position)),
            _ => None,
        };
        for secret in &input.secrets {
            if answer.as_ref().is_none_or(Answer::is_success) {
                self.cx.writer.write_secret(secret.clone());
            }
        }
        let row = InboxRow {
            id: input.id.clone(),
            subject: input.subject.clone(),
            key: input.key.clone(),
            source,
            causation_id: input.causation_id.clone(),
            correlation_id: input.correlation_id.clone(),
            actor: input.actor.clone(),
            admitted_at: now,
            traceparent: input.traceparent.clone(),
            payload: input.payload.clone(),
            fingerprint,
            answer: answer.and_then(|answer| serde_json::to_string(&answer).ok()),
            code_version: self.code_version.clone(),
        };
        self.cx.writer.append_inbox(row, asked);
    }
}

/// A stored answer, marked as such: nothing was done again.
fn replayed(answer: &Answer) -> Answer {
    answer.clone().with_header("idempotent-replayed", "true")
}

fn key_reused() -> Answer {
    let detail = "use a new key for a new request, or send the first request again unchanged";
    Answer::from(Problem::new(ProblemKind::IdempotencyKeyReused, detail))
}

fn parked_answer() -> Answer {
    let detail = "an earlier message for it could not be handled; an operator has to redrive or abandon it";
    Answer::from(Problem::new(ProblemKind::Parked, detail).with_retry_after(60))
}

pub(super) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message")
}
