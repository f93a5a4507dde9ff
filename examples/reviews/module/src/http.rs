use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use pangaea_contracts::{SkuId, UserId};
use pangaea_kernel::Problem;
use pangaea_kernel::http::{Body, Caller, Edge, Intent, Page, PageParams, Params, decode_cursor, percent_encoded};
use pangaea_reviews_contracts::PostReview;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::domain::{average, check};
use crate::store::{self, Review};

pub(crate) fn routes() -> OpenApiRouter<Edge> {
    OpenApiRouter::new().routes(routes!(post, list))
}

/// What a buyer has to say.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewReview {
    /// A SKU's id, or the merchant's code in any case.
    #[schema(max_length = 64)]
    sku: String,
    #[schema(minimum = 1, maximum = 5)]
    stars: u32,
    #[serde(default)]
    #[schema(max_length = 2000)]
    text: String,
}

/// A review, without who wrote it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReviewView {
    stars: u32,
    text: String,
    #[schema(value_type = String, format = DateTime)]
    posted_at: pangaea_contracts::Timestamp,
}

/// Reviews of one SKU, the newest first, and all of them in a number.
#[derive(Debug, Serialize, ToSchema)]
struct Reviews {
    items: Vec<ReviewView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
    /// Of all pages.
    reviews: i64,
    /// The average of the stars, with two decimals; absent without a review.
    #[serde(skip_serializing_if = "Option::is_none")]
    average: Option<f64>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct ListParams {
    /// A SKU's id, or the merchant's code in any case.
    sku: String,
    /// From a former page's `next_cursor`. Opaque.
    cursor: Option<String>,
    /// Items on a page, 1 to 200; 50 unless given.
    limit: Option<u32>,
}

/// Posts a review of something that the caller has bought in a confirmed order. It can be read as soon as it has been held
/// back for `hold_ms`.
#[utoipa::path(
    post, path = "/v1/reviews", tag = "reviews", operation_id = "postReview",
    params(
        ("Idempotency-Key" = String, Header, description = "names this request; a repeat with it is answered as the first")
    ),
    request_body = NewReview,
    responses(
        (status = 202, description = "accepted", body = ReviewView),
        (status = 400, description = "the request cannot be read, or the key is missing", body = Problem),
        (status = 401, description = "no valid token", body = Problem),
        (status = 409, description = "not bought, or reviewed before", body = Problem),
        (status = 422, description = "a field out of its bounds, or another body under the same key", body = Problem),
        (status = 503, description = "too much is waiting, or the outcome is unknown", body = Problem)
    ),
    extensions(("x-access" = json!({"roles": ["customer"]})))
)]
async fn post(
    State(edge): State<Edge>,
    caller: Caller,
    intent: Intent,
    Body(review): Body<NewReview>,
) -> Result<Response, Problem> {
    check(review.stars, &review.text)?;
    let buyer = caller.actor.subject.parse::<UserId>().map_err(|_| Problem::not_found("account"))?;
    let sku_id = SkuId::from_id_or_code(&review.sku);
    let command = PostReview { sku_id, buyer, stars: review.stars, text: review.text };
    Ok(edge.submit(intent.command(&command, Vec::new())?).await?.into_response())
}

/// Reviews of a SKU, the newest first, with their average.
#[utoipa::path(
    get, path = "/v1/reviews", tag = "reviews", operation_id = "listReviews",
    params(ListParams),
    responses(
        (status = 200, description = "a page; `Link: rel=\"next\"` when there is another", body = Reviews),
        (status = 400, description = "the query cannot be read", body = Problem),
        (status = 422, description = "the limit is out of its bounds", body = Problem)
    ),
    extensions(("x-access" = json!({"anonymous": true})))
)]
async fn list(
    State(edge): State<Edge>,
    Params(params): Params<ListParams>,
) -> Result<(HeaderMap, Json<Reviews>), Problem> {
    let limit = PageParams { cursor: None, limit: params.limit }.limit()?;
    let before = params.cursor.as_deref().map(number_in).transpose()?;
    let sku_id = SkuId::from_id_or_code(&params.sku);
    // Two reads see two moments. The score counts the numbers, so that a page that begins below it agrees with it.
    let score = store::score(edge.database(), &sku_id).await?;
    let (reviews, stars) = score.map_or((0, 0), |score| (score.reviews, score.stars));
    let rows = store::reviews(edge.database(), &sku_id, before.unwrap_or(reviews + 1), limit + 1).await?;
    let page = Page::cut(rows, limit, |row| vec![row.number.unwrap_or_default().to_string()]);
    let link = page.link("/v1/reviews", &format!("sku={}", percent_encoded(&params.sku)), limit);
    let items = page.items.iter().map(ReviewView::from).collect();
    Ok((link, Json(Reviews { items, next_cursor: page.next_cursor, reviews, average: average(stars, reviews) })))
}

fn number_in(cursor: &str) -> Result<i64, Problem> {
    let parts = decode_cursor(cursor, 1)?;
    let malformed =
        || Problem::new(pangaea_kernel::ProblemKind::MalformedRequest, "the cursor is not one of this list");
    parts.first().and_then(|part| part.parse().ok()).ok_or_else(malformed)
}

// === impl ReviewView ===

impl From<&Review> for ReviewView {
    fn from(review: &Review) -> Self {
        Self { stars: review.stars, text: review.text.clone(), posted_at: review.posted_at }
    }
}
