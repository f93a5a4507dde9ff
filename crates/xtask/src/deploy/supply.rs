//! What the store is made of: whether it may be, by cargo-deny, and the list of it, by cargo-cyclonedx.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::running::Folder;
use super::{Context, Outcome};
use crate::{tools, workspace};

const DENY: &str = "0.20.2";
const CYCLONEDX: &str = "0.5.9";

/// # Errors
/// When a tool that is there cannot be started.
pub(crate) fn check(ctx: &Context) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    match tools::cargo_tool("cargo-deny", DENY) {
        Ok(deny) => judge(ctx, &deny, &mut outcome)?,
        Err(error) => outcome.missing.push(("cargo-deny".to_owned(), format!("{error:#}"))),
    }
    match tools::cargo_tool("cargo-cyclonedx", CYCLONEDX) {
        Ok(cyclonedx) => list(ctx, &cyclonedx, &mut outcome)?,
        Err(error) => outcome.missing.push(("cargo-cyclonedx".to_owned(), format!("{error:#}"))),
    }
    Ok(outcome)
}

fn judge(ctx: &Context, deny: &Path, outcome: &mut Outcome) -> Result<()> {
    let run = |what: &[&str]| {
        let mut command = Command::new(deny);
        command.args(["--locked", "check", "--hide-inclusion-graph"]).args(what).current_dir(&ctx.root);
        command.output().context("cargo-deny does not start")
    };
    let output = run(&["licenses", "bans", "sources"])?;
    match output.status.success() {
        true => outcome.passed.push("cargo deny: licenses, bans, sources".to_owned()),
        false => outcome.failed.push(format!("cargo deny (deny.toml): {}", errors(&output))),
    }
    let output = run(&["advisories"])?;
    let said = errors(&output);
    if output.status.success() {
        outcome.passed.push("cargo deny: advisories".to_owned());
    } else if said.contains("advisory database") {
        outcome.missing.push(("rustsec-advisories".to_owned(), said));
    } else {
        outcome.failed.push(format!("cargo deny (deny.toml): {said}"));
    }
    Ok(())
}

fn errors(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let lines: Vec<_> = text.lines().filter(|line| line.contains("error") || line.contains("ERROR")).collect();
    lines.join("; ")
}

/// Writes `target/sbom/pangaea.cdx.json`. It is made in a copy, because the tool writes beside every manifest.
fn list(ctx: &Context, cyclonedx: &Path, outcome: &mut Outcome) -> Result<()> {
    let copy = Folder::make("sbom")?;
    let files = Command::new("git").args(["ls-files", "-z"]).current_dir(&ctx.root).output()?;
    ensure!(files.status.success(), "`git ls-files` failed");
    for file in String::from_utf8_lossy(&files.stdout).split('\0').filter(|file| is_of_cargo(file)) {
        let to = copy.path().join(file);
        fs::create_dir_all(to.parent().context("a file has a folder")?)?;
        fs::copy(ctx.root.join(file), &to).with_context(|| file.to_owned())?;
    }
    let mut command = Command::new(cyclonedx);
    command.args(["cyclonedx", "--format", "json", "--spec-version", "1.5", "--target", "x86_64-unknown-linux-gnu"]);
    command.args(["--manifest-path", "crates/app/Cargo.toml", "--override-filename", "pangaea.cdx"]);
    let output = command.current_dir(copy.path()).output().context("cargo-cyclonedx does not start")?;
    let made = copy.path().join("crates/app/pangaea.cdx.json");
    if !output.status.success() || !made.is_file() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        outcome.failed.push(format!("cargo cyclonedx wrote no list: {said}"));
        return Ok(());
    }
    let kept = workspace::target().join("sbom/pangaea.cdx.json");
    fs::create_dir_all(kept.parent().unwrap_or(&ctx.root))?;
    fs::copy(&made, &kept)?;
    is_whole(ctx, &kept, outcome)
}

/// Manifests and sources: cargo looks for the targets of a manifest.
fn is_of_cargo(file: &str) -> bool {
    let name = Path::new(file).file_name().unwrap_or_default().to_string_lossy();
    name == "Cargo.toml" || name == "Cargo.lock" || file.ends_with(".rs")
}

/// Every crate that is built into the program is in the list.
fn is_whole(ctx: &Context, list: &Path, outcome: &mut Outcome) -> Result<()> {
    let list: Value = serde_json::from_str(&fs::read_to_string(list)?)?;
    ensure!(list["bomFormat"] == "CycloneDX", "no CycloneDX document");
    let components = list["components"].as_array().context("a list without components")?;
    let listed: BTreeSet<_> =
        components.iter().map(|one| format!("{} v{}", text(one, "name"), text(one, "version"))).collect();
    let mut tree = workspace::cargo();
    tree.current_dir(&ctx.root).args(["tree", "--package", "pangaea", "--edges", "normal", "--prefix", "none"]);
    tree.args(["--target", "x86_64-unknown-linux-gnu", "--locked", "--format", "{p}"]);
    let output = tree.output().context("cargo does not start")?;
    ensure!(output.status.success(), "`cargo tree`: {}", String::from_utf8_lossy(&output.stderr));
    let of_tree = String::from_utf8_lossy(&output.stdout).into_owned();
    let built: BTreeSet<_> =
        of_tree.lines().filter_map(name_and_version).filter(|one| !one.starts_with("pangaea v")).collect();
    let left_out: Vec<_> = built.difference(&listed).cloned().collect();
    match left_out.as_slice() {
        [] => {
            outcome.passed.push(format!("target/sbom/pangaea.cdx.json lists all {} crates of the program", built.len()))
        }
        _ => outcome.failed.push(format!("target/sbom/pangaea.cdx.json lacks {}", left_out.join(", "))),
    }
    Ok(())
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

/// `name v1.2.3` of a line of `cargo tree`.
fn name_and_version(line: &str) -> Option<String> {
    let mut words = line.split_whitespace();
    Some(format!("{} {}", words.next()?, words.next()?))
}
