//! Which request a recorded command is sent as.

use std::sync::Arc;

use pangaea_contracts::digest_text;
use pangaea_kernel::http::HttpRequest;
use pangaea_kernel::{Answer, Module};
use pangaea_replay::{Bound, Entry, EntryKind, Merged, ModuleRecording, ReplayError, Spot, ids_in};
use serde_json::Value;

/// Where a token for a means of payment stands in a body.
const TOKEN_FIELD: &str = "payment_token";
/// A redacted text is longer than some fields may be, such as a postal code.
const REDACTED_CHARS_MAX: usize = 20;
const REDACTED: &str = "redacted_";

/// Makes requests of a recording's commands, one after the other.
pub(super) struct Planner {
    modules: Vec<Arc<dyn Module>>,
    names: Vec<String>,
    merged: Merged,
    run: String,
    /// In place of every recorded token, where there is one.
    payment_token: Option<String>,
    is_redacted: bool,
}

/// What becomes of a recorded input.
pub(super) enum Planned {
    Send(Box<Command>),
    /// A command, and why it is not sent.
    Skip(String),
    /// No command: the store does it by itself.
    NoCommand,
}

/// A command to be sent.
pub(super) struct Command {
    pub(super) spot: Spot,
    pub(super) subject: String,
    pub(super) input_id: String,
    pub(super) request: HttpRequest,
    pub(super) idempotency_key: String,
    /// What was answered when it was recorded.
    pub(super) answer: Option<Answer>,
    /// Commands that share one of these go one after the other.
    pub(super) lanes: Lanes,
}

/// Why a command has to wait for others.
#[derive(Default)]
pub(super) struct Lanes {
    /// Its key, and the ids that its request names.
    pub(super) needs: Vec<String>,
    /// Its key, and the ids that its answer names: what they are called there is not known before it.
    pub(super) gives: Vec<String>,
}

// === impl Planner ===

impl Planner {
    pub(super) fn new(
        modules: Vec<(ModuleRecording, Arc<dyn Module>)>,
        run: String,
        payment_token: Option<String>,
        is_redacted: bool,
    ) -> Self {
        let (recordings, modules): (Vec<_>, Vec<_>) = modules.into_iter().unzip();
        let names = recordings.iter().map(|recording| recording.name().to_owned()).collect();
        Self { merged: Merged::new(&recordings), names, modules, run, payment_token, is_redacted }
    }

    /// `None` at the end. Modules end at `bound` each by itself, so what is behind it is passed over and not the end.
    pub(super) async fn next(&mut self, bound: Bound) -> Result<Option<Planned>, ReplayError> {
        while let Some((spot, entry)) = self.merged.next().await? {
            if bound.includes(spot) {
                return Ok(Some(self.plan(spot, entry)));
            }
        }
        Ok(None)
    }

    fn plan(&self, spot: Spot, entry: Entry) -> Planned {
        if entry.kind != EntryKind::Command {
            return Planned::NoCommand;
        }
        let (module, name) = (&self.modules[spot.module], &self.names[spot.module]);
        let payload: Value = serde_json::from_str(&entry.payload).unwrap_or_default();
        let Some(mut request) = module.request_of(&entry.subject, &entry.key, &payload, &entry.actor) else {
            return Planned::Skip(format!("{name}: no client can send it again, as where it carries sealed data"));
        };
        if let Some(body) = &mut request.body {
            self.replace(body);
        }
        let lanes = Lanes::of(name, &entry, &request);
        let id = digest_text(&[self.run.as_bytes(), name.as_bytes(), entry.id.as_bytes()], 26);
        Planned::Send(Box::new(Command {
            spot,
            subject: entry.subject,
            input_id: entry.id,
            request,
            idempotency_key: format!("replay-{id}"),
            answer: entry.answer,
            lanes,
        }))
    }

    fn replace(&self, body: &mut Value) {
        if let (Some(token), Some(field)) = (&self.payment_token, body.get_mut(TOKEN_FIELD)) {
            *field = token.clone().into();
        }
        if self.is_redacted {
            shorten(body);
        }
    }
}

fn shorten(value: &mut Value) {
    match value {
        Value::String(text) if text.starts_with(REDACTED) => *text = text.chars().take(REDACTED_CHARS_MAX).collect(),
        Value::Array(items) => items.iter_mut().for_each(shorten),
        Value::Object(fields) => fields.values_mut().for_each(shorten),
        _ => {}
    }
}

// === impl Lanes ===

impl Lanes {
    fn of(module: &str, entry: &Entry, request: &HttpRequest) -> Self {
        let key = format!("{module} {}", entry.key);
        let mut needs = vec![key.clone()];
        needs.extend(ids_in(&request.path));
        needs.extend(request.body.iter().flat_map(|body| ids_in(&body.to_string())));
        let mut gives = vec![key];
        gives.extend(entry.answer.iter().flat_map(|answer| ids_in(&answer.body.to_string())));
        for ids in [&mut needs, &mut gives] {
            ids.sort_unstable();
            ids.dedup();
        }
        Self { needs, gives }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::shorten;

    #[test]
    fn redacted_texts_fit_into_every_field() {
        let mut body = json!({ "a": { "postal_code": "redacted_0123456789abcdefghij" }, "b": ["as it is"] });
        shorten(&mut body);
        assert_eq!(body, json!({ "a": { "postal_code": "redacted_0123456789a" }, "b": ["as it is"] }));
    }
}
