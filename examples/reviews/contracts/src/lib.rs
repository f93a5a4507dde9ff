//! What the reviews module says, and what it is asked: all that another module may know of it.

use pangaea_contracts::{SkuId, UserId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A review can be read from now on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Posted {
    /// What is reviewed.
    pub sku_id: SkuId,
    /// Who bought it, and says how it is.
    pub buyer: UserId,
    /// 1 to 5.
    pub stars: u32,
}

/// From the edge: posts a review. What needs no state is checked before: the stars, and the length of the text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PostReview {
    /// What is reviewed.
    pub sku_id: SkuId,
    /// As verified at the edge.
    pub buyer: UserId,
    /// 1 to 5.
    pub stars: u32,
    /// At most 2,000 characters.
    #[schemars(extend("x-personal" = true))]
    pub text: String,
}

pangaea_contracts::messages! {
    Posted = "reviews.evt.posted.v1", key sku_id;
    PostReview = "reviews.rpc.post.v1", key sku_id;
}
