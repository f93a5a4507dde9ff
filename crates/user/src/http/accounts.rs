use axum::Extension;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use pangaea_contracts::Role;
use pangaea_contracts::user::ChangeProfile;
use pangaea_kernel::http::{Body, Caller, Edge, Intent, etag, not_modified, require_match};
use pangaea_kernel::{Answer, Problem, ProblemKind};

use super::Ours;
use super::views::{NewUser, ProfileChange, UserView, personal};
use crate::accounts::NewAccount;
use crate::domain::{ADDRESSES_MAX, Address, Profile, check_name};
use crate::store::{self, AccountRead};

/// Opens an account with the role `customer`.
#[utoipa::path(
    post, path = "/v1/users", operation_id = "register", tag = "user",
    request_body = NewUser,
    params(("Idempotency-Key" = String, Header, description = "Any text of at most 255 characters, for this request only")),
    responses(
        (status = 201, description = "The account is open", body = UserView),
        (status = 400, description = "Malformed, or no Idempotency-Key", body = Problem),
        (status = 409, description = "There is an account with this e-mail address", body = Problem),
        (status = 422, description = "Not acceptable, or the key was used with another body", body = Problem),
        (status = 429, description = "Too many at once", body = Problem),
        (status = 503, description = "Not at the moment", body = Problem),
    ),
    extensions(("x-access" = json!({"anonymous": true})))
)]
pub(super) async fn register(
    State(edge): State<Edge>,
    Extension(shared): Ours,
    intent: Intent,
    Body(body): Body<NewUser>,
) -> Result<Answer, Problem> {
    let stated = shared.vault.statement(&[&body.email, &body.password, &body.name]);
    let new = NewAccount::check(&body.email, body.password, &body.name, vec![Role::Customer])?;
    let own = (new.email.as_str().to_owned(), new.profile.clone());
    let answer = shared.register(&edge, &intent, new, &stated).await?;
    personal(answer, Some(own))
}

/// The caller's own account.
#[utoipa::path(
    get, path = "/v1/users/me", operation_id = "read_own_user", tag = "user",
    responses(
        (status = 200, description = "The account; its version is the ETag", body = UserView),
        (status = 304, description = "If-None-Match names this version"),
        (status = 401, description = "No valid access token", body = Problem),
        (status = 404, description = "The account is gone", body = Problem),
        (status = 503, description = "Not at the moment", body = Problem),
    ),
    extensions(("x-access" = json!({"roles": ["customer", "staff"], "owner": true})))
)]
pub(super) async fn read_me(
    State(edge): State<Edge>,
    Extension(shared): Ours,
    caller: Caller,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let read = own_account(&edge, &caller).await?;
    Ok(shown(UserView::of(&shared, &read), &headers))
}

/// Changes the caller's own name or addresses.
#[utoipa::path(
    patch, path = "/v1/users/me", operation_id = "change_own_user", tag = "user",
    request_body = ProfileChange,
    params(("If-Match" = String, Header, description = "The ETag as last read, or *")),
    responses(
        (status = 200, description = "The account as it is now", body = UserView),
        (status = 400, description = "Malformed", body = Problem),
        (status = 401, description = "No valid access token", body = Problem),
        (status = 404, description = "The account is gone", body = Problem),
        (status = 409, description = "The personal data has been erased", body = Problem),
        (status = 412, description = "The account has changed since it was read", body = Problem),
        (status = 422, description = "Not acceptable", body = Problem),
        (status = 428, description = "No If-Match", body = Problem),
        (status = 503, description = "Not at the moment", body = Problem),
    ),
    extensions(("x-access" = json!({"roles": ["customer", "staff"], "owner": true})))
)]
pub(super) async fn change_me(
    State(edge): State<Edge>,
    Extension(shared): Ours,
    caller: Caller,
    intent: Intent,
    headers: HeaderMap,
    Body(change): Body<ProfileChange>,
) -> Result<Answer, Problem> {
    let expected_version = require_match(&headers)?;
    check(&change)?;
    let read = own_account(&edge, &caller).await?;
    let erased = || Problem::new(ProblemKind::Conflict, "this account's personal data cannot be read any more");
    let (email, present) = shared.open_personal(&read).ok_or_else(erased)?;
    let stated = serde_json::to_string(&change).unwrap_or_default();
    let stated = shared.vault.statement(&[&format!("{expected_version:?}"), &stated]);
    let profile = Profile {
        name: change.name.map_or(present.name, |name| name.trim().to_owned()),
        addresses: change.addresses.unwrap_or(present.addresses),
    };
    let command = ChangeProfile {
        user_id: read.account.user_id.clone(),
        expected_version,
        base_version: read.account.version,
        profile_sealed: shared.seal_profile(&read, &profile)?,
    };
    let answer = edge.submit(intent.command_stating(&command, &stated, Vec::new())?).await?;
    personal(answer, Some((email, profile)))
}

fn check(change: &ProfileChange) -> Result<(), Problem> {
    if let Some(name) = &change.name {
        check_name(name).map_err(|fault| Problem::invalid("/name", fault))?;
    }
    let addresses = change.addresses.as_deref().unwrap_or_default();
    if addresses.len() > ADDRESSES_MAX {
        return Err(Problem::invalid("/addresses", format!("at most {ADDRESSES_MAX} addresses")));
    }
    let fault = |(index, address): (usize, &Address)| {
        let (field, fault) = address.check().err()?;
        Some(Problem::invalid(format!("/addresses/{index}/{field}"), fault))
    };
    addresses.iter().enumerate().find_map(fault).map_or(Ok(()), Err)
}

async fn own_account(edge: &Edge, caller: &Caller) -> Result<AccountRead, Problem> {
    store::account(edge.database(), &caller.actor.subject).await?.ok_or_else(|| Problem::not_found("user"))
}

/// With its `ETag`, or 304. Never kept by a cache that others use.
pub(super) fn shown(view: UserView, headers: &HeaderMap) -> Response {
    let tags = [(header::ETAG, etag(view.version)), (header::CACHE_CONTROL, super::PRIVATE)];
    if not_modified(headers, view.version) {
        return (StatusCode::NOT_MODIFIED, tags).into_response();
    }
    (tags, Json(view)).into_response()
}
