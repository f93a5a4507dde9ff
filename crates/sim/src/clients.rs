//! Those who use the store: what they ask, under which keys, and what they were told.

use std::collections::BTreeMap;

use pangaea_contracts::order::{CancelOrder, PlaceLine, PlaceOrder, RefundLine, RefundOrder};
use pangaea_contracts::product::{AdjustStock, SetPrice};
use pangaea_contracts::user::PublishKey;
use pangaea_contracts::{Actor, Currency, Message, Money, OrderId, Role, SkuId, Timestamp};
use pangaea_kernel::http::Intent;
use pangaea_kernel::{Answer, Input, InputKind};
use serde_json::Value;

use crate::random::Random;

/// The merchant's codes of what is sold, and how many units there are at the beginning: two that run out, one that does
/// not.
pub(crate) const STOCK: [(&str, i64); 3] = [("SCARCE", 4), ("LIMITED", 7), ("PLENTY", 500)];

/// How payments go: mostly well.
const TOKENS: [(u64, &str); 6] = [
    (70, "tok_ok"),
    (8, "tok_declined"),
    (6, "tok_action_required"),
    (6, "tok_flaky"),
    (5, "tok_capture_fails"),
    (5, "tok_timeout"),
];

/// What a client knows: it remembers its keys and what it was told, whatever becomes of the store's processes.
#[derive(Default)]
pub(crate) struct Clients {
    pub(crate) requests: Vec<Request>,
    /// By the command's id: which of the bodies sent under it was the first to be taken.
    taken: BTreeMap<String, String>,
    /// Orders that are paid, as far as has been heard: what can be refunded.
    pub(crate) confirmed: Vec<OrderId>,
    pub(crate) repeats: u64,
}

pub(crate) struct Request {
    pub(crate) module: &'static str,
    pub(crate) input: Input,
    pub(crate) asks: Asks,
    /// What was answered first; every repeat has to say the same.
    pub(crate) answer: Option<Answer>,
}

#[derive(Clone, Debug)]
pub(crate) enum Asks {
    Place,
    /// Another body under the key of another request.
    Misuse,
    Cancel,
    Refund,
    Price,
    Adjust {
        sku: SkuId,
        delta: i64,
    },
    Key,
}

// === impl Clients ===

impl Clients {
    /// A new request, and its number; `more`: it may place an order.
    pub(crate) fn ask(&mut self, random: &mut Random, now_ms: i64, more: bool) -> Option<usize> {
        let placed: Vec<OrderId> = self.accepted().into_keys().collect();
        let weights = if placed.is_empty() {
            vec![(10, Asks::Place)]
        } else {
            vec![
                (if more { 30 } else { 0 }, Asks::Place),
                (9, Asks::Cancel),
                (if self.confirmed.is_empty() { 3 } else { 40 }, Asks::Refund),
                (if more { 6 } else { 0 }, Asks::Misuse),
                (5, Asks::Price),
                (8, Asks::Adjust { sku: SkuId::from_code("SCARCE"), delta: 0 }),
                (3, Asks::Key),
            ]
        };
        let drawn: Vec<(u64, usize)> =
            weights.iter().enumerate().map(|(index, (weight, _))| (*weight, index)).collect();
        let asks = weights[random.weighted(&drawn)?].1.clone();
        let refundable = matches!(asks, Asks::Refund) && !self.confirmed.is_empty();
        let order = random.pick(if refundable { &self.confirmed } else { &placed }).cloned();
        let request = self.request(asks, order, random, now_ms)?;
        self.requests.push(request);
        Some(self.requests.len() - 1)
    }

    /// Staff end an order that waits for a person.
    pub(crate) fn end_review(&mut self, order_id: OrderId) -> Option<usize> {
        let message = CancelOrder { order_id, reason: Some("nobody could take the money".to_owned()) };
        let request = self.command("order", staff(), &message, Asks::Cancel)?;
        self.requests.push(request);
        Some(self.requests.len() - 1)
    }

    fn request(&self, asks: Asks, order: Option<OrderId>, random: &mut Random, now_ms: i64) -> Option<Request> {
        match asks {
            Asks::Place => {
                let actor = if random.chance(15) { staff() } else { customer(random.chance(70)) };
                self.command("order", actor.clone(), &place(&actor, random), asks)
            }
            Asks::Misuse => {
                let first = self.requests.iter().filter(|request| matches!(request.asks, Asks::Place));
                let first: Vec<&Request> = first.collect();
                let victim = random.pick(&first)?;
                let actor = victim.input.actor.clone();
                let other = self.command("order", actor.clone(), &place(&actor, random), asks)?;
                let id = victim.input.id.clone();
                let input = Input { causation_id: id.clone(), correlation_id: id.clone(), id, ..other.input };
                Some(Request { input, ..other })
            }
            Asks::Cancel => {
                let actor = if random.chance(40) { staff() } else { customer(true) };
                self.command("order", actor, &CancelOrder { order_id: order?, reason: None }, asks)
            }
            Asks::Refund => {
                let line = RefundLine { line: 1, quantity: random.between(1, 2) };
                let lines = if random.chance(50) { vec![line] } else { Vec::new() };
                let message = RefundOrder { order_id: order?, lines, restock: random.chance(60), reason: None };
                self.command("order", staff(), &message, asks)
            }
            Asks::Price => {
                let sku_id = SkuId::from_code(random.pick(&STOCK)?.0);
                let price = pence(random.between(1, 2_999));
                self.command("product", staff(), &SetPrice { sku_id, expected_version: None, price }, asks)
            }
            Asks::Adjust { .. } => {
                let sku_id = SkuId::from_code(random.pick(&STOCK)?.0);
                let delta = if random.chance(70) { random.between(1, 3) } else { -1 };
                let asks = Asks::Adjust { sku: sku_id.clone(), delta };
                let message = AdjustStock { sku_id, delta, reason: "counted".to_owned(), expected_on_hand: None };
                self.command("product", staff(), &message, asks)
            }
            Asks::Key => self.command("user", Actor::system(), &new_key(self.requests.len(), now_ms), asks),
        }
    }

