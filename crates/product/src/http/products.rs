use axum::extract::{OriginalUri, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::{Json, http::StatusCode};
use pangaea_contracts::product::{CreateProduct, CreateProducts, NewProduct, WithdrawProduct};
use pangaea_contracts::{ProductId, SkuId};
use pangaea_kernel::http::{Body, Edge, Intent, Page, Params, PathParams, etag, not_modified, require_match};
use pangaea_kernel::{Answer, Problem};

use super::bodies::{BulkBody, PatchBody, ProductBody};
use super::search::{ListParams, cursor_of};
use super::submit;
use crate::domain::{PRODUCTS_PER_BULK_MAX, check_product};
use crate::handlers::invalid_product;
use crate::store;
use crate::view::{BulkView, ProductView};

/// Search the catalogue.
#[utoipa::path(
    get, path = "/v1/products", operation_id = "list_products", tag = "product",
    params(ListParams),
    responses(
        (status = 200, body = Page<ProductView>, description = "A page of products", headers(("Link" = String, description = "rel=\"next\""))),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "malformed-request: an unknown parameter, or a cursor of another list"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "invalid: a parameter out of its bounds"),
    ),
    extensions(("x-access" = json!({"anonymous": true})))
)]
pub(crate) async fn list_products(
    State(edge): State<Edge>,
    OriginalUri(uri): OriginalUri,
    Params(params): Params<ListParams>,
) -> Result<Response, Problem> {
    let (search, limit) = params.search()?;
    let (rows, skus) = store::list(edge.database(), &search, limit + 1).await?;
    let page = Page::cut(rows, limit, |row| cursor_of(search.sort, row));
    let headers = page.link(uri.path(), &other_params(uri.query()), limit);
    let items = page.items.into_iter().map(|row| ProductView::new(row, &skus)).collect();
    Ok((headers, Json(Page { items, next_cursor: page.next_cursor })).into_response())
}

/// The query string without what the link to the next page sets itself.
fn other_params(query: Option<&str>) -> String {
    let rest = query.unwrap_or("").split('&').filter(|pair| {
        let name = pair.split('=').next().unwrap_or("");
        !name.is_empty() && name != "cursor" && name != "limit"
    });
    rest.collect::<Vec<_>>().join("&")
}

/// Read a product.
#[utoipa::path(
    get, path = "/v1/products/{id}", operation_id = "get_product", tag = "product",
    params(("id" = String, Path, description = "prod_…"), ("If-None-Match" = Option<String>, Header, description = "an ETag that is known already")),
    responses(
        (status = 200, body = ProductView, description = "The product", headers(("ETag" = String, description = "its version"))),
        (status = 304, description = "It is still the version named by If-None-Match"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "not-found"),
    ),
    extensions(("x-access" = json!({"anonymous": true})))
)]
pub(crate) async fn get_product(
    State(edge): State<Edge>,
    headers: HeaderMap,
    PathParams(id): PathParams<ProductId>,
) -> Result<Response, Problem> {
    let found = store::product(edge.database(), &id).await?;
    let (row, skus) = found.ok_or_else(|| Problem::not_found("product"))?;
    let version = row.version;
    let tag = [(axum::http::header::ETAG, etag(version))];
    if not_modified(&headers, version) {
        return Ok((StatusCode::NOT_MODIFIED, tag).into_response());
    }
    Ok((tag, Json(ProductView::new(row, &skus))).into_response())
}

/// Add a product with its variants.
#[utoipa::path(
    post, path = "/v1/products", operation_id = "create_product", tag = "product",
    params(("Idempotency-Key" = String, Header, description = "1 to 255 characters, used for this request only")),
    request_body = ProductBody,
    responses(
        (status = 201, body = ProductView, description = "Created", headers(("Location" = String), ("ETag" = String))),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "idempotency-key-missing or malformed-request"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "unauthenticated"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "forbidden"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "conflict: a code is taken"),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "body-too-large"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "invalid, with the fields; or idempotency-key-reused"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "overloaded, unavailable, outcome-unknown or parked"),
    ),
    extensions(("x-access" = json!({"roles": ["staff"]})))
)]
pub(crate) async fn create_product(
    State(edge): State<Edge>,
    intent: Intent,
    Body(body): Body<ProductBody>,
) -> Result<Answer, Problem> {
    let product = NewProduct::from(body);
    let faults = check_product(&product, "");
    match product.variants.first() {
        Some(first) if faults.is_empty() => {
            let sku_id = SkuId::from_code(&first.code);
            submit(&edge, &intent, &CreateProduct { sku_id, product }).await
        }
        _ => Err(invalid_product(faults)),
    }
}

