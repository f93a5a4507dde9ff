//! The end-to-end tests that do not mind what runs beside them, as one program: each program would have to be linked, and the
//! last test of each would have a processor to itself.

mod access;
mod bad_requests;
mod canary;
mod changed;
mod commands;
mod configuration;
mod dead_letters;
mod drain;
mod drills_bus;
mod drills_failpoints;
mod drills_kill;
mod drills_outage;
mod equivalence;
mod faults;
mod hot_item;
mod least_rights;
mod observing;
mod placement;
mod postgres;
mod readme;
mod recordings;
mod replay_guide;
mod replicas;
mod restart;
mod tell;
mod terminal;
mod time_travel;
mod traces;

use std::fs;
use std::path::Path;

/// What is in no program is never run, and nobody would notice.
#[test]
fn every_file_of_tests_is_in_a_program() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = fs::read_to_string(package.join("Cargo.toml")).unwrap();
    let this = fs::read_to_string(package.join("tests/store.rs")).unwrap();
    for entry in fs::read_dir(package.join("tests")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let is_in_one = this.contains(&format!("mod {name};\n")) || manifest.contains(&format!("name = \"{name}\"\n"));
        assert!(is_in_one, "{} is neither a module of store.rs nor a [[test]] of Cargo.toml", path.display());
    }
}
