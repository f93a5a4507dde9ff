//! The same suite in every placement.

use anyhow::Result;
use pangaea_testkit::Placement;
use pangaea_tests::scenarios::run_all;

#[tokio::test(flavor = "multi_thread")]
async fn together_on_the_memory_bus() -> Result<()> {
    run_all(Placement::TogetherMemory).await
}

#[tokio::test(flavor = "multi_thread")]
async fn together_on_nats() -> Result<()> {
    run_all(Placement::TogetherNats).await
}

#[tokio::test(flavor = "multi_thread")]
async fn apart_on_nats() -> Result<()> {
    run_all(Placement::Apart).await
}

#[tokio::test(flavor = "multi_thread")]
async fn mixed_on_nats() -> Result<()> {
    run_all(Placement::Mixed).await
}

#[tokio::test(flavor = "multi_thread")]
async fn apart_on_nats_and_postgres() -> Result<()> {
    run_all(Placement::ApartPostgres).await
}

#[tokio::test(flavor = "multi_thread")]
async fn apart_with_two_replicas_of_each_module() -> Result<()> {
    run_all(Placement::ApartReplicas(2)).await
}
