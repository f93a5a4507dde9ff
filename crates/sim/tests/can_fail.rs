//! The simulation finds what is broken: each bug within some seeds, and the same seed again.

use pangaea_sim::{Options, Outcome, Sabotage, Seeds, Simulation};

const SEEDS_MAX: u64 = 60;

fn found(sabotage: Sabotage) -> Outcome {
    let simulation = Simulation::prepare().unwrap();
    let options = Options { sabotage: Some(sabotage), ..Options::default() };
    let seeds = Seeds { first: 1, count: SEEDS_MAX, jobs: 1, keep_going: false };
    let summary = seeds.run(&simulation, options, |_| ()).unwrap();
    let outcome = summary.failures.into_iter().next();
    let outcome = outcome.unwrap_or_else(|| panic!("{sabotage:?} was not found in {SEEDS_MAX} seeds"));
    let again = simulation.run(outcome.seed, options).unwrap();
    assert_eq!((&again.failure, &again.hash), (&outcome.failure, &outcome.hash), "the seed does not reproduce it");
    let without = simulation.run(outcome.seed, Options::default()).unwrap();
    assert_eq!(without.failure, None, "seed {} fails without the bug too", outcome.seed);
    outcome
}

fn assert_says(outcome: &Outcome, any_of: &[&str]) {
    let reason = outcome.failure.as_deref().unwrap_or_default();
    assert!(any_of.iter().any(|text| reason.contains(text)), "found for another reason: {reason}");
}

#[test]
fn a_relay_that_skips_a_row_is_found() {
    assert_says(&found(Sabotage::RelaySkipsARow), &["has taken in", "is not its outbox"]);
}

#[test]
fn an_acknowledgement_before_the_commit_is_found() {
    assert_says(&found(Sabotage::AckBeforeCommit), &["has taken in"]);
}

#[test]
fn a_retry_under_a_new_key_is_found() {
    let reasons = ["is held for nobody", "charged more than once", "the provider has taken", "verify"];
    assert_says(&found(Sabotage::EffectRetriedUnderANewKey), &reasons);
}
