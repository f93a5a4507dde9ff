//! A seed is a run: the same steps, and the same store at the end, whenever and wherever it is run.

use std::collections::BTreeSet;

use pangaea_sim::{Options, Outcome, Simulation};

const SEEDS: std::ops::RangeInclusive<u64> = 1..=20;

fn outcomes(simulation: &Simulation) -> Vec<Outcome> {
    SEEDS.map(|seed| simulation.run(seed, Options::default()).unwrap()).collect()
}

#[test]
fn the_same_seed_gives_the_same_hash_and_another_seed_another() {
    let hashes = |outcomes: &[Outcome]| outcomes.iter().map(|one| one.hash.clone()).collect::<Vec<_>>();
    let simulation = Simulation::prepare().unwrap();
    let first = outcomes(&simulation);
    let again = outcomes(&simulation);
    assert_eq!(hashes(&first), hashes(&again));
    // The store that runs begin with is made anew in every process, and must not show.
    let elsewhere = std::thread::spawn(|| outcomes(&Simulation::prepare().unwrap())).join().unwrap();
    assert_eq!(hashes(&first), hashes(&elsewhere));
    let different: BTreeSet<String> = hashes(&first).into_iter().collect();
    assert_eq!(different.len(), first.len(), "two seeds gave one run");
    assert!(
        first.iter().all(|one| one.steps > 100),
        "a run of {:?} steps shows little",
        first.iter().map(|one| one.steps)
    );
}
