use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use pangaea_contracts::Timestamp;
use pangaea_contracts::user::{KeyPublished, TokenKeyRequest};
use pangaea_journal::{Database, Statement};

use super::jwt::{Claims, JwtError, decode, from_base64url};
use crate::{Clock, Problem, ProblemKind};

/// Keys kept in memory, at most; more are never published within a key's life.
const KEYS_MAX: usize = 64;
/// How long an unknown `kid` is not looked up again.
const UNKNOWN_FOR_MS: i64 = 1_000;

/// Asks the module that publishes keys for one that is not known here; `None` when it does not know it either.
pub type AskForKey = Arc<dyn Fn(TokenKeyRequest) -> BoxFuture<'static, Option<KeyPublished>> + Send + Sync>;

/// Checks access tokens against the keys in one module's database.
#[derive(Clone)]
pub struct TokenVerifier {
    database: Database,
    clock: Arc<dyn Clock>,
    ask: AskForKey,
    keys: Arc<Mutex<Keys>>,
    /// When an unknown key was last looked up, once a second at most: made-up tokens do not reach the database.
    looked_up_at: Arc<tokio::sync::Mutex<Option<LookUp>>>,
}

type Keys = HashMap<String, Key>;

struct Key {
    public_key: Vec<u8>,
    not_after: Timestamp,
}

#[derive(Clone, Copy)]
struct LookUp {
    at: Timestamp,
    /// Whether the database answered.
    completed: bool,
}

fn refused(error: JwtError) -> Problem {
    Problem::new(ProblemKind::Unauthenticated, error.to_string())
}

fn not_now() -> Problem {
    Problem::new(ProblemKind::Unavailable, "the token cannot be checked at the moment").with_retry_after(1)
}

// === impl TokenVerifier ===

impl TokenVerifier {
    /// A verifier that knows what the database holds and asks nobody.
    pub fn new(database: Database, clock: Arc<dyn Clock>) -> Self {
        Self {
            database,
            clock,
            ask: Arc::new(|_| Box::pin(async { None })),
            keys: Arc::default(),
            looked_up_at: Arc::default(),
        }
    }

    #[must_use]
    pub fn asking(self, ask: AskForKey) -> Self {
        Self { ask, ..self }
    }

    /// # Errors
    /// A 401 that says what is wrong with the token, or a 503 while the database is away.
    pub async fn verify(&self, token: &str) -> Result<Claims, Problem> {
        let mut checked = self.check(token);
        if let Err(JwtError::UnknownKey(key_id)) = &checked {
            let key_id = key_id.clone();
            // One looks up; those who came meanwhile wait for what it finds.
            let mut looked_up_at = self.looked_up_at.lock().await;
            checked = self.check(token);
            let now = self.clock.now();
            let recent = looked_up_at.filter(|last| now.millis_since(last.at) < UNKNOWN_FOR_MS);
            match recent {
                _ if !matches!(checked, Err(JwtError::UnknownKey(_))) => return checked.map_err(refused),
                Some(LookUp { completed: true, .. }) => return checked.map_err(refused),
                // Nobody could say yet whether the key is good: a 401 would make the client throw its token away.
                Some(LookUp { completed: false, .. }) => return Err(not_now()),
                None => *looked_up_at = Some(LookUp { at: now, completed: false }),
            }
            self.load().await.map_err(|error| {
                tracing::warn!(%error, "token keys cannot be read");
                not_now()
            })?;
            *looked_up_at = Some(LookUp { at: now, completed: true });
            checked = self.check(token);
            if matches!(checked, Err(JwtError::UnknownKey(_))) && self.ask_for(key_id).await {
                checked = self.check(token);
            }
        }
        checked.map_err(refused)
    }

    fn check(&self, token: &str) -> Result<Claims, JwtError> {
        let now = self.clock.now();
        decode(token, now, |key_id| {
            let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
            keys.get(key_id).filter(|key| key.not_after > now).map(|key| key.public_key.clone())
        })
    }

    /// For a token that came before its key's event did. The key is kept in memory only: the event brings it for good.
    async fn ask_for(&self, key_id: String) -> bool {
        let Some(published) = (self.ask)(TokenKeyRequest { key_id }).await else { return false };
        let Ok(public_key) = from_base64url(&published.public_key) else { return false };
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.insert(published.key_id, Key { public_key, not_after: published.not_after });
        true
    }

    async fn load(&self) -> Result<(), pangaea_journal::JournalError> {
        let sql =
            format!("SELECT key_id, public_key, not_after FROM token_key ORDER BY not_after DESC LIMIT {KEYS_MAX}");
        let mut known = Vec::new();
        for row in self.database.fetch(Statement::new(sql)).await? {
            let public_key = from_base64url(&row.get::<String>(1)?).unwrap_or_default();
            known.push((row.get::<String>(0)?, Key { public_key, not_after: row.get(2)? }));
        }
        let now = self.clock.now();
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.retain(|_, key| key.not_after > now);
        keys.extend(known);
        Ok(())
    }
}
