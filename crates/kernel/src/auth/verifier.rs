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
/// Tokens whose signature need not be checked again, at most: a check costs more than the rest of a small request.
const VERIFIED_MAX: usize = 4_096;

/// Asks the module that publishes keys for one that is not known here; `None` when it does not know it either.
pub type AskForKey = Arc<dyn Fn(TokenKeyRequest) -> BoxFuture<'static, Option<KeyPublished>> + Send + Sync>;

/// Checks access tokens against the keys in one module's database.
#[derive(Clone)]
pub struct TokenVerifier {
    database: Database,
    clock: Arc<dyn Clock>,
    ask: AskForKey,
    keys: Arc<Mutex<Keys>>,
    verified: Arc<Mutex<Verified>>,
    /// When an unknown key was last looked up, once a second at most: made-up tokens do not reach the database.
    looked_up_at: Arc<tokio::sync::Mutex<Option<LookUp>>>,
}

type Keys = HashMap<String, Key>;

/// By the SHA-256 of the token: the tokens themselves are not kept.
type Verified = HashMap<[u8; 32], Known>;

struct Known {
    claims: Claims,
    /// Until the token or its key ends, whichever is first.
    until: Timestamp,
}

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
            verified: Arc::default(),
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
        let digest = digest(token);
        if let Some(claims) = self.verified_before(&digest, now) {
            return Ok(claims);
        }
        let mut key_ends = now;
        let claims = decode(token, now, |key_id| {
            let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
            let key = keys.get(key_id).filter(|key| key.not_after > now)?;
            key_ends = key.not_after;
            Some(key.public_key.clone())
        })?;
        self.remember(digest, Known { claims: claims.clone(), until: claims.expires_at().min(key_ends) }, now);
        Ok(claims)
    }

    fn verified_before(&self, digest: &[u8; 32], now: Timestamp) -> Option<Claims> {
        let verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        verified.get(digest).filter(|known| now < known.until).map(|known| known.claims.clone())
    }

    fn remember(&self, digest: [u8; 32], known: Known, now: Timestamp) {
        let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        if verified.len() >= VERIFIED_MAX {
            verified.retain(|_, known| now < known.until);
        }
        if verified.len() >= VERIFIED_MAX {
            // More callers than there is room for: each is checked again once.
            verified.clear();
        }
        verified.insert(digest, known);
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

fn digest(token: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, token.as_bytes()).as_ref());
    bytes
}

#[cfg(test)]
mod tests {
    use pangaea_contracts::Role;
    use pangaea_journal::DatabaseOptions;
    use ring::rand::SystemRandom;
    use ring::signature::Ed25519KeyPair;

    use super::*;
    use crate::ManualClock;
    use crate::auth::{AUDIENCE, ISSUER, SigningKey, base64url, encode};

    const NOW_S: i64 = 1_700_000_000;

    async fn set_up(key_ends_s: i64) -> (TokenVerifier, ManualClock, SigningKey) {
        let url = "sqlite::memory:".to_owned();
        let options = DatabaseOptions { url, read_connections_max: 1, synchronous_full: false };
        let database = Database::open("keys", &options).await.unwrap();
        let clock = ManualClock::at(Timestamp::from_millis(NOW_S * 1_000));
        let verifier = TokenVerifier::new(database, Arc::new(clock.clone()));
        #[expect(clippy::disallowed_methods, reason = "a key of the test's own")]
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let key = SigningKey::from_pkcs8(pkcs8.as_ref()).unwrap();
        let public_key = from_base64url(&key.public_key()).unwrap();
        let not_after = Timestamp::from_millis(key_ends_s * 1_000);
        verifier.keys.lock().unwrap().insert(key.key_id.clone(), Key { public_key, not_after });
        (verifier, clock, key)
    }

    fn claims(expires_s: i64) -> Claims {
        let text = |text: &str| text.to_owned();
        let (sub, jti, client_id, sid) = (text("usr_1"), text("jti_1"), text("web"), text("ses_1"));
        let (iss, aud) = (text(ISSUER), text(AUDIENCE));
        Claims { iss, aud, sub, iat: NOW_S, exp: expires_s, jti, client_id, sid, roles: vec![Role::Customer] }
    }

    #[tokio::test]
    async fn a_token_seen_before_ends_when_it_says() {
        let (verifier, clock, key) = set_up(NOW_S + 3_600).await;
        let token = encode(&claims(NOW_S + 600), &key).unwrap();
        assert_eq!(verifier.check(&token), Ok(claims(NOW_S + 600)));
        clock.advance_ms(599_999);
        assert_eq!(verifier.check(&token), Ok(claims(NOW_S + 600)), "from memory");
        assert_eq!(verifier.verified.lock().unwrap().len(), 1);
        clock.advance_ms(1);
        assert_eq!(verifier.check(&token), Err(JwtError::Expired));
    }

    #[tokio::test]
    async fn a_token_seen_before_ends_with_its_key() {
        let (verifier, clock, key) = set_up(NOW_S + 60).await;
        let token = encode(&claims(NOW_S + 600), &key).unwrap();
        assert!(verifier.check(&token).is_ok());
        clock.advance_ms(60_000);
        assert_eq!(verifier.check(&token), Err(JwtError::UnknownKey(key.key_id)));
    }

    #[tokio::test]
    async fn only_what_was_signed_is_remembered_and_not_without_end() {
        let (verifier, _clock, key) = set_up(NOW_S + 60).await;
        let token = encode(&claims(NOW_S + 600), &key).unwrap();
        let (signed, _) = token.rsplit_once('.').unwrap();
        let forged = format!("{signed}.{}", base64url(&[0; 64]));
        assert_eq!(verifier.check(&forged), Err(JwtError::Signature));
        assert_eq!(verifier.check(&forged), Err(JwtError::Signature));
        assert!(verifier.verified.lock().unwrap().is_empty());
        let (now, until) = (Timestamp::from_millis(0), Timestamp::from_millis(1));
        for number in 0..VERIFIED_MAX * 2 {
            verifier.remember(digest(&number.to_string()), Known { claims: claims(0), until }, now);
        }
        assert!(verifier.verified.lock().unwrap().len() <= VERIFIED_MAX);
    }
}
