use std::time::Duration;

use axum::Json;
use axum::extract::State as Shared;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use pangaea_contracts::order::{Address, CancelOrder, PlaceLine, PlaceOrder};
use pangaea_contracts::{Money, OrderId, UserId};
use pangaea_kernel::http::{
    Body, Caller, Edge, Intent, Page, PageParams, Params, PathParams, decode_cursor, etag, not_modified,
    percent_encoded,
};
use pangaea_kernel::{Answer, Problem};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::optional_body::OptionalBody;
use super::wait::{Wait, applied};
use super::{reached, staff_only};
use crate::domain::State;
use crate::placing::{self, Faults};
use crate::store::{self, Filter, OrderRow};
use crate::views::{AddressSchema, MoneySchema, OrderSummary, OrderView, TimelineEntry};

/// What is ordered, and by whom.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewOrder {
    #[schema(min_items = 1, max_items = 1000)]
    lines: Vec<NewLine>,
    /// The payment provider's token for the customer's means of payment; never card data.
    #[schema(max_length = 200, examples("tok_ok"))]
    payment_token: String,
    /// Staff only: a customer without an account here. Left out by staff, the order is a guest's.
    #[schema(max_length = 200)]
    customer_reference: Option<String>,
    #[schema(value_type = Option<AddressSchema>)]
    shipping_address: Option<Address>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewLine {
    /// A SKU's id, or the merchant's code in any case.
    #[schema(max_length = 64)]
    sku: String,
    #[schema(minimum = 1, maximum = 1_000_000)]
    quantity: i64,
    /// Staff only: in place of the catalogue's price.
    #[schema(value_type = Option<MoneySchema>)]
    unit_price: Option<Money>,
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Cancellation {
    /// A sentence, for the timeline.
    #[schema(max_length = 200)]
    reason: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ListParams {
    /// Staff only: the orders of one account.
    customer_id: Option<String>,
    /// Staff only: the orders of one reference.
    customer_reference: Option<String>,
    /// E.g. `confirmed`.
    state: Option<String>,
    /// From a former page's `next_cursor`. Opaque.
    cursor: Option<String>,
    /// Items on a page, 1 to 200; 50 unless given.
    limit: Option<u32>,
}

/// Places an order. It is accepted at once and led to a settled end in the background: follow its `Location`, its event
/// stream, or send `Prefer: wait=N` to be answered when it is settled.
#[utoipa::path(
    post, path = "/v1/orders", tag = "order", operation_id = "placeOrder",
    params(
        ("Idempotency-Key" = String, Header, description = "names this request; a repeat with it is answered as the first"),
        ("Prefer" = Option<String>, Header, description = "`wait=N`: answer when the order is settled, after at most N seconds (60)")
    ),
    request_body = NewOrder,
    responses(
        (status = 200, description = "settled within the time preferred", body = OrderView),
        (status = 202, description = "accepted", body = OrderView),
        (status = 400, description = "the request cannot be read, or the key is missing", body = Problem),
        (status = 401, description = "no valid token", body = Problem),
        (status = 403, description = "something in it is for staff only", body = Problem),
        (status = 422, description = "an unknown SKU, another body under the same key, …", body = Problem),
        (status = 503, description = "too much is waiting, or the outcome is unknown", body = Problem)
    ),
    extensions(("x-access" = json!({"roles": ["customer", "staff"], "owner": true})))
)]
pub(super) async fn place(
    Shared(edge): Shared<Edge>,
    caller: Caller,
    intent: Intent,
    Body(order): Body<NewOrder>,
) -> Result<Response, Problem> {
    let command = order.into_command(&caller)?;
    let answer = edge.submit(intent.command(&command, Vec::new())?).await?;
    or_settled(&edge, &intent, answer).await
}

/// Orders, the newest first: a customer's own, or all for staff.
#[utoipa::path(
    get, path = "/v1/orders", tag = "order", operation_id = "listOrders",
    params(ListParams),
    responses(
        (status = 200, description = "a page; `Link: rel=\"next\"` when there is another", body = Page<OrderSummary>),
        (status = 400, description = "the query cannot be read", body = Problem),
        (status = 401, description = "no valid token", body = Problem),
        (status = 403, description = "a filter that is for staff only", body = Problem),
        (status = 422, description = "a filter or limit out of its bounds", body = Problem)
    ),
    extensions(("x-access" = json!({"roles": ["customer", "staff"], "owner": true})))
)]
pub(super) async fn list(
    Shared(edge): Shared<Edge>,
    caller: Caller,
    Params(params): Params<ListParams>,
) -> Result<(HeaderMap, Json<Page<OrderSummary>>), Problem> {
    let filter = params.filter(&caller)?;
    let limit = PageParams { cursor: None, limit: params.limit }.limit()?;
    let after = match &params.cursor {
        Some(cursor) => Some(cursor_id::<OrderId>(cursor)?),
        None => None,
    };
    let rows = store::orders(edge.database(), &filter, after.as_ref(), limit + 1).await?;
    let Page { items, next_cursor } = Page::cut(rows, limit, |row| vec![row.id.to_string()]);
    let page = Page { items: items.iter().map(OrderSummary::from).collect(), next_cursor };
    Ok((page.link("/v1/orders", &params.query(), limit), Json(page)))
}

