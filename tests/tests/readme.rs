//! The README does what it says: its `sh` blocks are run as pasted, and what it shows is what comes out.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pangaea_testkit::{Folder, Process, eventually, free_port, program, workspace};
use serde_json::Value;

/// Where the README's store listens. Tests run side by side, so that theirs listen elsewhere.
const SHOWN_API: &str = "127.0.0.1:8080";
const SHOWN_OPERATIONS: &str = "127.0.0.1:9090";
const RUN: &str = "cargo run --release";
const READY_MAX: Duration = Duration::from_secs(60);
const BLOCK_MAX: Duration = Duration::from_secs(120);
const LINES_MAX: usize = 150;

/// The README's store, run by the debug build, and what the README's text means for it.
struct Shown {
    folder: Folder,
    process: Process,
    api: String,
    operations: String,
}

/// A fenced block.
#[derive(Debug, PartialEq)]
struct Block {
    language: String,
    text: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_end_in_a_confirmed_order() -> Result<()> {
    let readme = readme()?;
    let commands = blocks(&readme, "sh");
    let [run, order, retail] = commands.as_slice() else { panic!("the README has three sh blocks: {commands:#?}") };
    assert_eq!(run.trim(), RUN);
    let shown = Shown::start().await?;

    let answer = shown.run_block(order).await?;
    // The answers come one after the other, without a line's end between them: the products, then the order.
    let answers = serde_json::Deserializer::from_str(&answer).into_iter::<Value>().collect::<Result<Vec<_>, _>>()?;
    let answer = answers.last().context("the order's answer")?;
    assert_eq!(answer["state"], "confirmed", "{answer}");
    let example: Value = serde_json::from_str(only(&blocks(&readme, "json"))?)?;
    assert_eq!(shape(&example), shape(answer), "the README shows {example}, the store answers {answer}");
    assert_eq!(example["state"], answer["state"]);

    let table = shown.run_block(retail).await?;
    let [welcome, excerpt] = &blocks(&readme, "text")[..] else { panic!("the README has two text blocks") };
    shown.has_shown("what the store prints", &shown.process.log(), welcome)?;
    shown.has_shown("what the two commands print", &table, excerpt)?;
    shown.stop().await
}

/// The store prints the lines that the README has, so that either may be pasted.
#[tokio::test(flavor = "multi_thread")]
async fn the_store_prints_the_same_commands() -> Result<()> {
    let readme = readme()?;
    let shown = Shown::start().await?;
    let printed: Vec<String> = shown.process.log().lines().map(|line| line.trim().to_owned()).collect();
    let order = shown.here(&blocks(&readme, "sh")[1]);
    for line in order.lines().map(str::trim).filter(|line| !line.starts_with("TOKEN=")) {
        assert!(printed.iter().any(|one| one == line), "the store does not print {line:?}:\n{}", printed.join("\n"));
    }
    shown.stop().await
}

#[test]
fn the_split_is_in_the_shipped_file() -> Result<()> {
    let file = std::fs::read_to_string(workspace().join("config/apart.toml"))?;
    let split = blocks(&readme()?, "toml");
    let split = only(&split)?;
    assert_eq!(split.lines().count(), 3, "the split is three lines of configuration: {split}");
    for line in split.lines() {
        assert!(file.lines().any(|one| one == line), "config/apart.toml lacks {line:?}");
    }
    Ok(())
}

#[test]
fn it_is_short_and_names_the_two_commands() -> Result<()> {
    let readme = readme()?;
    assert!(readme.lines().count() <= LINES_MAX, "{} lines; {LINES_MAX} at most", readme.lines().count());
    for command in [RUN, "cargo xtask test"] {
        assert!(readme.contains(command), "{command}");
    }
    Ok(())
}

/// Links lead somewhere, and tests that are named exist: in every document.
#[test]
fn documents_name_what_exists() -> Result<()> {
    let mut faults = Vec::new();
    for name in [
        "README.md",
        "CONTRIBUTING.md",
        "docs/ARCHITECTURE.md",
        "docs/acceptance.md",
        "docs/problems.md",
        "docs/benchmarks.md",
        "docs/observability.md",
        "docs/reliability.md",
        "docs/replay.md",
        "docs/write-a-module.md",
    ] {
        let path = workspace().join(name);
        let text = std::fs::read_to_string(&path).with_context(|| name.to_owned())?;
        let folder = path.parent().context("a document is in a folder")?;
        let links = links(&text).filter(|link| !folder.join(link).exists());
        faults.extend(links.map(|link| format!("{name}: the link {link} leads nowhere")));
        faults.extend(tests_named(&text).filter_map(|named| missing(&named).map(|fault| format!("{name}: {fault}"))));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    Ok(())
}

#[test]
fn the_architecture_names_every_crate() -> Result<()> {
    let text = std::fs::read_to_string(workspace().join("docs/ARCHITECTURE.md"))?;
    for entry in std::fs::read_dir(workspace().join("crates"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        assert!(text.contains(&format!("| `{name}`")), "the table of crates has no row for `{name}`");
    }
    Ok(())
}

#[test]
fn the_readers_of_documents_see_faults() {
    let text = "a\n```sh\nls\n```\n```json\n{}\n```\n[x](docs/none.md) [y](https://a.example) `tests/tests/readme.rs::nothing_of_this_name`";
    assert_eq!(blocks(text, "sh"), ["ls"]);
    assert_eq!(links(text).collect::<Vec<_>>(), ["docs/none.md"]);
    let named: Vec<_> = tests_named(text).collect();
    assert_eq!(named, [("tests/tests/readme.rs".to_owned(), "nothing_of_this_name".to_owned())]);
    assert!(missing(&named[0]).is_some());
    assert!(missing(&("tests/tests/readme.rs".to_owned(), "documents_name_what_exists".to_owned())).is_none());
    let [one, other, number] = ["{\"a\":[{\"b\":1}]}", "{\"a\":[{\"c\":1}]}", "{\"a\":[{\"b\":\"1\"}]}"]
        .map(|text| shape(&serde_json::from_str(text).unwrap()));
    assert!(one != other && one != number);
}

fn readme() -> Result<String> {
    Ok(std::fs::read_to_string(workspace().join("README.md"))?)
}

/// The fenced blocks of one language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let mut found: Vec<Block> = Vec::new();
    let mut is_open = false;
    for line in text.lines() {
        match (line.strip_prefix("```"), is_open) {
            (Some(language), false) => {
                found.push(Block { language: language.to_owned(), text: String::new() });
                is_open = true;
            }
            (Some(_), true) => is_open = false,
            (None, true) => {
                if let Some(block) = found.last_mut() {
                    block.text += if block.text.is_empty() { "" } else { "\n" };
                    block.text += line;
                }
            }
            (None, false) => {}
        }
    }
    found.into_iter().filter(|block| block.language == language).map(|block| block.text).collect()
}

fn only(blocks: &[String]) -> Result<&str> {
    ensure!(blocks.len() == 1, "one such block is expected: {blocks:#?}");
    Ok(&blocks[0])
}

/// The same document with every value replaced by its type, and arrays by their first element.
fn shape(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields.iter().map(|(name, field)| (name.clone(), shape(field))).collect(),
        Value::Array(items) => Value::Array(items.iter().take(1).map(shape).collect()),
        Value::String(_) => "text".into(),
        Value::Number(_) => "number".into(),
        Value::Bool(_) => "bool".into(),
        Value::Null => Value::Null,
    }
}

/// The relative targets of Markdown links, without their anchors.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    let targets = targets.map(|(target, _)| target.split('#').next().unwrap_or(target));
    targets.filter(|target| !target.is_empty() && !target.contains("://"))
}

