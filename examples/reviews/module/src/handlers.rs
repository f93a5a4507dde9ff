use pangaea_contracts::order::{Cancelled, Confirmed, Placed};
use pangaea_contracts::{Message, SkuId, UserId};
use pangaea_journal::Json;
use pangaea_kernel::{Answer, Cx, Failure, ProblemKind};
use pangaea_reviews_contracts::{PostReview, Posted};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::http::ReviewView;
use crate::measures::{LETTERS, tone};
use crate::settings::ReviewsSettings;
use crate::store::{PlacedOrder, Purchase, Review, Score};

/// A review has been held back for long enough. A timer never leaves its module, so its type is not in the contract.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Publish {
    pub(crate) sku_id: SkuId,
    pub(crate) buyer: UserId,
}

impl Message for Publish {
    const SUBJECT: &'static str = "reviews.tmr.publish.v1";

    fn key(&self) -> String {
        format!("{}/{}", self.sku_id, self.buyer)
    }
}

/// Only `placed` tells what is in an order and whose it is; only `confirmed` tells that it was bought.
pub(crate) async fn placed(cx: &mut Cx, event: Placed) -> Result<(), Failure> {
    // Without an account nobody could sign in to review it.
    if let Some(buyer) = event.customer_id {
        let skus = event.lines.into_iter().map(|line| line.sku_id).collect();
        cx.put(PlacedOrder { order_id: event.order_id, buyer, skus: Json(skus) });
    }
    Ok(())
}

pub(crate) async fn confirmed(cx: &mut Cx, event: Confirmed) -> Result<(), Failure> {
    let Some(order) = cx.get::<PlacedOrder>(&event.order_id).await? else { return Ok(()) };
    for sku_id in order.skus.0 {
        cx.put(Purchase { buyer: order.buyer.clone(), sku_id, order_id: event.order_id.clone() });
    }
    cx.delete::<PlacedOrder>(&event.order_id);
    Ok(())
}

pub(crate) async fn cancelled(cx: &mut Cx, event: Cancelled) -> Result<(), Failure> {
    cx.delete::<PlacedOrder>(&event.order_id);
    Ok(())
}

/// Reads and decides, then writes: a refusal after a write counts as a bug.
pub(crate) async fn post(cx: &mut Cx, command: PostReview) -> Result<Answer, Failure> {
    let PostReview { sku_id, buyer, stars, text } = command;
    if cx.get::<Purchase>((&buyer, &sku_id)).await?.is_none() {
        let detail = "you can review what you have bought, once the order is confirmed";
        return Err(Failure::refusal(ProblemKind::Conflict, detail));
    }
    if cx.get::<Review>((&sku_id, &buyer)).await?.is_some() {
        return Err(Failure::refusal(ProblemKind::Conflict, "you have reviewed it already"));
    }
    let hold_ms = cx.settings::<ReviewsSettings>()?.hold_ms;
    cx.observe(&LETTERS, tone(stars), text.chars().count() as f64);
    cx.after(hold_ms, &Publish { sku_id: sku_id.clone(), buyer: buyer.clone() });
    let review = Review { sku_id, buyer, number: None, stars, text, posted_at: cx.now() };
    let answer = Answer::json(202, &ReviewView::from(&review));
    cx.put(review);
    answer
}

pub(crate) async fn publish(cx: &mut Cx, timer: Publish) -> Result<(), Failure> {
    let Publish { sku_id, buyer } = timer;
    let Some(review) = cx.get::<Review>((&sku_id, &buyer)).await? else { return Ok(()) };
    let known = cx.get::<Score>(&sku_id).await?;
    let (reviews, stars) = known.map_or((0, 0), |score| (score.reviews, score.stars));
    let score = Score { sku_id: sku_id.clone(), reviews: reviews + 1, stars: stars + i64::from(review.stars) };
    cx.emit(&Posted { sku_id, buyer, stars: review.stars });
    cx.put(Review { number: Some(score.reviews), ..review });
    cx.put(score);
    Ok(())
}
