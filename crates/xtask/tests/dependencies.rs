//! Holds the table "Crates and who may import whom" of `docs/ARCHITECTURE.md` against the manifests.
#![allow(clippy::disallowed_methods, reason = "a test of the manifests starts cargo and reads files")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// A crate's folder name and the crates of this workspace that it may import outside of its tests.
///
/// A crate exists to forbid an import. A row that grows is a decision about the architecture; a new crate needs a row.
const TABLE: &[(&str, &[&str])] = &[
    ("faults", &[]),
    ("contracts", &[]),
    ("journal", &["contracts", "faults"]),
    ("kernel", &["contracts", "faults", "journal"]),
    ("product", MODULE),
    ("order", MODULE),
    ("payment", MODULE),
    ("user", MODULE),
    ("bus", &["contracts", "faults"]),
    ("runtime", &["contracts", "faults", "journal", "kernel", "bus"]),
    ("replay", &["contracts", "journal", "kernel"]),
    ("simulator", &[]),
    ("auditor", &[]),
    ("app", PRODUCT),
    ("sim", &["contracts", "faults", "journal", "kernel", "product", "order", "payment", "user", "simulator"]),
    ("xtask", &[]),
    ("bench", ANY),
    ("testkit", ANY),
    ("tests", ANY),
];

/// What a module sees: neither another module, nor the bus, nor the runtime.
const MODULE: &[&str] = &["contracts", "faults", "journal", "kernel"];

/// Folders of our own crates. Those elsewhere are from outside, and have a rule in place of rows: [`outsiders_may_import`].
const INSIDE: &[&str] = &["crates", "tests"];

/// All that is shipped.
const PRODUCT: &[&str] = &[
    "contracts",
    "faults",
    "journal",
    "kernel",
    "product",
    "order",
    "payment",
    "user",
    "bus",
    "runtime",
    "replay",
    "simulator",
];

const ANY: &[&str] = &[
    "contracts",
    "faults",
    "journal",
    "kernel",
    "product",
    "order",
    "payment",
    "user",
    "bus",
    "runtime",
    "replay",
    "simulator",
    "auditor",
    "app",
    "testkit",
];

/// A library and the only crates that may import it outside of their tests.
const LIBRARIES: &[(&str, &[&str])] = &[
    ("async-nats", &["bus", "auditor", "testkit", "bench", "tests"]),
    ("sqlx", &["journal", "auditor", "testkit", "bench", "tests"]),
    // An index beside a file that is the truth; the store's own state is in its journals.
    ("redb", &["simulator"]),
    // The tests bring the whole system up; nothing that is shipped may lean on their tools.
    ("proptest", &["testkit", "tests"]),
];

/// One package as `cargo metadata` describes it.
struct Package {
    /// The folder, which is the name without `pangaea-`.
    name: String,
    manifest: String,
    license: Option<String>,
    may_be_published: bool,
    /// Names of the normal and build dependencies.
    dependencies: BTreeSet<String>,
}

