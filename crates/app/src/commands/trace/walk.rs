//! From an input to all that it led to, over every module: outwards along causes, by index.

use std::collections::{BTreeMap, VecDeque};

use anyhow::{Context, Result};
use pangaea_contracts::{Envelope, Timestamp};
use pangaea_journal::{Admitted, Database, DeadLetterRow};
use pangaea_kernel::{Input, effect_of_result};

use super::fact::{Fact, FactKind, Outcome};
use super::ids;
use super::stores::Stores;

/// What one input asks for; more is a bug of a handler.
const OUTPUTS_MAX: usize = 10_000;
/// Prefixes of what an input leaves behind besides messages: operations and timers.
const OPERATION: &str = "op_";
const TIMER: &str = "tmr_";

/// Gathers facts, each once, at most so many.
pub(super) struct Walk<'a> {
    stores: &'a Stores,
    facts_max: usize,
    facts: BTreeMap<(String, String), Fact>,
    /// Inputs whose outputs have not been looked for.
    queue: VecDeque<(String, String, Timestamp)>,
    is_cut: bool,
}

/// All that was found.
pub(super) struct Found {
    pub(super) facts: Vec<Fact>,
    /// Whether there is more than was asked for.
    pub(super) is_cut: bool,
}

// === impl Walk: beginnings ===

impl<'a> Walk<'a> {
    pub(super) fn new(stores: &'a Stores, facts_max: usize) -> Self {
        Self { stores, facts_max, facts: BTreeMap::new(), queue: VecDeque::new(), is_cut: false }
    }

    /// Begins at an input, and at what led to it, back to the first cause that can be found.
    ///
    /// # Errors
    /// When a database cannot be read.
    pub(super) async fn begin(&mut self, module: &str, admitted: &Admitted) -> Result<()> {
        self.add(module, admitted, None);
        let fact = Fact::admitted(module, admitted, None);
        self.climb(fact.cause).await
    }

    /// The same for a dead letter.
    ///
    /// # Errors
    /// When a database cannot be read.
    pub(super) async fn begin_letter(&mut self, module: &str, letter: &DeadLetterRow) -> Result<()> {
        let Some(fact) = letter_fact(module, letter, None) else { return Ok(()) };
        let cause = fact.cause.clone();
        self.put(fact);
        self.climb(cause).await
    }

    async fn climb(&mut self, mut cause: Option<(String, String)>) -> Result<()> {
        while let Some((module, id)) = cause.take() {
            let Some(database) = self.stores.of(&module) else { break };
            let is_known = self.facts.contains_key(&(module.clone(), id.clone()));
            let Some(admitted) = read(&module, database.inputs(&[id]).await)?.pop().filter(|_| !is_known) else {
                break;
            };
            cause = Fact::admitted(&module, &admitted, None).cause;
            self.add(&module, &admitted, None);
        }
        Ok(())
    }
}

// === impl Walk: outwards ===

