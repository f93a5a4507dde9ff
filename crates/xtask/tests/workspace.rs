//! What the files at the top promise: a build of the binary alone, optimised links only where they are asked for, and a
//! repository that takes the lockfile and leaves a store's data out.
#![allow(clippy::disallowed_methods, reason = "a test of the repository starts cargo and git, and reads files")]

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

#[test]
fn the_default_member_is_the_binary_alone() {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--format-version", "1", "--no-deps", "--offline"]).current_dir(root());
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let [member] = metadata["workspace_default_members"].as_array().unwrap().as_slice() else {
        panic!("one default member: {}", metadata["workspace_default_members"]);
    };
    let package = metadata["packages"].as_array().unwrap().iter().find(|package| package["id"] == *member).unwrap();
    assert_eq!(package["name"], "pangaea");
    let is_binary = |target: &Value| target["kind"] == serde_json::json!(["bin"]) && target["name"] == "pangaea";
    assert!(package["targets"].as_array().unwrap().iter().any(is_binary), "{}", package["targets"]);
}

/// Link-time optimisation doubles the time of a build, which everybody who tries the store would pay.
#[test]
fn only_dist_is_optimised_across_crates() {
    let mut text = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    if let Ok(of_cargo) = fs::read_to_string(root().join(".cargo/config.toml")) {
        text.push_str(&of_cargo);
    }
    assert_eq!(tables_with_lto(&text), ["profile.dist"]);
}

#[test]
fn the_reader_of_profiles_sees_faults() {
    let text = "[profile.release]\nstrip = true\n lto=true\n[profile.dist]\ninherits = \"release\"\n# lto = true\n\
        [profile.dev.package.\"*\"]\nlto = \"fat\"\n";
    assert_eq!(tables_with_lto(text), ["profile.release", "profile.dev.package.\"*\""]);
    assert_eq!(tables_with_lto("[profile]\nrelease.lto = true\n"), ["profile"]);
    assert_eq!(tables_with_lto("[profile]\nrelease = { lto = true }\n"), ["profile"]);
}

#[test]
fn data_is_ignored_and_the_lockfile_is_not() {
    let ignored = fs::read_to_string(root().join(".gitignore")).unwrap();
    let ignored: Vec<_> = ignored.lines().map(str::trim).collect();
    assert!(ignored.contains(&"/data"), "a store that is tried out writes to ./data: {ignored:?}");
    assert!(ignored.contains(&"/target"), "{ignored:?}");
    assert!(fs::read_to_string(root().join("Cargo.lock")).unwrap().contains("name = \"pangaea\""));
    // A source archive has no repository to ask.
    if !root().join(".git").exists() {
        assert!(!ignored.iter().any(|line| line.ends_with("Cargo.lock") || *line == "*.lock"), "{ignored:?}");
        return;
    }
    git(&["ls-files", "--error-unmatch", "Cargo.lock"]);
    git(&["check-ignore", "--quiet", "data/order.db"]);
}

fn git(args: &[&str]) {
    let output = Command::new("git").args(args).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The tables of a manifest in which a line sets `lto`.
fn tables_with_lto(text: &str) -> Vec<&str> {
    let mut table = "";
    let mut found = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            table = name;
        }
        let words = line.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        if table.starts_with("profile") && words.into_iter().any(|word| word == "lto") {
            found.push(table);
        }
    }
    found
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap()
}
