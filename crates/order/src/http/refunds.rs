use std::time::Duration;

use axum::Json;
use axum::extract::State as Shared;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use pangaea_contracts::order::{RefundLine, RefundOrder};
use pangaea_contracts::{OrderId, RefundId};
use pangaea_kernel::http::{Caller, Edge, Intent, Page, PageParams, Params, PathParams};
use pangaea_kernel::{Answer, Problem};
use serde::Deserialize;
use utoipa::ToSchema;

use super::optional_body::OptionalBody;
use super::orders::{check_reason, cursor_id};
use super::wait::{Wait, applied};
use super::{reached, staff_only};
use crate::placing::{Faults, LINES_MAX, QUANTITY_MAX};
use crate::refunding::RefundState;
use crate::store::{self, RefundRow};
use crate::views::RefundView;

/// What is to be given back.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewRefund {
    /// Which units; all that are not refunded yet when left out.
    #[serde(default)]
    #[schema(max_items = 1000)]
    lines: Vec<NewRefundLine>,
    /// Staff only: the units go back into the stock once the money has gone back.
    #[serde(default)]
    restock: bool,
    #[schema(max_length = 200)]
    reason: Option<String>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewRefundLine {
    /// The order's line, from 1.
    #[schema(minimum = 1)]
    line: u32,
    #[schema(minimum = 1, maximum = 1_000_000)]
    quantity: i64,
}

/// Gives money back for a confirmed order, whole or by units of its lines.
#[utoipa::path(
    post, path = "/v1/orders/{id}/refunds", tag = "order", operation_id = "refundOrder",
    params(
        ("id" = String, Path, description = "`ord_…`"),
        ("Idempotency-Key" = String, Header, description = "names this request; a repeat with it is answered as the first"),
        ("Prefer" = Option<String>, Header, description = "`wait=N`: answer when the refund is settled, after at most N seconds (60)")
    ),
    request_body = Option<NewRefund>,
    responses(
        (status = 200, description = "settled within the time preferred", body = RefundView),
        (status = 202, description = "accepted", body = RefundView),
        (status = 400, description = "the request cannot be read, or the key is missing", body = Problem),
        (status = 401, description = "no valid token", body = Problem),
        (status = 403, description = "something in it is for staff only", body = Problem),
        (status = 404, description = "no such order, or another's", body = Problem),
        (status = 409, description = "the order is not confirmed, or nothing is left to refund", body = Problem),
        (status = 422, description = "units that the order does not have, or another body under the same key", body = Problem),
        (status = 503, description = "too much is waiting, or the outcome is unknown", body = Problem)
    ),
    extensions(("x-access" = json!({"roles": ["customer", "staff"], "owner": true})))
)]
pub(super) async fn refund(
    Shared(edge): Shared<Edge>,
    caller: Caller,
    PathParams(order_id): PathParams<OrderId>,
    intent: Intent,
    OptionalBody(refund): OptionalBody<NewRefund>,
) -> Result<Response, Problem> {
    let command = refund.into_command(order_id, &caller)?;
    let answer = edge.submit(intent.command(&command, Vec::new())?).await?;
    or_settled(&edge, &intent, answer).await
}

/// The refunds of an order, the oldest first.
#[utoipa::path(
    get, path = "/v1/orders/{id}/refunds", tag = "order", operation_id = "listOrderRefunds",
    params(("id" = String, Path, description = "`ord_…`"), PageParams),
    responses(
        (status = 200, description = "a page; `Link: rel=\"next\"` when there is another", body = Page<RefundView>),
        (status = 400, description = "the query cannot be read", body = Problem),
        (status = 401, description = "no valid token", body = Problem),
        (status = 404, description = "no such order, or another's", body = Problem),
        (status = 422, description = "the limit is out of its bounds", body = Problem)
    ),
    extensions(("x-access" = json!({"roles": ["customer", "staff"], "owner": true})))
)]
pub(super) async fn list(
    Shared(edge): Shared<Edge>,
    caller: Caller,
    PathParams(id): PathParams<OrderId>,
    Params(params): Params<PageParams>,
) -> Result<(HeaderMap, Json<Page<RefundView>>), Problem> {
    reached(&edge, &caller, &id).await?;
    let limit = params.limit()?;
    let after = match &params.cursor {
        Some(cursor) => Some(cursor_id::<RefundId>(cursor)?),
        None => None,
    };
    let rows = store::refunds(edge.database(), &id, after.as_ref(), limit + 1).await?;
    let Page { items, next_cursor } = Page::cut(rows, limit, |row| vec![row.id.to_string()]);
    let page = Page { items: items.iter().map(RefundView::from).collect(), next_cursor };
    Ok((page.link(&format!("/v1/orders/{id}/refunds"), "", limit), Json(page)))
}

