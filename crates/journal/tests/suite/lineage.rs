//! The reads along causes find the same as a look at every row would.

use pangaea_contracts::Envelope;
use pangaea_journal::{Admitted, InboxRow, Sought};

use crate::support::{Place, at, effect, input, message, on_each_database, timer};

on_each_database!(
    a_moment_is_found_among_many,
    what_an_input_led_to_is_found_by_its_moment,
    a_scan_finds_keys_and_traces,
    an_empty_journal_leads_nowhere,
    a_snapshot_at_rest_begins_again_with_what_is_committed_then,
);

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

fn said(id: &str, cause: &str, millis: i64) -> Envelope {
    Envelope { causation_id: cause.to_owned(), time: at(millis), ..message(id, "{}") }
}

fn caused(id: &str, cause: &str, millis: i64) -> InboxRow {
    InboxRow { causation_id: cause.to_owned(), ..input(id, millis) }
}

fn ids(found: &[Admitted]) -> Vec<&str> {
    found.iter().map(|one| one.input.id.as_str()).collect()
}

async fn a_moment_is_found_among_many(place: Place) {
    let (database, mut writer) = place.lead().await;
    writer.begin().await.expect("a transaction");
    // Three inputs a moment, and no moment between 20 and 30.
    for number in 0..90_i64 {
        let moment = number / 3;
        writer.append_inbox(
            input(&format!("cmd_{number:02}"), if moment < 20 { moment } else { moment + 10 }),
            String::new(),
        );
    }
    writer.commit().await.expect("it commits");
    for (moment, position) in [(-1, 1), (0, 1), (1, 4), (19, 58), (20, 61), (29, 61), (30, 61), (39, 88), (40, 91)] {
        let found = database.inbox_position_at(at(moment)).await.expect("it answers");
        assert_eq!(found, position, "{moment}");
    }
    let found = database.inputs(&["cmd_89".into(), "cmd_00".into(), "none".into()]).await.expect("it answers");
    let mut found: Vec<_> = found.into_iter().map(|one| (one.position, one.input)).collect();
    found.sort_by_key(|(position, _)| *position);
    assert_eq!(found, [(1, input("cmd_00", 0)), (90, input("cmd_89", 39))], "a row is read as it was written");
    place.remove().await;
}

async fn what_an_input_led_to_is_found_by_its_moment(place: Place) {
    let (database, mut writer) = place.lead().await;
    writer.begin().await.expect("a transaction");
    for number in 1..=9_i64 {
        let id = format!("cmd_{number}");
        // Three share a moment, as in a batch.
        let moment = (number - 1) / 3;
        writer.append_inbox(InboxRow { key: format!("cause_{number}"), ..input(&id, moment) }, String::new());
        writer.append_outbox(said(&format!("msg_{number}"), &id, moment));
        writer.append_outbox(Envelope { key: format!("ord_{number}"), ..said(&format!("two_{number}"), &id, moment) });
    }
    writer.append_inbox(caused("op_05:result", "cmd_5", 9), String::new());
    writer.append_inbox(caused("op_06:result", "cmd_6", 9), String::new());
    writer.append_inbox(caused("tmr_05", "cmd_5", 9), String::new());
    let mut asked = effect("op_055", 2);
    asked.causation_id = "cmd_5".to_owned();
    writer.write_effect(asked.clone());
    writer.set_timer(timer("ord_1", "order.tmr.deadline.v1", 5));
    writer.commit().await.expect("it commits");

    let messages = database.outbox_caused_by("cmd_5", at(1)).await.expect("it answers");
    assert_eq!(messages.iter().map(|one| one.id.as_str()).collect::<Vec<_>>(), ["msg_5", "two_5"]);
    assert_eq!(database.outbox_caused_by("cmd_5", at(2)).await.expect("it answers"), []);
    // By what it is about, and by what it said something about.
    assert_eq!(ids(&database.inputs_about("cause_5", at(1)).await.expect("it answers")), ["cmd_5"]);
    assert_eq!(ids(&database.inputs_about("ord_5", at(1)).await.expect("it answers")), ["cmd_5"]);
    assert_eq!(ids(&database.inputs_about("ord_5", at(0)).await.expect("it answers")), [""; 0]);

    let range = "op_05".to_owned().."op_06".to_owned();
    assert_eq!(ids(&database.inputs_between(&range, "cmd_5", 10).await.expect("it answers")), ["op_05:result"]);
    assert_eq!(database.effects_between(&range, "cmd_5", 10).await.expect("it answers"), [asked]);
    assert_eq!(database.effects_between(&range, "cmd_6", 10).await.expect("it answers"), []);
    assert_eq!(database.dead_letters_between(&range, 10).await.expect("it answers"), []);
    let timers = database.timers_of(&["cmd_0".into(), "cmd_7".into()], 10).await.expect("it answers");
    assert_eq!(timers, [timer("ord_1", "order.tmr.deadline.v1", 5)]);
    assert_eq!(database.timers_of(&["cmd_7".into()], 10).await.expect("it answers"), []);
    place.remove().await;
}

