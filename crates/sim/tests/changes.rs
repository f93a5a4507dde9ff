//! Planted changes of behaviour show in a simulated store: its hash, of every step and of all that it holds at the end,
//! is not the unchanged one's.

use std::collections::BTreeMap;

use pangaea_faults::{Change, with_change};
use pangaea_sim::{Options, Simulation};

/// A change needs its occasion, which one run may not have.
const SEEDS: std::ops::RangeInclusive<u64> = 1..=40;

#[test]
fn each_change_gives_another_run() {
    let simulation = Simulation::prepare().unwrap();
    let hash = |seed: u64| simulation.run(seed, Options::default()).unwrap().hash;
    let mut unchanged: BTreeMap<u64, String> = BTreeMap::new();
    for change in Change::ALL {
        let shown_by = SEEDS.into_iter().find(|seed| {
            let before = unchanged.entry(*seed).or_insert_with(|| hash(*seed)).clone();
            let _changed = with_change(*change);
            hash(*seed) != before
        });
        println!("{change}: seed {}", shown_by.unwrap_or_else(|| panic!("{change} shows in none of {SEEDS:?}")));
    }
}
