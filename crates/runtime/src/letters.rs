//! What an operator does to many dead letters: each by itself, in order, until there are none of those that were meant.

use std::collections::{BTreeMap, HashMap, HashSet};

use pangaea_journal::{DeadLetterChoice, DeadLetterRow, DeadLetterState};
use pangaea_kernel::{LetterOutcome, Problem};
use serde::Serialize;
use tokio::sync::mpsc;

use crate::ModuleHandle;
use crate::forward::LetterRequest;

/// Letters that one request takes on; the rest is for the next request.
const LETTERS_MAX: usize = 10_000;
const PAGE: usize = 200;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Redrive,
    Abandon,
}

/// Which letters are meant: exactly one of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    Id(String),
    /// Those that failed alike. A redrive takes along what is parked behind each, up to the next that failed otherwise.
    Fingerprint(String),
    Key(String),
    All,
}

/// A line of progress.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Line {
    Letter(Told),
    /// The last line, when all went its way.
    Done(Sum),
    /// The last line, when it could not go on.
    Problem(Problem),
}

/// What became of one letter.
#[derive(Debug, Serialize)]
pub(crate) struct Told {
    pub(crate) module: &'static str,
    pub(crate) id: String,
    pub(crate) key: String,
    pub(crate) subject: String,
    /// `redriven`, `abandoned`, `failed_again`, `behind`, `unfit`, `not_found`, `would_redrive` or `would_abandon`.
    pub(crate) outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) detail: Option<String>,
}

#[derive(Debug, Default, Serialize)]
pub(crate) struct Sum {
    /// Letters by outcome.
    pub(crate) outcomes: BTreeMap<&'static str, u64>,
    /// Whether the request's bound was reached before its end: ask again.
    pub(crate) more: bool,
}

/// Works through the letters of some modules and tells of each.
pub(crate) struct Runner {
    pub(crate) verb: Verb,
    pub(crate) which: Which,
    pub(crate) dry_run: bool,
    /// Whoever listens; the work stops between two letters when they go away.
    pub(crate) lines: mpsc::Sender<Line>,
}

/// Why the work ends before its end.
enum Stop {
    NobodyListens,
    Problem(Problem),
}

/// How far the work on one module is.
struct Course<'a> {
    runner: &'a Runner,
    module: &'a ModuleHandle,
    sum: &'a mut Sum,
    /// Keys with a letter that stays: those behind it stay too.
    held: HashMap<String, String>,
    /// Letters dealt with out of turn, behind one of their key.
    taken_along: HashSet<String>,
    /// Of a dry run, by key: the last letter that would be gone.
    gone: HashMap<String, (u64, String)>,
}

// === impl Runner ===

impl Runner {
    pub(crate) async fn run(self, modules: &[ModuleHandle]) {
        let mut sum = Sum::default();
        for module in modules {
            let mut course = Course {
                runner: &self,
                module,
                sum: &mut sum,
                held: HashMap::new(),
                taken_along: HashSet::new(),
                gone: HashMap::new(),
            };
            match course.run().await {
                Ok(()) => {}
                Err(Stop::NobodyListens) => return,
                Err(Stop::Problem(problem)) => {
                    let _ = self.lines.send(Line::Problem(problem)).await;
                    return;
                }
            }
        }
        let _ = self.lines.send(Line::Done(sum)).await;
    }
}

// === impl Which ===

impl Which {
    pub(crate) fn choice(&self) -> DeadLetterChoice {
        let mut choice = DeadLetterChoice::default();
        match self.clone() {
            Self::Id(id) => choice.id = Some(id),
            Self::Fingerprint(fingerprint) => choice.fingerprint = Some(fingerprint),
            Self::Key(key) => choice.key = Some(key),
            Self::All => {}
        }
        choice
    }
}

// === impl Course ===

