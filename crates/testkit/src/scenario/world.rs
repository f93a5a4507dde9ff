use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow, bail, ensure};
use pangaea_contracts::{Actor, Envelope, Message, Timestamp};
use pangaea_journal::{Database, EffectRow};
use pangaea_kernel::{
    Answer, BatchResult, Call, Clock, Done, Input, InputKind, ManualClock, Serve, SettingsRow, Work, result_id,
    settings_subject,
};
use serde_json::Value;
use tokio::sync::watch;

use super::hosted::Hosted;
use super::step::Step;
use super::transcript::{Transcript, What};

/// Batches in one step. More is a pair of modules that answer each other for ever.
const BATCHES_MAX: u32 = 10_000;

/// All modules, and what is on its way between them.
pub(super) struct World {
    clock: ManualClock,
    hosted: Vec<Hosted>,
    /// The ends of the logs that the test speaks.
    ends: BTreeMap<String, u64>,
    commands: u64,
    said: Vec<Arc<Envelope>>,
    transcript: Transcript,
}

/// What waits to be handled: by which module, and the work; none for its timers.
type Waiting = VecDeque<(usize, Option<Input>)>;

// === impl World ===

impl World {
    pub(super) fn new(clock: ManualClock, hosted: Vec<Hosted>) -> Self {
        let transcript = Transcript::new(clock.now());
        Self { clock, hosted, ends: BTreeMap::new(), commands: 0, said: Vec::new(), transcript }
    }

    pub(super) fn parts_of(&self, index: usize) -> (Database, watch::Receiver<u64>) {
        (self.hosted[index].database.clone(), self.hosted[index].changes.subscribe())
    }

    pub(super) async fn hear(
        &mut self,
        source: &str,
        subject: &str,
        key: String,
        actor: &Actor,
        payload: String,
    ) -> Result<Step> {
        ensure!(!self.hosted.iter().any(|one| one.name == source), "{source} is hosted here and speaks for itself");
        let position = self.ends.get(source).map_or(1, |end| end + 1);
        let id = format!("msg_{source}{position}");
        let message = Envelope {
            subject: subject.to_owned(),
            source: source.to_owned(),
            log_id: format!("log_{source}"),
            position,
            key,
            causation_id: id.clone(),
            correlation_id: id.clone(),
            actor: actor.clone(),
            time: self.clock.now(),
            traceparent: None,
            payload,
            id,
        };
        let waiting = self.readers_of(&message);
        ensure!(!waiting.is_empty(), "no module here consumes {subject}");
        self.ends.insert(source.to_owned(), position);
        self.settle(waiting).await
    }

    pub(super) async fn ask(
        &mut self,
        module: &str,
        subject: &str,
        key: String,
        actor: &Actor,
        payload: String,
    ) -> Result<Step> {
        let index = self.index_of(module)?;
        self.commands += 1;
        let id = format!("cmd_{}", self.commands);
        let kind = InputKind::Command { fingerprint: payload.clone() };
        let input = Input { actor: actor.clone(), ..Input::new(kind, id, subject, &key, payload) };
        self.admit(index, input).await
    }

    pub(super) async fn admit(&mut self, index: usize, input: Input) -> Result<Step> {
        self.settle(VecDeque::from([(index, Some(input))])).await
    }

    /// As a leader does when it takes over: what is configured lies over the defaults, and a change is an input.
    pub(super) async fn admit_settings(&mut self, index: usize, configured: Value) -> Result<()> {
        let Hosted { name, definition, database, .. } = &self.hosted[index];
        let mut wanted = definition.default_settings().clone();
        if let (Some(wanted), Some(configured)) = (wanted.as_object_mut(), configured.as_object()) {
            wanted.extend(configured.clone());
        }
        if wanted.is_null() || SettingsRow::stored(database).await?.as_ref() == Some(&wanted) {
            return Ok(());
        }
        let id = format!("set_{name}");
        let input = Input::new(InputKind::Settings, id, &settings_subject(name), name, wanted.to_string());
        self.admit(index, input).await.map(drop)
    }

    pub(super) async fn pass_until(&mut self, until: Timestamp) -> Result<Step> {
        let mut step = Step::default();
        while let Some(due) = self.next_timer().filter(|due| *due <= until) {
            self.clock.advance_ms(due.millis_since(self.clock.now()).max(0));
            step.absorb(self.settle(VecDeque::new()).await?);
        }
        self.clock.advance_ms(until.millis_since(self.clock.now()).max(0));
        step.tail = self.tail().await;
        Ok(step)
    }

