//! Too much: load, buyers for one item, and an outage of what the store depends on.

use anyhow::Result;
use pangaea_testkit::Placement;
use pangaea_tests::drill::backpressure::Backpressure;
use pangaea_tests::drill::hot_item::HotItem;
use pangaea_tests::drill::must_pass;
use pangaea_tests::drill::overload::Overload;
use pangaea_tests::drill::provider_down::ProviderDown;

#[tokio::test(flavor = "multi_thread")]
async fn three_times_the_sustainable_rate_is_shed_and_nothing_is_lost() -> Result<()> {
    must_pass(&Overload { seconds: 10, placement: Placement::TogetherMemory }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn apart_too_three_times_the_sustainable_rate_is_shed_and_nothing_is_lost() -> Result<()> {
    must_pass(&Overload { seconds: 10, placement: Placement::Apart }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_buyers_get_a_hundred_units() -> Result<()> {
    let placement = Placement::TogetherMemory;
    must_pass(&HotItem { rounds: 1, placement, buyers: 10_000, units: 100, at_once: 400 }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_away_for_thirty_seconds_is_left_alone_and_all_orders_confirm_afterwards() -> Result<()> {
    must_pass(&ProviderDown { rounds: 1, seconds: 30, placement: Placement::TogetherMemory }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_hangs_is_felt_at_the_other_end_of_the_chain() -> Result<()> {
    must_pass(&Backpressure { placement: Placement::Apart, rate: 150, seconds: 30 }).await
}
