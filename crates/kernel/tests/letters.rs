//! Dead letters on an operator's word: redriven in order and in whole, or abandoned; never lost.

#[path = "letters/module.rs"]
mod module;

use pangaea_contracts::payment::Authorize;
use pangaea_contracts::{Currency, Message, Money};
use pangaea_faults::{Action, Failpoint, with_hook};
use pangaea_journal::DeadLetterState;
use pangaea_kernel::{
    Done, ExecutorError, Input, InputKind, LetterOutcome, Outcome, Performed, Work, settings_subject,
};

use self::module::*;

const MENDED: Abilities = Abilities { amount_max: 1_000, timers: true, results: true };

#[tokio::test]
async fn a_letter_that_fails_again_stays_with_its_new_error_and_takes_nothing_else_with_it() {
    let mut module = Module::start("again").await;
    assert_eq!(module.authorize(&[(1, 500), (1, 7)]).await, [Done::Dead, Done::Dead]);
    let before = module.letters().await;
    module.can(Abilities { amount_max: 101, ..Abilities::default() }).await;

    // In one batch with a delivery before it and one behind it: both are handled.
    module.delivered += 1;
    let delivery = |module: &mut Module, number: u32, position: u64| {
        module.delivered = position;
        let kind =
            InputKind::Delivery { source: "order".into(), log_id: "log_1".into(), after: position - 1, position };
        let money = Money::new(5, Currency::GBP);
        let message = Authorize { order_id: order(number), amount: money, payment_token: "tok_ok".into() };
        input(&format!("msg_{position}"), kind, &message)
    };
    let redrive = Work::Redrive { letter_id: "msg_1".into() };
    let work = [delivery(&mut module, 2, 3), redrive, delivery(&mut module, 3, 4)];
    let done = module.run(&work).await;
    assert_eq!((&done[0], &done[2]), (&Done::Handled, &Done::Handled));
    let outcome = letter(done[1].clone());
    assert_eq!(failed(&outcome), ("500 is more than this release can count", before[0].attempts + 1));

    let after = module.letters().await;
    assert_eq!(after.len(), 2, "nothing is lost");
    assert_eq!(after[0].attempts, before[0].attempts + 1);
    assert_eq!((&after[0].input, after[0].position), (&before[0].input, before[0].position), "whole and in its place");
    assert_eq!(after[0].fingerprint, before[0].fingerprint, "the same cause");
    assert_eq!(after[1], before[1]);
    assert_eq!(module.seen().await, ["ord_2 5", "ord_3 5"], "the failed one left nothing");
    assert_eq!(module.database().outbox_after("log", 0, 10).await.unwrap().len(), 2);
    assert_eq!(module.command(1).await, 503, "its key stays parked");
    module.counts(2).await;
    module.end().await;
}

#[tokio::test]
async fn a_key_is_redriven_in_order_only_and_then_goes_on() {
    let mut module = Module::start("order").await;
    module.authorize(&[(1, 500), (1, 7), (1, 8), (2, 600)]).await;
    assert_eq!(module.letter_ids().await, ["msg_1", "msg_2", "msg_3", "msg_4"]);
    module.can(MENDED).await;
    let behind = LetterOutcome::Behind { older_id: "msg_1".into() };
    assert_eq!(module.redrive("msg_3").await, behind);
    assert_eq!(module.redrive("msg_2").await, behind);
    assert_eq!(module.redrive("msg_1").await, LetterOutcome::Redriven);
    assert_eq!(module.command(1).await, 503, "two wait still");
    // Those of a key in one batch, and what comes for the key meanwhile is behind them.
    let work: Vec<Work> = ["msg_2", "msg_3"].map(|id| Work::Redrive { letter_id: id.into() }).into();
    assert_eq!(module.authorize(&[(1, 9)]).await, [Done::Dead]);
    assert_eq!(module.run(&work).await, vec![Done::Letter(LetterOutcome::Redriven); 2]);
    assert_eq!(module.redrive("msg_5").await, LetterOutcome::Redriven);
    assert_eq!(module.seen().await, ["ord_1 500", "ord_1 7", "ord_1 8", "ord_1 9"]);
    assert_eq!(module.command(1).await, 200, "the key goes on");
    assert_eq!(module.authorize(&[(1, 10)]).await, [Done::Handled]);
    assert_eq!(module.command(2).await, 503, "another key has a letter of its own");
    module.counts(1).await;
    assert_eq!(module.redrive("msg_4").await, LetterOutcome::Redriven);
    assert_eq!(module.redrive("msg_4").await, LetterOutcome::Redriven, "asked for again, and done once");
    assert_eq!(module.redrive("msg_99").await, LetterOutcome::NotFound);
    assert_eq!(module.seen().await.len(), 6);
    module.counts(0).await;
    module.end().await;
}

