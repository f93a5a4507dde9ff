//! Planted changes of behaviour: each shows in what the module says, waits for or holds in the usual life of orders.

mod support;

use pangaea_contracts::SkuId;
use pangaea_contracts::payment::Declined;
use pangaea_contracts::product::{Shortage, StockRefused};
use pangaea_faults::{Change, with_change};
use pangaea_journal::Statement;

use support::{Rig, customer, id_in, payment_id, why};

/// The beginning of the first line that differs, without or with the change.
const SHOWN_BY: [(Change, &str); 7] = [
    (Change::WrongRounding, "says order.evt.placed"),
    (Change::MissingCompensation, "says order.cmd.product.release_stock"),
    (Change::RenamedField, "says order.evt.confirmed"),
    (Change::DroppedEvent, "says order.evt.cancelled"),
    (Change::WallClock, "holds orders"),
    (Change::SwappedOutputs, "says order.evt.placed"),
    (Change::ChangedDeadline, "waits order.tmr.deadline"),
];

/// A rig, and all that it was seen to do.
struct Life {
    rig: Rig,
    seen: Vec<String>,
}

impl Life {
    /// One order is confirmed and refunded in part, others are sold out, declined and cancelled.
    async fn live() -> Vec<String> {
        let mut life = Life { rig: Rig::new().await, seen: Vec::new() };
        let bought = life.rig.place().await;
        life.look().await;
        for state in ["placed", "reserved", "authorized", "committed"] {
            life.rig.go_on(&bought, state).await;
            life.look().await;
        }
        let refund = life.rig.refund(&bought, &[(2, 1)], true).await;
        let amount = refund.body["amount"]["amount"].as_i64().unwrap();
        life.rig.refunded(&bought, &id_in(&refund), amount).await;
        life.look().await;

        let order_id = life.rig.place().await;
        let shortages = vec![Shortage { sku_id: SkuId::from_code("MUG"), wanted: 3, available: 1 }];
        life.rig.hear(&StockRefused { order_id, reason: why("short"), shortages }).await;
        life.look().await;

        let order_id = life.rig.bring_to("reserved").await;
        let payment_id = payment_id();
        life.rig.hear(&Declined { order_id: order_id.clone(), payment_id, reason: why("card_declined") }).await;
        life.rig.released(&order_id).await;
        life.look().await;

        let order_id = life.rig.bring_to("authorized").await;
        life.rig.cancel(&customer(), &order_id).await;
        life.rig.voided(&order_id).await;
        life.rig.released(&order_id).await;
        life.look().await;
        life.rows().await;
        life.seen
    }

    async fn look(&mut self) {
        let said = self.rig.take_said();
        self.seen.extend(said.iter().map(|message| format!("says {} {}", message.subject, message.payload)));
        let sql = "SELECT subject, key, due_at FROM timer ORDER BY subject, key";
        for row in self.rig.database.fetch(Statement::new(sql)).await.unwrap() {
            let (subject, key): (String, String) = (row.get(0).unwrap(), row.get(1).unwrap());
            self.seen.push(format!("waits {subject} {key} until {}", row.get::<i64>(2).unwrap()));
        }
    }

    async fn rows(&mut self) {
        for contents in self.rig.database.contents().await.unwrap() {
            self.seen.extend(contents.rows.iter().map(|row| format!("holds {} {row:?}", contents.table)));
        }
    }
}

#[tokio::test]
async fn each_change_shows_in_the_usual_life_of_orders() {
    let unchanged = Life::live().await;
    assert_eq!(unchanged, Life::live().await, "without a change nothing differs");
    for (change, shown_by) in SHOWN_BY {
        let guard = with_change(change);
        let changed = Life::live().await;
        drop(guard);
        let differs = unchanged.iter().zip(&changed).find(|(before, after)| before != after);
        let (before, after) = differs.unwrap_or_else(|| panic!("{change} does not show"));
        let shows = before.starts_with(shown_by) || after.starts_with(shown_by);
        assert!(shows, "{change} shows otherwise:\n  {before}\n  {after}");
    }
}
