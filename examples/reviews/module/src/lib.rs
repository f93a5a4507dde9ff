//! Reviews: who has bought something in a confirmed order says how it is.
//!
//! | file | subject |
//! |---|---|
//! | `domain` | what a review may be, and the score of a SKU; pure |
//! | `handlers` | what is done with each input |
//! | `store` | the tables, and every SQL text |
//! | `measures` | what the operator is told |
//! | `http` | the routes |
//! | `settings` | what can be configured |
//!
//! It is a module from outside: it knows the store by `pangaea-contracts` alone.

mod domain;
mod handlers;
mod http;
mod measures;
mod settings;
mod store;

use pangaea_contracts::order::{Cancelled, Confirmed, Placed};
use pangaea_kernel::http::Edge;
use pangaea_kernel::{Definition, Module};
use pangaea_reviews_contracts::{PostReview, Posted};
use utoipa_axum::router::OpenApiRouter;

pub use settings::ReviewsSettings;

use handlers::Publish;
use store::{PlacedOrder, Purchase, Review, Score};

/// The module, for the catalogue of a program.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reviews;

impl Module for Reviews {
    fn define(&self) -> Definition {
        Definition::new("reviews")
            .migrations(store::MIGRATIONS)
            .invariant("a score is the sum of its reviews", store::verify)
            .projection("scores", &["score"])
            .histogram(&measures::LETTERS)
            .gauge(&measures::REVIEWS, store::by_state)
            .settings::<ReviewsSettings>()
            .emits::<Posted>()
            .on::<Placed>(handlers::placed)
            .on::<Confirmed>(handlers::confirmed)
            .wants::<Confirmed>(|event, keys| keys.want::<PlacedOrder>(&event.order_id))
            .on::<Cancelled>(handlers::cancelled)
            .command::<PostReview>(handlers::post)
            .wants::<PostReview>(|post, keys| {
                keys.want::<Purchase>((&post.buyer, &post.sku_id));
                keys.want::<Review>((&post.sku_id, &post.buyer));
            })
            .timer::<Publish>(handlers::publish)
            .wants::<Publish>(|timer, keys| {
                keys.want::<Review>((&timer.sku_id, &timer.buyer));
                keys.want::<Score>(&timer.sku_id);
            })
    }

    fn routes(&self) -> OpenApiRouter<Edge> {
        http::routes()
    }
}