#[tokio::test]
async fn what_was_parked_and_fails_by_itself_is_a_dead_letter_of_its_own() {
    let mut module = Module::start("parked").await;
    module.authorize(&[(1, 200), (1, 700), (1, 3)]).await;
    module.can(Abilities { amount_max: 300, ..MENDED }).await;
    assert_eq!(module.redrive("msg_1").await, LetterOutcome::Redriven);
    assert_eq!(failed(&module.redrive("msg_2").await).1, 1);
    let letters = module.letters().await;
    assert_eq!((letters[0].id.as_str(), letters[0].state), ("msg_2", DeadLetterState::Dead));
    assert_eq!(module.redrive("msg_3").await, LetterOutcome::Behind { older_id: "msg_2".into() });
    assert_eq!(module.abandon("msg_2").await, LetterOutcome::Abandoned);
    assert_eq!(module.abandon("msg_2").await, LetterOutcome::NotFound);
    assert_eq!(module.command(1).await, 503, "one waits still");
    assert_eq!(module.redrive("msg_3").await, LetterOutcome::Redriven);
    assert_eq!(module.seen().await, ["ord_1 200", "ord_1 3"]);
    assert_eq!(module.command(1).await, 200);
    module.counts(0).await;
    module.end().await;
}

#[tokio::test]
async fn timers_and_results_of_effects_are_redriven_alike() {
    let mut module = Module::start("kinds").await;
    module.authorize(&[(1, 50)]).await;
    let effect = module.executor().effects().next().unwrap().clone();
    // The timer fails by itself; the effect's result comes while its key is parked.
    module.now = module.now.plus_millis(1_000);
    module.run(&[]).await;
    let charge = Charge { order_id: order(1) };
    let kind = InputKind::EffectResult { effect_id: effect.id.clone() };
    let Work::Input(result) = input(&format!("{}:result", effect.id), kind, &charge) else { unreachable!() };
    let payload = serde_json::to_string(&Performed { effect: charge, outcome: Outcome::Done(1) }).unwrap();
    let result = Work::Input(Input { payload, ..result });
    assert_eq!(module.run(std::slice::from_ref(&result)).await, [Done::Dead]);
    let letters = module.letters().await;
    assert_eq!(
        letters.iter().map(|letter| letter.subject.as_str()).collect::<Vec<_>>(),
        [Reminder::SUBJECT, Charge::SUBJECT]
    );
    module.die_and_start().await;
    assert_eq!(module.executor().effects().count(), 0, "its result is kept, so it is not performed again");
    assert_eq!(module.run(&[result]).await, [Done::Duplicate]);

    module.can(Abilities { results: false, ..MENDED }).await;
    assert_eq!(module.redrive(&letters[0].id).await, LetterOutcome::Redriven);
    let outcome = module.redrive(&letters[1].id).await;
    assert!(failed(&outcome).0.contains("this release cannot charge"), "{outcome:?}");
    module.can(MENDED).await;
    assert_eq!(module.redrive(&letters[1].id).await, LetterOutcome::Redriven);
    assert_eq!(module.seen().await, ["ord_1 50", "ord_1 timer", "ord_1 charged"]);
    module.counts(0).await;
    module.end().await;
}