/// A refund as it is now.
#[utoipa::path(
    get, path = "/v1/orders/{id}/refunds/{refund_id}", tag = "order", operation_id = "readOrderRefund",
    params(("id" = String, Path, description = "`ord_…`"), ("refund_id" = String, Path, description = "`ref_…`")),
    responses(
        (status = 200, description = "the refund", body = RefundView),
        (status = 401, description = "no valid token", body = Problem),
        (status = 404, description = "no such refund, or another's", body = Problem)
    ),
    extensions(("x-access" = json!({"roles": ["customer", "staff"], "owner": true})))
)]
pub(super) async fn read(
    Shared(edge): Shared<Edge>,
    caller: Caller,
    PathParams((id, refund_id)): PathParams<(OrderId, RefundId)>,
) -> Result<Json<RefundView>, Problem> {
    reached(&edge, &caller, &id).await?;
    let refund = store::refund(edge.database(), &refund_id).await?;
    let refund = refund.filter(|refund| refund.order_id == id).ok_or_else(|| Problem::not_found("refund"))?;
    Ok(Json(RefundView::from(&refund)))
}

/// The answer, or the refund as it is once it has settled within the time that the caller prefers to wait.
async fn or_settled(edge: &Edge, intent: &Intent, answer: Answer) -> Result<Response, Problem> {
    let Some(seconds) = intent.wait_seconds.filter(|_| answer.status == 202) else { return Ok(answer.into_response()) };
    let Some(id) = answer.body.get("id").and_then(|id| id.as_str()?.parse::<RefundId>().ok()) else {
        return Ok(answer.into_response());
    };
    // With too many waiting already the preference is not honoured, as RFC 7240 allows: the answer says where to look.
    let Some(mut wait) = Wait::new(edge, Duration::from_secs(seconds.into())) else {
        return Ok(answer.into_response());
    };
    loop {
        let refund = store::refund(edge.database(), &id).await?;
        let settled = |refund: &RefundRow| refund.state != RefundState::Pending;
        if let Some(refund) = refund.filter(settled) {
            return Ok(applied(seconds, &answer, (StatusCode::OK, Json(RefundView::from(&refund)))));
        }
        if !wait.changed().await {
            return Ok(answer.into_response());
        }
    }
}

// === impl NewRefund ===

impl NewRefund {
    /// # Errors
    /// 403 for what only staff may say, 422 with a pointer to every field out of its bounds.
    pub(super) fn into_command(self, order_id: OrderId, caller: &Caller) -> Result<RefundOrder, Problem> {
        if self.restock && !caller.is_staff() {
            return Err(staff_only("/restock", "say that units are back in the stock"));
        }
        check_reason(self.reason.as_deref())?;
        let mut faults = Faults::default();
        if self.lines.len() > LINES_MAX {
            faults.add("/lines".into(), format!("a refund names at most {LINES_MAX} lines"));
        }
        for (index, line) in self.lines.iter().enumerate().take(LINES_MAX) {
            if !(1..=QUANTITY_MAX).contains(&line.quantity) {
                faults.add(format!("/lines/{index}/quantity"), format!("a quantity is from 1 to {QUANTITY_MAX}"));
            }
        }
        faults.into_result("the refund is not acceptable as it stands")?;
        let lines = self.lines.iter().map(|line| RefundLine { line: line.line, quantity: line.quantity }).collect();
        Ok(RefundOrder { order_id, lines, restock: self.restock, reason: self.reason })
    }
}
