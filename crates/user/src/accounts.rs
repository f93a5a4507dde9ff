//! Accounts at the edge: what is slow, random or secret about them.

use pangaea_contracts::user::{OpenSession, Register, RotateSession};
use pangaea_contracts::{Actor, Role, SessionId, Timestamp, UserId, digest_text};
use pangaea_faults::{Plant, planted};
use pangaea_journal::SecretRow;
use pangaea_kernel::auth::{AUDIENCE, Claims, ISSUER, base64url, encode};
use pangaea_kernel::http::{Edge, Intent};
use pangaea_kernel::{Answer, Problem, ProblemKind};
use serde::{Deserialize, Serialize};

use crate::domain::{Email, Profile, check_name, check_password};
use crate::handlers::{SessionFacts, signed_out};
use crate::keys::KeyRing;
use crate::lockout::Lockout;
use crate::passwords::Passwords;
use crate::settings::UserSettings;
use crate::store::{self, AccountRead};
use crate::vault::{Vault, new_id, random, user_key_name};

/// The client that tokens are issued to (RFC 9068): there is one, the store's own.
const CLIENT_ID: &str = "pangaea";
/// 32 bytes, base64url.
const REFRESH_TOKEN_CHARS: usize = 43;

/// What the routes and the command line share.
pub(crate) struct Shared {
    pub(crate) vault: Vault,
    pub(crate) passwords: Passwords,
    pub(crate) keys: KeyRing,
    pub(crate) lockout: Lockout,
}

/// An account that is to be, checked.
pub(crate) struct NewAccount {
    pub(crate) email: Email,
    pub(crate) password: String,
    pub(crate) profile: Profile,
    pub(crate) roles: Vec<Role>,
}

/// Tokens as they are given to a client.
pub(crate) struct Issued {
    pub(crate) access_token: String,
    pub(crate) expires_in: u32,
    pub(crate) refresh_token: String,
}

/// What is kept of a refresh token, under its hash.
#[derive(Serialize, Deserialize)]
struct RefreshSecret {
    user_id: UserId,
    session_id: SessionId,
    generation: i64,
}

/// A refresh token that has just been made.
struct NewRefresh {
    token: String,
    secret: SecretRow,
}

// === impl NewAccount ===

impl NewAccount {
    /// # Errors
    /// 422 with every field at fault.
    pub(crate) fn check(email: &str, password: String, name: &str, roles: Vec<Role>) -> Result<Self, Problem> {
        let parsed = Email::parse(email);
        let checks = [
            ("/email", parsed.as_ref().err().cloned()),
            ("/password", check_password(&password).err()),
            ("/name", check_name(name).err()),
        ];
        let faults = checks.into_iter().filter_map(|(pointer, fault)| Some((pointer, fault?)));
        let problem = faults.fold(None, |problem: Option<Problem>, (pointer, fault)| {
            Some(match problem {
                None => Problem::invalid(pointer, fault),
                Some(problem) => problem.with_field(pointer, fault),
            })
        });
        match (parsed, problem) {
            (Ok(email), None) => {
                let profile = Profile { name: name.trim().to_owned(), addresses: Vec::new() };
                Ok(Self { email, password, profile, roles })
            }
            (_, Some(problem)) => Err(problem),
            (Err(fault), None) => Err(Problem::invalid("/email", fault)),
        }
    }
}

// === impl Shared: accounts ===

impl Shared {
    pub(crate) fn new(sealing_key: &[u8; 32]) -> Self {
        Self {
            vault: Vault::new(sealing_key),
            passwords: Passwords::new(),
            keys: KeyRing::default(),
            lockout: Lockout::default(),
        }
    }

