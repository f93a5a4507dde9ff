//! A recording holds what was given and said, and only a whole one is read.

mod support;

use pangaea_journal::Statement;
use pangaea_replay::{
    CheckOptions, EndState, From, ModuleRecording, Progress, RecordOptions, Recording, RecordingWriter, ReplayError,
    StateVerdict, Until, check,
};
use support::{Folder, at, header, recorded, sold, till};

async fn replayed(module: &ModuleRecording) -> pangaea_replay::ModuleReport {
    check(module, till(), &CheckOptions::default(), &Progress::default()).await.unwrap()
}

#[tokio::test]
async fn what_was_recorded_replays_clean_in_batches_of_any_size() {
    let folder = Folder::new("clean");
    let recording = recorded(&sold(30).await, &RecordOptions::default(), &folder.path("a.rec")).await;
    let module = recording.module("till").unwrap();
    let all = module.all_entries().unwrap();
    let fired = all.iter().filter(|entry| entry.subject == "till.tmr.reminder.v1").count();
    assert_eq!(all.len(), 31 + fired);
    assert!(fired > 20, "timers are inputs too, and {fired} were due");
    assert!(all.iter().all(|entry| entry.asked.is_some()));
    assert!(matches!(&module.end.end, EndState::Stored(tables) if tables["sale"].rows == 30));
    assert_eq!(module.start.state["sale"].rows, 0);
    for batch in [1, 2, 7, 1_000] {
        let options = CheckOptions { batch, ..CheckOptions::default() };
        let report = check(module, till(), &options, &Progress::default()).await.unwrap();
        assert!(report.is_clean(), "{report:?}");
        assert_eq!((report.inputs, report.state), (all.len() as u64, StateVerdict::Equal));
    }
}

#[tokio::test]
async fn a_part_begins_with_the_rows_of_then_and_ends_with_those_of_then() {
    let (folder, database) = (Folder::new("part"), sold(30).await);
    let options = RecordOptions {
        from: Some(From::Time(at(105_000))),
        to: Some(Until::Position(30)),
        ..RecordOptions::default()
    };
    let recording = recorded(&database, &options, &folder.path("part.rec")).await;
    let module = recording.module("till").unwrap();
    let all = module.all_entries().unwrap();
    assert!(all.first().unwrap().admitted_at >= at(105_000) && all.last().unwrap().position == 30);
    let sales = |tables: &std::collections::BTreeMap<String, pangaea_replay::TableDigest>| tables["sale"].rows;
    assert_eq!(sales(&module.start.state), 10);
    let EndState::Rerun(end) = &module.end.end else { panic!("{:?}", module.end.end) };
    assert_eq!(sales(end), 10 + all.iter().filter(|entry| entry.subject == "till.rpc.sell.v1").count() as u64);
    let report = replayed(module).await;
    assert!(report.is_clean() && report.state == StateVerdict::Equal, "{report:?}");
    let too_late = RecordOptions { from: Some(From::Position(10_000)), ..RecordOptions::default() };
    let mut out = RecordingWriter::create(&folder.path("late.rec"), &header(), false).unwrap();
    let error = pangaea_replay::record(&database, &till(), &too_late, &mut out, &Progress::default()).await;
    assert!(error.unwrap_err().to_string().contains("--from"));
    drop(out);
    assert!(!folder.path("late.rec").exists(), "a recording that failed leaves nothing");
}

