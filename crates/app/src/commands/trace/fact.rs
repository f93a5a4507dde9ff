//! What a module's journal says of one input: that it was handled, and how, or that it waits.

use pangaea_contracts::{Envelope, Kind, Subject, Timestamp, trace};
use pangaea_journal::{Admitted, DeadLetterRow, DeadLetterState, EffectRow, TimerRow};
use pangaea_kernel::Input;
use serde::Serialize;
use serde_json::Value;

/// An input of one module: one that is in its inbox, or one that will be.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fact {
    /// Whose input it is; of a message that nobody reads, who said it.
    pub(super) module: String,
    pub(super) id: String,
    /// The module and the id of the input that led to it; none for what came from outside.
    pub(super) cause: Option<(String, String)>,
    pub(super) kind: FactKind,
    pub(super) subject: String,
    pub(super) key: String,
    pub(super) correlation_id: String,
    pub(super) trace_id: Option<String>,
    /// When the message was published, the timer set or the effect asked for. Unknown for what came from outside.
    pub(super) published_at: Option<Timestamp>,
    /// When it was admitted and handled, or given up as a dead letter.
    pub(super) at: Option<Timestamp>,
    /// Its place in the inbox.
    pub(super) position: Option<u64>,
    pub(super) outcome: Outcome,
    /// JSON; printed only when asked for, and then redacted.
    pub(super) payload: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FactKind {
    /// A command from HTTP.
    Request,
    Command,
    Event,
    Timer,
    /// The result of an effect, or the effect while it has none.
    Effect,
    Settings,
}

/// What became of an input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub(super) enum Outcome {
    /// A request that was answered with success.
    Answered {
        status: u16,
    },
    /// A request that was answered with a problem; its code.
    Refused {
        status: u16,
        problem: Option<String>,
    },
    Handled,
    /// An effect that has its result: `done`, `refused` or `unknown`, and the code of the reason.
    Performed {
        result: String,
        reason: Option<String>,
    },
    /// A dead letter.
    Dead {
        attempts: u32,
        error: String,
        fingerprint: String,
    },
    /// Waits behind a dead letter of its key.
    Parked,
    /// Published, and not handled yet. Attempts are known after an unclean stop only.
    Waiting {
        attempts: Option<u32>,
    },
    /// A timer.
    Due {
        at: Timestamp,
    },
    /// An effect without a result.
    UnderWay {
        tries: u32,
        newest_try_at: Timestamp,
        try_expires_at: Timestamp,
        deadline_at: Timestamp,
    },
    /// A message that no module reads.
    Unread,
    /// Its reader's database was not looked at.
    NotLookedAt,
    /// Its reader has gone past it without handling it: a dead letter that was abandoned.
    PassedOver,
}

// === impl Fact ===

impl Fact {
    /// An input of the inbox; `published_at` where its origin was found.
    pub(super) fn admitted(module: &str, admitted: &Admitted, published_at: Option<Timestamp>) -> Self {
        let Admitted { position, input } = admitted;
        let speaker = input.source.as_ref().map_or(module, |(source, _)| source);
        let kind = FactKind::of(&input.subject);
        Self {
            module: module.to_owned(),
            id: input.id.clone(),
            cause: cause(speaker, &input.causation_id, &input.id),
            kind,
            subject: input.subject.clone(),
            key: input.key.clone(),
            correlation_id: input.correlation_id.clone(),
            trace_id: trace_id(input.traceparent.as_deref()),
            published_at,
            at: Some(input.admitted_at),
            position: Some(*position),
            outcome: Outcome::of(kind, input.answer.as_deref(), &input.payload),
            payload: input.payload.clone(),
        }
    }

    /// A message on its way to `module`.
    pub(super) fn message(module: &str, message: &Envelope, outcome: Outcome) -> Self {
        Self {
            module: module.to_owned(),
            id: message.id.clone(),
            cause: cause(&message.source, &message.causation_id, &message.id),
            kind: FactKind::of(&message.subject),
            subject: message.subject.clone(),
            key: message.key.clone(),
            correlation_id: message.correlation_id.clone(),
            trace_id: trace_id(message.traceparent.as_deref()),
            published_at: Some(message.time),
            at: None,
            position: None,
            outcome,
            payload: message.payload.clone(),
        }
    }

    /// An input that died, or is parked behind one that did.
    pub(super) fn letter(module: &str, letter: &DeadLetterRow, input: Input, published_at: Option<Timestamp>) -> Self {
        let speaker = match &input.kind {
            pangaea_kernel::InputKind::Delivery { source, .. } => source.as_str(),
            _ => module,
        };
        let outcome = match letter.state {
            DeadLetterState::Parked => Outcome::Parked,
            DeadLetterState::Dead => Outcome::Dead {
                attempts: letter.attempts,
                error: without_quotes(&letter.error),
                fingerprint: letter.fingerprint.clone(),
            },
        };
        Self {
            module: module.to_owned(),
            cause: cause(speaker, &input.causation_id, &input.id),
            kind: FactKind::of(&input.subject),
            trace_id: trace_id(input.traceparent.as_deref()),
            published_at,
            at: Some(letter.died_at),
            position: None,
            outcome,
            id: input.id,
            subject: input.subject,
            key: input.key,
            correlation_id: input.correlation_id,
            payload: input.payload,
        }
    }

