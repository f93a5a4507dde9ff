use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use pangaea_contracts::UserId;
use pangaea_contracts::user::ChangeRoles;
use pangaea_kernel::http::{Body, Edge, Intent, Page, PageParams, Params, PathParams, decode_cursor, require_match};
use pangaea_kernel::{Answer, Problem};

use super::Ours;
use super::accounts::shown;
use super::views::{NewRoles, UserPage, UserSummary, UserView, personal};
use crate::domain::sound_roles;
use crate::store::{self, AccountRead};

/// All accounts, in the order in which they were opened.
#[utoipa::path(
    get, path = "/v1/users", operation_id = "list_users", tag = "user",
    params(PageParams),
    responses(
        (status = 200, description = "A page; Link names the next one", body = UserPage),
        (status = 400, description = "The cursor is not one of this list", body = Problem),
        (status = 401, description = "No valid access token", body = Problem),
        (status = 403, description = "Not an administrator", body = Problem),
        (status = 422, description = "The limit is out of bounds", body = Problem),
        (status = 503, description = "Not at the moment", body = Problem),
    ),
    extensions(("x-access" = json!({"roles": ["admin"]})))
)]
pub(super) async fn list(
    State(edge): State<Edge>,
    Extension(shared): Ours,
    Params(params): Params<PageParams>,
) -> Result<Response, Problem> {
    let limit = params.limit()?;
    let after = match &params.cursor {
        Some(cursor) => decode_cursor(cursor, 1)?.remove(0),
        None => String::new(),
    };
    let accounts = store::accounts_after(edge.database(), &after, limit).await?;
    let summaries = accounts.iter().map(|read| UserSummary::from(UserView::of(&shared, read))).collect();
    let page = Page::cut(summaries, limit, |summary: &UserSummary| vec![summary.id.clone()]);
    let links = page.link("/v1/users", "", limit);
    let Page { items, next_cursor } = page;
    Ok((links, [(header::CACHE_CONTROL, super::PRIVATE)], Json(UserPage { items, next_cursor })).into_response())
}

/// One account.
#[utoipa::path(
    get, path = "/v1/users/{id}", operation_id = "read_user", tag = "user",
    params(("id" = String, Path, description = "usr_…")),
    responses(
        (status = 200, description = "The account; its version is the ETag", body = UserView),
        (status = 304, description = "If-None-Match names this version"),
        (status = 401, description = "No valid access token", body = Problem),
        (status = 403, description = "Not an administrator", body = Problem),
        (status = 404, description = "No such account", body = Problem),
        (status = 503, description = "Not at the moment", body = Problem),
    ),
    extensions(("x-access" = json!({"roles": ["admin"]})))
)]
pub(super) async fn read(
    State(edge): State<Edge>,
    Extension(shared): Ours,
    PathParams(id): PathParams<UserId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let read = account(&edge, &id).await?;
    Ok(shown(UserView::of(&shared, &read), &headers))
}

/// Gives an account these roles and no others. They count from its next access token on.
#[utoipa::path(
    put, path = "/v1/users/{id}/roles", operation_id = "change_user_roles", tag = "user",
    request_body = NewRoles,
    params(
        ("id" = String, Path, description = "usr_…"),
        ("If-Match" = String, Header, description = "The ETag as last read, or *"),
    ),
    responses(
        (status = 200, description = "The account as it is now", body = UserView),
        (status = 400, description = "Malformed", body = Problem),
        (status = 401, description = "No valid access token", body = Problem),
        (status = 403, description = "Not an administrator", body = Problem),
        (status = 404, description = "No such account", body = Problem),
        (status = 409, description = "An administrator cannot demote themselves", body = Problem),
        (status = 412, description = "The account has changed since it was read", body = Problem),
        (status = 422, description = "Not acceptable", body = Problem),
        (status = 428, description = "No If-Match", body = Problem),
        (status = 503, description = "Not at the moment", body = Problem),
    ),
    extensions(("x-access" = json!({"roles": ["admin"]})))
)]
pub(super) async fn change_roles(
    State(edge): State<Edge>,
    Extension(shared): Ours,
    PathParams(user_id): PathParams<UserId>,
    intent: Intent,
    headers: HeaderMap,
    Body(body): Body<NewRoles>,
) -> Result<Answer, Problem> {
    let expected_version = require_match(&headers)?;
    let roles = sound_roles(body.roles).map_err(|fault| Problem::invalid("/roles", fault))?;
    let read = account(&edge, &user_id).await?;
    let command = ChangeRoles { user_id, expected_version, roles };
    let answer = edge.submit(intent.command(&command, Vec::new())?).await?;
    personal(answer, shared.open_personal(&read))
}

async fn account(edge: &Edge, id: &UserId) -> Result<AccountRead, Problem> {
    store::account(edge.database(), id.as_str()).await?.ok_or_else(|| Problem::not_found("user"))
}
