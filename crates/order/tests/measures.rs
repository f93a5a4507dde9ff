//! What the operator is told: how long orders took to settle, each once, and how many are in each state.

mod support;

use std::sync::{Arc, Mutex};

use pangaea_contracts::OrderId;
use pangaea_contracts::payment::{ActionRequired, CaptureFailed, Declined};
use pangaea_contracts::product::{StockRefused, StockReserved};
use pangaea_kernel::{Module, Observation, Observer};
use pangaea_order::{Order, State};

use support::{Rig, customer, payment_id, staff, why};

/// Keeps what is observed, as the runtime's does.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<Observation>>>);

impl Observer for Told {
    fn observed(&mut self, observation: Observation) {
        self.0.lock().unwrap().push(observation);
    }
}

impl Told {
    /// Outcomes with their seconds, since they were last asked for.
    fn take(&self) -> Vec<(&'static str, f64)> {
        let settle = Order::new().define().histograms()[0];
        let told = std::mem::take(&mut *self.0.lock().unwrap());
        told.iter().map(|one| (settle.values[one.value], one.measured)).collect()
    }
}

async fn watched() -> (Rig, Told) {
    let (mut rig, told) = (Rig::new().await, Told::default());
    rig.executor = rig.executor.observed_by(Box::new(told.clone()));
    (rig, told)
}

#[tokio::test]
async fn a_confirmed_order_is_told_once_with_its_time() {
    let (mut rig, told) = watched().await;
    let order_id = rig.bring_to("committed").await;
    rig.pass(7_250).await;
    assert_eq!(told.take(), []);
    rig.go_on(&order_id, "committed").await;
    assert_eq!(told.take(), [("confirmed", 7.25)]);
    // Repeats, and what comes later, settle nothing.
    rig.go_on(&order_id, "committed").await;
    rig.refund(&order_id, &[], false).await;
    assert_eq!(told.take(), []);
}

#[tokio::test]
async fn whoever_ended_it_is_told() {
    let (mut rig, told) = watched().await;
    for (code, outcome) in [("out_of_stock", "out_of_stock"), ("unknown_sku", "cancelled")] {
        let order_id = rig.bring_to("placed").await;
        rig.hear(&StockRefused { order_id, shortages: Vec::new(), reason: why(code) }).await;
        assert_eq!(told.take(), [(outcome, 0.0)]);
    }
    let order_id = rig.bring_to("reserved").await;
    let declined = Declined { order_id: order_id.clone(), payment_id: payment_id(), reason: why("outcome_unknown") };
    rig.hear(&declined).await;
    rig.pass(2_000).await;
    assert_eq!(told.take(), [], "the units are still held");
    rig.released(&order_id).await;
    assert_eq!(told.take(), [("payment_declined", 2.0)]);
    for (actor, outcome) in [(customer(), "cancelled_by_customer"), (staff(), "cancelled_by_staff")] {
        let order_id = rig.bring_to("placed").await;
        rig.cancel(&actor, &order_id).await;
        rig.released(&order_id).await;
        assert_eq!(told.take(), [(outcome, 0.0)]);
    }
    let order_id = rig.bring_to("placed").await;
    for _ in 0..3 {
        rig.pass(30_000).await;
    }
    rig.released(&order_id).await;
    assert_eq!(told.take(), [("no_answer", 90.0)]);
}

/// Brings an order to where its customer has to act, two seconds after it was placed.
async fn to_action(rig: &mut Rig) -> OrderId {
    let order_id = rig.place().await;
    rig.pass(1_000).await;
    rig.hear(&StockReserved { order_id: order_id.clone(), expires_at: rig.now }).await;
    rig.pass(1_000).await;
    rig.hear(&ActionRequired { order_id: order_id.clone(), payment_id: payment_id() }).await;
    order_id
}

#[tokio::test]
async fn the_time_of_a_customer_who_has_to_act_is_not_the_stores() {
    let (mut rig, told) = watched().await;
    let order_id = to_action(&mut rig).await;
    rig.pass(300_000).await;
    for state in ["reserved", "authorized", "committed"] {
        rig.go_on(&order_id, state).await;
        rig.pass(500).await;
    }
    assert_eq!(told.take(), [("confirmed", 3.0)]);

    let order_id = to_action(&mut rig).await;
    rig.pass(600_000).await;
    rig.pass(4_000).await;
    rig.voided(&order_id).await;
    rig.released(&order_id).await;
    assert_eq!(told.take(), [("action_timeout", 6.0)]);
}

#[tokio::test]
async fn a_review_is_an_end_and_what_people_make_of_it_no_second_one() {
    let (mut rig, told) = watched().await;
    let order_id = rig.bring_to("committed").await;
    let failed = CaptureFailed { order_id: order_id.clone(), payment_id: payment_id(), reason: why("provider_error") };
    while rig.state(&order_id).await == "committed" {
        rig.hear(&failed).await;
        rig.pass(15 * 60_000).await;
    }
    let [("manual_review", seconds)] = told.take()[..] else { panic!("it is not told") };
    assert!(seconds >= 86_400.0, "{seconds}");
    rig.go_on(&order_id, "committed").await;
    assert_eq!((rig.state(&order_id).await.as_str(), told.take()), ("confirmed", vec![]));
}

#[tokio::test]
async fn orders_are_counted_by_state_and_a_state_without_any_is_there() {
    let mut rig = Rig::new().await;
    for state in ["placed", "placed", "authorized", "confirmed"] {
        rig.bring_to(state).await;
    }
    let definition = Order::new().define();
    let [orders] = definition.gauges() else { panic!("one gauge") };
    let numbers = orders.numbers(&rig.database).await.unwrap();
    assert_eq!(numbers.len(), State::ALL.len());
    let some: Vec<_> = numbers.into_iter().filter(|(_, number)| *number > 0).collect();
    assert_eq!(some, [("placed", 2), ("authorized", 1), ("confirmed", 1)]);
}