#[test]
fn crates_import_only_what_the_table_allows() {
    let table: BTreeMap<_, _> = TABLE.iter().copied().collect();
    let mut faults = Vec::new();
    for Package { name, dependencies, .. } in packages().into_iter().filter(|package| !package.is_outside()) {
        let Some(allowed) = table.get(name.as_str()) else {
            faults.push(format!(
                "`{name}` has no row in TABLE: say what it may import, here and in docs/ARCHITECTURE.md"
            ));
            continue;
        };
        let ours = dependencies.iter().filter_map(|dependency| folder_of(dependency));
        let refused = ours.filter(|dependency| !allowed.contains(dependency));
        faults.extend(refused.map(|dependency| format!("`{name}` may not import `{dependency}`")));
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn crates_from_outside_import_contracts_and_what_a_module_sees() {
    let mut faults = Vec::new();
    for Package { name, dependencies, .. } in packages().into_iter().filter(Package::is_outside) {
        let ours = dependencies.iter().filter_map(|dependency| folder_of(dependency));
        let is_program = dependencies.contains("pangaea");
        let refused = ours.filter(|dependency| !outsiders_may_import(&name, is_program, dependency));
        faults.extend(refused.map(|dependency| format!("`{name}` may not import `{dependency}`")));
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// A contract imports contracts; a module what our own modules see, and contracts; a program the command line and modules.
fn outsiders_may_import(name: &str, is_program: bool, dependency: &str) -> bool {
    let is_contract = |name: &str| name == "contracts" || name.ends_with("-contracts");
    let is_inside = TABLE.iter().any(|(known, _)| *known == dependency);
    match (is_contract(name), is_program) {
        (true, _) => is_contract(dependency),
        (false, false) => is_contract(dependency) || MODULE.contains(&dependency),
        (false, true) => dependency == "app" || !is_inside,
    }
}

#[test]
fn the_rule_for_crates_from_outside_tells_them_apart() {
    for (name, is_program, dependency, expected) in [
        ("reviews-contracts", false, "contracts", true),
        ("reviews-contracts", false, "kernel", false),
        ("reviews", false, "reviews-contracts", true),
        ("reviews", false, "kernel", true),
        ("reviews", false, "order", false),
        ("reviews", false, "runtime", false),
        ("reviews", false, "ratings", false),
        ("reviews-store", true, "app", true),
        ("reviews-store", true, "reviews", true),
        ("reviews-store", true, "bus", false),
    ] {
        assert_eq!(outsiders_may_import(name, is_program, dependency), expected, "{name} → {dependency}");
    }
}

#[test]
fn every_row_of_the_table_is_a_crate() {
    let crates: BTreeSet<_> = packages().into_iter().map(|package| package.name).collect();
    let stale: Vec<_> = TABLE.iter().map(|(name, _)| *name).filter(|name| !crates.contains(*name)).collect();
    assert!(stale.is_empty(), "rows without a crate: {stale:?}");
}

#[test]
fn libraries_are_known_to_one_crate_only() {
    let mut faults = Vec::new();
    for Package { name, dependencies, .. } in packages() {
        for (library, allowed) in LIBRARIES {
            if dependencies.contains(*library) && !allowed.contains(&name.as_str()) {
                faults.push(format!("`{name}` may not import `{library}`; {allowed:?} may"));
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn every_manifest_has_the_license_the_lints_and_no_way_to_a_registry() {
    for Package { name, manifest, license, may_be_published, .. } in packages() {
        assert!(!may_be_published, "`{name}` lacks publish.workspace = true");
        assert_eq!(license.as_deref(), Some("MIT OR Apache-2.0"), "license of `{name}`");
        let text = fs::read_to_string(&manifest).unwrap();
        assert!(takes_workspace_lints(&text), "`{name}` lacks [lints] workspace = true");
    }
    for file in ["LICENSE-MIT", "LICENSE-APACHE"] {
        assert!(fs::metadata(root().join(file)).unwrap().len() > 1000, "{file}");
    }
}

#[test]
fn unsafe_code_is_forbidden() {
    let text = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let lints = text.split_once("[workspace.lints.rust]").expect("a table of lints").1;
    let lints = lints.split("\n[").next().unwrap_or(lints);
    assert!(lints.lines().any(|line| line.trim() == r#"unsafe_code = "forbid""#), "{lints}");
}

#[test]
fn the_reader_of_lints_tells_manifests_apart() {
    let cases = [
        ("[package]\nname = \"a\"\n\n[lints]\nworkspace = true\n\n[dependencies]\n", true),
        ("[package]\nname = \"a\"\n\n[lints]\n\n[dependencies]\nworkspace = true\n", false),
        ("[package]\nname = \"a\"\n", false),
    ];
    for (manifest, expected) in cases {
        assert_eq!(takes_workspace_lints(manifest), expected, "{manifest}");
    }
}

/// Cargo's metadata does not tell the lints, so that they are read from the text.
fn takes_workspace_lints(manifest: &str) -> bool {
    let table = manifest.split_once("\n[lints]\n").map(|(_, rest)| rest);
    let mut lines = table.into_iter().flat_map(str::lines).take_while(|line| !line.starts_with('['));
    lines.any(|line| line.trim() == "workspace = true")
}

fn packages() -> Vec<Package> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--format-version", "1", "--no-deps", "--offline"]).current_dir(root());
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages: Vec<_> = metadata["packages"].as_array().unwrap().iter().map(Package::read).collect();
    assert!(packages.len() >= TABLE.len(), "cargo metadata lists {} packages only", packages.len());
    packages
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap()
}

/// `pangaea-bus` is in `bus`; the program `pangaea` is in `app`.
fn folder_of(package: &str) -> Option<&str> {
    if package == "pangaea" { Some("app") } else { package.strip_prefix("pangaea-") }
}

// === impl Package ===

impl Package {
    fn is_outside(&self) -> bool {
        let path = Path::new(&self.manifest).strip_prefix(root()).unwrap_or(Path::new(&self.manifest));
        !INSIDE.iter().any(|folder| path.starts_with(folder))
    }

    fn read(package: &Value) -> Self {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let name = text(&package["name"]).unwrap();
        let dependencies = package["dependencies"].as_array().unwrap().iter();
        let dependencies = dependencies.filter(|dependency| dependency["kind"] != "dev");
        Self {
            name: folder_of(&name).unwrap_or(&name).to_owned(),
            manifest: text(&package["manifest_path"]).unwrap(),
            license: text(&package["license"]),
            // Absent means "to any registry", an empty list means "to none".
            may_be_published: package["publish"].as_array().is_none_or(|registries| !registries.is_empty()),
            dependencies: dependencies.filter_map(|dependency| text(&dependency["name"])).collect(),
        }
    }
}
