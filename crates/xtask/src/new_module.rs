//! `cargo xtask new-module NAME`: a module that compiles, is tested and documented, to be made one's own.
//!
//! It is `examples/blank` under another name, so that what it copies is compiled, linted and tested with everything else.

use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::workspace;

/// The journal takes names of 40 bytes, a reader's name is the module's and one of its own within 64.
const NAME_BYTES_MAX: usize = 30;
/// What PostgreSQL does not take for a schema, and what means something to cargo.
const NAMES_TAKEN: &[&str] = &["public", "information_schema", "pangaea", "target", "test"];
/// First words of the store's own paths: the new module's path is its name.
const PATHS_TAKEN: &[&str] = &["products", "skus", "orders", "payments", "users", "sessions"];

macro_rules! files {
    ($($path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("../../../examples/blank/", $path)))),*]
    };
}

const FILES: &[(&str, &str)] = files![
    "README.md",
    "contracts/Cargo.toml",
    "contracts/src/lib.rs",
    "contracts/tests/golden/schemas.txt",
    "contracts/tests/schemas.rs",
    "module/Cargo.toml",
    "module/migrations/0001_blank.sql",
    "module/src/handlers.rs",
    "module/src/http.rs",
    "module/src/lib.rs",
    "module/src/store.rs",
    "module/tests/blank.rs",
];

/// What only the example says of itself.
const OF_THE_EXAMPLE: &str = ": the module that `cargo xtask new-module` copies under the name that you give";

/// What `cargo xtask new-module` takes.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  cargo xtask new-module gift_cards\n  cargo test -p pangaea-gift_cards")]
pub(crate) struct NewModuleArgs {
    /// Lower-case letters, digits and `_`, beginning with a letter, at most 30; e.g. gift_cards.
    name: String,
    /// The folder that it gets, within the workspace; modules/NAME when not given.
    #[arg(long, value_name = "FOLDER")]
    path: Option<PathBuf>,
    /// The workspace that it is added to; this one when not given.
    #[arg(long, value_name = "FOLDER")]
    workspace: Option<PathBuf>,
}

/// Makes the module, adds it to the workspace, and says what to do next.
pub(crate) fn run(args: NewModuleArgs) -> Result<ExitCode> {
    let NewModuleArgs { name, path, workspace } = args;
    check_name(&name)?;
    let root = workspace.unwrap_or_else(workspace::root);
    let folder = path.unwrap_or_else(|| Path::new("modules").join(&name));
    let member = check_folder(&folder)?;
    ensure!(!root.join(&folder).exists(), "{} is there already: nothing is overwritten", folder.display());
    check_packages(&root, &name)?;
    let manifest = root.join("Cargo.toml");
    let text = fs::read_to_string(&manifest).with_context(|| manifest.display().to_string())?;
    let with_member = with_member(&text, &format!("{member}/*")).context("the workspace's Cargo.toml")?;

    let made = write(&root.join(&folder), &name)
        .and_then(|()| fs::write(&manifest, with_member).with_context(|| manifest.display().to_string()))
        .and_then(|()| packages(&root).map(drop));
    if let Err(error) = made {
        // Both are as they were: the folder was not there.
        let _ = fs::remove_dir_all(root.join(&folder));
        let _ = fs::write(&manifest, text);
        return Err(
            error.context(format!("{} cannot be a part of the workspace, and was taken back", folder.display()))
        );
    }
    format(&root, &name);
    println!("{}", next_steps(&name, &member));
    Ok(ExitCode::SUCCESS)
}

fn write(folder: &Path, name: &str) -> Result<()> {
    for (path, content) in FILES {
        let file = folder.join(renamed(path, name));
        let parent = file.parent().context("every file is in a folder")?;
        fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
        fs::write(&file, renamed(content, name)).with_context(|| file.display().to_string())?;
    }
    Ok(())
}

fn check_name(name: &str) -> Result<()> {
    let sound = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let is_name = name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(sound)
        && !name.ends_with('_')
        && !name.contains("__")
        && name.len() <= NAME_BYTES_MAX;
    if !is_name {
        bail!(
            "{name:?} is no name for a module: write 1 to {NAME_BYTES_MAX} lower-case letters, digits and single _, \
             the first one a letter, e.g. gift_cards"
        );
    }
    let is_taken = NAMES_TAKEN.contains(&name) || name.starts_with("pg_") || name.ends_with("_contracts");
    ensure!(!is_taken, "{name:?} means something else to PostgreSQL or to this workspace: choose another name");
    ensure!(!PATHS_TAKEN.contains(&name), "/v1/{name} is a path of the store: choose another name");
    Ok(())
}

/// The folder as a member of the workspace.
fn check_folder(folder: &Path) -> Result<String> {
    let is_within = folder.components().all(|part| matches!(part, Component::Normal(_)));
    let text =
        folder.to_str().filter(|text| is_within && !text.is_empty() && !text.contains(['"', '*', '\\', '?', '[']));
    let text = text.with_context(|| {
        format!("{} is no folder within the workspace: write one like modules/gift_cards", folder.display())
    })?;
    Ok(text.trim_end_matches('/').to_owned())
}

