//! Routes, and the way from a request to a [`Call`].

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequest, Path, Query, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::api_error::ApiError;
use crate::books::{Call, Command};
use crate::derive;
use crate::desk::{Desk, Reply};
use crate::intent::Intent;
use crate::ledger::OperationKind;
use crate::token::Token;

const BODY_BYTES_MAX: usize = 64 * 1024;
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
const TEXT_BYTES_MAX: usize = 255;
/// A million million minor units: sums of a lifetime of payments stay far from overflow.
const AMOUNT_MAX: i64 = 1_000_000_000_000;
const PAGE_DEFAULT: usize = 10;
const PAGE_MAX: usize = 100;

/// Marks a response that must not be sent: the server closes the connection instead.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HangUp;

pub(crate) fn router(desk: Desk) -> Router {
    Router::new()
        .route("/v1/payment_intents", post(authorize).get(list))
        .route("/v1/payment_intents/{id}", get(show))
        .route("/v1/payment_intents/{id}/confirm", post(confirm))
        .route("/v1/payment_intents/{id}/capture", post(capture))
        .route("/v1/payment_intents/{id}/cancel", post(cancel))
        .route("/v1/refunds", post(refund))
        .route("/v1/operations/{key}", get(operation))
        .fallback(async || ApiError::not_found("not_found", "there is no such route"))
        .method_not_allowed_fallback(async || {
            ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "the route has no such method")
        })
        .with_state(desk)
}

/// A state-changing request: its key, its JSON body (`{}` if empty) and what it stands for.
struct Post {
    key: String,
    fingerprint: String,
    body: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AuthorizeBody {
    amount: i64,
    currency: String,
    payment_method: String,
    reference: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaptureBody {
    amount: Option<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RefundBody {
    payment_intent: String,
    amount: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EmptyBody {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    limit: Option<usize>,
    starting_after: Option<String>,
}

#[derive(Serialize)]
struct ListBody {
    data: Vec<Intent>,
    has_more: bool,
}

#[derive(Serialize)]
struct OperationBody<'a> {
    key: &'a str,
    kind: OperationKind,
    status: u16,
    body: &'a RawValue,
}

type PathId = Result<Path<String>, PathRejection>;

async fn authorize(State(desk): State<Desk>, post: Post) -> Result<Reply, ApiError> {
    let body: AuthorizeBody = post.body()?;
    let command = Command::Authorize {
        amount: checked_amount(body.amount)?,
        currency: checked_currency(body.currency)?,
        token: checked_token(&body.payment_method)?,
        reference: checked_reference(body.reference)?,
    };
    desk.call(post.call(command)).await
}

async fn confirm(State(desk): State<Desk>, id: PathId, post: Post) -> Result<Reply, ApiError> {
    let EmptyBody {} = post.body()?;
    let command = Command::Confirm { intent: checked_id(id)? };
    desk.call(post.call(command)).await
}

async fn capture(State(desk): State<Desk>, id: PathId, post: Post) -> Result<Reply, ApiError> {
    let body: CaptureBody = post.body()?;
    let command = Command::Capture { intent: checked_id(id)?, amount: body.amount.map(checked_amount).transpose()? };
    desk.call(post.call(command)).await
}

async fn cancel(State(desk): State<Desk>, id: PathId, post: Post) -> Result<Reply, ApiError> {
    let EmptyBody {} = post.body()?;
    let command = Command::Void { intent: checked_id(id)? };
    desk.call(post.call(command)).await
}

async fn refund(State(desk): State<Desk>, post: Post) -> Result<Reply, ApiError> {
    let body: RefundBody = post.body()?;
    let command = Command::Refund { intent: body.payment_intent, amount: checked_amount(body.amount)? };
    desk.call(post.call(command)).await
}

async fn show(State(desk): State<Desk>, id: PathId) -> Result<Response, ApiError> {
    let id = checked_id(id)?;
    let missing = || ApiError::not_found("intent_not_found", format!("no payment intent has the id {id:?}"));
    let intent = desk.read(|books| books.intent(&id)?.ok_or_else(missing)).await?;
    json(StatusCode::OK, &intent)
}

async fn list(State(desk): State<Desk>, query: Result<Query<ListQuery>, QueryRejection>) -> Result<Response, ApiError> {
    let Query(query) = query.map_err(|rejection| ApiError::invalid(rejection.body_text()))?;
    let limit = query.limit.unwrap_or(PAGE_DEFAULT);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(ApiError::invalid(format!("limit is {limit}; it must be between 1 and {PAGE_MAX}")));
    }
    let (data, has_more) = desk.read(|books| books.page(limit, query.starting_after.as_deref())).await?;
    json(StatusCode::OK, &ListBody { data, has_more })
}

async fn operation(State(desk): State<Desk>, key: PathId) -> Result<Response, ApiError> {
    let key = checked_id(key)?;
    let found = desk.operation(&key).await?;
    let body =
        OperationBody { key: &key, kind: found.operation, status: found.answer.status, body: &found.answer.body };
    json(StatusCode::OK, &body)
}

fn checked_id(id: PathId) -> Result<String, ApiError> {
    id.map(|Path(id)| id).map_err(|rejection| ApiError::invalid(rejection.body_text()))
}

fn checked_amount(amount: i64) -> Result<i64, ApiError> {
    if (1..=AMOUNT_MAX).contains(&amount) {
        return Ok(amount);
    }
    Err(ApiError::invalid(format!("amount is {amount}; it is in minor units and must be between 1 and {AMOUNT_MAX}")))
}

fn checked_currency(currency: String) -> Result<String, ApiError> {
    if currency.len() == 3 && currency.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return Ok(currency);
    }
    Err(ApiError::invalid("currency must be three upper-case letters, such as GBP"))
}

fn checked_token(name: &str) -> Result<Token, ApiError> {
    Token::parse(name).ok_or_else(|| {
        let known: Vec<_> = Token::names().collect();
        let message = format!("payment_method is unknown; use one of {}", known.join(", "));
        ApiError::new(StatusCode::BAD_REQUEST, "unknown_payment_method", message)
    })
}

fn checked_reference(reference: String) -> Result<String, ApiError> {
    if (1..=TEXT_BYTES_MAX).contains(&reference.len()) {
        return Ok(reference);
    }
    Err(ApiError::invalid(format!("reference must have 1 to {TEXT_BYTES_MAX} bytes")))
}

fn json(status: StatusCode, body: &impl Serialize) -> Result<Response, ApiError> {
    let body = serde_json::to_vec(body).map_err(|error| ApiError::internal(error.to_string()))?;
    Ok(json_response(status, Body::from(body)))
}

fn json_response(status: StatusCode, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

// === impl Post ===

impl Post {
    fn body<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        serde_path_to_error::deserialize(&self.body).map_err(|error| {
            ApiError::invalid(format!("the body does not fit this route at {}: {}", error.path(), error.inner()))
        })
    }

    fn call(self, command: Command) -> Call {
        Call { key: self.key, fingerprint: self.fingerprint, command }
    }
}

impl<S: Sync> FromRequest<S> for Post {
    type Rejection = ApiError;

