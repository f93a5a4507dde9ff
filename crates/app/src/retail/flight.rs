//! Requests in flight: each step of the plan as calls of the API, and what the store made of it.

use std::ops::AddAssign;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::answer::{Answer, Failure, Replay};
use super::api::{self, Order, Refund, Standing};
use super::client::Client;
use super::money::Amount;
use super::plan::{Plan, PlannedAdjustment, PlannedOrder, PlannedRefund, RefundPart, Step};

/// How long an order or refund may stay unsettled after its first answer.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(120);
const POLL_FIRST: Duration = Duration::from_millis(100);
const POLL_MAX: Duration = Duration::from_secs(2);
/// Longer than an order's tries and its polling together.
const ORDER_WAIT_MAX: Duration = Duration::from_secs(600);
/// From the begin of the run: how long the order module may lag behind an import that has just ended.
const CATCH_UP: Duration = Duration::from_secs(20);
const ATTEMPT_PAUSE: Duration = Duration::from_secs(1);
const ATTEMPTS_MAX: u32 = 20;
const PAYMENT_TOKEN: &str = "tok_ok";

/// A plan on its way; shared by all tasks.
pub(crate) struct Flight {
    pub(crate) client: Client,
    pub(crate) plan: Plan,
    /// What became of each order; nothing while it is in flight. Refunds wait here.
    placed: Vec<watch::Sender<Option<Placement>>>,
    begun: Instant,
}

/// What the store has accepted, as its own answers say.
#[derive(Debug, Default)]
pub(crate) struct Accepted {
    pub(crate) orders: u64,
    pub(crate) sale_lines: u64,
    pub(crate) sales_pence: i64,
    /// Lines of the file whose refunds all succeeded.
    pub(crate) refund_lines: u64,
    /// Positive: money given back.
    pub(crate) refunds_pence: i64,
    pub(crate) adjustment_lines: u64,
    /// Parts of the sums above whose answers were stored ones. Their money moved in this run, unless an earlier run had
    /// sent them.
    pub(crate) replayed_sales_pence: i64,
    pub(crate) replayed_refunds_pence: i64,
    /// Something had been sent by an earlier run.
    pub(crate) from_earlier_run: bool,
    pub(crate) refusals: Vec<String>,
    /// Set when the store can no longer be reached: the run ends, and a later one goes on where it stopped.
    pub(crate) unreachable: Option<String>,
}

#[derive(Clone, Debug)]
enum Placement {
    Accepted(Arc<str>),
    Failed,
}

// === impl Flight ===

impl Flight {
    pub(crate) fn new(client: Client, plan: Plan) -> Self {
        let placed = plan.orders.iter().map(|_| watch::Sender::new(None)).collect();
        Self { client, plan, placed, begun: Instant::now() }
    }

    /// Does the step at this place of the plan; never fails, because what goes wrong is part of the result.
    pub(crate) async fn run_step(&self, step: usize) -> Accepted {
        match &self.plan.steps[step] {
            Step::Order(place) => self.place(*place).await,
            Step::Refund(refund) => self.refund(refund).await,
            Step::Adjustment(adjustment) => self.adjust(adjustment).await,
        }
    }

    async fn place(&self, place: usize) -> Accepted {
        let planned = &self.plan.orders[place];
        let mut accepted = Accepted::default();
        let mut placement = Placement::Failed;
        match self.settled_order(planned).await {
            Ok((order, replay)) => match order.standing() {
                Standing::Accepted => {
                    accepted.add_order(planned, &order, replay);
                    placement = Placement::Accepted(order.id.into());
                }
                Standing::Failed => {
                    let reason = api::reason_text(order.reason.as_ref());
                    accepted
                        .refuse(format!("invoice {}: {} ended {}: {reason}", planned.invoice, order.id, order.state));
                }
                Standing::Pending => {
                    let waited_s = SETTLE_TIMEOUT.as_secs();
                    accepted.refuse(format!(
                        "invoice {}: timeout: {} is still {} after {waited_s} s",
                        planned.invoice, order.id, order.state
                    ));
                }
            },
            Err(failure) => accepted.fail(&format!("invoice {}", planned.invoice), failure),
        }
        self.placed[place].send_replace(Some(placement));
        accepted
    }

