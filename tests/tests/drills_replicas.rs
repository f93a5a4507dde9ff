//! Leaders that go away, and restarts of everything under load, with several replicas of each module.

use anyhow::Result;
use pangaea_testkit::Placement;
use pangaea_tests::drill::{must_pass, rolling::Rolling, takeover::Takeover};

/// Each module's leader by each of SIGKILL, SIGSTOP and a cut connection. The bound is 2 s on a machine that does nothing
/// else (`cargo xtask drill takeover` holds it); a test run shares its processors with other tests, and so do the leaders.
#[tokio::test(flavor = "multi_thread")]
async fn a_standby_takes_over_from_a_leader_that_is_killed_stopped_or_cut_off() -> Result<()> {
    must_pass(&Takeover { count: 12, placement: Placement::ApartReplicas(2), within_ms: 10_000 }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_fails_no_request() -> Result<()> {
    must_pass(&Rolling { rounds: 1, placement: Placement::ApartReplicas(2) }).await
}
