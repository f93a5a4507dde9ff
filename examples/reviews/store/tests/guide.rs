//! `docs/write-a-module.md` shows what is there: its code stands in the files that it names, its commands run.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pangaea_testkit::{Folder, Process, workspace};

const GUIDE: &str = "docs/write-a-module.md";
const PROGRAM: &str = "cargo run -p pangaea-reviews-store -- ";
const RUN_MAX: Duration = Duration::from_secs(90);
/// Commands that another test runs, with the text by which that test is known to do so.
const ELSEWHERE: &[(&str, &str, &str)] = &[
    ("cargo xtask new-module gift_cards", "crates/xtask/tests/new_module.rs", "copy.new_module(&[\"gift_cards\"])"),
    (
        "cargo test -p pangaea-gift_cards -p pangaea-gift_cards-contracts",
        "crates/xtask/tests/new_module.rs",
        "\"--workspace\", \"--test\", \"gift_cards\"",
    ),
    ("PANGAEA_UPDATE_GOLDEN=1 cargo test -p pangaea-reviews", "crates/testkit/src/golden.rs", "a_file_is_written"),
];

/// A fenced block, and the line before it that is not empty.
struct Block {
    before: String,
    language: String,
    text: String,
}

fn blocks(guide: &str) -> Vec<Block> {
    let (mut found, mut open, mut before) = (Vec::new(), None::<Block>, "");
    for line in guide.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(language)) => {
                open = Some(Block { before: before.to_owned(), language: language.to_owned(), text: String::new() });
            }
            (Some(_), Some(_)) => found.extend(open.take()),
            (Some(block), None) => block.text += &format!("{line}\n"),
            (None, None) if line.is_empty() => {}
            (None, None) => before = line,
        }
    }
    found
}

/// Whether the excerpt's lines follow each other in the file, all moved to the left by the same width.
fn has_excerpt(file: &str, excerpt: &str) -> bool {
    let (lines, wanted): (Vec<&str>, Vec<&str>) = (file.lines().collect(), excerpt.lines().collect());
    lines.windows(wanted.len().max(1)).any(|window| {
        let width = window[0].len() - window[0].trim_start().len();
        let moved = |line: &str| line.get(width..).unwrap_or_else(|| line.trim_start()).to_owned();
        window.iter().zip(&wanted).all(|(line, wanted)| moved(line) == *wanted)
    })
}

/// The file that the line before a block names, `` `path`: ``.
fn named(before: &str) -> Option<&str> {
    before.strip_prefix('`')?.strip_suffix("`:")
}

#[test]
fn every_block_of_code_stands_in_the_file_that_it_names() -> Result<()> {
    let guide = std::fs::read_to_string(workspace().join(GUIDE))?;
    let mut excerpts = 0;
    for block in blocks(&guide).iter().filter(|block| block.language != "sh") {
        let path = named(&block.before).with_context(|| format!("no file is named before:\n{}", block.text))?;
        ensure!(path.starts_with("examples/"), "{path} is not an example");
        let file = std::fs::read_to_string(workspace().join(path)).with_context(|| path.to_owned())?;
        ensure!(has_excerpt(&file, &block.text), "{path} does not have this text any more:\n{}", block.text);
        excerpts += 1;
    }
    ensure!(excerpts > 10, "{excerpts} blocks of code only");
    Ok(())
}

/// Those of the example's program are run here; `run` would not end, so that what it is told is checked in its place.
#[tokio::test]
async fn every_command_runs() -> Result<()> {
    let guide = std::fs::read_to_string(workspace().join(GUIDE))?;
    let folder = Folder::new("guide")?;
    let blocks = blocks(&guide);
    let commands: Vec<&str> =
        blocks.iter().filter(|block| block.language == "sh").flat_map(|block| block.text.lines()).collect();
    ensure!(commands.len() > 5, "{commands:?}");
    for command in commands {
        let Some(arguments) = command.strip_prefix(PROGRAM) else {
            let (_, file, text) = ELSEWHERE.iter().find(|(known, ..)| *known == command).context(command.to_owned())?;
            let test = std::fs::read_to_string(workspace().join(file))?;
            ensure!(test.contains(text), "{file} does not run `{command}` any more");
            continue;
        };
        let arguments: Vec<&str> =
            arguments.split(' ').map(|word| if word == "run" { "check" } else { word }).collect();
        let mut process = Process::new("guide", Path::new(env!("CARGO_BIN_EXE_reviews-store")), folder.path());
        process.args(&arguments).work_in(workspace());
        process.run(RUN_MAX).await?.success().with_context(|| command.to_owned())?;
    }
    folder.set_clean();
    Ok(())
}

#[test]
fn the_reader_of_the_guide_sees_faults() {
    let guide = "`a.rs`:\n\n```rust\nfn a() {\n    b\n}\n```\ntext\n```sh\nls\n```\n";
    let [code, commands] = &blocks(guide)[..] else { panic!("two blocks") };
    assert_eq!((named(&code.before), commands.text.as_str()), (Some("a.rs"), "ls\n"));
    assert!(has_excerpt("x\n    fn a() {\n        b\n    }\ny\n", &code.text));
    for other in ["fn a() {\n    c\n}\n", "fn a() {\n    b\n", "    fn a() {\n    b\n    }\n"] {
        assert!(!has_excerpt(other, &code.text), "{other}");
    }
}