    /// Places the order and follows it until it is settled or the time is up.
    async fn settled_order(&self, planned: &PlannedOrder) -> Result<(Order, Replay), Failure> {
        let answer = self.post_order(planned).await?;
        let replay = answer.replay;
        let mut order: Order = api::parse(answer.body)?;
        let begun = Instant::now();
        let mut pause = POLL_FIRST;
        while order.standing() == Standing::Pending && begun.elapsed() < SETTLE_TIMEOUT {
            sleep(pause).await;
            pause = POLL_MAX.min(pause * 2);
            order = api::parse(self.client.get(&format!("/v1/orders/{}", order.id)).await?.body)?;
        }
        Ok((order, replay))
    }

    /// Posts the order. The order module learns new products from events, so right after an import it may not know all
    /// of them yet. A refusal is stored under its key, hence a key of its own for each further attempt; they are the same
    /// at every run, which finds the attempt that was taken.
    async fn post_order(&self, planned: &PlannedOrder) -> Result<Answer, Failure> {
        let body = order_body(planned);
        let mut attempt = 0;
        loop {
            let key = self.order_key(planned, attempt);
            let failure = match self.client.post_and_wait("/v1/orders", &key, &body).await {
                Err(failure @ Failure::Refused { status: 422, .. }) => failure,
                answer => return answer,
            };
            let is_replay = matches!(&failure, Failure::Refused { replay: Replay::EarlierRun, .. });
            let is_early = self.begun.elapsed() < CATCH_UP;
            attempt += 1;
            if attempt >= ATTEMPTS_MAX || !(is_early || is_replay) {
                return Err(failure);
            }
            if !is_replay {
                sleep(ATTEMPT_PAUSE).await;
            }
        }
    }

    fn order_key(&self, planned: &PlannedOrder, attempt: u32) -> String {
        let customer = planned.customer.as_deref();
        let whose = if customer.is_some() { "customer" } else { "guest" };
        let customer = customer.unwrap_or_default();
        let attempt = attempt.to_string();
        self.plan.hash.key(&["order", &planned.invoice, whose, customer, &attempt])
    }

    async fn refund(&self, refund: &PlannedRefund) -> Accepted {
        let mut accepted = Accepted::default();
        let mut all_succeeded = true;
        for part in &refund.parts {
            let what = format!("line {}: refund of invoice {}", refund.file_line, refund.invoice);
            match self.settled_refund(refund, part).await {
                Ok(Some((answer, replay))) if answer.standing() == Standing::Accepted => {
                    accepted.add_refund(&what, part, &answer, replay);
                }
                Ok(Some((answer, _))) => {
                    all_succeeded = false;
                    let reason = api::reason_text(answer.reason.as_ref());
                    accepted.refuse(format!("{what}: {} ended {}: {reason}", answer.id, answer.state));
                }
                Ok(None) => {
                    all_succeeded = false;
                    accepted.refuse(format!("{what}: the order that it refunds was not accepted"));
                }
                Err(failure) => {
                    all_succeeded = false;
                    accepted.fail(&what, failure);
                }
            }
        }
        accepted.refund_lines += u64::from(all_succeeded);
        accepted
    }

    /// Refunds lines of one order once it is confirmed, and follows the refund until it is settled or the time is up.
    /// Nothing when the order was not accepted.
    async fn settled_refund(
        &self,
        refund: &PlannedRefund,
        part: &RefundPart,
    ) -> Result<Option<(Refund, Replay)>, Failure> {
        let Some(order_id) = self.accepted_order(part.order).await else {
            return Ok(None);
        };
        let path = format!("/v1/orders/{order_id}/refunds");
        let key = self.plan.hash.key(&["refund", &refund.file_line.to_string(), &part.order.to_string()]);
        let answer = self.client.post_and_wait(&path, &key, &refund_body(refund, part)).await?;
        let replay = answer.replay;
        let mut answer: Refund = api::parse(answer.body)?;
        let begun = Instant::now();
        let mut pause = POLL_FIRST;
        while answer.standing() == Standing::Pending && begun.elapsed() < SETTLE_TIMEOUT {
            sleep(pause).await;
            pause = POLL_MAX.min(pause * 2);
            let listed = api::items(self.client.get(&path).await?.body)?;
            let found = listed.into_iter().find(|item| item.get("id").and_then(Value::as_str) == Some(&answer.id));
            answer = api::parse(found.ok_or_else(|| Failure::Malformed(format!("{} is not listed", answer.id)))?)?;
        }
        Ok(Some((answer, replay)))
    }