#[tokio::test]
async fn settings_are_abandoned_and_never_brought_back() {
    let mut module = Module::start("settings").await;
    let Work::Input(like) = input("set_bad", InputKind::Settings, &LookUp { order_id: order(0) }) else {
        unreachable!()
    };
    let payload = "{\"amount_max\": \"many\"}".to_owned();
    let bad = Input { subject: settings_subject("payment"), key: "payment".into(), payload, ..like };
    assert_eq!(module.run(&[Work::Input(bad)]).await, [Done::Dead]);
    assert!(matches!(module.redrive("set_bad").await, LetterOutcome::Unfit { .. }));
    module.counts(1).await;
    assert_eq!(module.abandon("set_bad").await, LetterOutcome::Abandoned);
    module.counts(0).await;
    module.end().await;
}

/// At every boundary that a redrive comes to, for one that goes well and one that fails again.
#[tokio::test]
async fn a_crash_anywhere_in_a_redrive_loses_nothing_and_does_nothing_twice() {
    let points = [
        Failpoint::HandlerBefore,
        Failpoint::HandlerAfter,
        Failpoint::OutboxBefore,
        Failpoint::OutboxAfter,
        Failpoint::CommitBefore,
        Failpoint::CommitAfter,
    ];
    for (point, mended) in points.into_iter().flat_map(|point| [(point, true), (point, false)]) {
        let mut module = Module::start("crash").await;
        module.authorize(&[(1, 500), (1, 7)]).await;
        if mended {
            module.can(MENDED).await;
        }
        let hook = with_hook(move |reached| (reached == point).then_some(Action::Crash));
        let crashed = module.try_run(&[Work::Redrive { letter_id: "msg_1".into() }]).await;
        drop(hook);
        assert!(matches!(crashed, Err(ExecutorError::Transient(_))), "{point}: {crashed:?}");
        module.die_and_start().await;

        let is_done = mended && point == Failpoint::CommitAfter;
        let left: &[&str] = if is_done { &["msg_2"] } else { &["msg_1", "msg_2"] };
        assert_eq!(module.letter_ids().await, left, "{point}, mended: {mended}");
        module.counts(left.len() as u32).await;
        assert_eq!(module.command(1).await, 503, "{point}");
        module.can(MENDED).await;
        assert_eq!(module.redrive("msg_1").await, LetterOutcome::Redriven, "{point}");
        assert_eq!(module.redrive("msg_2").await, LetterOutcome::Redriven, "{point}");
        assert_eq!(module.seen().await, ["ord_1 500", "ord_1 7"], "{point}");
        assert_eq!(module.database().outbox_after("log", 0, 10).await.unwrap().len(), 2, "{point}");
        assert_eq!(module.executor().effects().count(), 2, "{point}");
        module.counts(0).await;
        module.end().await;
    }
}

/// The process lives on, as the writer's task does when the database is away for a moment: the same work again.
#[tokio::test]
async fn a_commit_without_an_answer_is_asked_for_again_and_counts_stay_right() {
    let mut module = Module::start("unknown").await;
    module.authorize(&[(1, 500), (1, 7)]).await;
    module.can(MENDED).await;
    for (letter_id, left) in [("msg_1", 1), ("msg_2", 0)] {
        let hook = with_hook(|reached| (reached == Failpoint::CommitAfter).then_some(Action::Fail));
        let work = [Work::Redrive { letter_id: letter_id.into() }];
        let unknown = module.try_run(&work).await;
        drop(hook);
        assert!(matches!(unknown, Err(ExecutorError::Transient(_))), "{unknown:?}");
        assert_eq!(module.run(&work).await, [Done::Letter(LetterOutcome::Redriven)]);
        module.counts(left).await;
    }
    assert_eq!(module.seen().await, ["ord_1 500", "ord_1 7"]);
    assert_eq!(module.command(1).await, 200);
    module.end().await;
}
