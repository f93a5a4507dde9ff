//! Holds the invariant "only `journal` and a module's `store` know SQL" of `docs/ARCHITECTURE.md` against the sources.
#![allow(clippy::disallowed_methods, reason = "a test of the sources reads files")]

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

/// Where SQL may stand: files, and folders that end in `/`, below `crates/`.
///
/// A row more is a decision about the architecture. Tests may look into the tables that they test: see [`sources`].
const PLACES: &[&str] = &[
    "journal/",
    // The kernel's own tables, which every module has: its settings, and the keys of access tokens.
    "kernel/src/settings.rs",
    "kernel/src/auth/",
    "product/src/store/",
    "order/src/store.rs",
    // Reads of order's own tables, for `pangaea verify`.
    "order/src/store/",
    "payment/src/store/",
    "user/src/store.rs",
    // Tests' tools: they look into every module's tables to judge a run, and to show what is there.
    "sim/src/",
    "testkit/src/scenario/",
    // Asks the databases for their own settings only.
    "bench/src/settings.rs",
];

/// What cannot be avoided to give SQL to a database: a statement is made by nothing else.
const MARKS: &[&str] = &["Statement::new", "cx.sql("];

#[test]
fn sql_stands_only_where_the_table_allows() {
    let mut faults = Vec::new();
    for (path, text) in sources() {
        if !PLACES.iter().any(|place| covers(place, &path)) {
            faults.extend(marked(&text).map(|(line, mark)| format!("crates/{path}:{line}: `{mark}`")));
        }
    }
    let advice = "read a module's tables in its `store` and call that function";
    assert!(faults.is_empty(), "SQL outside of its places; {advice}:\n{}", faults.join("\n"));
}

/// Modules from outside have one place each.
#[test]
fn modules_from_outside_have_sql_in_their_store_only() {
    let mut stores = 0;
    for folder in ["examples", "modules"] {
        for (path, text) in sources_below(&root().join(folder)) {
            let faults: Vec<_> = marked(&text).collect();
            let is_store = path.ends_with("/src/store.rs") || path.contains("/src/store/");
            stores += usize::from(is_store && !faults.is_empty());
            assert!(is_store || faults.is_empty(), "SQL in {folder}/{path}: {faults:?}");
        }
    }
    assert!(stores >= 2, "the examples have stores with SQL");
}

#[test]
fn every_place_has_sql() {
    let mut stale = PLACES.to_vec();
    for (path, text) in sources() {
        if marked(&text).next().is_some() {
            stale.retain(|place| !covers(place, &path));
        }
    }
    assert!(stale.is_empty(), "places without SQL: {stale:?}");
}

#[test]
fn a_place_is_a_file_or_a_folder() {
    let cases = [
        ("product/src/store/", "product/src/store/read.rs", true),
        ("product/src/store/", "product/src/store_of_others.rs", false),
        ("order/src/store.rs", "order/src/store.rs", true),
        ("order/src/store.rs", "order/src/store.rs/other.rs", false),
        ("journal/", "app/src/journal/rows.rs", false),
    ];
    for (place, path, expected) in cases {
        assert_eq!(covers(place, path), expected, "{place} {path}");
    }
}

#[test]
fn marks_are_found_and_numbered() {
    let text = "fn read() {\n    cx.sql(statement);\n    let select = Statement::new(\"SELECT 1\");\n}\n";
    assert_eq!(marked(text).collect::<Vec<_>>(), [(2, "cx.sql("), (3, "Statement::new")]);
    assert_eq!(marked("fn sql(statement: Statement) {}\n").count(), 0);
}

fn covers(place: &str, path: &str) -> bool {
    if place.ends_with('/') { path.starts_with(place) } else { path == place }
}

/// The lines, from 1, that have a mark.
fn marked(text: &str) -> impl Iterator<Item = (usize, &'static str)> {
    let lines = (1..).zip(text.lines());
    lines.filter_map(|(number, line)| MARKS.iter().find(|mark| line.contains(**mark)).map(|mark| (number, *mark)))
}

/// Every Rust file of the crates outside of folders named `tests`: its path below `crates/`, and its text.
fn sources() -> Vec<(String, String)> {
    let sources = sources_below(&root().join("crates"));
    assert!(sources.len() > 100, "{} sources only", sources.len());
    sources
}

/// The same below any folder; none where it is not there.
fn sources_below(top: &Path) -> Vec<(String, String)> {
    let mut sources = Vec::new();
    let mut folders: Vec<_> = top.is_dir().then(|| top.to_path_buf()).into_iter().collect();
    while let Some(folder) = folders.pop() {
        for path in entries(&folder) {
            if path.is_dir() {
                folders.extend((path.file_name() != Some(OsStr::new("tests"))).then_some(path));
            } else if path.extension() == Some(OsStr::new("rs")) {
                let name = path.strip_prefix(top).unwrap().to_str().unwrap().to_owned();
                sources.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    sources
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}
