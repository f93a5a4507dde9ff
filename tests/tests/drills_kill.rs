//! SIGKILL for every process in turn while orders flow, in each placement: nothing accepted is lost or done twice.

use anyhow::Result;
use pangaea_testkit::Placement;
use pangaea_tests::drill::{kill::Kill, must_pass};

async fn survives(placement: Placement, count: u32) -> Result<()> {
    must_pass(&Kill { count, placement, seed: 1 }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn together_on_nats() -> Result<()> {
    survives(Placement::TogetherNats, 8).await
}

#[tokio::test(flavor = "multi_thread")]
async fn apart_on_nats() -> Result<()> {
    survives(Placement::Apart, 10).await
}

#[tokio::test(flavor = "multi_thread")]
async fn mixed_on_nats() -> Result<()> {
    survives(Placement::Mixed, 6).await
}

#[tokio::test(flavor = "multi_thread")]
async fn apart_on_nats_and_postgres() -> Result<()> {
    survives(Placement::ApartPostgres, 20).await
}

#[tokio::test(flavor = "multi_thread")]
async fn apart_with_two_replicas_of_each_module() -> Result<()> {
    survives(Placement::ApartReplicas(2), 20).await
}
