//! `cargo xtask new-module` makes what compiles and holds its own tests, and harms nothing that is there.
#![allow(clippy::disallowed_methods, reason = "a test of a tool starts it and reads files")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A workspace that is this one, but for its manifest, its lockfile, and what is added: everything else is linked, so that
/// what cargo has built of it need not be built again.
struct Copy(PathBuf);

impl Copy {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("pangaea-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        for linked in ["crates", "tests", "examples", "config", "clippy.toml", "rustfmt.toml"] {
            symlink(root().join(linked), folder.join(linked)).unwrap();
        }
        for copied in ["Cargo.toml", "Cargo.lock"] {
            fs::copy(root().join(copied), folder.join(copied)).unwrap();
        }
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
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["test", "--offline", "--workspace", "--test", "gift_cards"]).current_dir(&copy.0);
    cargo.env("CARGO_TARGET_DIR", target()).env_remove("PANGAEA_TEST_POSTGRES_URL");
    let tested = cargo.output().unwrap();
    assert!(tested.status.success(), "{}", text(&tested));
    assert!(text(&tested).contains("test result: ok. 2 passed"), "{}", text(&tested));
}

#[test]
fn bad_names_are_refused_and_nothing_is_overwritten() {
    let copy = Copy::new("new-module-refused");
    let manifest = copy.manifest();
    for (args, reason) in [
        (&["Gift-Cards"][..], "is no name for a module"),
        (&["pg_cards"], "choose another name"),
        (&["order"], "has a package pangaea-order already"),
        (&["gift_cards", "--path", "../gift_cards"], "is no folder within the workspace"),
        (&["gift_cards", "--path", "examples"], "nothing is overwritten"),
    ] {
        let refused = copy.new_module(args);
        assert!(!refused.status.success() && text(&refused).contains(reason), "{args:?}: {}", text(&refused));
    }
    assert_eq!(copy.manifest(), manifest);
    assert!(!copy.0.join("modules").exists());

    assert!(copy.new_module(&["gift_cards", "--path", "ours/cards"]).status.success());
    let file = copy.0.join("ours/cards/module/src/lib.rs");
    fs::write(&file, "// changed by its author\n").unwrap();
    let (manifest, again) = (copy.manifest(), copy.new_module(&["other_cards", "--path", "ours/cards"]));
    assert!(!again.status.success() && text(&again).contains("nothing is overwritten"), "{}", text(&again));
    assert_eq!(fs::read_to_string(file).unwrap(), "// changed by its author\n");
    assert_eq!(copy.manifest(), manifest);
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