    /// Under a key that no other request of the same client for the same thing has: others use it as well.
    fn command<M: Message>(&self, module: &'static str, actor: Actor, message: &M, asks: Asks) -> Option<Request> {
        let alike = |one: &&Request| one.input.actor == actor && one.input.subject == M::SUBJECT;
        let key = format!("key-{}", self.requests.iter().filter(alike).count());
        command(module, actor, &key, message, asks)
    }

    /// Takes in what a request was told.
    ///
    /// # Errors
    /// When it is not what was told before, or what no client should ever be told.
    pub(crate) fn answered(&mut self, number: usize, answer: Answer) -> Result<(), String> {
        let request = &mut self.requests[number];
        let (id, asks) = (request.input.id.clone(), format!("{:?}", request.asks));
        if answer.status >= 500 {
            return Err(format!("{asks} was answered {}: {}", answer.status, answer.body));
        }
        let InputKind::Command { fingerprint } = &request.input.kind else {
            return Err(format!("{asks} is not a command"));
        };
        let refused_as_reuse = answer.status == 422
            && answer.body["type"].as_str().is_some_and(|kind| kind.ends_with("idempotency-key-reused"));
        let first = self.taken.get(&id);
        match (first, refused_as_reuse) {
            (Some(first), false) if first != fingerprint => {
                return Err(format!("two bodies were taken under the key of {id}"));
            }
            (Some(first), true) if first == fingerprint => {
                return Err(format!("{id} was refused as another body under its own key"));
            }
            (None, false) => drop(self.taken.insert(id.clone(), fingerprint.clone())),
            _ => {}
        }
        match &request.answer {
            Some(known) if known.status != answer.status || known.body != answer.body => Err(format!(
                "{asks} {id} was told {} {} and then {} {}",
                known.status, known.body, answer.status, answer.body
            )),
            Some(_) => {
                self.repeats += 1;
                Ok(())
            }
            None => {
                request.answer = Some(answer);
                Ok(())
            }
        }
    }

    /// The orders that clients were told are accepted, and what they were told of each. Two requests may have placed the
    /// same: another body under a used key is at times the same body.
    pub(crate) fn accepted(&self) -> BTreeMap<OrderId, &Value> {
        let placing = self.requests.iter().filter(|request| matches!(request.asks, Asks::Place | Asks::Misuse));
        let accepted = placing.filter_map(|request| {
            let answer = request.answer.as_ref().filter(|answer| answer.status == 202)?;
            Some((answer.body["id"].as_str()?.parse().ok()?, &answer.body))
        });
        accepted.collect()
    }

    pub(crate) fn unanswered(&self) -> Vec<usize> {
        let open = self.requests.iter().enumerate().filter(|(_, request)| request.answer.is_none());
        open.map(|(number, _)| number).collect()
    }
}

/// A command of the store's edge under an idempotency key.
pub(crate) fn command<M: Message>(
    module: &'static str,
    actor: Actor,
    key: &str,
    message: &M,
    asks: Asks,
) -> Option<Request> {
    let mut intent = Intent::system(&format!("/{}", M::SUBJECT), key);
    intent.actor = actor;
    let input = intent.command(message, Vec::new()).ok()?;
    Some(Request { module, input, asks, answer: None })
}

pub(crate) fn new_key(number: usize, now_ms: i64) -> PublishKey {
    PublishKey {
        key_id: format!("key-{number}"),
        public_key: "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo".to_owned(),
        not_before: Timestamp::from_millis(now_ms),
        not_after: Timestamp::from_millis(now_ms + 86_400_000),
    }
}

pub(crate) fn staff() -> Actor {
    Actor::user("usr_staff", [Role::Staff])
}

fn customer(first: bool) -> Actor {
    Actor::user(if first { "usr_ada" } else { "usr_ben" }, [Role::Customer])
}

pub(crate) fn pence(amount: i64) -> Money {
    Money::new(amount, Currency::GBP)
}

fn place(actor: &Actor, random: &mut Random) -> PlaceOrder {
    let mut lines = Vec::new();
    for _ in 0..random.between(1, 2) {
        let code = random.weighted(&[(4, "SCARCE"), (3, "LIMITED"), (3, "PLENTY")]).unwrap_or("PLENTY");
        let unit_price = (actor.is_staff() && random.chance(50)).then(|| pence(random.between(1, 900)));
        lines.push(PlaceLine { sku: code.to_owned(), quantity: random.between(1, 3), unit_price });
    }
    PlaceOrder {
        placed_by: actor.subject.clone(),
        lines,
        payment_token: random.weighted(&TOKENS).unwrap_or("tok_ok").to_owned(),
        customer_reference: actor.is_staff().then(|| "by telephone".to_owned()),
        shipping_address: None,
    }
}