async fn a_scan_finds_keys_and_traces(place: Place) {
    let (database, mut writer) = place.lead().await;
    writer.begin().await.expect("a transaction");
    for number in 1..=6_i64 {
        let traceparent = (number % 2 == 0).then(|| format!("00-{TRACE}-b7ad6b716920333{number}-01"));
        let key = if number > 4 { "ord_1" } else { "ord_2" }.to_owned();
        writer.append_inbox(InboxRow { traceparent, key, ..input(&format!("cmd_{number}"), number) }, String::new());
    }
    writer.commit().await.expect("it commits");
    let scan = async |positions: std::ops::Range<u64>, sought: Sought, limit: usize| {
        let found = database.scan_inbox(positions, &sought, limit).await.expect("it answers");
        found.into_iter().map(|one| one.position).collect::<Vec<_>>()
    };
    assert_eq!(scan(1..7, Sought::Key("ord_1".into()), 10).await, [5, 6]);
    for digits in [TRACE, &TRACE[..5]] {
        assert_eq!(scan(1..7, Sought::Trace(digits.into()), 10).await, [2, 4, 6]);
    }
    assert_eq!(scan(3..6, Sought::Trace(TRACE.into()), 10).await, [4]);
    assert_eq!(scan(1..7, Sought::Trace(TRACE.into()), 2).await, [2, 4]);
    assert_eq!(scan(1..7, Sought::Trace("0af8".into()), 10).await, [0; 0]);
    place.remove().await;
}

async fn an_empty_journal_leads_nowhere(place: Place) {
    let (database, _writer) = place.lead().await;
    assert_eq!(database.inbox_position_at(at(5)).await.expect("it answers"), 1);
    assert_eq!(database.inputs(&[]).await.expect("it answers"), []);
    assert_eq!(database.attempts(&["cmd_1".into()]).await.expect("it answers"), []);
    assert_eq!(database.dead_letters_by_ids(&["cmd_1".into()]).await.expect("it answers"), []);
    assert_eq!(database.outbox_caused_by("cmd_1", at(5)).await.expect("it answers"), []);
    place.remove().await;
}

async fn a_snapshot_at_rest_begins_again_with_what_is_committed_then(place: Place) {
    let (database, mut writer) = place.lead().await;
    let mut snapshot = database.snapshot().await.expect("a snapshot");
    let migrations = snapshot.migrations().await.expect("it answers");
    assert!(migrations.iter().any(|name| name == "journal/0001"), "{migrations:?}");
    for number in 1..=3_usize {
        writer.begin().await.expect("a transaction");
        writer.append_inbox(input(&format!("cmd_{number}"), 1), String::new());
        writer.commit().await.expect("it commits");
        assert_eq!(snapshot.inbox_from(1, 10).await.expect("it answers").len(), number - 1, "its moment stays");
        snapshot.rest().await.expect("it rests");
        snapshot.renew().await.expect("it goes on");
        assert_eq!(snapshot.head().inbox_end, number as u64);
        assert_eq!(snapshot.inbox_from(1, 10).await.expect("it answers").len(), number);
    }
    snapshot.close().await.expect("it closes");
    writer.stop().await.expect("it stops");
    place.remove().await;
}