fn check_packages(root: &Path, name: &str) -> Result<()> {
    let known = packages(root)?;
    for package in [format!("pangaea-{name}"), format!("pangaea-{name}-contracts")] {
        ensure!(
            !known.contains(&format!("\"name\":\"{package}\"")),
            "the workspace has a package {package} already: choose another name"
        );
    }
    Ok(())
}

/// What cargo knows of the workspace's packages, as JSON.
fn packages(root: &Path) -> Result<String> {
    let mut cargo = workspace::cargo();
    cargo.args(["metadata", "--format-version", "1", "--no-deps", "--offline"]).current_dir(root);
    let output = cargo.output().context("cargo could not be started")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The manifest with one member more.
fn with_member(manifest: &str, member: &str) -> Result<String> {
    const LIST: &str = "\nmembers = [";
    let start = manifest.find(LIST).context("no list of members")? + LIST.len();
    let end = start + manifest[start..].find(']').context("the list of members has no end")?;
    let known = manifest[start..end].trim_end();
    let separator = match known.chars().last() {
        None => "",
        Some(',') => " ",
        Some(_) => ", ",
    };
    Ok(format!("{}{known}{separator}\"{member}\"{}", &manifest[..start], &manifest[end..]))
}

/// The text or path of the example, under the module's name.
fn renamed(text: &str, name: &str) -> String {
    let camel: String = name.split('_').map(capitalised).collect();
    text.replace(OF_THE_EXAMPLE, "").replace("blank", name).replace("Blank", &camel)
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

/// Imports stand in another order under another name. Without rustfmt they are merely not sorted.
fn format(root: &Path, name: &str) {
    let mut cargo = workspace::cargo();
    cargo.args(["fmt", "-p", &format!("pangaea-{name}"), "-p", &format!("pangaea-{name}-contracts")]);
    match cargo.current_dir(root).status() {
        Ok(status) if status.success() => {}
        _ => eprintln!("`cargo fmt` did not run: the new files are not formatted"),
    }
}

fn next_steps(name: &str, member: &str) -> String {
    let camel: String = name.split('_').map(capitalised).collect();
    format!(
        "{member}/contracts and {member}/module are members of the workspace now.\n\n\
         Test them:\n  cargo test -p pangaea-{name} -p pangaea-{name}-contracts\n\n\
         Host the module, in a program like examples/reviews/store, e.g. {member}/store:\n  \
         pangaea::main_with(&Catalogue::store().and(|_| Ok(pangaea_{name}::{camel}Module)))\n\n\
         docs/write-a-module.md goes on from here."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_subjects_schemas_and_packages_take() {
        for good in ["a", "reviews", "gift_cards", "b2b", "self", "module"] {
            check_name(good).unwrap();
        }
        let long = "a".repeat(31);
        for bad in ["", "Reviews", "2go", "gift-cards", "_a", "a_", "a__b", "a b", "a/b", "é", &long] {
            let error = check_name(bad).unwrap_err().to_string();
            assert!(error.contains("is no name for a module") && error.contains("gift_cards"), "{error}");
        }
        for taken in ["public", "pg_temp", "x_contracts", "pangaea"] {
            assert!(check_name(taken).unwrap_err().to_string().contains("choose another name"));
        }
    }

    #[test]
    fn folders_are_within_the_workspace() {
        assert_eq!(check_folder(Path::new("modules/gift_cards/")).unwrap(), "modules/gift_cards");
        for bad in ["", "/tmp/x", "../x", "modules/../../x", "a*b", "."] {
            assert!(check_folder(Path::new(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_member_is_added_to_any_list() {
        let cases = [
            ("[workspace]\nmembers = [\"a\"]\nx = 1\n", "[workspace]\nmembers = [\"a\", \"m/*\"]\nx = 1\n"),
            ("[workspace]\nmembers = [\n  \"a\",\n]\n", "[workspace]\nmembers = [\n  \"a\", \"m/*\"]\n"),
            ("[workspace]\nmembers = []\n", "[workspace]\nmembers = [\"m/*\"]\n"),
        ];
        for (manifest, expected) in cases {
            assert_eq!(with_member(manifest, "m/*").unwrap(), expected);
        }
        assert!(with_member("[package]\n", "m/*").is_err());
    }

    #[test]
    fn nothing_of_the_example_is_left() {
        let (mut names, mut sentence) = (0, false);
        for (path, content) in FILES {
            names += content.matches("blank").count() + content.matches("Blank").count();
            sentence |= content.contains(OF_THE_EXAMPLE);
            let text = format!("{}\n{}", renamed(path, "gift_cards"), renamed(content, "gift_cards"));
            assert!(!text.to_lowercase().contains("blank"), "{path}: {text}");
        }
        assert!(names > 20 && sentence);
        assert_eq!(renamed("BlankModule pangaea_blank", "gift_cards"), "GiftCardsModule pangaea_gift_cards");
    }
}
