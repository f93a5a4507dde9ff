//! Outbox, inbox, cursors, timers, effects, dead letters, secrets, attempts.

use pangaea_contracts::{Actor, Role};
use pangaea_journal::{
    CursorRow, DeadLetterChoice, DeadLetterRow, DeadLetterState, EffectRow, EffectState, InboxRow, SecretRow, Statement,
};

use crate::support::{Place, at, effect, input, message, on_each_database, refused, timer};

on_each_database!(
    numbers_the_log_densely_in_commit_order,
    keeps_messages_whole,
    keeps_inputs_whole,
    refuses_an_input_twice,
    never_goes_back_in_time,
    moves_cursors,
    sets_moves_and_cancels_timers,
    keeps_effects_until_they_end,
    keeps_the_last_word_of_a_batch,
    keeps_dead_letters_in_order,
    keeps_secrets_until_they_expire,
    counts_attempts,
    writes_batches_of_any_size,
);

async fn numbers_the_log_densely_in_commit_order(place: Place) {
    let (database, mut writer) = place.lead().await;
    let mut number = 0;
    for batch in [3, 0, 1, 5] {
        writer.begin().await.unwrap();
        for _ in 0..batch {
            number += 1;
            assert_eq!(writer.next_outbox_position(), number);
            writer.append_outbox(message(&format!("msg_{number}"), "{}"));
        }
        let committed = writer.commit().await.unwrap();
        assert_eq!(committed.len(), batch);
        assert_eq!(writer.head().outbox_end, number);
        // A batch that is dropped takes its positions back.
        writer.begin().await.unwrap();
        writer.append_outbox(message("dropped", "{}"));
        writer.rollback().await.unwrap();
    }
    let log_id = writer.head().log_id.clone();
    let log = database.outbox_after(&log_id, 0, 100).await.unwrap();
    assert_eq!(log.iter().map(|message| message.position).collect::<Vec<_>>(), (1..=9).collect::<Vec<_>>());
    assert_eq!(
        log.iter().map(|message| message.id.clone()).collect::<Vec<_>>(),
        (1..=9).map(|n| format!("msg_{n}")).collect::<Vec<_>>()
    );
    let middle = database.outbox_after(&log_id, 3, 2).await.unwrap();
    assert_eq!(middle.iter().map(|message| message.position).collect::<Vec<_>>(), [4, 5]);
    assert_eq!(database.head().await.unwrap().unwrap().outbox_end, 9);
    place.remove().await;
}

async fn keeps_messages_whole(place: Place) {
    let (database, mut writer) = place.lead().await;
    let mut sent = message("msg_1", "{\"name\":\"O'Brien \\\"naïve\\\" 日本 🫖\",\"note\":\"?\"}");
    sent.actor = Actor::user("usr_1", [Role::Customer]);
    let mut plain = message("msg_2", "{}");
    plain.traceparent = None;
    writer.begin().await.unwrap();
    writer.append_outbox(sent.clone());
    writer.append_outbox(plain.clone());
    let committed = writer.commit().await.unwrap();
    for (position, message) in (1..).zip([&mut sent, &mut plain]) {
        message.source = place.module.clone();
        message.log_id = writer.head().log_id.clone();
        message.position = position;
    }
    assert_eq!(committed, [sent.clone(), plain.clone()]);
    let log = database.outbox_after(&sent.log_id, 0, 10).await.unwrap();
    assert_eq!(log.iter().map(|message| message.as_ref().clone()).collect::<Vec<_>>(), [sent, plain]);
    place.remove().await;
}

