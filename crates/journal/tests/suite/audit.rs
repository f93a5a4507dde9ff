//! The reads of an audit: they see what a stranger has done to a journal.

use pangaea_journal::{DeadLetterCounts, Extent};

use crate::support::{Place, at, effect, input, message, on_each_durable_database, timer};

on_each_durable_database!(extents_tell_a_whole_history_from_one_with_a_gap, work_and_dead_letters_are_counted);

async fn extents_tell_a_whole_history_from_one_with_a_gap(place: Place) {
    assert_eq!(place.open().await.extents().await.expect("an empty database answers"), None);
    let (database, mut writer) = place.lead().await;
    let extents = database.extents().await.expect("it answers").expect("there is a head row");
    assert_eq!(extents.outbox, Extent { rows: 0, first: 0, last: 0 });

    writer.begin().await.expect("a transaction");
    for number in 1..=3 {
        writer.append_inbox(input(&format!("cmd_{number}"), 1_000), String::new());
        writer.append_outbox(message(&format!("msg_{number}"), "{}"));
    }
    writer.commit().await.expect("it commits");
    let whole = database.extents().await.expect("it answers").expect("there is a head row");
    assert_eq!(
        (whole.inbox, whole.outbox),
        (Extent { rows: 3, first: 1, last: 3 }, Extent { rows: 3, first: 1, last: 3 })
    );
    assert_eq!((whole.head.inbox_end, whole.head.outbox_end), (3, 3));

    place.stranger("DELETE FROM outbox WHERE position = 2").await;
    let gap = database.extents().await.expect("it answers").expect("there is a head row");
    assert_eq!(gap.outbox, Extent { rows: 2, first: 1, last: 3 });
    place.remove().await;
}

async fn work_and_dead_letters_are_counted(place: Place) {
    let (database, mut writer) = place.lead().await;
    assert!(!database.has_work_for("pay_1").await.expect("it answers"));
    writer.begin().await.expect("a transaction");
    writer.write_effect(effect("op_1", 1));
    writer.set_timer(timer("ord_1", "order.tmr.deadline.v1", 5));
    writer.commit().await.expect("it commits");
    for (key, has_work) in [("pay_1", true), ("ord_1", true), ("ord_2", false)] {
        assert_eq!(database.has_work_for(key).await.expect("it answers"), has_work, "{key}");
    }
    assert_eq!(database.effects_pending_count().await.expect("it answers"), 1);
    // Its deadline is 60,000 and its try expires at 5,000: late is what is past both.
    assert_eq!(database.effects_overdue(at(60_000), 10).await.expect("it answers"), []);
    let late = ("op_1".to_owned(), "payment.effect.capture.v1".to_owned(), "pay_1".to_owned());
    assert_eq!(database.effects_overdue(at(60_001), 10).await.expect("it answers"), [late]);

    assert_eq!(database.dead_letter_counts().await.expect("it answers"), DeadLetterCounts::default());
    for (id, state) in [("a", "dead"), ("b", "parked"), ("c", "parked")] {
        let insert =
            format!("INSERT INTO dead_letter VALUES ('{id}', 1, '{state}', 's', 'ord_2', '{{}}', 'boom', 'f', 1, 1)");
        place.stranger(&insert).await;
    }
    assert_eq!(database.dead_letter_counts().await.expect("it answers"), DeadLetterCounts { dead: 1, parked: 2 });
    assert!(database.has_work_for("ord_2").await.expect("it answers"));
    place.remove().await;
}