    pub(super) fn next_timer(&self) -> Option<Timestamp> {
        self.hosted.iter().filter_map(|one| one.executor.next_timer()).min()
    }

    pub(super) fn effects(&self) -> Vec<EffectRow> {
        let mut rows: Vec<_> = self.hosted.iter().flat_map(|one| one.executor.effects().cloned()).collect();
        // Ids begin with the time at which they were made.
        rows.sort_by(|one, other| one.id.cmp(&other.id));
        rows
    }

    pub(super) fn oldest_effect(&self, subject: &str) -> Option<(usize, EffectRow)> {
        let row = self.effects().into_iter().find(|row| row.subject == subject)?;
        let index = self.hosted.iter().position(|one| one.executor.effects().any(|pending| pending.id == row.id))?;
        Some((index, row))
    }

    pub(super) async fn finish(&mut self, index: usize, row: &EffectRow, payload: String) -> Result<Step> {
        let kind = InputKind::EffectResult { effect_id: row.id.clone() };
        let input = Input {
            causation_id: row.causation_id.clone(),
            correlation_id: row.correlation_id.clone(),
            actor: row.actor.clone(),
            ..Input::new(kind, result_id(&row.id), &row.subject, &row.key, payload)
        };
        self.admit(index, input).await
    }

    pub(super) async fn perform(&mut self) -> Result<Step> {
        let mut step = Step::default();
        for row in self.effects() {
            let Some((index, _)) = self.oldest_effect(&row.subject) else { continue };
            let Some(performer) = self.hosted[index].definition.performer(&row.subject).cloned() else { continue };
            let call = Call {
                operation_id: row.id.clone(),
                effect: row.payload.clone(),
                attempt: row.tries,
                deadline_at: row.deadline_at,
                timeout: Duration::from_millis(performer.try_timeout_ms.unsigned_abs()),
                traceparent: None,
            };
            match performer.run(call, false).await {
                Ok(payload) => step.absorb(self.finish(index, &row, payload).await?),
                Err(error) => bail!("{}: {error}\n{}", row.subject, self.tail().await),
            }
        }
        Ok(step)
    }

    /// Which module serves this request, and how.
    pub(super) fn server_of(&self, subject: &str) -> Result<(usize, Serve)> {
        let mut servers = self.hosted.iter().map(|one| one.definition.server(subject).cloned()).enumerate();
        let found = servers.find_map(|(index, server)| Some((index, server?)));
        found.ok_or_else(|| anyhow!("no module here serves {subject}"))
    }

    /// The first message from `after` on that is wanted.
    pub(super) fn find<M: Message>(&self, after: usize, wanted: &impl Fn(&M) -> bool) -> Result<Option<(usize, M)>> {
        let candidates = self.said.iter().enumerate().skip(after).filter(|(_, said)| said.subject == M::SUBJECT);
        for (index, said) in candidates {
            let message: M = serde_json::from_str(&said.payload)?;
            if wanted(&message) {
                return Ok(Some((index, message)));
            }
        }
        Ok(None)
    }

    pub(super) async fn rows(&self, module: &str, select: &str) -> Result<Vec<String>> {
        self.hosted[self.index_of(module)?].texts(select).await
    }

    pub(super) fn transcript_text(&self) -> String {
        self.transcript.text()
    }

    /// For errors: the last messages, and what is waited for.
    pub(super) async fn tail(&self) -> String {
        let mut text = format!("the last messages:\n{}", self.transcript.tail());
        for one in &self.hosted {
            for timer in one.timers().await.unwrap_or_default() {
                text.push_str(&format!("{} waits for the timer {timer}\n", one.name));
            }
        }
        for effect in self.effects() {
            text.push_str(&format!("an effect waits for its result: {} {}\n", effect.subject, effect.key));
        }
        text
    }

    pub(super) async fn stop(&mut self) -> Result<()> {
        // All are stopped whatever one of them says: their database is removed afterwards.
        let mut faults = Vec::new();
        for one in std::mem::take(&mut self.hosted) {
            let (dead, breaches) = (one.dead_letters().await?, one.breaches().await?);
            one.executor.stop().await?;
            one.database.close().await;
            if !dead.is_empty() {
                faults.push(format!("{} has dead letters: {}", one.name, dead.join("; ")));
            }
            if !breaches.is_empty() {
                faults.push(format!("{} breaks what it says of its tables: {}", one.name, breaches.join("; ")));
            }
        }
        ensure!(faults.is_empty(), "{}", faults.join("\n"));
        Ok(())
    }

