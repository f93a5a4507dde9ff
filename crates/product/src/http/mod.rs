//! The module's routes: reads from the pool, writes as commands.

mod again;
mod bodies;
mod products;
mod search;
mod skus;

use pangaea_contracts::{Message, PAYLOAD_BYTES_MAX};
use pangaea_kernel::http::{Edge, Intent};
use pangaea_kernel::{Answer, Problem, ProblemKind};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) use self::again::request_of;

pub(crate) fn routes() -> OpenApiRouter<Edge> {
    OpenApiRouter::new()
        .routes(routes!(products::list_products, products::create_product))
        .routes(routes!(products::create_products))
        .routes(routes!(products::get_product, products::revise_product, products::withdraw_product))
        .routes(routes!(skus::get_sku))
        .routes(routes!(skus::set_price))
        .routes(routes!(skus::list_prices))
        .routes(routes!(skus::adjust_stock))
}

/// Sends a command to the writer, unless it is larger than a message may be.
async fn submit<M: Message>(edge: &Edge, intent: &Intent, command: &M) -> Result<Answer, Problem> {
    let input = intent.command(command, Vec::new())?;
    if input.payload.len() > PAYLOAD_BYTES_MAX {
        let detail = format!(
            "a request is at most {PAYLOAD_BYTES_MAX} bytes of JSON without spaces, and this one is {}; send it in parts",
            input.payload.len()
        );
        return Err(Problem::new(ProblemKind::BodyTooLarge, detail));
    }
    edge.submit(input).await
}
