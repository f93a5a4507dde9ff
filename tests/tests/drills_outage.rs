//! Connections that are cut, refused, half-open, held, delayed and slow: the store catches up once they heal.

use anyhow::Result;
use pangaea_testkit::Placement;
use pangaea_tests::drill::{must_pass, outage::Outage};

#[tokio::test(flavor = "multi_thread")]
async fn twenty_outages_of_nats_postgres_and_the_provider() -> Result<()> {
    let placement = Placement::ApartPostgres;
    must_pass(&Outage { count: 20, placement, shortest_ms: 100, longest_ms: 2_000, catch_up_max_ms: 10_000, seed: 1 })
        .await
}
