use pangaea_contracts::user::{
    ChangeProfile, ChangeRoles, CloseAllSessions, CloseSession, KeyPublished, OpenSession, PublishKey, Register,
    Registered, RolesChanged, RotateSession,
};
use pangaea_contracts::{Message, Role, SessionId, Timestamp, UserId};
use pangaea_journal::Json;
use pangaea_kernel::{Answer, Cx, Failure, Problem, ProblemKind, auth};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::{Rotation, sound_roles};
use crate::settings::UserSettings;
use crate::store::{Account, EmailOwner, Session};

/// What a command on an account answers. It is stored, so nothing personal is in it; the edge adds that.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct AccountFacts {
    pub(crate) id: UserId,
    pub(crate) roles: Vec<Role>,
    pub(crate) version: i64,
    pub(crate) registered_at: Timestamp,
}

/// What a command on a session answers: enough to issue an access token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SessionFacts {
    pub(crate) user_id: UserId,
    pub(crate) session_id: SessionId,
    pub(crate) roles: Vec<Role>,
}

/// The session may have ended: time to forget it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct SessionExpiry {
    pub(crate) session_id: SessionId,
}

impl Message for SessionExpiry {
    const SUBJECT: &'static str = "user.tmr.session_expiry.v1";

    fn key(&self) -> String {
        self.session_id.to_string()
    }
}

impl From<&Account> for AccountFacts {
    fn from(account: &Account) -> Self {
        let Account { user_id, roles, version, registered_at, .. } = account;
        Self { id: user_id.clone(), roles: roles.0.clone(), version: *version, registered_at: *registered_at }
    }
}

// === accounts ===

pub(crate) async fn register(cx: &mut Cx, command: Register) -> Result<Answer, Failure> {
    let Register { user_id, email_hash, email_sealed, profile_sealed, roles } = command;
    let roles = sound_roles(roles).map_err(|detail| Problem::invalid("/roles", detail))?;
    let taken = cx.get::<EmailOwner>(&email_hash).await?.is_some() || cx.get::<Account>(&user_id).await?.is_some();
    if taken {
        return Err(Failure::refusal(
            ProblemKind::Conflict,
            "there is an account with this e-mail address; sign in instead",
        ));
    }
    let account = Account {
        user_id: user_id.clone(),
        email_hash: email_hash.clone(),
        email_sealed,
        profile_sealed,
        roles: Json(roles.clone()),
        version: 1,
        session_epoch: 0,
        registered_at: cx.now(),
    };
    let answer = account_answer(201, &account)?.with_header("location", "/v1/users/me");
    cx.put(EmailOwner { email_hash, user_id: user_id.clone() });
    cx.put(account);
    cx.emit(&Registered { user_id, roles });
    Ok(answer)
}

pub(crate) async fn change_profile(cx: &mut Cx, command: ChangeProfile) -> Result<Answer, Failure> {
    let account = account(cx, &command.user_id).await?;
    check_version(&account, command.expected_version)?;
    check_version(&account, Some(command.base_version))?;
    let account = Account { profile_sealed: command.profile_sealed, version: account.version + 1, ..account };
    let answer = account_answer(200, &account)?;
    cx.put(account);
    Ok(answer)
}

pub(crate) async fn change_roles(cx: &mut Cx, command: ChangeRoles) -> Result<Answer, Failure> {
    let roles = sound_roles(command.roles).map_err(|detail| Problem::invalid("/roles", detail))?;
    let account = account(cx, &command.user_id).await?;
    check_version(&account, command.expected_version)?;
    let own = cx.actor().subject == account.user_id.as_str();
    if own && account.roles.0.contains(&Role::Admin) && !roles.contains(&Role::Admin) {
        let detail = "you cannot take the admin role from yourself: another administrator has to do it";
        return Err(Failure::refusal(ProblemKind::Conflict, detail));
    }
    if account.roles.0 == roles {
        return account_answer(200, &account);
    }
    let account = Account { roles: Json(roles.clone()), version: account.version + 1, ..account };
    let answer = account_answer(200, &account)?;
    cx.emit(&RolesChanged { user_id: account.user_id.clone(), roles });
    cx.put(account);
    Ok(answer)
}

async fn account(cx: &mut Cx, user_id: &UserId) -> Result<Account, Failure> {
    cx.get::<Account>(user_id).await?.ok_or_else(|| Problem::not_found("user").into())
}

fn check_version(account: &Account, expected: Option<i64>) -> Result<(), Failure> {
    if expected.is_none_or(|expected| expected == account.version) {
        return Ok(());
    }
    Err(Failure::refusal(ProblemKind::PreconditionFailed, "read the account again, and send its new ETag as If-Match"))
}

