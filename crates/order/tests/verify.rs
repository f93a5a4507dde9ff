//! `verify` sees each kind of breach: a handler that no module has spoils the tables behind the module's back.

mod support;

use pangaea_contracts::user::Registered;
use pangaea_contracts::{OrderId, RefundId, UserId};
use pangaea_journal::Statement;
use pangaea_kernel::{Cx, Failure, Module};
use pangaea_order::{Order, verify};

use support::{Rig, TOTAL, id_in};

/// What is spoilt is named by the account.
async fn spoil(cx: &mut Cx, event: Registered) -> Result<(), Failure> {
    let sql = match event.user_id.as_str() {
        "usr_deadlines" => "DELETE FROM timer WHERE subject = 'order.tmr.deadline.v1'",
        "usr_refunddeadlines" => "DELETE FROM timer WHERE subject = 'order.tmr.refund_deadline.v1'",
        "usr_gaps" => "DELETE FROM timeline WHERE seq = 2",
        "usr_ends" => "UPDATE orders SET version = version + 1",
        "usr_sums" => "UPDATE orders SET refund_pending = refund_pending - 1 WHERE state = 'confirmed'",
        "usr_amounts" => "UPDATE refund SET amount = amount + 1",
        "usr_lines" => "UPDATE orders SET lines = replace(lines, '\"refund_pending\":1', '\"refund_pending\":0')",
        other => return Err(Failure::poison(other)),
    };
    cx.sql(Statement::new(sql)).await.map(drop)
}

/// One order under way, and a confirmed one with a refund that is pending.
async fn rig() -> (Rig, OrderId, OrderId, RefundId) {
    let mut rig = Rig::with(Order::new().define().on::<Registered>(spoil)).await;
    let open = rig.bring_to("reserved").await;
    // Ids sort by milliseconds.
    rig.pass(1).await;
    let confirmed = rig.bring_to("confirmed").await;
    let refund = id_in(&rig.refund(&confirmed, &[(2, 1)], false).await);
    rig.check().await;
    (rig, open, confirmed, refund)
}

#[tokio::test]
async fn each_breach_is_named() {
    for (what, sentences) in [
        ("deadlines", vec!["{open} is reserved and has no deadline"]),
        ("refunddeadlines", vec!["{refund} of order {confirmed} is under way and has no deadline"]),
        ("gaps", vec!["timeline of order {open}", "timeline of order {confirmed}"]),
        ("ends", vec!["timeline of order {open}", "timeline of order {confirmed}"]),
        ("sums", vec!["refunds of order {confirmed} (confirmed) do not add up"]),
        ("amounts", vec!["refunds of order {confirmed} (confirmed) do not add up", "lines of order {confirmed}"]),
        ("lines", vec!["lines of order {confirmed} do not agree"]),
    ] {
        let (mut rig, open, confirmed, refund) = rig().await;
        spoilt(&mut rig, what).await;
        let breaches = verify(&rig.database).await.unwrap();
        assert_eq!(breaches.len(), sentences.len(), "{what}: {breaches:?}");
        for (breach, sentence) in breaches.iter().zip(sentences) {
            let sentence = sentence.replace("{open}", open.as_str()).replace("{confirmed}", confirmed.as_str());
            let sentence = sentence.replace("{refund}", refund.as_str());
            assert!(breach.contains(&sentence), "{what}: {breach:?} where {sentence:?} is expected");
        }
    }
}

async fn spoilt(rig: &mut Rig, what: &str) {
    let user_id: UserId = format!("usr_{what}").parse().unwrap();
    rig.hear(&Registered { user_id, roles: vec![] }).await;
}

#[tokio::test]
async fn a_whole_life_breaches_nothing() {
    let (mut rig, open, confirmed, refund) = rig().await;
    rig.refunded(&confirmed, &refund, 399).await;
    let rest: RefundId = id_in(&rig.refund(&confirmed, &[], true).await);
    rig.check().await;
    rig.refunded(&confirmed, &rest, TOTAL - 399).await;
    rig.check().await;
    rig.cancel(&support::customer(), &open).await;
    rig.check().await;
}