    fn index_of(&self, module: &str) -> Result<usize> {
        let index = self.hosted.iter().position(|one| one.name == module);
        index.ok_or_else(|| anyhow!("{module} is not hosted here"))
    }

    /// The message, once for each reader of it.
    fn readers_of(&self, message: &Envelope) -> Waiting {
        let mut waiting = Waiting::new();
        for (index, one) in self.hosted.iter().enumerate() {
            let Some(reader) = one.reader_of(&message.source, &message.subject) else { continue };
            let after = one.executor.cursor_of(reader, &message.source).map_or(0, |cursor| cursor.position);
            waiting.push_back((index, Some(Input::from_envelope(message, after))));
        }
        waiting
    }

    /// Handles what waits and what follows from it, until nobody has anything to do at this moment.
    async fn settle(&mut self, mut waiting: Waiting) -> Result<Step> {
        let mut step = Step::default();
        for batches in 0.. {
            let now = self.clock.now();
            let due = |one: &Hosted| one.executor.next_timer().is_some_and(|due| due <= now);
            // Timers go first, and alone, so that each output stands behind the input that caused it.
            let next = match self.hosted.iter().position(due) {
                Some(index) => Some((index, None)),
                None => waiting.pop_front(),
            };
            let Some((index, input)) = next else { break };
            ensure!(batches < BATCHES_MAX, "no end after {BATCHES_MAX} batches\n{}", self.tail().await);
            let (answer, result) = self.run(index, input).await?;
            step.answer = step.answer.or(answer);
            for message in &result.log {
                waiting.extend(self.renumbered(message, &waiting));
            }
            self.said.extend(result.log.iter().cloned());
            step.said.extend(result.log);
            step.effects.extend(result.effects);
        }
        step.tail = self.tail().await;
        Ok(step)
    }

    /// As [`World::readers_of`], where earlier messages of the source may still wait: each follows the one before it.
    fn renumbered(&self, message: &Envelope, waiting: &Waiting) -> Waiting {
        let mut readers = self.readers_of(message);
        for (index, input) in &mut readers {
            let Some(Input { kind: InputKind::Delivery { source, after, .. }, subject, .. }) = input else { continue };
            let reader = self.hosted[*index].definition.reader_of(subject);
            let earlier = waiting.iter().rev().find_map(|(other, earlier)| match earlier {
                Some(Input { kind: InputKind::Delivery { source: from, position, .. }, subject, .. })
                    if other == index
                        && from == source
                        && self.hosted[*index].definition.reader_of(subject) == reader =>
                {
                    Some(*position)
                }
                _ => None,
            });
            *after = earlier.unwrap_or(*after);
        }
        readers
    }

    async fn run(&mut self, index: usize, input: Option<Input>) -> Result<(Option<Answer>, BatchResult)> {
        let (now, one) = (self.clock.now(), &mut self.hosted[index]);
        let work: Vec<Work> = input.into_iter().map(Work::Input).collect();
        let (result, name) = (one.run(&work, now).await?, one.name);
        for admitted in one.admitted().await? {
            self.transcript.add(now, name, What::In, &admitted.subject, &admitted.payload);
            if let Some(answer) = &admitted.answer {
                self.transcript.add(now, name, What::Answer, "", answer);
            }
        }
        for message in &result.log {
            self.transcript.add(now, name, What::Out, &message.subject, &message.payload);
        }
        for effect in &result.effects {
            self.transcript.add(now, name, What::Out, &effect.subject, &effect.payload);
        }
        if result.refusals_after_write > 0 {
            bail!("{name}: a refusal after a write; decide before you write\n{}", self.tail().await);
        }
        let dead = self.hosted[index].dead_letters().await?;
        if !dead.is_empty() {
            bail!("{name} has a dead letter: {}\n{}", dead.join("; "), self.tail().await);
        }
        match result.done.first() {
            Some(Done::Answered(answer)) => Ok((Some(answer.clone()), result)),
            None | Some(Done::Handled) => Ok((None, result)),
            Some(other) => bail!("{name}: {other:?}\n{}", self.tail().await),
        }
    }
}