fn account_answer(status: u16, account: &Account) -> Result<Answer, Failure> {
    Ok(Answer::json(status, &AccountFacts::from(account))?.with_header("etag", format!("\"{}\"", account.version)))
}

// === sessions ===

pub(crate) async fn open_session(cx: &mut Cx, command: OpenSession) -> Result<Answer, Failure> {
    let account = account(cx, &command.user_id).await?;
    if cx.get::<Session>(&command.session_id).await?.is_some() {
        return Err(Failure::refusal(ProblemKind::Conflict, "this session is open already"));
    }
    let session = Session {
        session_id: command.session_id,
        user_id: command.user_id,
        epoch: account.session_epoch,
        generation: command.generation.max(1),
        opened_at: cx.now(),
        rotated_at: cx.now(),
        expires_at: cx.now(),
        closed_at: None,
    };
    prolong(cx, session, &account)
}

pub(crate) async fn rotate_session(cx: &mut Cx, command: RotateSession) -> Result<Answer, Failure> {
    let Some(session) = cx.get::<Session>(&command.session_id).await? else { return Err(signed_out().into()) };
    let account = account(cx, &session.user_id).await?;
    let grace_ms = i64::from(cx.settings::<UserSettings>()?.refresh_grace_ms);
    match Rotation::decide(&session, &account, command.generation, cx.now(), grace_ms) {
        Rotation::Next(generation) => prolong(cx, Session { generation, rotated_at: cx.now(), ..session }, &account),
        // The secret beside this command is one more token of the current generation.
        Rotation::Again(_) => session_answer(&session, &account),
        Rotation::Reused => {
            tracing::warn!(session = %session.session_id, "a refresh token was used again: its session is closed");
            cx.put(Session { closed_at: Some(cx.now()), ..session });
            // Not a refusal, which would take the closing back.
            let detail = "this refresh token had been used before, so its session is closed; sign in again";
            Ok(Answer::from(Problem::new(ProblemKind::Unauthenticated, detail)))
        }
        Rotation::Ended => Err(signed_out().into()),
    }
}

pub(crate) async fn close_session(cx: &mut Cx, command: CloseSession) -> Result<Answer, Failure> {
    let session = cx.get::<Session>(&command.session_id).await?;
    let own = |session: &Session| session.user_id == command.user_id && session.closed_at.is_none();
    if let Some(session) = session.filter(own) {
        cx.put(Session { closed_at: Some(cx.now()), ..session });
    }
    Ok(Answer::empty(204))
}

pub(crate) async fn close_all_sessions(cx: &mut Cx, command: CloseAllSessions) -> Result<Answer, Failure> {
    let account = account(cx, &command.user_id).await?;
    cx.put(Account { session_epoch: account.session_epoch + 1, ..account });
    Ok(Answer::empty(204))
}

pub(crate) async fn session_expiry(cx: &mut Cx, timer: SessionExpiry) -> Result<(), Failure> {
    let Some(session) = cx.get::<Session>(&timer.session_id).await? else { return Ok(()) };
    let left_ms = session.expires_at.millis_since(cx.now());
    if left_ms > 0 {
        cx.after(left_ms, &timer);
    } else {
        cx.delete::<Session>(&timer.session_id);
    }
    Ok(())
}

fn prolong(cx: &mut Cx, session: Session, account: &Account) -> Result<Answer, Failure> {
    let session_ms = cx.settings::<UserSettings>()?.session_ms();
    let session = Session { expires_at: cx.now().plus_millis(session_ms), ..session };
    cx.after(session_ms, &SessionExpiry { session_id: session.session_id.clone() });
    let answer = session_answer(&session, account)?;
    cx.put(session);
    Ok(answer)
}

fn session_answer(session: &Session, account: &Account) -> Result<Answer, Failure> {
    let Session { user_id, session_id, .. } = session.clone();
    Answer::json(200, &SessionFacts { user_id, session_id, roles: account.roles.0.clone() })
}

pub(crate) fn signed_out() -> Problem {
    Problem::new(ProblemKind::Unauthenticated, "this refresh token is not good, or no longer; sign in again")
}

// === keys ===

pub(crate) async fn publish_key(cx: &mut Cx, command: PublishKey) -> Result<Answer, Failure> {
    let PublishKey { key_id, public_key, not_before, not_after } = command;
    let event = KeyPublished { key_id, public_key, not_before, not_after };
    cx.emit(&event);
    auth::key_published(cx, event).await?;
    Ok(Answer::empty(204))
}