    /// Waits until the order is settled. It stands earlier in the plan, so it is in flight or done already, and waiting
    /// for it can never be waiting for oneself.
    async fn accepted_order(&self, place: usize) -> Option<Arc<str>> {
        let mut placed = self.placed[place].subscribe();
        let settled = timeout(ORDER_WAIT_MAX, placed.wait_for(Option::is_some)).await.ok()?.ok()?;
        match settled.as_ref()? {
            Placement::Accepted(id) => Some(id.clone()),
            Placement::Failed => None,
        }
    }

    async fn adjust(&self, adjustment: &PlannedAdjustment) -> Accepted {
        let mut accepted = Accepted::default();
        let line = adjustment.file_line;
        if adjustment.units > 0 {
            let key = self.plan.hash.key(&["adjustment", &line.to_string()]);
            let path = format!("/v1/skus/{}/adjustments", adjustment.code);
            let body = json!({ "delta": -adjustment.units, "reason": format!("invoice file, line {line}") });
            if let Err(failure) = self.client.post(&path, &key, &body).await {
                accepted.fail(&format!("line {line}: adjustment of {}", adjustment.code), failure);
                return accepted;
            }
        }
        accepted.adjustment_lines = 1;
        accepted
    }
}

// === impl Accepted ===

impl Accepted {
    fn add_order(&mut self, planned: &PlannedOrder, order: &Order, replay: Replay) {
        self.orders += 1;
        self.sale_lines += order.lines.len() as u64;
        self.sales_pence += order.total.amount;
        self.from_earlier_run |= replay == Replay::EarlierRun;
        if replay != Replay::No {
            self.replayed_sales_pence += order.total.amount;
        }
        if order.total.amount != planned.total_pence() {
            self.refuse(format!(
                "invoice {}: price: the total of {} is {} and not {}",
                planned.invoice,
                order.id,
                Amount::from_pence(order.total.amount),
                Amount::from_pence(planned.total_pence()),
            ));
        }
    }

    fn add_refund(&mut self, what: &str, part: &RefundPart, refund: &Refund, replay: Replay) {
        self.refunds_pence += refund.amount.amount;
        self.from_earlier_run |= replay == Replay::EarlierRun;
        if replay != Replay::No {
            self.replayed_refunds_pence += refund.amount.amount;
        }
        if refund.amount.amount != part.pence {
            self.refuse(format!(
                "{what}: price: {} gave back {} and not {}",
                refund.id,
                Amount::from_pence(refund.amount.amount),
                Amount::from_pence(part.pence),
            ));
        }
    }

    fn refuse(&mut self, what: String) {
        self.refusals.push(what);
    }

    fn fail(&mut self, what: &str, failure: Failure) {
        match failure {
            Failure::Unreachable(cause) => self.unreachable = Some(format!("{what}: {cause}")),
            failure => self.refuse(format!("{what}: {failure}")),
        }
    }
}

impl AddAssign for Accepted {
    fn add_assign(&mut self, other: Self) {
        self.orders += other.orders;
        self.sale_lines += other.sale_lines;
        self.sales_pence += other.sales_pence;
        self.refund_lines += other.refund_lines;
        self.refunds_pence += other.refunds_pence;
        self.adjustment_lines += other.adjustment_lines;
        self.replayed_sales_pence += other.replayed_sales_pence;
        self.replayed_refunds_pence += other.replayed_refunds_pence;
        self.from_earlier_run |= other.from_earlier_run;
        self.refusals.extend(other.refusals);
        self.unreachable = self.unreachable.take().or(other.unreachable);
    }
}

fn order_body(planned: &PlannedOrder) -> Value {
    let lines: Vec<Value> = planned
        .lines
        .iter()
        .map(
            |line| json!({ "sku": line.code, "quantity": line.units, "unit_price": api::money(line.unit_price_pence) }),
        )
        .collect();
    let mut body = json!({ "lines": lines, "payment_token": PAYMENT_TOKEN });
    if let Some(customer) = &planned.customer {
        body["customer_reference"] = json!(customer);
    }
    body
}

fn refund_body(refund: &PlannedRefund, part: &RefundPart) -> Value {
    let lines: Vec<Value> = part.lines.iter().map(|(line, units)| json!({ "line": line, "quantity": units })).collect();
    json!({ "lines": lines, "restock": true, "reason": format!("cancellation {}", refund.invoice) })
}
