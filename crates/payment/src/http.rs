//! Reads only: a payment changes by order's commands, never by a request of its own.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use pangaea_contracts::{OrderId, PaymentId, UserId};
use pangaea_kernel::Problem;
use pangaea_kernel::http::{Caller, Edge, Page, PageParams, Params, PathParams, decode_cursor, etag, not_modified};
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::store::{self, Owner, PaymentRow};
use crate::view::{BalancesView, PaymentView, TransferView};

const TAG: &str = "payment";

/// `?order_id=…&cursor=…&limit=…`
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct ListParams {
    /// Only the payment of this order.
    order_id: Option<String>,
    /// From a former page's `next_cursor`. Opaque.
    cursor: Option<String>,
    /// Items on a page, 1 to 200; 50 unless given.
    limit: Option<u32>,
}

pub(crate) fn routes() -> OpenApiRouter<Edge> {
    OpenApiRouter::new()
        .routes(routes!(list_payments))
        .routes(routes!(read_balances))
        .routes(routes!(read_payment))
        .routes(routes!(list_transfers))
}

/// Payments, those of the newest orders first. Customers see their own.
#[utoipa::path(
    get,
    path = "/v1/payments",
    operation_id = "listPayments",
    tag = TAG,
    params(ListParams),
    responses(
        (status = 200, description = "A page of payments", body = Page<PaymentView>),
        (status = 400, description = "The query string or the cursor cannot be read", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No valid access token", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "A parameter is out of bounds", body = Problem, content_type = "application/problem+json"),
    ),
    extensions(("x-access" = json!({"roles": ["customer", "staff"], "owner": true}))),
)]
async fn list_payments(
    State(edge): State<Edge>,
    caller: Caller,
    Params(params): Params<ListParams>,
) -> Result<Response, Problem> {
    let paging = PageParams { cursor: params.cursor, limit: params.limit };
    let limit = paging.limit()?;
    let after = paging.cursor.as_deref().map(|cursor| decode_cursor(cursor, 1)).transpose()?;
    let order_id: Option<OrderId> = params.order_id.as_deref().map(parse_order_id).transpose()?;
    let Some(owner) = owner_of(&caller) else {
        return Ok(Json(Page::<PaymentView> { items: Vec::new(), next_cursor: None }).into_response());
    };
    let after = after.and_then(|parts| parts.into_iter().next());
    let rows = store::page(edge.database(), &owner, order_id.as_ref(), after.as_deref(), limit + 1).await?;
    let items: Vec<PaymentView> = rows.into_iter().map(PaymentView::from).collect();
    let page = Page::cut(items, limit, |item| vec![item.order_id.to_string()]);
    let query = order_id.map_or_else(String::new, |order_id| format!("order_id={order_id}"));
    Ok((page.link("/v1/payments", &query, limit), Json(page)).into_response())
}

/// One payment.
#[utoipa::path(
    get,
    path = "/v1/payments/{id}",
    operation_id = "readPayment",
    tag = TAG,
    params(("id" = String, Path, description = "The payment's id")),
    responses(
        (status = 200, description = "The payment", body = PaymentView, headers(("ETag" = String))),
        (status = 304, description = "It has not changed since the version in If-None-Match"),
        (status = 401, description = "No valid access token", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is none with this id, or it is another's", body = Problem, content_type = "application/problem+json"),
    ),
    extensions(("x-access" = json!({"roles": ["customer", "staff"], "owner": true}))),
)]
async fn read_payment(
    State(edge): State<Edge>,
    caller: Caller,
    PathParams(id): PathParams<PaymentId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let row = find(&edge, &caller, &id).await?;
    let tag = [(header::ETAG, etag(row.version))];
    if not_modified(&headers, row.version) {
        return Ok((StatusCode::NOT_MODIFIED, tag).into_response());
    }
    Ok((tag, Json(PaymentView::from(row))).into_response())
}

/// What is held, was captured and was refunded, per currency, in minor units: sums over the whole ledger.
#[utoipa::path(
    get,
    path = "/v1/payments/ledger/balances",
    operation_id = "readLedgerBalances",
    tag = TAG,
    responses(
        (status = 200, description = "The balances", body = BalancesView),
        (status = 401, description = "No valid access token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "For staff only", body = Problem, content_type = "application/problem+json"),
    ),
    extensions(("x-access" = json!({"roles": ["staff"]}))),
)]
async fn read_balances(State(edge): State<Edge>) -> Result<Json<BalancesView>, Problem> {
    Ok(Json(BalancesView::from(store::balances(edge.database()).await?)))
}

/// A payment's transfers, in the order in which they were written.
#[utoipa::path(
    get,
    path = "/v1/payments/{id}/ledger",
    operation_id = "listPaymentTransfers",
    tag = TAG,
    params(("id" = String, Path, description = "The payment's id"), PageParams),
    responses(
        (status = 200, description = "A page of transfers", body = Page<TransferView>),
        (status = 400, description = "The query string or the cursor cannot be read", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No valid access token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "For staff only", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no payment with this id", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "A parameter is out of bounds", body = Problem, content_type = "application/problem+json"),
    ),
    extensions(("x-access" = json!({"roles": ["staff"]}))),
)]
async fn list_transfers(
    State(edge): State<Edge>,
    caller: Caller,
    PathParams(id): PathParams<PaymentId>,
    Params(params): Params<PageParams>,
) -> Result<Response, Problem> {
    let limit = params.limit()?;
    let after = match params.cursor.as_deref() {
        Some(cursor) => decode_cursor(cursor, 1)?.first().and_then(|number| number.parse().ok()).unwrap_or(0),
        None => 0,
    };
    let payment = find(&edge, &caller, &id).await?;
    let rows = store::transfers(edge.database(), &payment.order_id, after, limit + 1).await?;
    let items: Vec<TransferView> = rows.into_iter().map(TransferView::from).collect();
    let page = Page::cut(items, limit, |item| vec![item.number.to_string()]);
    Ok((page.link(&format!("/v1/payments/{id}/ledger"), "", limit), Json(page)).into_response())
}

async fn find(edge: &Edge, caller: &Caller, id: &PaymentId) -> Result<PaymentRow, Problem> {
    let found = store::by_id(edge.database(), id).await?;
    found.filter(|row| caller.reaches(row.owner_id.as_ref())).ok_or_else(|| Problem::not_found("payment"))
}

/// Whose payments the caller may list; `None`: nobody's, since no account can have this subject.
fn owner_of(caller: &Caller) -> Option<Owner> {
    if caller.is_staff() {
        return Some(Owner::Anyone);
    }
    caller.actor.subject.parse::<UserId>().ok().map(Owner::Only)
}

fn parse_order_id(text: &str) -> Result<OrderId, Problem> {
    text.parse().map_err(|_| Problem::invalid("/order_id", "order_id is an order's id, such as ord_01kb…"))
}
