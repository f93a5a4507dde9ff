//! The short forms of the drills about too much: load, buyers, and an outage of what the store depends on.

use std::time::Duration;

use anyhow::Result;
use pangaea_testkit::Placement;
use pangaea_tests::drill;

#[tokio::test(flavor = "multi_thread")]
async fn three_times_the_sustainable_rate_is_shed_and_loses_nothing() -> Result<()> {
    drill::overload(Placement::TogetherMemory, 10).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn apart_too_three_times_the_sustainable_rate_is_shed() -> Result<()> {
    drill::overload(Placement::Apart, 10).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_buyers_get_a_hundred_units() -> Result<()> {
    drill::hot_item(Placement::TogetherMemory, 1).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_away_for_thirty_seconds_is_left_alone_and_everything_confirms_later() -> Result<()> {
    drill::provider_down(Placement::TogetherMemory, Duration::from_secs(30), 1).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_hangs_is_felt_at_the_other_end_of_the_chain() -> Result<()> {
    drill::backpressure(Placement::Apart).await?;
    Ok(())
}