async fn keeps_inputs_whole(place: Place) {
    let (database, mut writer) = place.lead().await;
    writer.begin().await.unwrap();
    assert_eq!(writer.next_inbox_position(), 1);
    writer.append_inbox(input("cmd_1", 10), String::new());
    let delivered =
        InboxRow { source: Some(("order".into(), 42)), fingerprint: None, answer: None, ..input("msg_'2'", 20) };
    writer.append_inbox(delivered, String::new());
    assert_eq!(writer.next_inbox_position(), 3);
    writer.commit().await.unwrap();
    writer.begin().await.unwrap();
    writer.append_inbox(input("cmd_3", 30), String::new());
    writer.commit().await.unwrap();
    let head = database.head().await.unwrap().unwrap();
    assert_eq!((head.inbox_end, head.last_time), (3, at(30)));
    assert_eq!((writer.head().inbox_end, writer.head().last_time), (3, at(30)));

    let rows = database
        .fetch(Statement::new("SELECT position, id, source, source_position FROM inbox ORDER BY position"))
        .await;
    let rows: Vec<(u64, String, Option<String>, Option<u64>)> = rows
        .unwrap()
        .iter()
        .map(|row| (row.get(0).unwrap(), row.get(1).unwrap(), row.get(2).unwrap(), row.get(3).unwrap()))
        .collect();
    assert_eq!(
        rows,
        [
            (1, "cmd_1".into(), None, None),
            (2, "msg_'2'".into(), Some("order".into()), Some(42)),
            (3, "cmd_3".into(), None, None),
        ]
    );
    let known = writer.recorded(&["cmd_1".into(), "msg_'2'".into(), "cmd_9".into()]).await.unwrap();
    let mut known: Vec<_> = known.into_iter().map(|known| (known.id, known.fingerprint, known.answer)).collect();
    known.sort();
    let answer = (Some("print of cmd_1".to_owned()), Some("{\"answer\":\"cmd_1\"}".to_owned()));
    assert_eq!(known, [("cmd_1".to_owned(), answer.0, answer.1), ("msg_'2'".to_owned(), None, None)]);
    assert!(writer.recorded(&[]).await.unwrap().is_empty());
    place.remove().await;
}

async fn refuses_an_input_twice(place: Place) {
    let (database, mut writer) = place.lead().await;
    for expected in [true, false] {
        writer.begin().await.unwrap();
        writer.append_inbox(input("cmd_1", 10), String::new());
        writer.append_outbox(message("msg_1", "{}"));
        if expected {
            writer.commit().await.unwrap();
        } else {
            assert_eq!(refused(writer.commit().await).code(), "constraint");
            writer.rollback().await.unwrap();
        }
    }
    let head = database.head().await.unwrap().unwrap();
    assert_eq!((head.inbox_end, head.outbox_end), (1, 1));
    place.remove().await;
}

async fn never_goes_back_in_time(place: Place) {
    let (database, mut writer) = place.lead().await;
    for (id, time, last) in [("a", 100, 100), ("b", 50, 100), ("c", 101, 101)] {
        writer.begin().await.unwrap();
        writer.append_inbox(input(id, time), String::new());
        writer.commit().await.unwrap();
        assert_eq!(database.head().await.unwrap().unwrap().last_time, at(last));
    }
    place.remove().await;
}

async fn moves_cursors(place: Place) {
    let (database, mut writer) = place.lead().await;
    let cursor = |reader: &str, source: &str, position: u64| CursorRow {
        reader: reader.into(),
        source: source.into(),
        log_id: "log_1".into(),
        position,
        message_id: format!("msg_{position}"),
    };
    writer.begin().await.unwrap();
    writer.move_cursor(cursor("b", "order", 1));
    writer.move_cursor(cursor("b", "order", 2));
    writer.move_cursor(cursor("a", "order", 7));
    writer.commit().await.unwrap();
    assert_eq!(database.cursors().await.unwrap(), [cursor("a", "order", 7), cursor("b", "order", 2)]);
    writer.begin().await.unwrap();
    writer.move_cursor(cursor("b", "order", 3));
    writer.move_cursor(cursor("b", "payment", 1));
    writer.rollback().await.unwrap();
    writer.begin().await.unwrap();
    writer.move_cursor(cursor("b", "order", 4));
    writer.commit().await.unwrap();
    assert_eq!(database.cursors().await.unwrap(), [cursor("a", "order", 7), cursor("b", "order", 4)]);
    place.remove().await;
}

async fn sets_moves_and_cancels_timers(place: Place) {
    let (database, mut writer) = place.lead().await;
    assert_eq!(database.next_timer().await.unwrap(), None);
    writer.begin().await.unwrap();
    for timer in [timer("a", "expire", 100), timer("b", "expire", 50), timer("a", "remind", 70)] {
        writer.set_timer(timer);
    }
    writer.commit().await.unwrap();
    assert_eq!(database.next_timer().await.unwrap(), Some(at(50)));
    assert!(database.timers_due(at(49), 10).await.unwrap().is_empty());
    let due = database.timers_due(at(70), 10).await.unwrap();
    assert_eq!(due, [timer("b", "expire", 50), timer("a", "remind", 70)]);
    assert_eq!(database.timers_due(at(1_000), 1).await.unwrap(), [timer("b", "expire", 50)]);

    writer.begin().await.unwrap();
    writer.set_timer(timer("a", "expire", 10));
    writer.cancel_timer("b", "expire");
    writer.cancel_timer("nobody", "expire");
    writer.commit().await.unwrap();
    assert_eq!(database.timers_due(at(1_000), 10).await.unwrap(), [timer("a", "expire", 10), timer("a", "remind", 70)]);

    writer.begin().await.unwrap();
    writer.cancel_timer("a", "expire");
    writer.set_timer(timer("a", "expire", 20));
    writer.set_timer(timer("c", "expire", 1));
    writer.cancel_timer("c", "expire");
    writer.commit().await.unwrap();
    assert_eq!(database.next_timer().await.unwrap(), Some(at(20)), "the last word of the batch counts");
    place.remove().await;
}