/// An order as it is now.
#[utoipa::path(
    get, path = "/v1/orders/{id}", tag = "order", operation_id = "readOrder",
    params(("id" = String, Path, description = "`ord_…`"), ("If-None-Match" = Option<String>, Header)),
    responses(
        (status = 200, description = "with its `ETag`", body = OrderView),
        (status = 304, description = "unchanged"),
        (status = 401, description = "no valid token", body = Problem),
        (status = 404, description = "no such order, or another's", body = Problem)
    ),
    extensions(("x-access" = json!({"roles": ["customer", "staff"], "owner": true})))
)]
pub(super) async fn read(
    Shared(edge): Shared<Edge>,
    caller: Caller,
    PathParams(id): PathParams<OrderId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let order = reached(&edge, &caller, &id).await?;
    if not_modified(&headers, order.version) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, etag(order.version))]).into_response());
    }
    Ok(shown(StatusCode::OK, &order))
}

/// What has happened to an order, the oldest first.
#[utoipa::path(
    get, path = "/v1/orders/{id}/timeline", tag = "order", operation_id = "readOrderTimeline",
    params(("id" = String, Path, description = "`ord_…`"), PageParams),
    responses(
        (status = 200, description = "a page; `Link: rel=\"next\"` when there is another", body = Page<TimelineEntry>),
        (status = 400, description = "the query cannot be read", body = Problem),
        (status = 401, description = "no valid token", body = Problem),
        (status = 404, description = "no such order, or another's", body = Problem),
        (status = 422, description = "the limit is out of its bounds", body = Problem)
    ),
    extensions(("x-access" = json!({"roles": ["customer", "staff"], "owner": true})))
)]
pub(super) async fn timeline(
    Shared(edge): Shared<Edge>,
    caller: Caller,
    PathParams(id): PathParams<OrderId>,
    Params(params): Params<PageParams>,
) -> Result<(HeaderMap, Json<Page<TimelineEntry>>), Problem> {
    reached(&edge, &caller, &id).await?;
    let limit = params.limit()?;
    let after = match &params.cursor {
        Some(cursor) => cursor_id::<i64>(cursor)?,
        None => 0,
    };
    let rows = store::timeline(edge.database(), &id, after, limit + 1).await?;
    let entries = rows.into_iter().map(TimelineEntry::from).collect();
    let page = Page::cut(entries, limit, |entry: &TimelineEntry| vec![entry.seq.to_string()]);
    Ok((page.link(&format!("/v1/orders/{id}/timeline"), "", limit), Json(page)))
}

/// Cancels an order whose payment has not been taken. What is held is given back; afterwards a refund is the way.
#[utoipa::path(
    post, path = "/v1/orders/{id}/cancel", tag = "order", operation_id = "cancelOrder",
    params(
        ("id" = String, Path, description = "`ord_…`"),
        ("Idempotency-Key" = String, Header, description = "names this request; a repeat with it is answered as the first"),
        ("Prefer" = Option<String>, Header, description = "`wait=N`: answer when the order is settled, after at most N seconds (60)")
    ),
    request_body = Option<Cancellation>,
    responses(
        (status = 200, description = "cancelled within the time preferred", body = OrderView),
        (status = 202, description = "being cancelled", body = OrderView),
        (status = 400, description = "the request cannot be read, or the key is missing", body = Problem),
        (status = 401, description = "no valid token", body = Problem),
        (status = 404, description = "no such order, or another's", body = Problem),
        (status = 409, description = "the payment is being taken or has been: ask for a refund", body = Problem),
        (status = 422, description = "the reason is too long, or another body under the same key", body = Problem),
        (status = 503, description = "too much is waiting, or the outcome is unknown", body = Problem)
    ),
    extensions(("x-access" = json!({"roles": ["customer", "staff"], "owner": true})))
)]
pub(super) async fn cancel(
    Shared(edge): Shared<Edge>,
    PathParams(order_id): PathParams<OrderId>,
    intent: Intent,
    OptionalBody(cancellation): OptionalBody<Cancellation>,
) -> Result<Response, Problem> {
    check_reason(cancellation.reason.as_deref())?;
    let command = CancelOrder { order_id, reason: cancellation.reason };
    let answer = edge.submit(intent.command(&command, Vec::new())?).await?;
    or_settled(&edge, &intent, answer).await
}

