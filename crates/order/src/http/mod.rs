//! The routes: `/v1/orders`.

mod again;
mod events;
mod optional_body;
mod orders;
mod refunds;
mod wait;

use pangaea_contracts::OrderId;
use pangaea_kernel::http::{Caller, Edge};
use pangaea_kernel::{Problem, ProblemKind};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) use self::again::request_of;
use crate::store::{self, OrderRow};

pub(crate) fn routes() -> OpenApiRouter<Edge> {
    OpenApiRouter::new()
        .routes(routes!(orders::place, orders::list))
        .routes(routes!(orders::read))
        .routes(routes!(orders::timeline))
        .routes(routes!(events::events))
        .routes(routes!(orders::cancel))
        .routes(routes!(refunds::refund, refunds::list))
        .routes(routes!(refunds::read))
}

/// The order, if it is there and the caller's: another's is as good as none.
async fn reached(edge: &Edge, caller: &Caller, id: &OrderId) -> Result<OrderRow, Problem> {
    let order = store::order(edge.database(), id).await?;
    order.filter(|order| caller.reaches(order.customer_id.as_ref())).ok_or_else(|| Problem::not_found("order"))
}

fn staff_only(pointer: &str, what: &str) -> Problem {
    Problem::new(ProblemKind::Forbidden, format!("only staff may {what}"))
        .with_field(pointer, format!("only staff may {what}"))
}