impl Walk<'_> {
    /// Everything that the beginnings led to.
    ///
    /// # Errors
    /// When a database cannot be read.
    pub(super) async fn run(mut self) -> Result<Found> {
        while let Some((module, id, at)) = self.queue.pop_front() {
            if self.is_cut {
                break;
            }
            let Some(database) = self.stores.of(&module) else { continue };
            for message in read(&module, database.outbox_caused_by(&id, at).await)? {
                self.message(&message).await?;
            }
            self.own(&module, database, &id, at).await?;
        }
        self.timers().await?;
        let results: Vec<_> = self
            .facts
            .keys()
            .filter_map(|(module, id)| Some((module.clone(), effect_of_result(id)?.to_owned())))
            .collect();
        results.iter().for_each(|performed| drop(self.facts.remove(performed)));
        Ok(Found { facts: self.facts.into_values().collect(), is_cut: self.is_cut })
    }

    /// What became of a message in each module that reads it.
    async fn message(&mut self, message: &Envelope) -> Result<()> {
        let readers = self.stores.readers(&message.source, &message.subject, message.position);
        if readers.is_empty() {
            self.put(Fact::message(&message.source, message, Outcome::Unread));
        }
        for (module, has_passed) in readers {
            let Some(database) = self.stores.of(module) else {
                self.put(Fact::message(module, message, Outcome::NotLookedAt));
                continue;
            };
            let id = std::slice::from_ref(&message.id);
            if let Some(admitted) = read(module, database.inputs(id).await)?.pop() {
                self.add(module, &admitted, Some(message.time));
                continue;
            }
            let letter = read(module, database.dead_letters_by_ids(id).await)?.pop();
            if let Some(fact) = letter.and_then(|letter| letter_fact(module, &letter, Some(message.time))) {
                self.put(fact);
                continue;
            }
            let attempts = read(module, database.attempts(id).await)?.pop().map(|(_, attempts)| attempts);
            let outcome = if has_passed { Outcome::PassedOver } else { Outcome::Waiting { attempts } };
            self.put(Fact::message(module, message, outcome));
        }
        Ok(())
    }

    /// What the input left in its own module: effects, their results, timers that have fired.
    async fn own(&mut self, module: &str, database: &Database, id: &str, at: Timestamp) -> Result<()> {
        // Effects first: one that gets its result meanwhile is then in both, which `run` mends, and not in neither.
        let range = ids::of_moment(OPERATION, at);
        for effect in read(module, database.effects_between(&range, id, OUTPUTS_MAX).await)? {
            let try_timeout_ms = self.stores.try_timeout_ms(module, &effect.subject);
            self.put(Fact::effect(module, &effect, at, try_timeout_ms));
        }
        for prefix in [OPERATION, TIMER] {
            let range = ids::of_moment(prefix, at);
            for admitted in read(module, database.inputs_between(&range, id, OUTPUTS_MAX).await)? {
                self.add(module, &admitted, Some(at));
            }
            for letter in read(module, database.dead_letters_between(&range, OUTPUTS_MAX).await)? {
                let fact = letter_fact(module, &letter, Some(at));
                let is_ours = |fact: &Fact| fact.cause.as_ref().is_some_and(|(_, cause)| cause == id);
                if let Some(fact) = fact.filter(is_ours) {
                    self.put(fact);
                }
            }
        }
        Ok(())
    }

    /// Timers that wait. They are found by their chain at the end, because a timer's row does not say when it was set.
    async fn timers(&mut self) -> Result<()> {
        let mut chains: Vec<String> = self.facts.values().map(|fact| fact.correlation_id.clone()).collect();
        chains.sort();
        chains.dedup();
        for (module, database) in self.stores.all() {
            for timer in read(module, database.timers_of(&chains, self.facts_max).await)? {
                let setter = self.facts.get(&(module.to_owned(), timer.causation_id.clone()));
                if let Some(set_at) = setter.and_then(|setter| setter.at) {
                    self.put(Fact::timer(module, &timer, set_at));
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, module: &str, admitted: &Admitted, published_at: Option<Timestamp>) {
        let name = (module.to_owned(), admitted.input.id.clone());
        if let Some(known) = self.facts.get_mut(&name) {
            known.published_at = known.published_at.or(published_at);
            return;
        }
        if self.put(Fact::admitted(module, admitted, published_at)) {
            self.queue.push_back((name.0, name.1, admitted.input.admitted_at));
        }
    }

    /// Whether there was room for it.
    fn put(&mut self, fact: Fact) -> bool {
        let has_room = self.facts.len() < self.facts_max;
        self.is_cut |= !has_room;
        if has_room {
            self.facts.entry((fact.module.clone(), fact.id.clone())).or_insert(fact);
        }
        has_room
    }
}

/// A letter whose input can be read; one that cannot is listed by `pangaea dead-letters`.
fn letter_fact(module: &str, letter: &DeadLetterRow, published_at: Option<Timestamp>) -> Option<Fact> {
    let input: Input = serde_json::from_str(&letter.input).ok()?;
    let fact = Fact::letter(module, letter, input, published_at);
    (fact.kind != FactKind::Settings).then_some(fact)
}

fn read<T>(module: &str, rows: Result<T, pangaea_journal::JournalError>) -> Result<T> {
    rows.with_context(|| format!("reading the database of {module}"))
}
