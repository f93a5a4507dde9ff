//! Random walks: commands in any order, and effects that are performed, performed with their answer lost, or never
//! performed. Whatever happened, a void at the end leaves nothing held and nothing kept, here and in the provider's books.

mod common;

use common::{Bench, gbp};
use pangaea_contracts::payment::Void;
use pangaea_payment::{PaymentRow, ProviderTimeouts, VoidStage};
use pangaea_simulator::{Ledger, LedgerSummary, Simulator, SimulatorConfig};
use tokio_util::sync::CancellationToken;

const WALKS: u64 = 60;
const STEPS: u32 = 25;
const TOKENS: [&str; 4] = ["tok_ok", "tok_charged_reply_lost", "tok_capture_fails", "tok_flaky"];

/// Splitmix64: a walk is known by its seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }
}

/// Moves the effect at a random place to the front.
fn shuffle(bench: &mut Bench, dice: &mut Dice) -> bool {
    if bench.effects.is_empty() {
        return false;
    }
    let place = dice.roll(bench.effects.len() as u64) as usize;
    bench.effects.swap(0, place);
    true
}

async fn step(bench: &mut Bench, dice: &mut Dice, token: &str, refunds: &mut u32) {
    match dice.roll(10) {
        0 => drop(bench.authorize(token).await),
        1 | 2 => drop(bench.capture().await),
        3 if dice.roll(3) == 0 => drop(bench.void().await),
        4 => {
            *refunds += 1;
            let amount = 1 + dice.roll(700) as i64;
            bench.refund(&format!("ref_{refunds}"), gbp(amount)).await;
        }
        5 => {
            let pause_ms = dice.roll(60_000) as i64;
            bench.pass(pause_ms).await;
        }
        6 if shuffle(bench, dice) => drop(bench.give_up().await),
        7 if shuffle(bench, dice) => {
            bench.perform_unseen().await;
            bench.give_up().await;
        }
        _ if shuffle(bench, dice) => drop(bench.attempt(dice.roll(2) == 0).await),
        _ => {}
    }
}

/// Lets everything come to its end: every effect is performed, every timer fires.
async fn drain(bench: &mut Bench) {
    for _ in 0..400 {
        if bench.effects.is_empty() && bench.timers().await.is_empty() {
            return;
        }
        if bench.effects.is_empty() {
            bench.pass(3_600_000).await;
        } else {
            // An error leaves the effect to be tried again, as the runtime would.
            let _ = bench.attempt(true).await;
        }
        bench.sound().await;
    }
    panic!("it never comes to rest: {:?} {:?}", bench.effects, bench.timers().await);
}

#[tokio::test]
async fn a_void_at_the_end_of_any_walk_leaves_nothing() {
    let ledger = std::env::temp_dir().join(format!("pangaea-payment-{}-walk.jsonl", std::process::id()));
    let mut kept = 0;
    for seed in 0..WALKS {
        let _ = std::fs::remove_file(&ledger);
        let config = SimulatorConfig { ledger: Some(ledger.clone()), seed, ..SimulatorConfig::default() };
        let simulator = Simulator::bind(config).await.expect("binds");
        let url = format!("http://{}", simulator.addr());
        let stop = CancellationToken::new();
        let running = tokio::spawn(simulator.run(stop.clone()));

        let mut dice = Dice(seed);
        let token = TOKENS[(seed % 4) as usize];
        let mut bench = Bench::at(&url, ProviderTimeouts::default()).await;
        let mut refunds = 0;
        bench.authorize(token).await;
        for _ in 0..STEPS {
            step(&mut bench, &mut dice, token, &mut refunds).await;
            bench.sound().await;
        }
        drain(&mut bench).await;
        let summary = LedgerSummary::of(&Ledger::read(&ledger).expect("a sound ledger"));
        assert_eq!(agrees(&bench.payment().await, &summary), Ok(()), "seed {seed}");
        kept += bench.payment().await.captured - bench.payment().await.refunded;

        bench.deliver(&Void { order_id: common::order() }, common::customer()).await;
        drain(&mut bench).await;
        let payment = bench.payment().await;
        assert_eq!((payment.void, payment.held), (VoidStage::Done, 0), "seed {seed}");
        assert_eq!(payment.captured, payment.refunded, "seed {seed}");
        let summary = LedgerSummary::of(&Ledger::read(&ledger).expect("a sound ledger"));
        assert_eq!(agrees(&payment, &summary), Ok(()), "seed {seed}");
        assert!(summary.orphaned_authorizations.is_empty(), "seed {seed}");
        assert!(summary.double_captures.is_empty() && summary.overdrawn.is_empty(), "seed {seed}");
        stop.cancel();
        running.await.expect("does not panic").expect("ends well");
    }
    let _ = std::fs::remove_file(&ledger);
    assert!(kept > 0, "some walks must have reached a capture, or they show nothing");
}

/// Our row and the provider's books say the same.
fn agrees(payment: &PaymentRow, summary: &LedgerSummary) -> Result<(), String> {
    let theirs = summary.references.get("ord_1").and_then(|sums| sums.amounts.get("GBP")).copied().unwrap_or_default();
    let theirs = (theirs.authorized - theirs.captured - theirs.voided, theirs.captured, theirs.refunded);
    let ours = (payment.held.into(), payment.captured.into(), payment.refunded.into());
    if ours == theirs { Ok(()) } else { Err(format!("held, captured, refunded: ours {ours:?}, theirs {theirs:?}")) }
}
