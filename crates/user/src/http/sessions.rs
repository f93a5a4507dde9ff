use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use pangaea_contracts::user::{CloseAllSessions, CloseSession};
use pangaea_contracts::{SessionId, UserId};
use pangaea_kernel::http::{Body, Caller, Edge, Intent};
use pangaea_kernel::{Answer, Problem, ProblemKind};

use super::Ours;
use super::views::{Refresh, SignIn, Tokens};

/// Signs in: opens a session.
#[utoipa::path(
    post, path = "/v1/sessions", operation_id = "sign_in", tag = "user",
    request_body = SignIn,
    responses(
        (status = 201, description = "The session's first tokens", body = Tokens),
        (status = 400, description = "Malformed", body = Problem),
        (status = 401, description = "The e-mail address or the password is wrong", body = Problem),
        (status = 422, description = "Not acceptable", body = Problem),
        (status = 429, description = "Too many wrong passwords for this address, or too many at once", body = Problem),
        (status = 503, description = "Not at the moment", body = Problem),
    ),
    extensions(("x-access" = json!({"anonymous": true})))
)]
pub(super) async fn sign_in(
    State(edge): State<Edge>,
    Extension(shared): Ours,
    Body(body): Body<SignIn>,
) -> Result<Response, Problem> {
    let issued = shared.sign_in(&edge, &body.email, body.password).await?;
    Ok(tokens(StatusCode::CREATED, issued.into()))
}

/// Uses up a refresh token for new tokens of the same session.
///
/// A token that has been used already ends its session, unless it was the last one and that was seconds ago: then the
/// answer may have been lost.
#[utoipa::path(
    post, path = "/v1/sessions/refresh", operation_id = "refresh_session", tag = "user",
    request_body = Refresh,
    responses(
        (status = 200, description = "The session's next tokens", body = Tokens),
        (status = 400, description = "Malformed", body = Problem),
        (status = 401, description = "The refresh token is not good, or no longer", body = Problem),
        (status = 422, description = "Not acceptable", body = Problem),
        (status = 503, description = "Not at the moment", body = Problem),
    ),
    extensions(("x-access" = json!({"anonymous": true})))
)]
pub(super) async fn refresh(
    State(edge): State<Edge>,
    Extension(shared): Ours,
    Body(body): Body<Refresh>,
) -> Result<Response, Problem> {
    let issued = shared.refresh(&edge, &body.refresh_token).await?;
    Ok(tokens(StatusCode::OK, issued.into()))
}

/// Signs out: ends the session that the access token belongs to. The token itself is good until it ends, at most ten
/// minutes.
#[utoipa::path(
    delete, path = "/v1/sessions/current", operation_id = "sign_out", tag = "user",
    responses(
        (status = 204, description = "The session has ended"),
        (status = 401, description = "No valid access token", body = Problem),
        (status = 503, description = "Not at the moment", body = Problem),
    ),
    extensions(("x-access" = json!({"roles": ["customer", "staff"], "owner": true})))
)]
pub(super) async fn sign_out(State(edge): State<Edge>, caller: Caller, intent: Intent) -> Result<Answer, Problem> {
    let user_id = user_id(&caller)?;
    let session_id: SessionId = caller.session_id.parse().map_err(|_| no_account())?;
    edge.submit(intent.command(&CloseSession { session_id, user_id }, Vec::new())?).await
}

/// Signs out everywhere: ends all of the caller's sessions. Access tokens are good until they end, at most ten minutes.
#[utoipa::path(
    delete, path = "/v1/sessions", operation_id = "sign_out_everywhere", tag = "user",
    responses(
        (status = 204, description = "All sessions have ended"),
        (status = 401, description = "No valid access token", body = Problem),
        (status = 404, description = "The account is gone", body = Problem),
        (status = 503, description = "Not at the moment", body = Problem),
    ),
    extensions(("x-access" = json!({"roles": ["customer", "staff"], "owner": true})))
)]
pub(super) async fn sign_out_everywhere(
    State(edge): State<Edge>,
    caller: Caller,
    intent: Intent,
) -> Result<Answer, Problem> {
    let user_id = user_id(&caller)?;
    edge.submit(intent.command(&CloseAllSessions { user_id }, Vec::new())?).await
}

fn user_id(caller: &Caller) -> Result<UserId, Problem> {
    caller.actor.subject.parse().map_err(|_| no_account())
}

fn no_account() -> Problem {
    Problem::new(ProblemKind::Unauthenticated, "this token belongs to no session of an account; sign in")
}

/// Secrets are for the client alone (RFC 6749, 5.1).
fn tokens(status: StatusCode, tokens: Tokens) -> Response {
    (status, [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))], Json(tokens)).into_response()
}
