//! The disk's sync is shared: many callers at once must not pay one each.

mod common;

use std::time::Instant;

use common::{Running, fresh_ledger, with_ledger};
use futures_util::future::join_all;
use serde_json::json;

const CALLERS: usize = 64;
const PAYMENTS_EACH: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn group_commit_beats_one_sync_per_call() {
    let provider = Running::start(with_ledger(&fresh_ledger())).await;
    pay(&provider, 0, 40).await;
    let begin = Instant::now();
    pay(&provider, 1, 40).await;
    let alone_per_payment = begin.elapsed() / 40;

    let begin = Instant::now();
    join_all((2..2 + CALLERS).map(|caller| pay(&provider, caller, PAYMENTS_EACH))).await;
    let together_per_payment = begin.elapsed() / (CALLERS * PAYMENTS_EACH) as u32;
    let rate = 1.0 / together_per_payment.as_secs_f64();
    println!("alone {alone_per_payment:?}, together {together_per_payment:?} per payment: {rate:.0} payments/s");
    assert!(together_per_payment < alone_per_payment, "alone {alone_per_payment:?}, together {together_per_payment:?}");
    provider.stop().await;
}

/// Authorizes and captures, one payment after the other.
async fn pay(provider: &Running, caller: usize, payments: usize) {
    for n in 0..payments {
        let key = format!("{caller}-{n}");
        let intent = provider.authorize(&key, "tok_ok", 100).await;
        assert_eq!(provider.capture(&format!("{key}-c"), intent.id(), json!({})).await.status, 200);
    }
}