    async fn from_request(request: Request, _state: &S) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let key = parts.headers.get("idempotency-key").and_then(|key| key.to_str().ok());
        let key = key.filter(|key| (1..=TEXT_BYTES_MAX).contains(&key.len())).ok_or_else(|| {
            let message = format!("send an Idempotency-Key header of 1 to {TEXT_BYTES_MAX} visible ASCII characters");
            ApiError::new(StatusCode::BAD_REQUEST, "missing_idempotency_key", message)
        })?;
        let bytes = tokio::time::timeout(BODY_TIMEOUT, axum::body::to_bytes(body, BODY_BYTES_MAX))
            .await
            .map_err(|_| ApiError::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", "the body came too slowly"))?
            .map_err(|error| {
                let message =
                    format!("the body could not be read; at most {BODY_BYTES_MAX} bytes are accepted ({error})");
                ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", message)
            })?;
        let body: Value = if bytes.is_empty() {
            Value::Object(serde_json::Map::new())
        } else {
            serde_json::from_slice(&bytes)
                .map_err(|error| ApiError::invalid(format!("the body is not JSON: {error}")))?
        };
        // Hashed in its decoded form, so that a client may space or order the members of a repeat differently.
        let fingerprint = derive::fingerprint(parts.uri.path(), body.to_string().as_bytes());
        Ok(Self { key: key.to_owned(), fingerprint, body })
    }
}

// === impl Reply, ApiError ===

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        match self {
            Self::HangUp => {
                let mut response = Response::new(Body::empty());
                response.extensions_mut().insert(HangUp);
                response
            }
            Self::Answer { answer, replayed } => {
                let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                let mut response = json_response(status, Body::from(String::from(Box::<str>::from(answer.body))));
                if replayed {
                    response.headers_mut().insert("idempotent-replayed", HeaderValue::from_static("true"));
                }
                response
            }
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        json(self.status, &self.body(None)).unwrap_or_else(|_| self.status.into_response())
    }
}