async fn keeps_effects_until_they_end(place: Place) {
    let (database, mut writer) = place.lead().await;
    writer.begin().await.unwrap();
    ["op_3", "op_1", "op_2"].into_iter().for_each(|id| writer.write_effect(effect(id, 1)));
    writer.commit().await.unwrap();
    assert_eq!(database.effects_pending("", 2).await.unwrap(), [effect("op_1", 1), effect("op_2", 1)]);
    assert_eq!(database.effects_pending("op_2", 2).await.unwrap(), [effect("op_3", 1)]);

    writer.begin().await.unwrap();
    writer.write_effect(EffectRow { try_expires_at: at(9_000), ..effect("op_1", 2) });
    writer.write_effect(EffectRow { state: EffectState::Done, ..effect("op_2", 1) });
    writer.end_effect("op_3");
    writer.commit().await.unwrap();
    let pending = database.effects_pending("", 10).await.unwrap();
    assert_eq!(pending, [EffectRow { try_expires_at: at(9_000), ..effect("op_1", 2) }]);
    place.remove().await;
}

/// PostgreSQL refuses an upsert that names a row twice; a batch may well do so.
async fn keeps_the_last_word_of_a_batch(place: Place) {
    let (database, mut writer) = place.lead().await;
    writer.begin().await.unwrap();
    writer.write_effect(effect("op_1", 1));
    writer.write_effect(effect("op_1", 2));
    writer.write_effect(effect("op_2", 1));
    writer.end_effect("op_2");
    writer.end_effect("op_3");
    writer.write_effect(effect("op_3", 4));
    let secret =
        |value: Option<&str>| SecretRow { name: "s".into(), value: value.map(str::to_owned), expires_at: None };
    writer.write_secret(secret(Some("one")));
    writer.write_secret(secret(None));
    writer.write_secret(secret(Some("two")));
    writer.commit().await.unwrap();
    assert_eq!(database.effects_pending("", 10).await.unwrap(), [effect("op_1", 2), effect("op_3", 4)]);
    assert_eq!(database.secret("s", at(0)).await.unwrap().as_deref(), Some("two"));
    place.remove().await;
}

async fn keeps_dead_letters_in_order(place: Place) {
    let (database, mut writer) = place.lead().await;
    let letter = |id: &str, position: u64, state| DeadLetterRow {
        id: id.into(),
        position,
        state,
        subject: "order.evt.placed.v1".into(),
        key: "ord_1".into(),
        input: "{\"it's\":1}".into(),
        error: "attempt to divide by 'zero'".into(),
        fingerprint: "f1".into(),
        attempts: 3,
        died_at: at(5),
    };
    let (dead, parked) = (letter("z", 3, DeadLetterState::Dead), letter("a", 4, DeadLetterState::Parked));
    writer.begin().await.unwrap();
    writer.write_dead_letter(parked.clone());
    writer.write_dead_letter(dead.clone());
    writer.write_dead_letter(letter("gone", 5, DeadLetterState::Parked));
    writer.commit().await.unwrap();
    writer.begin().await.unwrap();
    writer.end_dead_letter("gone");
    writer.commit().await.unwrap();
    assert_eq!(database.dead_letters(10).await.unwrap(), [dead.clone(), parked.clone()]);
    assert_eq!(database.dead_letters(1).await.unwrap(), std::slice::from_ref(&dead));
    writer.begin().await.unwrap();
    assert_eq!(writer.dead_letter("a").await.unwrap().as_ref(), Some(&parked));
    assert_eq!(writer.dead_letter("gone").await.unwrap(), None);
    assert_eq!(writer.first_dead_letter("ord_1").await.unwrap().as_deref(), Some("z"), "by position, not by id");
    assert_eq!(writer.first_dead_letter("ord_2").await.unwrap(), None);
    writer.write_dead_letter(DeadLetterRow {
        key: "ord_2".into(),
        fingerprint: "f2".into(),
        ..letter("b", 4, dead.state)
    });
    writer.commit().await.unwrap();
    let text = |text: &str| Some(text.to_owned());
    for (choice, ids) in [
        (DeadLetterChoice::default(), vec!["z", "a", "b"]),
        (DeadLetterChoice { key: text("ord_1"), ..Default::default() }, vec!["z", "a"]),
        (DeadLetterChoice { fingerprint: text("f2"), ..Default::default() }, vec!["b"]),
        (DeadLetterChoice { id: text("a"), key: text("ord_2"), ..Default::default() }, vec![]),
        (DeadLetterChoice { after: Some((3, "z".into())), ..Default::default() }, vec!["a", "b"]),
        (DeadLetterChoice { after: Some((4, "a".into())), key: text("ord_2"), ..Default::default() }, vec!["b"]),
    ] {
        let found = database.dead_letters_of(&choice, 10).await.unwrap();
        assert_eq!(found.iter().map(|letter| letter.id.as_str()).collect::<Vec<_>>(), ids, "{choice:?}");
    }
    place.remove().await;
}

