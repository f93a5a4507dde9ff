//! The smallest recording that still shows a difference, and a test of it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use pangaea_replay::{
    Baseline, BaselineProgram, Found, Header, Ignore, Progress, Recording, RecordingWriter, Shrunk, shrink,
    write_shrunk,
};

use super::{Pair, ReplayArgs};
use crate::commands::ticker::Ticker;
use crate::commands::{DIFFERS_EXIT, has_colours};

#[derive(Args)]
pub(super) struct ShrinkArgs {
    /// Find the fewest inputs that still show the first difference; write them as a recording and as a test
    #[arg(long)]
    pub(super) shrink: bool,
    /// With --shrink: the program that says what is right; without it, what was recorded is
    #[arg(long, value_name = "BINARY", requires = "shrink")]
    baseline: Option<PathBuf>,
    /// With --shrink: the folder to write to
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    output: PathBuf,
}

pub(super) async fn run(
    args: &ReplayArgs,
    recording: &Recording,
    pairs: Vec<Pair>,
    ignore: &Ignore,
) -> Result<ExitCode> {
    let folder = args.shrink.output.as_path();
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let between = folder.join(format!(".pangaea-shrink-{}", std::process::id()));
    let found = first_shrunk(args, recording, pairs, ignore, &between).await;
    let _ = std::fs::remove_dir_all(&between);
    let Some((pair, shrunk)) = found? else {
        println!("nothing differs: there is nothing to shrink");
        return Ok(ExitCode::SUCCESS);
    };
    let files = write(args, recording, &pair, &shrunk)?;
    tell(args, &pair, &shrunk, &files)?;
    Ok(ExitCode::from(DIFFERS_EXIT))
}

/// Of the first module that differs.
async fn first_shrunk(
    args: &ReplayArgs,
    recording: &Recording,
    pairs: Vec<Pair>,
    ignore: &Ignore,
    between: &Path,
) -> Result<Option<(Pair, Shrunk)>> {
    std::fs::create_dir_all(between).with_context(|| between.display().to_string())?;
    let program = args
        .shrink
        .baseline
        .as_ref()
        .map(|program| BaselineProgram::new(program, recording, between, pangaea_faults::VARIABLE));
    let baseline = program.as_ref().map(|program| program as &dyn Baseline);
    let progress = Progress::default();
    let _ticker = Ticker::start("shrinking", None, progress.clone());
    for pair in pairs {
        let shrunk = shrink(&pair.0, pair.1.clone(), ignore, baseline, &progress).await?;
        if let Some(shrunk) = shrunk {
            return Ok(Some((pair, shrunk)));
        }
    }
    Ok(None)
}

/// The recording and the test beside it.
fn write(args: &ReplayArgs, recording: &Recording, pair: &Pair, shrunk: &Shrunk) -> Result<[PathBuf; 2]> {
    let stem = args.file.file_stem().map_or_else(|| "recording".into(), |stem| stem.to_string_lossy());
    let word: String = stem.chars().map(|one| if one.is_ascii_alphanumeric() { one } else { '_' }).collect();
    let name = format!("{}_{}", word.trim_matches('_').to_lowercase(), pair.0.name());
    let (file, test) = (format!("{name}.rec"), format!("{name}.rs"));
    let (file_path, test_path) = (args.shrink.output.join(&file), args.shrink.output.join(test));
    let header = Header { made_by: env!("CARGO_PKG_VERSION").to_owned(), ..recording.header().clone() };
    let mut writer = RecordingWriter::create(&file_path, &header, args.force)?;
    write_shrunk(&pair.0, shrunk, &mut writer)?;
    anyhow::ensure!(args.force || !test_path.exists(), "{} exists already (--force)", test_path.display());
    writer.finish()?;
    std::fs::write(&test_path, test_of(&name, &file, shrunk)).with_context(|| test_path.display().to_string())?;
    Ok([file_path, test_path])
}

fn tell(args: &ReplayArgs, pair: &Pair, shrunk: &Shrunk, files: &[PathBuf; 2]) -> Result<()> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    let (module, kept) = (pair.0.name(), shrunk.expected.entries.len());
    let [file, test] = files.each_ref().map(|file| file.display().to_string());
    if args.json {
        let difference = match &shrunk.difference {
            Found::Said(difference) => serde_json::to_value(difference)?,
            Found::Tables(tables) => serde_json::to_value(tables)?,
        };
        let facts = serde_json::json!({ "module": module, "inputs": kept, "of": shrunk.of, "tries": shrunk.tries,
            "recording": file, "test": test, "difference": difference });
        writeln!(out, "{facts:#}")?;
    } else {
        write!(out, "{}", shrunk.difference.text(has_colours()))?;
        writeln!(
            out,
            "{module}: {kept} of {} inputs show it, after {} tries\n{file}\n{test}",
            shrunk.of, shrunk.tries
        )?;
    }
    Ok(())
}

/// A test for a package that has the program's catalogue.
fn test_of(name: &str, file: &str, shrunk: &Shrunk) -> String {
    let what: Vec<String> = shrunk.difference.text(false).lines().map(|line| format!("//! {line}")).collect();
    format!(
        "//! Written by `pangaea replay --shrink`: these inputs no longer did what they had done.\n//!\n//! ```text\n{}\n//! ```\n\n\
         use std::path::Path;\n\n\
         #[tokio::test(flavor = \"multi_thread\")]\n\
         async fn {name}_replays_clean() {{\n    \
         // A program with modules of its own names its own catalogue.\n    \
         let catalogue = pangaea::Catalogue::store();\n    \
         let file = Path::new(env!(\"CARGO_MANIFEST_DIR\")).join(\"tests/{file}\");\n    \
         pangaea::replay::assert_replays_clean(&catalogue, &file).await;\n}}\n",
        what.join("\n")
    )
}
