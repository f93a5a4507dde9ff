//! What the broker loses is refilled while orders flow, and what is delivered again has no effect.

use anyhow::Result;
use pangaea_testkit::Placement;
use pangaea_tests::drill::{must_pass, redelivery::Redelivery, refill::Refill};

#[tokio::test(flavor = "multi_thread")]
async fn streams_deleted_and_stores_swapped_are_refilled() -> Result<()> {
    must_pass(&Refill { count: 4, placement: Placement::Apart, catch_up_max_ms: 10_000, seed: 1 }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_message_three_times_and_restarted_relays_give_the_same_digest() -> Result<()> {
    must_pass(&Redelivery { count: 1, placement: Placement::Apart, seed: 1 }).await
}
