//! Tables made again from history, beside inputs that come meanwhile; and what is left when that is broken off.

#[path = "rebuild/module.rs"]
mod module;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::future::BoxFuture;
use pangaea_faults::{Action, Failpoint, with_hook};
use pangaea_journal::Statement;
use pangaea_kernel::{
    Done, ExecutorError, InputKind, Rebuild, RebuildDone, RebuildError, RebuildOptions, RebuildProgress, RebuildStep,
    Steps, Work, settings_subject,
};

use self::module::*;

const DAMAGES: [&str; 3] = [
    "UPDATE shown SET amount = amount + 1, note = 'damaged' WHERE order_id = 'ord_3'",
    "DELETE FROM shown WHERE order_id = 'ord_4' AND number < 5",
    "INSERT INTO shown VALUES ('ord_nobody', 0, 1, NULL)",
];

/// More rows than one step takes, and inputs that come between any two steps.
#[tokio::test]
async fn a_damaged_projection_is_rebuilt_while_inputs_come() {
    let mut module = Module::start(definition()).await;
    module.deliver(1_200).await;
    for damage in DAMAGES {
        module.damage(damage).await;
    }
    let damaged = module.contents().await;
    let dry = module.rebuild(definition(), RebuildOptions { dry_run: true, ..shown() }).await.unwrap();
    assert_eq!((dry.inputs, dry.differing, dry.is_clean()), (1_200, 0, false));
    let [table] = dry.tables.as_slice() else { panic!("{dry:?}") };
    assert_eq!((table.added, table.removed), (5, 1), "{table:?}");
    assert_eq!((table.rows_before, table.rows_after), (1_196, 1_200), "{table:?}");
    assert!((171..=172).contains(&table.changed), "{table:?}");
    assert_eq!(module.contents().await, damaged, "a dry run changes nothing");

    module.between = 3;
    let done = module.rebuild(definition(), shown()).await.unwrap();
    assert!(done.inputs > 1_205 && done.inputs == module.delivered, "{done:?}");
    assert_eq!(done.tables[0].rows_after, module.delivered);
    // What came meanwhile for the order whose rows were missing took their numbers: that is mended as well.
    assert!(done.tables[0].added >= 5 && done.tables[0].removed == 1, "{done:?}");
    module.is_as_never_damaged().await;
    module.between = 0;
    let again = module.rebuild(definition(), RebuildOptions { dry_run: true, ..RebuildOptions::default() }).await;
    assert!(again.unwrap().is_clean());
    // The map has forgotten what it knew: what comes next counts on.
    module.deliver(20).await;
    module.is_as_never_damaged().await;
    module.end();
}

#[tokio::test]
async fn every_table_is_rebuilt_with_what_handlers_wrote_by_sql_and_the_settings() {
    let mut module = Module::start(definition()).await;
    let settings = input("set_1", InputKind::Settings, &settings_subject("payment"), &Bonus { bonus: 5 });
    module.run(&[settings]).await.unwrap();
    module.deliver(30).await;
    let sound = module.contents().await;
    module.damage("UPDATE counted SET orders = 0").await;
    module.damage("DELETE FROM sum WHERE order_id = 'ord_0'").await;
    module.damage("UPDATE setting SET value = '{\"bonus\": 77}'").await;
    let done = module.rebuild(definition(), RebuildOptions::default()).await.unwrap();
    let changed: Vec<_> = done.tables.iter().filter(|one| !one.is_none()).map(|one| one.table.as_str()).collect();
    assert_eq!(changed, ["counted", "setting", "sum"]);
    assert_eq!(module.contents().await, sound);
    // The executor has read the damaged settings at its start.
    module.deliver(1).await;
    let rows = module.database().fetch(Statement::new("SELECT bonus FROM sum WHERE order_id = 'ord_3'")).await;
    assert_eq!(rows.unwrap()[0].get::<i64>(0).unwrap(), 5);
    module.end();
}

#[tokio::test]
async fn handlers_that_say_something_else_rebuild_nothing_unless_they_must() {
    let mut module = Module::start(definition()).await;
    module.deliver(300).await;
    let before = module.contents().await;
    let doubled = || declared().on(authorize_doubled);
    let refused = module.rebuild(doubled(), shown()).await.unwrap_err();
    let RebuildError::Differs(first) = &refused else { panic!("{refused}") };
    assert_eq!((first.position, first.id.as_str()), (1, "msg_1"));
    let text = refused.to_string();
    assert!(text.contains("the input at 1 (") && text.contains("--force"), "{text}");
    assert!(text.contains("says payment.evt.authorized.v1 otherwise"), "{text}");
    assert_eq!(module.contents().await, before);
    let dry = module.rebuild(doubled(), RebuildOptions { dry_run: true, ..shown() }).await.unwrap();
    assert_eq!((dry.differing, dry.tables[0].changed), (300, 300));
    let forced = module.rebuild(doubled(), RebuildOptions { force: true, ..shown() }).await.unwrap();
    assert_eq!((forced.differing, forced.tables[0].changed), (300, 300));
    assert_ne!(module.contents().await, before);

    // What cannot be: said before anything is run.
    let unknown = RebuildOptions { projection: Some("timeline".into()), ..RebuildOptions::default() };
    let unknown = module.rebuild(definition(), unknown).await.unwrap_err().to_string();
    assert_eq!(unknown, "payment has no projection \"timeline\"; it has shown, nowhere");
    let nowhere = RebuildOptions { projection: Some("nowhere".into()), ..RebuildOptions::default() };
    let nowhere = module.rebuild(definition(), nowhere).await.unwrap_err().to_string();
    assert!(nowhere.contains("makes no table not_there"), "{nowhere}");
    module.end();
}