#[tokio::test]
async fn a_redacted_recording_shows_nobody_and_still_replays() {
    let folder = Folder::new("redacted");
    let options = RecordOptions { redaction_key: Some("key".into()), ..RecordOptions::default() };
    let recording = recorded(&sold(12).await, &options, &folder.path("a.rec")).await;
    let module = recording.module("till").unwrap();
    for entry in module.all_entries().unwrap() {
        let text = serde_json::to_string(&entry).unwrap();
        assert!(!text.contains("customer-"), "{text}");
        if entry.subject == "till.rpc.sell.v1" {
            // The same for the same value: an event's customer is its command's.
            let customer =
                |payload: &str| serde_json::from_str::<serde_json::Value>(payload).unwrap()["customer"].clone();
            assert_eq!(customer(&entry.payload), customer(&entry.messages[0].payload));
        }
    }
    assert!(matches!(&module.end.end, EndState::Rerun(tables) if tables["sale"].rows == 12));
    let report = replayed(module).await;
    assert!(report.is_clean() && report.state == StateVerdict::Equal, "{report:?}");
}

#[tokio::test]
async fn a_torn_journal_is_not_recorded() {
    let (definition, folder) = (till(), Folder::new("torn"));
    for (damage, says) in [
        ("DELETE FROM inbox WHERE position = 3", "the inbox is torn"),
        ("UPDATE outbox SET causation_id = 'nobody' WHERE position = 4", "the log is torn"),
    ] {
        let database = sold(5).await;
        let mut writer = database.writer(definition.all_migrations(), "test").await.unwrap();
        writer.begin().await.unwrap();
        writer.sql(Statement::new(damage)).await.unwrap();
        writer.commit().await.unwrap();
        writer.stop().await.unwrap();
        let mut out = RecordingWriter::create(&folder.path("torn.rec"), &header(), false).unwrap();
        let (options, progress) = (RecordOptions::default(), Progress::default());
        let result = pangaea_replay::record(&database, &definition, &options, &mut out, &progress).await;
        let error = result.unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}

#[tokio::test]
async fn every_flipped_bit_and_every_cut_is_refused() {
    let folder = Folder::new("flipped");
    let recording = recorded(&sold(1).await, &RecordOptions::default(), &folder.path("a.rec")).await;
    let whole = std::fs::read(recording.file()).unwrap();
    assert_eq!(recording.bytes(), whole.len() as u64);
    let bad = folder.path("bad.rec");
    let refused = |bytes: &[u8]| {
        std::fs::write(&bad, bytes).unwrap();
        Recording::open(&bad).expect_err("it is refused")
    };
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        let error = refused(&flipped);
        let is_clear = matches!(
            error,
            ReplayError::Foreign { .. }
                | ReplayError::Newer { .. }
                | ReplayError::Damaged { .. }
                | ReplayError::Truncated { .. }
        );
        assert!(is_clear, "byte {at}: {error}");
    }
    for length in 0..whole.len() {
        let error = refused(&whole[..length]);
        let is_clear = matches!(error, ReplayError::Truncated { .. }) || length == 0;
        assert!(is_clear, "{length} bytes: {error}");
    }
    assert!(matches!(refused(&[&whole[..], b"more"].concat()), ReplayError::Damaged { .. }));
}

#[tokio::test]
async fn what_is_foreign_or_newer_is_refused_by_name() {
    let folder = Folder::new("foreign");
    let recording = recorded(&sold(1).await, &RecordOptions::default(), &folder.path("a.rec")).await;
    let file = folder.path("b.rec");
    for foreign in [&b"SQLite format 3\0"[..], b"", b"{}", b"pangaea"] {
        std::fs::write(&file, foreign).unwrap();
        let error = Recording::open(&file).unwrap_err();
        let expected = if foreign == b"pangaea" { "is cut off" } else { "is no recording" };
        assert!(error.to_string().contains(expected), "{error}");
    }
    let mut newer = std::fs::read(recording.file()).unwrap();
    newer[15] = 2;
    std::fs::write(&file, newer).unwrap();
    let error = Recording::open(&file).unwrap_err();
    assert!(matches!(error, ReplayError::Newer { found: 2, newest: 1, .. }), "{error}");
    let error = RecordingWriter::create(&file, &header(), false).err().expect("it is there already");
    assert!(matches!(error, ReplayError::Exists { .. }), "{error}");
}
