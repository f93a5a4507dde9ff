use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method};
use pangaea_contracts::{Actor, Message, digest_text};
use pangaea_faults::{Plant, planted};
use pangaea_journal::SecretRow;
use ring::rand::SecureRandom;

use super::Caller;
use crate::{Input, InputKind, Problem, ProblemKind};

const KEY_CHARS_MAX: usize = 255;

/// What a state-changing request needs to become a command: who, under which key, on what path.
///
/// A POST needs an `Idempotency-Key`; PUT, PATCH and DELETE may have one, and are guarded by `If-Match`.
#[derive(Clone, Debug)]
pub struct Intent {
    pub actor: Actor,
    method: Method,
    path: String,
    key: Option<String>,
    /// Seconds from `Prefer: wait=N` (RFC 7240), at most 60.
    pub wait_seconds: Option<u32>,
    pub traceparent: Option<String>,
}

// === impl Intent ===

impl Intent {
    /// The command that carries `message` to the module's writer. Its id follows from (principal, method, path, key), so a
    /// repeat is the same command.
    ///
    /// # Errors
    /// When the message cannot be written as JSON.
    pub fn command<M: Message>(&self, message: &M, secrets: Vec<SecretRow>) -> Result<Input, Problem> {
        let payload =
            serde_json::to_string(message).map_err(|error| Problem::new(ProblemKind::Invalid, error.to_string()))?;
        self.command_with(message, payload, None, secrets)
    }

    /// Like [`Intent::command`], for a message that the edge adds random or slow values to: the fingerprint is of
    /// `stated`, what the client itself said.
    ///
    /// # Errors
    /// When the message cannot be written as JSON.
    pub fn command_stating<M: Message>(
        &self,
        message: &M,
        stated: &str,
        secrets: Vec<SecretRow>,
    ) -> Result<Input, Problem> {
        let payload =
            serde_json::to_string(message).map_err(|error| Problem::new(ProblemKind::Invalid, error.to_string()))?;
        self.command_with(message, payload, Some(stated), secrets)
    }

    fn command_with<M: Message>(
        &self,
        message: &M,
        payload: String,
        stated: Option<&str>,
        secrets: Vec<SecretRow>,
    ) -> Result<Input, Problem> {
        let key = self.key.clone().unwrap_or_else(random_key);
        let scope =
            [self.actor.subject.as_bytes(), self.method.as_str().as_bytes(), self.path.as_bytes(), key.as_bytes()];
        // A planted bug leaves all of the scope but the key out.
        let scope = if planted(Plant::NoIdempotencyScope) { &scope[3..] } else { &scope[..] };
        let id = format!("cmd_{}", digest_text(scope, 26));
        let fingerprint = digest_text(&[M::SUBJECT.as_bytes(), stated.unwrap_or(&payload).as_bytes()], 26);
        Ok(Input {
            kind: InputKind::Command { fingerprint },
            subject: M::SUBJECT.to_owned(),
            key: message.key(),
            causation_id: id.clone(),
            correlation_id: id.clone(),
            actor: self.actor.clone(),
            traceparent: self.traceparent.clone(),
            payload,
            secrets,
            id,
        })
    }

    /// An intent of the system itself, e.g. for seeds: `key` names what is done, once in the life of a store.
    pub fn system(path: &str, key: &str) -> Self {
        Self {
            actor: Actor::system(),
            method: Method::POST,
            path: path.to_owned(),
            key: Some(key.to_owned()),
            wait_seconds: None,
            traceparent: None,
        }
    }

    /// An intent whose every repeat is another one: for the few requests that carry no key, such as signing in, where the
    /// edge learns by itself who is asking.
    pub fn without_key(actor: Actor, method: Method, path: &str) -> Self {
        Self { actor, method, path: path.to_owned(), key: None, wait_seconds: None, traceparent: None }
    }
}

fn random_key() -> String {
    let mut bytes = [0u8; 16];
    #[expect(clippy::disallowed_methods, reason = "the edge makes ids for requests that bring no key")]
    let random = ring::rand::SystemRandom::new();
    // The system's random source does not fail once it has been opened; if it did, the address of nothing is still unique
    // enough only by luck, so the bytes stay zero and the command is at worst refused as a repeat.
    let _ = random.fill(&mut bytes);
    digest_text(&[&bytes], 26)
}

impl<S: Send + Sync> FromRequestParts<S> for Intent {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let actor = match parts.extensions.get::<Caller>() {
            Some(caller) => caller.actor.clone(),
            None => Actor::user("anonymous", []),
        };
        let key = idempotency_key(&parts.headers)?;
        if key.is_none() && parts.method == Method::POST {
            let detail =
                "send an Idempotency-Key header: any text of at most 255 characters that you use for this request only";
            return Err(Problem::new(ProblemKind::IdempotencyKeyMissing, detail));
        }
        let traceparent = parts.headers.get("traceparent").and_then(|value| value.to_str().ok()).map(str::to_owned);
        Ok(Self {
            actor,
            method: parts.method.clone(),
            path: parts.uri.path().to_owned(),
            key,
            wait_seconds: wait_seconds(&parts.headers),
            traceparent: traceparent.filter(|text| text.len() == 55),
        })
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    match value.to_str().map(|text| text.trim().trim_matches('"')) {
        Ok(text) if !text.is_empty() && text.len() <= KEY_CHARS_MAX => Ok(Some(text.to_owned())),
        _ => Err(Problem::new(ProblemKind::MalformedRequest, "Idempotency-Key is 1 to 255 printable ASCII characters")),
    }
}

fn wait_seconds(headers: &HeaderMap) -> Option<u32> {
    let prefer = headers.get("prefer")?.to_str().ok()?;
    let wait = prefer.split([',', ';']).find_map(|part| part.trim().strip_prefix("wait="))?;
    wait.parse::<u32>().ok().map(|seconds| seconds.min(60))
}