/// At every step, and at every boundary of the last one.
#[tokio::test]
async fn a_process_that_dies_in_a_rebuild_leaves_the_old_tables_or_the_new() {
    for steps in 0..4 {
        let mut module = Module::start(definition()).await;
        module.deliver(600).await;
        module.damage(DAMAGES[0]).await;
        let damaged = module.contents().await;
        module.dies_after = Some(steps);
        let error = module.rebuild(definition(), shown()).await.unwrap_err();
        assert!(matches!(error, RebuildError::Lost(_)), "{steps}: {error}");
        module.restart(definition()).await;
        assert_eq!(module.contents().await, damaged, "{steps}");
        assert_eq!(module.shadows().await, usize::from(steps > 0), "{steps}: the test leaves something");
        module.dies_after = None;
        module.rebuild(definition(), shown()).await.unwrap();
        module.is_as_never_damaged().await;
        module.end();
    }
    let points = [Failpoint::OutboxBefore, Failpoint::OutboxAfter, Failpoint::CommitBefore, Failpoint::CommitAfter];
    for point in points {
        let mut module = Module::start(definition()).await;
        module.deliver(50).await;
        module.damage(DAMAGES[0]).await;
        let (damaged, swapping) = (module.contents().await, module.is_swapping.clone());
        let at = move |reached| (reached == point && swapping.load(Ordering::Relaxed)).then_some(Action::Crash);
        let hook = with_hook(at);
        let error = module.rebuild(definition(), shown()).await;
        drop(hook);
        assert!(error.is_err(), "{point}: {error:?}");
        module.restart(definition()).await;
        if point == Failpoint::CommitAfter {
            module.is_as_never_damaged().await;
        } else {
            assert_eq!(module.contents().await, damaged, "{point}");
        }
        module.rebuild(definition(), shown()).await.unwrap();
        module.is_as_never_damaged().await;
        module.end();
    }
}

/// The process lives on, as the writer's task does when the database is away for a moment: the same step again.
#[tokio::test]
async fn a_swap_whose_answer_was_lost_is_asked_for_again_and_told_right() {
    struct Again(Module);
    impl Steps for Again {
        fn take(&mut self, work: Work) -> BoxFuture<'_, Result<Done, String>> {
            Box::pin(async move {
                let is_swap = matches!(&work, Work::Rebuild(RebuildStep::Swap(_)));
                self.0.is_swapping.store(is_swap, Ordering::Relaxed);
                let done = match self.0.run(std::slice::from_ref(&work)).await {
                    Err(ExecutorError::Transient(_)) => self.0.run(&[work]).await,
                    other => other,
                };
                Ok(done.map_err(|error| error.to_string())?.remove(0))
            })
        }

        fn rest(&mut self) -> BoxFuture<'_, ()> {
            Box::pin(async {})
        }
    }
    let mut module = Module::start(definition()).await;
    module.deliver(50).await;
    module.damage(DAMAGES[2]).await;
    let (progress, database) = (RebuildProgress::default(), module.database());
    let (swapping, lost) = (module.is_swapping.clone(), Arc::new(AtomicU32::new(0)));
    let counted = lost.clone();
    let hook = with_hook(move |reached| {
        let is_it = reached == Failpoint::CommitAfter && swapping.load(Ordering::Relaxed);
        (is_it && counted.fetch_add(1, Ordering::Relaxed) == 0).then_some(Action::Fail)
    });
    let mut again = Again(module);
    let done = Rebuild::new(Arc::new(definition()), database, shown(), &progress, &mut again).run().await.unwrap();
    drop(hook);
    assert_eq!(lost.load(Ordering::Relaxed), 1, "asked for again, and found done");
    assert_eq!((done.tables[0].rows_before, done.tables[0].removed), (51, 1));
    again.0.is_as_never_damaged().await;
    again.0.end();
}

#[tokio::test]
async fn one_that_is_cancelled_changes_nothing_and_leaves_nothing() {
    let mut module = Module::start(definition()).await;
    module.deliver(50).await;
    let progress = RebuildProgress::default();
    progress.cancel();
    let database = module.database();
    let ended = Rebuild::new(Arc::new(definition()), database, shown(), &progress, &mut module).run().await;
    assert!(matches!(ended, Err(RebuildError::Cancelled)), "{ended:?}");
    module.is_as_never_damaged().await;
    // A step in a batch with others runs alone, and an unknown one is no harm.
    let done = module.run(&[Work::Rebuild(RebuildStep::Clear), Work::SweepSecrets]).await.unwrap();
    assert_eq!(done, [Done::Rebuild(RebuildDone::Stepped), Done::Handled]);
    module.end();
}