/// Tests as `file::name`, in backquotes.
fn tests_named(text: &str) -> impl Iterator<Item = (String, String)> {
    let quoted = text.split('`').skip(1).step_by(2);
    quoted.filter_map(|quoted| {
        let (file, name) = quoted.split_once(".rs::")?;
        Some((format!("{file}.rs"), name.to_owned()))
    })
}

fn missing((file, name): &(String, String)) -> Option<String> {
    let Ok(text) = std::fs::read_to_string(workspace().join(file)) else { return Some(format!("there is no {file}")) };
    let declared = ["(", "<"].iter().any(|after| text.contains(&format!("fn {name}{after}")));
    (!declared).then(|| format!("{file} has no test {name}"))
}

// === impl Shown ===

impl Shown {
    /// `cargo run --release` as a user runs it: without arguments, in a folder where nothing is yet.
    async fn start() -> Result<Self> {
        let folder = Folder::new("readme")?;
        let (api, operations) = (format!("127.0.0.1:{}", free_port()), format!("127.0.0.1:{}", free_port()));
        // The sample is named by its path in the repository.
        std::os::unix::fs::symlink(workspace().join("tests"), folder.path().join("tests"))?;
        let mut process = Process::new("pangaea", program()?, folder.path());
        process.envs(&[
            ("PANGAEA__HTTP__LISTEN".to_owned(), api.clone()),
            ("PANGAEA__OPERATIONS__LISTEN".to_owned(), operations.clone()),
        ]);
        process.start()?;
        let mut shown = Self { folder, process, api, operations };
        eventually("the lines to paste", READY_MAX, async || {
            shown.process.must_run()?;
            Ok(shown.process.log().contains("\"payment_token\"").then_some(()))
        })
        .await?;
        Ok(shown)
    }