async fn keeps_secrets_until_they_expire(place: Place) {
    let (database, mut writer) = place.lead().await;
    let secret = |name: &str, expires_at: Option<i64>| SecretRow {
        name: name.into(),
        value: Some(format!("value of {name}")),
        expires_at: expires_at.map(at),
    };
    writer.begin().await.unwrap();
    writer.write_secret(secret("for ever", None));
    writer.write_secret(secret("until 100", Some(100)));
    writer.write_secret(secret("removed", None));
    writer.commit().await.unwrap();
    for (name, now, there) in
        [("for ever", i64::MAX, true), ("until 100", 99, true), ("until 100", 100, false), ("unknown", 0, false)]
    {
        let value = database.secret(name, at(now)).await.unwrap();
        assert_eq!(value, there.then(|| format!("value of {name}")), "{name} at {now}");
    }
    writer.begin().await.unwrap();
    writer.write_secret(SecretRow { name: "removed".into(), value: None, expires_at: None });
    writer.remove_expired_secrets(at(100));
    writer.commit().await.unwrap();
    let left = database.fetch(Statement::new("SELECT name FROM secret")).await.unwrap();
    assert_eq!((left.len(), left[0].get::<String>(0).unwrap()), (1, "for ever".to_owned()));
    place.remove().await;
}

async fn counts_attempts(place: Place) {
    let (database, mut writer) = place.lead().await;
    for expected in 1..=3 {
        assert_eq!(writer.record_attempt("cmd_1").await.unwrap(), expected);
    }
    assert_eq!(writer.record_attempt("cmd_2").await.unwrap(), 1);
    writer.begin().await.unwrap();
    assert!(refused(writer.record_attempt("cmd_1").await).to_string().contains("already open"));
    writer.end_attempts("cmd_1");
    writer.commit().await.unwrap();
    // A count outlives the process that it is about.
    drop(writer);
    let mut writer = crate::leading::next_writer(&database).await;
    assert_eq!(writer.record_attempt("cmd_2").await.unwrap(), 2);
    assert_eq!(writer.record_attempt("cmd_1").await.unwrap(), 1);
    // A process that stops in order was killed by none of them.
    writer.stop().await.unwrap();
    let left = database.fetch(Statement::new("SELECT input_id FROM attempt")).await.unwrap();
    assert_eq!(left.len(), 0);
    place.remove().await;
}

async fn writes_batches_of_any_size(place: Place) {
    let (database, mut writer) = place.lead().await;
    const ROWS: i64 = 2_000;
    writer.begin().await.unwrap();
    for number in 0..ROWS {
        writer.append_outbox(message(&format!("msg_{number}"), "{}"));
        writer.append_inbox(input(&format!("cmd_{number}"), number), String::new());
    }
    for number in 0..ROWS * 3 {
        writer.set_timer(timer(&format!("key {number}"), "expire", number));
        writer.write_effect(effect(&format!("op_{number}"), 1));
    }
    assert_eq!(writer.commit().await.unwrap().len() as i64, ROWS);
    let log = database.outbox_after("log", 0, 10_000).await.unwrap();
    assert!(log.iter().zip(1..).all(|(message, position)| message.position == position) && log.len() as i64 == ROWS);
    let ids: Vec<String> = (0..ROWS * 3).map(|number| format!("cmd_{number}")).collect();
    assert_eq!(writer.recorded(&ids).await.unwrap().len() as i64, ROWS);

    writer.begin().await.unwrap();
    for number in 0..ROWS * 3 {
        writer.cancel_timer(&format!("key {number}"), "expire");
        writer.end_effect(&format!("op_{number}"));
        writer.end_attempts(&format!("cmd_{number}"));
    }
    writer.commit().await.unwrap();
    assert_eq!(database.next_timer().await.unwrap(), None);
    assert!(database.effects_pending("", 10).await.unwrap().is_empty());
    place.remove().await;
}