    /// Hashes, seals and submits. The answer holds nothing personal.
    pub(crate) async fn register(
        &self,
        edge: &Edge,
        intent: &Intent,
        new: NewAccount,
        stated: &str,
    ) -> Result<Answer, Problem> {
        let NewAccount { email, password, profile, roles } = new;
        let user_id: UserId = new_id(UserId::PREFIX, edge.clock().now())?;
        let hash = self.passwords.hash(password).await?;
        let (user_key, sealed_key) = self.vault.new_user_key(&user_id)?;
        let command = Register {
            email_hash: self.vault.email_hash(&email),
            email_sealed: user_key.seal(&email_place(&user_id), email.as_str().as_bytes())?,
            profile_sealed: user_key.seal(&profile_place(&user_id), &profile_bytes(&profile)?)?,
            roles,
            user_id: user_id.clone(),
        };
        let keep = |name: String, value: String| SecretRow { name, value: Some(value), expires_at: None };
        let secrets = vec![keep(password_name(&user_id), hash), keep(user_key_name(&user_id), sealed_key)];
        let told = planted(Plant::SecretInAReply).then(|| secrets[0].value.clone());
        let answer = edge.submit(intent.command_stating(&command, stated, secrets)?).await?;
        Ok(match told {
            // A planted bug: the caller is told more than is theirs to know.
            Some(secret) if answer.is_success() => telling(answer, secret),
            _ => answer,
        })
    }

    /// A profile sealed under the key of `account`.
    ///
    /// # Errors
    /// 409 when that key is gone: the account's personal data has been erased.
    pub(crate) fn seal_profile(&self, read: &AccountRead, profile: &Profile) -> Result<String, Problem> {
        let user_id = &read.account.user_id;
        let key = read.user_key.as_deref().and_then(|sealed| self.vault.open_user_key(user_id, sealed).ok());
        let gone = || Problem::new(ProblemKind::Conflict, "this account's personal data cannot be read any more");
        key.ok_or_else(gone)?.seal(&profile_place(user_id), &profile_bytes(profile)?)
    }

    /// E-mail address and profile; `None` once they have been erased.
    pub(crate) fn open_personal(&self, read: &AccountRead) -> Option<(String, Profile)> {
        let user_id = &read.account.user_id;
        let opened = || {
            let key = self.vault.open_user_key(user_id, read.user_key.as_deref()?).ok()?;
            let email = key.open(&email_place(user_id), &read.account.email_sealed).ok()?;
            let profile = key.open(&profile_place(user_id), &read.account.profile_sealed).ok()?;
            Some((String::from_utf8(email).ok()?, serde_json::from_slice(&profile).ok()?))
        };
        let opened = opened();
        if opened.is_none() && read.user_key.is_some() {
            tracing::error!(user = %user_id, "personal data cannot be unsealed: has the sealing key been changed?");
        }
        opened
    }
}

fn telling(mut answer: Answer, secret: Option<String>) -> Answer {
    answer.body["password_hash"] = secret.into();
    answer
}

fn password_name(user_id: &UserId) -> String {
    format!("password/{user_id}")
}

fn email_place(user_id: &UserId) -> String {
    format!("email/{user_id}")
}

fn profile_place(user_id: &UserId) -> String {
    format!("profile/{user_id}")
}

fn profile_bytes(profile: &Profile) -> Result<Vec<u8>, Problem> {
    serde_json::to_vec(profile).map_err(|error| Problem::invalid("", error.to_string()))
}

// === impl Shared: sessions ===

impl Shared {
    /// # Errors
    /// 401 for a wrong address or password alike, 429 while the address is locked out or too many sign in at once, 503
    /// without a signing key.
    pub(crate) async fn sign_in(&self, edge: &Edge, email: &str, password: String) -> Result<Issued, Problem> {
        let wrong = || Problem::new(ProblemKind::Unauthenticated, "the e-mail address or the password is wrong");
        let email = Email::parse(email).map_err(|_| wrong())?;
        check_password(&password).map_err(|_| wrong())?;
        let email_hash = self.vault.email_hash(&email);
        self.lockout.check(&email_hash, edge.clock().now())?;
        // Before anything slow: without a key there is nothing to sign in for.
        self.keys.signing_key(edge, &self.vault).await?;
        let owner = store::owner_of_email(edge.database(), &email_hash).await?;
        let hash = match &owner {
            Some(user_id) => edge.database().secret(&password_name(user_id), edge.clock().now()).await?,
            None => None,
        };
        let right = self.passwords.verify(password, hash).await?;
        match owner.filter(|_| right) {
            Some(user_id) => {
                self.lockout.succeeded(&email_hash);
                self.open_session(edge, user_id).await
            }
            None => {
                self.lockout.failed(&email_hash, edge.clock().now());
                Err(wrong())
            }
        }
    }