    /// The README's text with this store's addresses.
    fn here(&self, text: &str) -> String {
        text.replace(SHOWN_API, &self.api).replace(SHOWN_OPERATIONS, &self.operations)
    }

    /// What a user would paste: the token's line is the printed one, the program the one under test. The tools' default
    /// address is the README's, so that they are told this store's.
    fn pasted(&self, block: &str) -> Result<String> {
        let log = self.process.log();
        let token =
            log.lines().map(str::trim).find(|line| line.starts_with("TOKEN=")).context("no TOKEN= is printed")?;
        let program = program()?.display();
        let lines = block.lines().map(|line| {
            match (line.starts_with("TOKEN="), line.strip_prefix("cargo run --release -- ")) {
                (true, _) => token.to_owned(),
                (false, Some(arguments)) => format!("'{program}' {arguments} --url http://{}", self.api),
                (false, None) => self.here(line),
            }
        });
        Ok(lines.collect::<Vec<_>>().join("\n"))
    }

    /// Runs a block and returns its standard output.
    async fn run_block(&self, block: &str) -> Result<String> {
        let script = self.pasted(block)?;
        let mut bash = Process::new("bash", Path::new("/bin/bash"), self.folder.path());
        bash.args(&["-euo", "pipefail", "-c", &script]);
        let output = bash.run(BLOCK_MAX).await?.success().with_context(|| script)?;
        Ok(output.stdout)
    }

    /// Every line of `excerpt` is in `output`; of a line that is cut by `…`, what stands before it.
    fn has_shown(&self, what: &str, output: &str, excerpt: &str) -> Result<()> {
        for line in self.here(excerpt).lines() {
            let start = line.split('…').next().unwrap_or(line);
            ensure!(output.lines().any(|one| one.starts_with(start)), "{what} has no line {line:?}:\n{output}");
        }
        Ok(())
    }

    async fn stop(mut self) -> Result<()> {
        let status = self.process.terminate(READY_MAX).await?;
        ensure!(status.success(), "the store ended with {status}:\n{}", self.process.log_tail());
        self.folder.set_clean();
        Ok(())
    }
}
