//! A mistake shows in a replay, and the fewest inputs that show it are found.

mod support;

use futures_util::future::BoxFuture;
use pangaea_kernel::Definition;
use pangaea_replay::{
    Baseline, Change, CheckOptions, EndState, Entry, Expectation, Expected, Ignore, ModuleRecording, Progress,
    RecordOptions, Recording, RecordingWriter, ReplayError, Report, StateVerdict, check, determinism, recompute,
    shrink, usual_conditions, write_entries, write_shrunk,
};
use std::path::PathBuf;
use std::sync::Arc;
use support::Mistake::{
    ExtraEvent, MissingEvent, None as NoMistake, OtherAnswer, OtherDeadline, OutputsSwapped, Panic, UnorderedMap,
    WallClock, WrongAmount, WrongAmountOfLargeSales, WrongRow,
};
use support::{Folder, Mistake, header, recorded, sold, till, with};

async fn recording(folder: &Folder) -> Recording {
    recorded(&sold(15).await, &RecordOptions::default(), &folder.path("a.rec")).await
}

async fn report_of(recording: &Recording, mistake: Mistake, ignore: &[&str]) -> Report {
    with(mistake);
    let rules: Vec<String> = ignore.iter().map(|rule| (*rule).to_owned()).collect();
    let options = CheckOptions { ignore: Ignore::parse(&rules).unwrap(), ..CheckOptions::default() };
    let module = recording.module("till").unwrap();
    let report = check(module, till(), &options, &Progress::default()).await.unwrap();
    with(NoMistake);
    Report::new(recording, vec![report])
}

#[tokio::test]
async fn each_mistake_shows_where_it_is() {
    let folder = Folder::new("mistakes");
    let recording = recording(&folder).await;
    for (mistake, says) in [
        (WrongAmount, "+ /amount 101"),
        (OutputsSwapped, "@id"),
        (MissingEvent, "- till.evt.counted.v1"),
        (ExtraEvent, "+ till.evt.counted.v1"),
        (OtherDeadline, "+ @due_at"),
        (OtherAnswer, "+ @status 201"),
        (Panic, "! cannot be handled: the handler panicked: a mistake"),
        (WrongRow, "table sale"),
        (WallClock, "table sale"),
    ] {
        let report = report_of(&recording, mistake, &[]).await;
        let text = report.text(false);
        assert!(!report.is_clean() && text.contains(says), "{mistake:?}:\n{text}");
        let html = report.html();
        assert!(html.contains("It differs") && !html.contains("<script"), "{mistake:?}");
    }
    let report = report_of(&recording, NoMistake, &[]).await;
    assert!(report.is_clean() && report.text(true).contains("nothing differs"));
}

#[tokio::test]
async fn what_is_declared_volatile_may_differ() {
    let folder = Folder::new("volatile");
    let recording = recording(&folder).await;
    for (mistake, ignore) in [
        (WrongAmount, &["till.evt.sold.v1:/amount"][..]),
        (OtherDeadline, &["@due_at"]),
        (OtherAnswer, &["answer:@status"]),
        (WrongRow, &["table:sale"]),
        (ExtraEvent, &["till.evt.counted.v1", "@id"]),
    ] {
        assert!(report_of(&recording, mistake, ignore).await.is_clean(), "{mistake:?}");
        assert!(!report_of(&recording, mistake, &["/other"]).await.is_clean(), "{mistake:?}");
    }
}

#[tokio::test]
async fn an_expectation_is_met_by_what_was_reviewed_and_nothing_else() {
    let folder = Folder::new("expectation");
    let recording = recording(&folder).await;
    let reviewed = Expectation::of(&report_of(&recording, WrongAmount, &[]).await, "reviewed".into(), Vec::new());
    let read: Expectation = serde_json::from_str(&serde_json::to_string(&reviewed).unwrap()).unwrap();
    assert!(read.is_met(&report_of(&recording, WrongAmount, &[]).await));
    assert!(!read.is_met(&report_of(&recording, NoMistake, &[]).await));
    assert!(!read.is_met(&report_of(&recording, WrongAmountOfLargeSales, &[]).await));
}