impl Course<'_> {
    async fn run(&mut self) -> Result<(), Stop> {
        let mut choice = self.runner.which.choice();
        loop {
            // What comes for a key meanwhile is parked behind the others of it, and found by a later page.
            let page = self.module.edge().database().dead_letters_of(&choice, PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            choice.after = Some((last.position, last.id.clone()));
            for letter in page {
                if self.taken_along.contains(&letter.id) {
                    continue;
                }
                if self.is_full() {
                    return Ok(());
                }
                let is_gone = self.one(&letter).await?;
                if is_gone && self.takes_along() {
                    self.follow(&letter.key).await?;
                }
            }
        }
    }

    fn takes_along(&self) -> bool {
        self.runner.verb == Verb::Redrive && matches!(self.runner.which, Which::Fingerprint(_))
    }

    /// Redrives what was parked behind a letter that is gone.
    async fn follow(&mut self, key: &str) -> Result<(), Stop> {
        while let Some(next) = self.first_of(key).await?.filter(|next| next.state == DeadLetterState::Parked) {
            if self.is_full() {
                return Ok(());
            }
            self.taken_along.insert(next.id.clone());
            if !self.one(&next).await? {
                return Ok(());
            }
        }
        Ok(())
    }

    fn is_full(&mut self) -> bool {
        self.sum.more = self.sum.outcomes.values().sum::<u64>() >= LETTERS_MAX as u64;
        self.sum.more
    }

    /// Deals with one letter; whether it is gone.
    async fn one(&mut self, letter: &DeadLetterRow) -> Result<bool, Stop> {
        let held = self.held.get(&letter.key).filter(|_| self.runner.verb == Verb::Redrive);
        let outcome = match held {
            Some(older_id) => LetterOutcome::Behind { older_id: older_id.clone() },
            None if self.runner.dry_run => self.pretend(letter).await?,
            None => self.module.deal_with(self.request(&letter.id)).await?,
        };
        let is_gone = !stays(&outcome);
        if !is_gone {
            self.held.entry(letter.key.clone()).or_insert_with(|| letter.id.clone());
        }
        self.tell(letter, outcome).await?;
        Ok(is_gone)
    }

    fn request(&self, id: &str) -> LetterRequest {
        let letter_id = id.to_owned();
        match self.runner.verb {
            Verb::Redrive => LetterRequest::Redrive { letter_id },
            Verb::Abandon => LetterRequest::Abandon { letter_id },
        }
    }

    /// What would be said if every input were handled this time.
    async fn pretend(&mut self, letter: &DeadLetterRow) -> Result<LetterOutcome, Stop> {
        if self.runner.verb == Verb::Abandon {
            return Ok(LetterOutcome::Abandoned);
        }
        match self.first_of(&letter.key).await? {
            Some(first) if first.id != letter.id => Ok(LetterOutcome::Behind { older_id: first.id }),
            Some(first) => {
                self.gone.insert(first.key, (first.position, first.id));
                Ok(LetterOutcome::Redriven)
            }
            None => Ok(LetterOutcome::NotFound),
        }
    }

    /// The letter of a key that comes first, without those that a dry run takes for gone.
    async fn first_of(&self, key: &str) -> Result<Option<DeadLetterRow>, Stop> {
        let after = self.gone.get(key).cloned();
        let choice = DeadLetterChoice { key: Some(key.to_owned()), after, ..DeadLetterChoice::default() };
        Ok(self.module.edge().database().dead_letters_of(&choice, 1).await?.pop())
    }

    async fn tell(&mut self, letter: &DeadLetterRow, outcome: LetterOutcome) -> Result<(), Stop> {
        let (outcome, detail) = in_words(outcome, self.runner.dry_run);
        *self.sum.outcomes.entry(outcome).or_insert(0) += 1;
        let told = Told {
            module: self.module.module(),
            id: letter.id.clone(),
            key: letter.key.clone(),
            subject: letter.subject.clone(),
            outcome,
            detail,
        };
        self.runner.lines.send(Line::Letter(told)).await.map_err(|_| Stop::NobodyListens)
    }
}

fn stays(outcome: &LetterOutcome) -> bool {
    matches!(outcome, LetterOutcome::FailedAgain { .. } | LetterOutcome::Behind { .. } | LetterOutcome::Unfit { .. })
}

fn in_words(outcome: LetterOutcome, dry_run: bool) -> (&'static str, Option<String>) {
    match outcome {
        LetterOutcome::Redriven if dry_run => ("would_redrive", None),
        LetterOutcome::Abandoned if dry_run => ("would_abandon", None),
        LetterOutcome::Redriven => ("redriven", None),
        LetterOutcome::Abandoned => ("abandoned", None),
        LetterOutcome::FailedAgain { error, attempts } => {
            ("failed_again", Some(format!("{error} ({attempts} attempts)")))
        }
        LetterOutcome::Behind { older_id } => {
            ("behind", Some(format!("{older_id} of the same key has to be redriven or abandoned first")))
        }
        LetterOutcome::Unfit { reason } => ("unfit", Some(format!("{reason}; abandon it"))),
        LetterOutcome::NotFound => ("not_found", None),
    }
}

// === impl Stop ===

impl From<Problem> for Stop {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<pangaea_journal::JournalError> for Stop {
    fn from(error: pangaea_journal::JournalError) -> Self {
        Self::Problem(error.into())
    }
}
