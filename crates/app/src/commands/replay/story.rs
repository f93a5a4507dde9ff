//! `pangaea replay FILE --until ID`: what happened to one order, or to anything else that has an id.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use pangaea_kernel::Definition;
use pangaea_replay::{Concerned, Ignore, ModuleRecording, Story, concerned, story};

use super::shown::Page;
use crate::commands::DIFFERS_EXIT;
use crate::commands::trace::style::{Style, Tone};

const VALUE_CHARS_MAX: usize = 160;

/// Tells the story, and ends as a comparison does: with another code where something of it was recorded otherwise.
pub(super) async fn run(
    pairs: Vec<(ModuleRecording, Arc<Definition>)>,
    id: &str,
    ignore: Ignore,
    as_json: bool,
) -> Result<ExitCode> {
    let modules: Vec<_> = pairs.iter().map(|(module, _)| module.clone()).collect();
    let found = found(&modules, id).await?;
    let story = story(pairs, &found, ignore).await?;
    let mut out = std::io::stdout().lock();
    if as_json {
        writeln!(out, "{:#}", serde_json::to_value(&story)?)?;
    } else {
        write!(out, "{}", text(&story, Style::of_stdout(None, false)))?;
    }
    Ok(if story.is_as_recorded() { ExitCode::SUCCESS } else { ExitCode::from(DIFFERS_EXIT) })
}

/// # Errors
/// When nothing in the recording concerns the id.
pub(super) async fn found(modules: &[ModuleRecording], id: &str) -> Result<Concerned> {
    let names = || modules.iter().map(ModuleRecording::name).collect::<Vec<_>>().join(", ");
    concerned(modules, id).await?.with_context(|| {
        format!(
            "--until {id:?} is no moment and no position, and no recorded input of {} concerns such an id; write it whole, as \
             in ord_01m855w2c7fy1ab13bd5cde8kq",
            names()
        )
    })
}

fn text(story: &Story, style: Style) -> String {
    let mut page = Page::new(style, VALUE_CHARS_MAX);
    let Some(first) = story.inputs.first() else { return page.text };
    let since = first.input.admitted_at;
    for input in &story.inputs {
        page.input(input, since);
    }
    let mut modules: Vec<&str> = story.inputs.iter().map(|input| input.module.as_str()).collect();
    modules.sort_unstable();
    modules.dedup();
    let differing = story.inputs.iter().filter(|input| !input.is_as_recorded()).count();
    let end = match differing {
        0 => "all as recorded".to_owned(),
        count => format!("{count} were recorded otherwise"),
    };
    let head = format!("{}: {} inputs in {}, {end}", story.id, story.inputs.len(), modules.join(", "));
    page.line("", Tone::Strong, &head);
    if story.more > 0 {
        page.line("", Tone::Dim, &format!("… and {} inputs more that concern it", story.more));
    }
    page.text
}

/// # Errors
/// When options are given together that do not go together.
pub(super) fn refuse_html(has_html: bool) -> Result<()> {
    if has_html {
        bail!("--html writes a comparison; with --until ID there is a story, as text or --json");
    }
    Ok(())
}