    /// Opens a session for an account whose holder is known.
    pub(crate) async fn open_session(&self, edge: &Edge, user_id: UserId) -> Result<Issued, Problem> {
        let now = edge.clock().now();
        let session_id: SessionId = new_id(SessionId::PREFIX, now)?;
        let kept = RefreshSecret { user_id: user_id.clone(), session_id: session_id.clone(), generation: 1 };
        let refresh = NewRefresh::make(edge, &kept)?;
        let command = OpenSession { session_id, user_id: user_id.clone(), generation: 1 };
        let intent = session_intent(&user_id, "/v1/sessions");
        let answer = edge.submit(intent.command(&command, vec![refresh.secret])?).await?;
        self.issue(edge, answer, refresh.token).await
    }

    /// Uses up a refresh token.
    ///
    /// # Errors
    /// 401 when it is unknown, expired, signed out, or had been used before; the latter ends its session.
    pub(crate) async fn refresh(&self, edge: &Edge, token: &str) -> Result<Issued, Problem> {
        if token.len() != REFRESH_TOKEN_CHARS {
            return Err(signed_out());
        }
        let now = edge.clock().now();
        let kept = edge.database().secret(&refresh_name(token), now).await?.ok_or_else(signed_out)?;
        let used: RefreshSecret = serde_json::from_str(&kept).map_err(|_| signed_out())?;
        // Before the token is used up.
        self.keys.signing_key(edge, &self.vault).await?;
        let next = RefreshSecret { generation: used.generation + 1, ..used };
        let refresh = NewRefresh::make(edge, &next)?;
        let command = RotateSession { session_id: next.session_id, generation: used.generation };
        let intent = session_intent(&next.user_id, "/v1/sessions/refresh");
        let answer = edge.submit(intent.command(&command, vec![refresh.secret])?).await?;
        self.issue(edge, answer, refresh.token).await
    }

    async fn issue(&self, edge: &Edge, answer: Answer, refresh_token: String) -> Result<Issued, Problem> {
        if !answer.is_success() {
            return Err(problem_of(answer));
        }
        let failed = |reason: String| {
            tracing::error!(reason, "an access token could not be made");
            Problem::new(ProblemKind::Internal, "the failure has been logged")
        };
        let facts: SessionFacts = serde_json::from_value(answer.body).map_err(|error| failed(error.to_string()))?;
        let key = self.keys.signing_key(edge, &self.vault).await?;
        let expires_in = UserSettings::of(edge).access_token_seconds;
        let claims = claims(facts, edge.clock().now(), expires_in)?;
        let access_token = encode(&claims, &key).map_err(|error| failed(error.to_string()))?;
        Ok(Issued { access_token, expires_in, refresh_token })
    }
}

fn claims(facts: SessionFacts, now: Timestamp, expires_in: u32) -> Result<Claims, Problem> {
    let iat = now.as_millis() / 1_000;
    Ok(Claims {
        iss: ISSUER.to_owned(),
        aud: AUDIENCE.to_owned(),
        sub: facts.user_id.to_string(),
        iat,
        exp: iat + i64::from(expires_in),
        jti: base64url(&random::<16>()?),
        client_id: CLIENT_ID.to_owned(),
        sid: facts.session_id.to_string(),
        roles: facts.roles,
    })
}

/// Sessions are opened and refreshed without an idempotency key: the answer holds secrets, which are never stored.
fn session_intent(user_id: &UserId, path: &str) -> Intent {
    Intent::without_key(Actor::user(user_id.as_str(), []), axum::http::Method::POST, path)
}

/// The refusal that a command was answered with, as a problem again.
pub(crate) fn problem_of(answer: Answer) -> Problem {
    let unreadable = |_| Problem::new(ProblemKind::Internal, "the failure has been logged");
    serde_json::from_value(answer.body).unwrap_or_else(unreadable)
}

fn refresh_name(token: &str) -> String {
    format!("refresh/{}", digest_text(&[token.as_bytes()], 51))
}

// === impl NewRefresh ===

impl NewRefresh {
    fn make(edge: &Edge, kept: &RefreshSecret) -> Result<Self, Problem> {
        let token = base64url(&random::<32>()?);
        let value =
            serde_json::to_string(kept).map_err(|error| Problem::new(ProblemKind::Internal, error.to_string()))?;
        let expires_at = edge.clock().now().plus_millis(UserSettings::of(edge).session_ms());
        let secret = SecretRow { name: refresh_name(&token), value: Some(value), expires_at: Some(expires_at) };
        Ok(Self { token, secret })
    }
}