#[tokio::test]
async fn what_depends_on_more_than_inputs_is_found_without_what_was_recorded() {
    let folder = Folder::new("determinism");
    let recording = recording(&folder).await;
    let module = recording.module("till").unwrap();
    for (mistake, is_clean) in [(NoMistake, true), (WrongAmount, true), (UnorderedMap, false), (WallClock, false)] {
        with(mistake);
        let reports = determinism(module, till(), &usual_conditions(None), 3, &Progress::default()).await.unwrap();
        with(NoMistake);
        assert_eq!(reports.len(), 3);
        assert_eq!(reports.iter().all(|report| report.is_clean()), is_clean, "{mistake:?}: {reports:?}");
    }
}

#[tokio::test]
async fn the_first_difference_is_shrunk_to_the_input_that_makes_it() {
    let folder = Folder::new("shrink");
    let recording = recording(&folder).await;
    let module = recording.module("till").unwrap();
    let baseline = Before { folder: folder.path("") };
    for (mistake, baseline) in [
        (WrongAmountOfLargeSales, Some(&baseline as &dyn Baseline)),
        (MissingEvent, Some(&baseline)),
        (WrongRow, Some(&baseline)),
        (OtherDeadline, None),
    ] {
        with(mistake);
        let shrunk = shrink(module, till(), &Ignore::default(), baseline, &Progress::default()).await.unwrap().unwrap();
        assert!(shrunk.expected.entries.len() <= 2, "{mistake:?}: {:?}", shrunk.expected.entries);
        let file = folder.path("small.rec");
        let mut out = RecordingWriter::create(&file, &header(), true).unwrap();
        write_shrunk(module, &shrunk, &mut out).unwrap();
        out.finish().unwrap();
        let small = Recording::open(&file).unwrap();
        assert!(!report_of(&small, mistake, &[]).await.is_clean(), "{mistake:?}");
        // What the inputs should say was recorded or recomputed: the version before still says it.
        assert!(report_of(&small, NoMistake, &[]).await.is_clean(), "{mistake:?}");
    }
    assert!(shrink(module, till(), &Ignore::default(), None, &Progress::default()).await.unwrap().is_none());
}

#[tokio::test]
async fn tables_alone_are_not_shrunk_without_a_baseline() {
    let folder = Folder::new("tables");
    let recording = recording(&folder).await;
    with(WrongRow);
    let shrunk =
        shrink(recording.module("till").unwrap(), till(), &Ignore::default(), None, &Progress::default()).await;
    with(NoMistake);
    assert!(shrunk.unwrap_err().to_string().contains("--baseline"));
}

#[tokio::test]
async fn a_recording_is_written_again_as_this_version_says() {
    let folder = Folder::new("recompute");
    let recording = recording(&folder).await;
    with(WrongAmount);
    let file = folder.path("b.rec");
    let mut out = RecordingWriter::create(&file, &header(), false).unwrap();
    recompute(recording.module("till").unwrap(), &till(), &mut out, &Progress::default()).await.unwrap();
    out.finish().unwrap();
    let again = Recording::open(&file).unwrap();
    assert!(report_of(&again, WrongAmount, &[]).await.is_clean());
    let report = report_of(&again, NoMistake, &[]).await;
    let module = &report.modules[0];
    assert!(matches!(&module.differences[0].changes[0], Change::Changed { .. }));
    assert!(matches!(module.state, StateVerdict::Equal));
}

/// The version without a mistake, in the same process.
struct Before {
    folder: PathBuf,
}

impl Baseline for Before {
    fn expected<'a>(
        &'a self,
        module: &'a ModuleRecording,
        entries: &'a [Entry],
    ) -> BoxFuture<'a, Result<Option<Expected>, ReplayError>> {
        Box::pin(async move {
            let (given, answer) = (self.folder.join("given.rec"), self.folder.join("answer.rec"));
            let mut out = RecordingWriter::create(&given, &header(), true)?;
            write_entries(module, entries, EndState::Unknown(String::new()), &mut out)?;
            out.finish()?;
            let given = Recording::open(&given)?;
            let mut out = RecordingWriter::create(&answer, &header(), true)?;
            let mistake = support::current();
            with(NoMistake);
            let definition: Arc<Definition> = till();
            let done = recompute(&given.modules()[0], &definition, &mut out, &Progress::default()).await;
            with(mistake);
            done?;
            out.finish()?;
            let answer = Recording::open(&answer)?;
            let module = &answer.modules()[0];
            Ok(Some(Expected { entries: module.all_entries()?, end: module.end.end.clone() }))
        })
    }
}