    pub(super) fn timer(module: &str, timer: &TimerRow, set_at: Timestamp) -> Self {
        Self {
            module: module.to_owned(),
            id: timer.id.clone(),
            cause: cause(module, &timer.causation_id, &timer.id),
            kind: FactKind::Timer,
            subject: timer.subject.clone(),
            key: timer.key.clone(),
            correlation_id: timer.correlation_id.clone(),
            trace_id: trace_id(timer.traceparent.as_deref()),
            published_at: Some(set_at),
            at: None,
            position: None,
            outcome: Outcome::Due { at: timer.due_at },
            payload: timer.payload.clone(),
        }
    }

    /// An effect without a result; a try of it takes at most `try_timeout_ms`.
    pub(super) fn effect(module: &str, effect: &EffectRow, asked_at: Timestamp, try_timeout_ms: i64) -> Self {
        Self {
            module: module.to_owned(),
            id: effect.id.clone(),
            cause: cause(module, &effect.causation_id, &effect.id),
            kind: FactKind::Effect,
            subject: effect.subject.clone(),
            key: effect.key.clone(),
            correlation_id: effect.correlation_id.clone(),
            trace_id: trace_id(effect.traceparent.as_deref()),
            published_at: Some(asked_at),
            at: None,
            position: None,
            outcome: Outcome::UnderWay {
                tries: effect.tries,
                newest_try_at: effect.try_expires_at.plus_millis(-try_timeout_ms).max(asked_at),
                try_expires_at: effect.try_expires_at,
                deadline_at: effect.deadline_at,
            },
            payload: effect.payload.clone(),
        }
    }

    /// When it stands in a timeline.
    pub(super) fn moment(&self) -> Timestamp {
        self.at.or(self.published_at).unwrap_or_default()
    }

    /// From publishing to handling. Two modules may have two clocks, so it may be negative.
    pub(super) fn wait_ms(&self) -> Option<i64> {
        Some(self.at?.millis_since(self.published_at?))
    }
}

fn cause(module: &str, causation_id: &str, id: &str) -> Option<(String, String)> {
    (causation_id != id).then(|| (module.to_owned(), causation_id.to_owned()))
}

fn trace_id(traceparent: Option<&str>) -> Option<String> {
    traceparent.and_then(trace::trace_id).map(str::to_owned)
}

/// An error without what it quotes: a decoder names the value that it did not expect, which may be anybody's.
fn without_quotes(error: &str) -> String {
    let parts: Vec<&str> = error.split('"').collect();
    // An odd quote may have begun anything: nothing behind it is kept.
    let kept = parts.iter().enumerate().map(|(index, part)| if index % 2 == 0 { *part } else { "…" });
    kept.collect::<Vec<_>>().join("\"")
}

// === impl FactKind ===

impl FactKind {
    fn of(subject: &str) -> Self {
        match Subject::parse(subject).map(|subject| subject.kind) {
            Ok(Kind::Event) => Self::Event,
            Ok(Kind::Command) => Self::Command,
            Ok(Kind::Request) => Self::Request,
            Ok(Kind::Timer) => Self::Timer,
            Ok(Kind::Effect) => Self::Effect,
            Err(_) => Self::Settings,
        }
    }

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Command => "command",
            Self::Event => "event",
            Self::Timer => "timer",
            Self::Effect => "effect",
            Self::Settings => "settings",
        }
    }
}

// === impl Outcome ===

impl Outcome {
    fn of(kind: FactKind, answer: Option<&str>, payload: &str) -> Self {
        let parsed = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
        if let Some(answer) = answer.map(parsed) {
            let status = answer["status"].as_u64().and_then(|status| u16::try_from(status).ok()).unwrap_or_default();
            // A problem's type is a URI that ends in its code; its sentences may quote the caller.
            let problem = answer["body"]["type"].as_str().and_then(|uri| uri.rsplit('/').next()).map(str::to_owned);
            return if status < 400 { Self::Answered { status } } else { Self::Refused { status, problem } };
        }
        if kind != FactKind::Effect {
            return Self::Handled;
        }
        let outcome = &parsed(payload)["outcome"];
        let (result, reason) = match outcome.as_object().and_then(|outcome| outcome.iter().next()) {
            Some((result, value)) => (result.clone(), value["code"].as_str().filter(|_| result != "done")),
            None => (outcome.as_str().unwrap_or("done").to_owned(), None),
        };
        Self::Performed { result, reason: reason.map(str::to_owned) }
    }

    /// Whether it is still to happen, by itself or by an operator.
    pub(super) const fn is_open(&self) -> bool {
        matches!(
            self,
            Self::Dead { .. } | Self::Parked | Self::Waiting { .. } | Self::Due { .. } | Self::UnderWay { .. }
        )
    }

    /// Attempts on a message or tries of an effect, where the journal still knows them.
    pub(super) const fn attempts(&self) -> Option<u32> {
        match self {
            Self::Dead { attempts, .. } => Some(*attempts),
            Self::Waiting { attempts } => *attempts,
            Self::UnderWay { tries, .. } => Some(*tries),
            _ => None,
        }
    }
}
