use axum::Json;
use axum::extract::{OriginalUri, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use pangaea_contracts::product::{AdjustStock, SetPrice};
use pangaea_contracts::{Money, SkuId};
use pangaea_kernel::http::{
    Body, Edge, Intent, Page, PageParams, Params, PathParams, decode_cursor, etag, not_modified, require_match,
};
use pangaea_kernel::{Answer, Problem, ProblemKind};

use super::bodies::{AdjustmentBody, check_money};
use super::submit;
use crate::store;
use crate::view::{MoneySchema, PriceView, SkuView, StockView};

/// Read a SKU: its price and its stock.
///
/// The ETag is the one that a change of the price must name. Stock moves without changing it, so this read never answers 304.
#[utoipa::path(
    get, path = "/v1/skus/{sku}", operation_id = "get_sku", tag = "product",
    params(("sku" = String, Path, description = "the SKU's id, or the merchant's code in any case")),
    responses(
        (status = 200, body = SkuView, description = "The SKU", headers(("ETag" = String, description = "its version"))),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "not-found"),
    ),
    extensions(("x-access" = json!({"anonymous": true})))
)]
pub(crate) async fn get_sku(
    State(edge): State<Edge>,
    PathParams(sku): PathParams<String>,
) -> Result<Response, Problem> {
    let found = store::sku(edge.database(), &SkuId::from_id_or_code(&sku)).await?;
    let (sku, stock) = found.ok_or_else(|| Problem::not_found("SKU"))?;
    let headers = [(header::ETAG, etag(sku.version))];
    Ok((headers, Json(SkuView::new(sku, &stock))).into_response())
}

/// Set what a SKU costs from now on.
#[utoipa::path(
    put, path = "/v1/skus/{sku}/price", operation_id = "set_price", tag = "product",
    params(
        ("sku" = String, Path, description = "the SKU's id, or the merchant's code in any case"),
        ("If-Match" = String, Header, description = "the SKU's ETag"),
    ),
    request_body = MoneySchema,
    responses(
        (status = 200, body = SkuView, description = "The SKU as it is now", headers(("ETag" = String))),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "unauthenticated"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "forbidden"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "not-found"),
        (status = 412, body = Problem, content_type = "application/problem+json", description = "precondition-failed"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "invalid"),
        (status = 428, body = Problem, content_type = "application/problem+json", description = "precondition-required"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "overloaded, unavailable, outcome-unknown or parked"),
    ),
    extensions(("x-access" = json!({"roles": ["staff"]})))
)]
pub(crate) async fn set_price(
    State(edge): State<Edge>,
    intent: Intent,
    headers: HeaderMap,
    PathParams(sku): PathParams<String>,
    Body(price): Body<Money>,
) -> Result<Answer, Problem> {
    let expected_version = require_match(&headers)?;
    check_money(price)?;
    let sku_id = SkuId::from_id_or_code(&sku);
    submit(&edge, &intent, &SetPrice { sku_id, expected_version, price }).await
}

/// Read what a SKU has cost, the newest price first.
#[utoipa::path(
    get, path = "/v1/skus/{sku}/prices", operation_id = "list_prices", tag = "product",
    params(("sku" = String, Path, description = "the SKU's id, or the merchant's code in any case"), PageParams),
    responses(
        (status = 200, body = Page<PriceView>, description = "A page of prices", headers(("Link" = String, description = "rel=\"next\""), ("ETag" = String))),
        (status = 304, description = "There is no newer price than when If-None-Match was read"),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "malformed-request: a cursor of another list"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "not-found"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "invalid: limit"),
    ),
    extensions(("x-access" = json!({"anonymous": true})))
)]
pub(crate) async fn list_prices(
    State(edge): State<Edge>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    PathParams(sku): PathParams<String>,
    Params(params): Params<PageParams>,
) -> Result<Response, Problem> {
    let limit = params.limit()?;
    let before = params.cursor.as_deref().map(last_version).transpose()?;
    let sku_id = SkuId::from_id_or_code(&sku);
    let found = store::sku(edge.database(), &sku_id).await?;
    let (sku, _) = found.ok_or_else(|| Problem::not_found("SKU"))?;
    let tag = (header::ETAG, etag(sku.price_version));
    if not_modified(&headers, sku.price_version) {
        return Ok((StatusCode::NOT_MODIFIED, [tag]).into_response());
    }
    let rows = store::prices(edge.database(), &sku_id, before, limit + 1).await?;
    let page = Page::cut(rows, limit, |row| vec![row.price_version.to_string()]);
    let links = page.link(uri.path(), "", limit);
    let items = page.items.into_iter().map(PriceView::from).collect();
    Ok(([tag], links, Json(Page { items, next_cursor: page.next_cursor })).into_response())
}

fn last_version(cursor: &str) -> Result<i64, Problem> {
    let parts = decode_cursor(cursor, 1)?;
    let version = parts.first().and_then(|part| part.parse().ok());
    version.ok_or_else(|| {
        Problem::new(ProblemKind::MalformedRequest, "the cursor is not one of this list; start without one")
    })
}

/// Correct how many units of a SKU there are.
#[utoipa::path(
    post, path = "/v1/skus/{sku}/adjustments", operation_id = "adjust_stock", tag = "product",
    params(
        ("sku" = String, Path, description = "the SKU's id, or the merchant's code in any case"),
        ("Idempotency-Key" = String, Header, description = "1 to 255 characters, used for this request only"),
    ),
    request_body = AdjustmentBody,
    responses(
        (status = 200, body = StockView, description = "The stock as it is now"),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "idempotency-key-missing or malformed-request"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "unauthenticated"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "forbidden"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "not-found"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "conflict: on_hand is not what was expected, or would fall below reserved"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "invalid, with the fields; or idempotency-key-reused"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "overloaded, unavailable, outcome-unknown or parked"),
    ),
    extensions(("x-access" = json!({"roles": ["staff"]})))
)]
pub(crate) async fn adjust_stock(
    State(edge): State<Edge>,
    intent: Intent,
    PathParams(sku): PathParams<String>,
    Body(body): Body<AdjustmentBody>,
) -> Result<Answer, Problem> {
    body.check()?;
    let AdjustmentBody { delta, reason, expected_on_hand } = body;
    let sku_id = SkuId::from_id_or_code(&sku);
    submit(&edge, &intent, &AdjustStock { sku_id, delta, reason, expected_on_hand }).await
}
