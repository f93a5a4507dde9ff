//! What docs/replay.md shows is what comes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pangaea_testkit::{Folder, Process, program, workspace};

const RUN_MAX: Duration = Duration::from_secs(300);
/// Stands for any lines.
const ELSE: &str = "…";

/// A command of the guide, and what it says that comes.
struct Shown {
    env: Vec<(String, String)>,
    args: Vec<String>,
    lines: Vec<String>,
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_runs_as_it_is_told() -> Result<()> {
    let folder = Folder::new("guide")?;
    let shown = examples()?;
    ensure!(shown.len() >= 2, "the guide has its example");
    for example in &shown {
        let mut process = Process::new("guide", program()?, folder.path());
        let args: Vec<String> = example.args.iter().map(|arg| in_place(arg)).collect();
        process.args(&args.iter().map(String::as_str).collect::<Vec<_>>()).envs(&example.env);
        let output = process.run(RUN_MAX).await?;
        ensure!(output.status.code() == Some(4), "{:?}: {}\n{}", example.args, output.stdout, output.stderr);
        let said: Vec<&str> = output.stdout.lines().collect();
        ensure!(
            is_shown(&said, &example.lines),
            "{:?} says\n{}\nthe guide says\n{}",
            example.args,
            output.stdout,
            example.lines.join("\n")
        );
    }
    // What was shrunk is what is kept, as a test that is run with the others.
    for name in ["v0_2_0_order.rec", "v0_2_0_order.rs"] {
        let (made, kept) = (folder.path().join("shrunk").join(name), workspace().join("crates/app/tests").join(name));
        ensure!(std::fs::read(&made)? == std::fs::read(&kept)?, "{} is not {}", made.display(), kept.display());
    }
    Ok(())
}

/// The commands of the guide that plant a change: the others need a store.
fn examples() -> Result<Vec<Shown>> {
    let guide = std::fs::read_to_string(workspace().join("docs/replay.md"))?;
    let mut shown = Vec::new();
    for block in guide.split("```console\n").skip(1) {
        let (block, _) = block.split_once("```").context("a block has an end")?;
        let Some(command) = block.strip_prefix("$ PANGAEA_FAULTS=") else { continue };
        let (command, lines) = command.split_once('\n').context("something comes")?;
        let mut words = command.split(' ');
        let faults = words.next().context("a fault")?.to_owned();
        ensure!(words.next() == Some("pangaea"), "{command}");
        shown.push(Shown {
            env: vec![("PANGAEA_FAULTS".to_owned(), faults)],
            args: words.map(str::to_owned).collect(),
            lines: lines.lines().map(str::to_owned).collect(),
        });
    }
    Ok(shown)
}

/// Files of the project are where it is, and the program where it was built.
fn in_place(arg: &str) -> String {
    let path: PathBuf = match arg {
        "pangaea" => program().map(Path::to_owned).unwrap_or_default(),
        arg if arg.starts_with("tests/") => workspace().join(arg),
        arg => return arg.to_owned(),
    };
    path.display().to_string()
}

fn is_shown(said: &[&str], shown: &[String]) -> bool {
    match shown.split_first() {
        None => said.is_empty(),
        Some((first, rest)) if first == ELSE => (0..=said.len()).any(|skipped| is_shown(&said[skipped..], rest)),
        Some((first, rest)) => said.split_first().is_some_and(|(line, said)| line == first && is_shown(said, rest)),
    }
}