/// The answer, or the order as it is once it has settled within the time that the caller prefers to wait.
async fn or_settled(edge: &Edge, intent: &Intent, answer: Answer) -> Result<Response, Problem> {
    let Some(seconds) = intent.wait_seconds.filter(|_| answer.status == 202) else { return Ok(answer.into_response()) };
    let Some(id) = answer.body.get("id").and_then(|id| id.as_str()?.parse::<OrderId>().ok()) else {
        return Ok(answer.into_response());
    };
    // With too many waiting already the preference is not honoured, as RFC 7240 allows: the answer says where to look.
    let Some(mut wait) = Wait::new(edge, Duration::from_secs(seconds.into())) else {
        return Ok(answer.into_response());
    };
    loop {
        let order = store::order(edge.database(), &id).await?;
        if let Some(order) = order.filter(|order| order.state.is_settled()) {
            return Ok(applied(seconds, &answer, shown(StatusCode::OK, &order)));
        }
        if !wait.changed().await {
            return Ok(answer.into_response());
        }
    }
}

fn shown(status: StatusCode, order: &OrderRow) -> Response {
    let location = HeaderValue::try_from(format!("/v1/orders/{}", order.id));
    let mut response = (status, [(header::ETAG, etag(order.version))], Json(OrderView::from(order))).into_response();
    if let Ok(location) = location {
        response.headers_mut().insert(HeaderName::from_static("content-location"), location);
    }
    response
}

pub(super) fn check_reason(reason: Option<&str>) -> Result<(), Problem> {
    let mut faults = Faults::default();
    if let Some(reason) = reason {
        faults.text("/reason", reason, 200);
    }
    faults.into_result("the reason is not acceptable")
}

/// The one part of a cursor of these lists.
pub(super) fn cursor_id<T: std::str::FromStr>(cursor: &str) -> Result<T, Problem> {
    let parts = decode_cursor(cursor, 1)?;
    let fault = || decode_cursor("", 1).err().unwrap_or_else(|| Problem::not_found("page"));
    parts.first().and_then(|part| part.parse().ok()).ok_or_else(fault)
}

// === impl NewOrder ===

impl NewOrder {
    /// # Errors
    /// 403 for what only staff may say, 422 with a pointer to every field out of its bounds.
    pub(super) fn into_command(self, caller: &Caller) -> Result<PlaceOrder, Problem> {
        if !caller.is_staff() {
            if self.customer_reference.is_some() {
                return Err(staff_only("/customer_reference", "order for somebody else"));
            }
            if let Some(index) = self.lines.iter().position(|line| line.unit_price.is_some()) {
                return Err(staff_only(&format!("/lines/{index}/unit_price"), "set prices"));
            }
        }
        let line = |line: NewLine| PlaceLine { sku: line.sku, quantity: line.quantity, unit_price: line.unit_price };
        let command = PlaceOrder {
            placed_by: caller.actor.subject.clone(),
            lines: self.lines.into_iter().map(line).collect(),
            payment_token: self.payment_token,
            customer_reference: self.customer_reference,
            shipping_address: self.shipping_address,
        };
        placing::check(&command)?;
        Ok(command)
    }
}

// === impl ListParams ===

impl ListParams {
    fn filter(&self, caller: &Caller) -> Result<Filter, Problem> {
        let state = match self.state.as_deref().map(str::parse::<State>) {
            None => None,
            Some(Ok(state)) => Some(state),
            Some(Err(detail)) => return Err(Problem::invalid("/state", detail)),
        };
        if !caller.is_staff() {
            if self.customer_id.is_some() || self.customer_reference.is_some() {
                return Err(staff_only("/customer_id", "list the orders of others"));
            }
            // Without an account there are no orders of one's own; the filter then matches nothing.
            let own = caller.actor.subject.parse::<UserId>().map_err(|_| Problem::not_found("account"))?;
            return Ok(Filter { customer_id: Some(own), customer_reference: None, state });
        }
        let customer_id = match self.customer_id.as_deref().map(str::parse::<UserId>) {
            None => None,
            Some(Ok(id)) => Some(id),
            Some(Err(error)) => return Err(Problem::invalid("/customer_id", error.to_string())),
        };
        Ok(Filter { customer_id, customer_reference: self.customer_reference.clone(), state })
    }

    /// The filters, for the link to the next page.
    fn query(&self) -> String {
        let filters = [
            ("customer_id", &self.customer_id),
            ("customer_reference", &self.customer_reference),
            ("state", &self.state),
        ];
        let given = filters.into_iter().filter_map(|(name, value)| value.as_ref().map(|value| (name, value)));
        given.map(|(name, value)| format!("{name}={}", percent_encoded(value))).collect::<Vec<_>>().join("&")
    }
}
