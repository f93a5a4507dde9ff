//! The auditor that shares no code with the store agrees with the simulation's own.

use pangaea_auditor::Audit;
use pangaea_sim::{ACCEPTED_FILE, LEDGER_FILE, Options, Simulation};

const SEEDS: std::ops::RangeInclusive<u64> = 501..=525;

#[tokio::test]
async fn the_auditor_finds_nothing_in_stores_that_were_simulated() {
    let top = std::env::temp_dir().join(format!("pangaea-sim-audit-{}", std::process::id()));
    let simulation = tokio::task::spawn_blocking(|| Simulation::prepare().unwrap()).await.unwrap();
    let simulation = std::sync::Arc::new(simulation);
    let mut orders = 0;
    for seed in SEEDS {
        // One for each: what a run leaves beside its databases must not be taken for the next one's.
        let folder = top.join(seed.to_string());
        std::fs::create_dir_all(&folder).unwrap();
        let (simulation, to) = (simulation.clone(), folder.clone());
        let run = move || simulation.run_and_keep(seed, Options::default(), &to).unwrap();
        let outcome = tokio::task::spawn_blocking(run).await.unwrap();
        assert_eq!(outcome.failure, None, "seed {seed}: cargo xtask sim --seed {seed} --trace");
        orders += outcome.counts.orders.values().sum::<u64>();
        let audit = Audit {
            database: format!("sqlite:{}/", folder.display()),
            accepted: Some(folder.join(ACCEPTED_FILE)),
            ledger: Some(folder.join(LEDGER_FILE)),
            settled: true,
            ..Audit::default()
        };
        let report = audit.judge().await.unwrap();
        assert!(report.is_sound(), "seed {seed}:\n{report}");
    }
    assert!(orders >= 25, "{orders} orders show little");
    std::fs::remove_dir_all(&top).unwrap();
}
