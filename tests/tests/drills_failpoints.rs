//! Every boundary of the runtime crashes, hangs and fails once, in a store at work.

use anyhow::Result;
use pangaea_faults::Failpoint;
use pangaea_testkit::Placement;
use pangaea_tests::drill::{failpoints::Failpoints, must_pass};

#[tokio::test(flavor = "multi_thread")]
async fn each_boundary_crashes_hangs_and_fails_once() -> Result<()> {
    must_pass(&Failpoints { rounds: 1, placement: Placement::Apart, only: Vec::new(), seed: 1 }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn taking_the_lease_crashes_hangs_and_fails_once() -> Result<()> {
    let only = vec![Failpoint::LeaseBefore, Failpoint::LeaseAfter];
    must_pass(&Failpoints { rounds: 1, placement: Placement::ApartPostgres, only, seed: 1 }).await
}
