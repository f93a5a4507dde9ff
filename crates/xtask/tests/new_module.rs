//! `cargo xtask new-module` makes what compiles and holds its own tests, and harms nothing that is there.
#![allow(clippy::disallowed_methods, reason = "a test of a tool starts it and reads files")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The testkit has the folder of its workspace compiled in, and cargo does not notice that another one builds it. With a
/// profile of its own, what the copy builds is not taken for ours.
const OWN_TESTKIT: &str = "\n[profile.dev.package.pangaea-testkit]\ndebug = false\n";

/// A workspace that is this one, but for its manifest, its lockfile, and what is added: everything else is linked, so that
/// what cargo has built of it need not be built again.
struct Copy(PathBuf);

impl Copy {
    fn new(name: &str) -> Self {
        // The same in every run, so that what has been built in it is fresh in the next one.
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("crates")).unwrap();
        for linked in ["tests", "examples", "config", "clippy.toml", "rustfmt.toml"] {
            symlink(root().join(linked), folder.join(linked)).unwrap();
        }
        for linked in fs::read_dir(root().join("crates")).unwrap() {
            let linked = linked.unwrap();
            symlink(linked.path(), folder.join("crates").join(linked.file_name())).unwrap();
        }
        fs::copy(root().join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
        let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
        fs::write(folder.join("Cargo.toml"), with_own_members(&manifest) + OWN_TESTKIT).unwrap();
        Self(folder)
    }

    fn new_module(&self, args: &[&str]) -> Output {
        let mut xtask = Command::new(env!("CARGO_BIN_EXE_pangaea-xtask"));
        xtask.arg("new-module").args(args).arg("--workspace").arg(&self.0).output().unwrap()
    }

    fn manifest(&self) -> String {
        fs::read_to_string(self.0.join("Cargo.toml")).unwrap()
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        // Links are removed, and not what they lead to.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_new_module_compiles_and_holds_its_tests() {
    let copy = Copy::new("new-module");
    let made = copy.new_module(&["gift_cards"]);
    assert!(made.status.success(), "{}", text(&made));
    assert!(text(&made).contains("pangaea_gift_cards::GiftCardsModule"), "{}", text(&made));
    assert!(copy.manifest().contains("\"modules/gift_cards/*\"]"), "{}", copy.manifest());
    let readme = fs::read_to_string(copy.0.join("modules/gift_cards/README.md")).unwrap();
    assert!(readme.contains("cargo test -p pangaea-gift_cards -p pangaea-gift_cards-contracts"), "{readme}");

    // Of the whole workspace, so that its crates have the features with which they are built already.
    let mut test = cargo();
    test.args(["test", "--offline", "--workspace", "--test", "gift_cards", "--test", "schemas"]).current_dir(&copy.0);
    test.env("CARGO_TARGET_DIR", target()).env_remove("PANGAEA_TEST_POSTGRES_URL");
    let tested = test.output().unwrap();
    assert!(tested.status.success(), "{}", text(&tested));
    assert!(text(&tested).contains("test result: ok. 2 passed"), "{}", text(&tested));

    let mut format = cargo();
    format.args(["fmt", "--check", "-p", "pangaea-gift_cards", "-p", "pangaea-gift_cards-contracts"]);
    let formatted = format.current_dir(&copy.0).output().unwrap();
    assert!(formatted.status.success(), "{}", text(&formatted));
}

#[test]
fn bad_names_are_refused_and_nothing_is_overwritten() {
    let copy = Copy::new("new-module-refused");
    let manifest = copy.manifest();
    for (args, reason) in [
        (&["Gift-Cards"][..], "is no name for a module"),
        (&["pg_cards"], "choose another name"),
        (&["orders"], "choose another name"),
        (&["order"], "has a package pangaea-order already"),
        (&["gift_cards", "--path", "../gift_cards"], "is no folder within the workspace"),
        (&["gift_cards", "--path", "examples"], "nothing is overwritten"),
        // Every folder in `crates` is taken for a package.
        (&["gift_cards", "--path", "crates/gift_cards"], "was taken back"),
    ] {
        let refused = copy.new_module(args);
        assert!(!refused.status.success() && text(&refused).contains(reason), "{args:?}: {}", text(&refused));
    }
    assert_eq!(copy.manifest(), manifest);
    assert!(!copy.0.join("modules").exists() && !copy.0.join("crates/gift_cards").exists());

    assert!(copy.new_module(&["gift_cards", "--path", "ours/cards"]).status.success());
    let file = copy.0.join("ours/cards/module/src/lib.rs");
    fs::write(&file, "// changed by its author\n").unwrap();
    let (manifest, again) = (copy.manifest(), copy.new_module(&["other_cards", "--path", "ours/cards"]));
    assert!(!again.status.success() && text(&again).contains("nothing is overwritten"), "{}", text(&again));
    assert_eq!(fs::read_to_string(file).unwrap(), "// changed by its author\n");
    assert_eq!(copy.manifest(), manifest);
}

/// The manifest without the modules that were added by `cargo xtask new-module`: they are not linked.
fn with_own_members(manifest: &str) -> String {
    const OWN: &str = "members = [\"crates/*\", \"tests\", \"examples/*/*\"";
    let start = manifest.find(OWN).expect("the list of members") + OWN.len();
    let end = start + manifest[start..].find(']').expect("the end of the list");
    format!("{}{}", &manifest[..start], &manifest[end..])
}

/// Cargo without what this test was told of its own package: build scripts that look at it would run again, here and at the
/// next build of the workspace.
fn cargo() -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_MANIFEST_") || text.starts_with("CARGO_PKG_") {
            cargo.env_remove(&name);
        }
    }
    cargo
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// `target/<profile>/deps/<test>` → `target`.
fn target() -> PathBuf {
    let this = std::env::current_exe().unwrap();
    this.ancestors().nth(3).unwrap().to_owned()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap()
}