/// Add up to 200 products; one that cannot be created is reported and stops no other.
#[utoipa::path(
    post, path = "/v1/products/bulk", operation_id = "create_products", tag = "product",
    params(("Idempotency-Key" = String, Header, description = "1 to 255 characters, used for this request only")),
    request_body = BulkBody,
    responses(
        (status = 200, body = BulkView, description = "What became of each product, in the order given"),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "idempotency-key-missing or malformed-request"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "unauthenticated"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "forbidden"),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "body-too-large: send fewer products at once"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "invalid: not 1 to 200 products, or a field of the wrong type; or idempotency-key-reused"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "overloaded, unavailable, outcome-unknown or parked"),
    ),
    extensions(("x-access" = json!({"roles": ["staff"]})))
)]
pub(crate) async fn create_products(
    State(edge): State<Edge>,
    intent: Intent,
    Body(body): Body<BulkBody>,
) -> Result<Answer, Problem> {
    let products: Vec<NewProduct> = body.products.into_iter().map(NewProduct::from).collect();
    if products.is_empty() || products.len() > PRODUCTS_PER_BULK_MAX {
        return Err(Problem::invalid("/products", format!("send 1 to {PRODUCTS_PER_BULK_MAX} products at once")));
    }
    // A first product without variants is reported by the handler like any other fault of one product.
    let first = products.first().and_then(|product| product.variants.first());
    let sku_id = SkuId::from_code(first.map_or("", |variant| variant.code.as_str()));
    submit(&edge, &intent, &CreateProducts { sku_id, products, only_if_empty: false }).await
}

/// Change how a product is presented.
#[utoipa::path(
    patch, path = "/v1/products/{id}", operation_id = "revise_product", tag = "product",
    params(("id" = String, Path, description = "prod_…"), ("If-Match" = String, Header, description = "the ETag of the version that the change is of")),
    request_body = PatchBody,
    responses(
        (status = 200, body = ProductView, description = "The product as it is now", headers(("ETag" = String))),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "unauthenticated"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "forbidden"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "not-found"),
        (status = 412, body = Problem, content_type = "application/problem+json", description = "precondition-failed"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "invalid, with the fields"),
        (status = 428, body = Problem, content_type = "application/problem+json", description = "precondition-required"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "overloaded, unavailable, outcome-unknown or parked"),
    ),
    extensions(("x-access" = json!({"roles": ["staff"]})))
)]
pub(crate) async fn revise_product(
    State(edge): State<Edge>,
    intent: Intent,
    headers: HeaderMap,
    PathParams(id): PathParams<ProductId>,
    Body(body): Body<PatchBody>,
) -> Result<Answer, Problem> {
    let command = body.into_command(id, require_match(&headers)?)?;
    submit(&edge, &intent, &command).await
}

/// Take a product and its SKUs out of the catalogue. Orders that hold them take their course.
#[utoipa::path(
    delete, path = "/v1/products/{id}", operation_id = "withdraw_product", tag = "product",
    params(("id" = String, Path, description = "prod_…"), ("If-Match" = String, Header, description = "the ETag of the version that is withdrawn")),
    responses(
        (status = 204, description = "Withdrawn"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "unauthenticated"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "forbidden"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "not-found"),
        (status = 412, body = Problem, content_type = "application/problem+json", description = "precondition-failed"),
        (status = 428, body = Problem, content_type = "application/problem+json", description = "precondition-required"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "overloaded, unavailable, outcome-unknown or parked"),
    ),
    extensions(("x-access" = json!({"roles": ["staff"]})))
)]
pub(crate) async fn withdraw_product(
    State(edge): State<Edge>,
    intent: Intent,
    headers: HeaderMap,
    PathParams(product_id): PathParams<ProductId>,
) -> Result<Answer, Problem> {
    let expected_version = require_match(&headers)?;
    submit(&edge, &intent, &WithdrawProduct { product_id, expected_version }).await
}
