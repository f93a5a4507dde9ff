use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::Case;
use crate::provider::Line;
use crate::report::Check;
use crate::tables::{Order, Payment, Transfer};

/// What the provider did for one order, in minor units.
#[derive(Debug, Default)]
struct Charged {
    captures: u32,
    captured: i128,
    refunded: i128,
    /// By intent: authorized, and not captured or voided.
    held: BTreeMap<String, bool>,
    currencies: Vec<String>,
}

/// By the provider's own ledger, nobody pays twice, nor for an order that did not come about.
pub(super) fn charges(case: &Case) -> Check {
    let mut check = Check::new("one_charge", "every order is charged once if it is confirmed, and else not");
    let (stuck, paying) = (case.stuck(), case.paying());
    let charged = charged(case.ledger.as_deref().unwrap_or_default());
    for (id, charged) in &charged {
        check.must(charged.captures <= 1, || format!("{id} was charged {} times", charged.captures));
        if case.tables.has("order") && !case.tables.orders.contains_key(id) {
            check.breach(format!("the provider has an account of {id}, which is no order"));
        }
    }
    let quiet = |id: &&String| !stuck.contains(id.as_str()) && !paying.contains(id.as_str());
    for (id, order) in case.tables.orders.iter().filter(|(id, _)| case.ledger.is_some() && quiet(id)) {
        let none = Charged::default();
        let charged = charged.get(id).unwrap_or(&none);
        let open = charged.held.values().filter(|held| **held).count();
        if order.is_paid() {
            check.must(charged.captures == 1, || format!("{id} is {}, and was never charged", order.state));
            if open > 0 {
                check.breach(format!("{id} is {}, and money of it is held a second time", order.state));
            }
        } else if order.state == "cancelled" {
            check.must(charged.captured == charged.refunded, || {
                format!("{id} is cancelled, but {} was taken and {} given back", charged.captured, charged.refunded)
            });
            if open > 0 {
                check.breach(format!("{id} is cancelled, but its money is still held"));
            }
        }
    }
    check
}

/// Provider, payment's ledger and the orders tell the same story.
pub(super) fn agreement(case: &Case) -> Check {
    let mut check = Check::new("money_conserved", "provider, payment's ledger and the orders agree on every amount");
    let (stuck, paying) = (case.stuck(), case.paying());
    let charged = case.ledger.as_deref().map(charged);
    for (id, payment) in &case.tables.payments {
        check.look();
        let quiet = !paying.contains(id.as_str()) && !stuck.contains(id.as_str());
        if let Some(charged) = &charged {
            let none = Charged::default();
            with_provider(&mut check, id, payment, charged.get(id).unwrap_or(&none), quiet);
        }
        if let Some(order) = case.tables.orders.get(id).filter(|_| !stuck.contains(id.as_str())) {
            with_order(&mut check, id, payment, order);
        } else if case.tables.has("order") && !case.tables.orders.contains_key(id) {
            check.breach(format!("there is a payment of {id}, which is no order"));
        }
    }
    double_entry(case, &mut check);
    for (id, order) in &case.tables.orders {
        let payment = case.tables.payments.get(id);
        check.must(!case.tables.has("payment") || !order.is_paid() || payment.is_some(), || {
            format!("{id} is {} without a payment", order.state)
        });
        refunds(case, &mut check, id, order);
    }
    check
}

fn with_provider(check: &mut Check, id: &str, payment: &Payment, charged: &Charged, quiet: bool) {
    let ours = (i128::from(payment.captured), i128::from(payment.refunded));
    let theirs = (charged.captured, charged.refunded);
    let ahead = ours.0 > theirs.0 || ours.1 > theirs.1;
    if ahead || (quiet && ours != theirs) {
        check.breach(format!(
            "{id}: payment says {} captured and {} refunded, the provider {} and {}",
            ours.0, ours.1, theirs.0, theirs.1
        ));
    }
    if charged.currencies.iter().any(|currency| *currency != payment.currency) {
        check.breach(format!("{id}: payment counts in {}, the provider in {:?}", payment.currency, charged.currencies));
    }
}

fn with_order(check: &mut Check, id: &str, payment: &Payment, order: &Order) {
    if order.is_paid() {
        let refunded = order.refunded..=order.refunded + order.refund_pending;
        if order.captured != payment.captured || order.captured != order.total || !refunded.contains(&payment.refunded)
        {
            check.breach(format!(
                "{id} is {} for {}: order says {} captured and {} refunded, payment {} and {}",
                order.state, order.total, order.captured, order.refunded, payment.captured, payment.refunded
            ));
        }
        if order.currency != payment.currency {
            check.breach(format!("{id} is in {}, its payment in {}", order.currency, payment.currency));
        }
    } else if order.captured != 0 {
        check.breach(format!("{id} is {}, and holds {} of the customer's money", order.state, order.captured));
    }
}

fn refunds(case: &Case, check: &mut Check, id: &str, order: &Order) {
    let sum = |state: &str| -> i64 {
        let own = case.tables.order_refunds.iter().filter(|refund| refund.order_id == id && refund.state == state);
        own.map(|refund| refund.amount).sum()
    };
    if order.refunded + order.refund_pending > 0
        && (sum("succeeded"), sum("pending")) != (order.refunded, order.refund_pending)
    {
        check.breach(format!("{id}: its refunds do not add up to {} and {}", order.refunded, order.refund_pending));
    }
    if order.refunded + order.refund_pending > order.captured {
        check.breach(format!("{id}: more is refunded than the {} that were captured", order.captured));
    }
}

/// Every transfer takes from one account what it gives to another, and a payment's row is the sum of its transfers.
fn double_entry(case: &Case, check: &mut Check) {
    let mut sums: HashMap<&str, [i64; 4]> = HashMap::new();
    for transfer in &case.tables.transfers {
        check.look();
        let Transfer { order_id, kind, debit, credit, amount, .. } = transfer;
        let accounts = match kind.as_str() {
            "authorize" => (0, ("authorized_holds", "customer")),
            "capture" => (1, ("captured", "authorized_holds")),
            "void" => (2, ("customer", "authorized_holds")),
            "refund" => (3, ("customer", "refunds")),
            _ => (0, ("", "")),
        };
        if accounts.1 != (debit.as_str(), credit.as_str()) || *amount <= 0 {
            check.breach(format!("{order_id}: a transfer ({kind}) of {amount} from {credit} to {debit}"));
        }
        let currency = case.tables.payments.get(order_id).map(|payment| payment.currency.as_str());
        if currency != Some(transfer.currency.as_str()) {
            check.breach(format!("{order_id}: a transfer in {}, the payment is in {currency:?}", transfer.currency));
        }
        if transfer.state == "posted" {
            sums.entry(order_id).or_default()[accounts.0] += amount;
        }
    }
    for (id, payment) in &case.tables.payments {
        let [authorized, captured, voided, refunded] = sums.get(id.as_str()).copied().unwrap_or_default();
        let ledger = (authorized - captured - voided, captured, refunded);
        if ledger != (payment.held, payment.captured, payment.refunded) {
            check.breach(format!(
                "{id} ({}): the payment says held {}, captured {}, refunded {}; its transfers add up to {ledger:?}",
                payment.state, payment.held, payment.captured, payment.refunded
            ));
        }
    }
}

/// Money is counted in whole minor units, and a total is what its lines add up to.
pub(super) fn whole(case: &Case) -> Check {
    let mut check = Check::new("money_whole", "every amount is a whole number, and every total the sum of its lines");
    case.tables.not_integral.iter().for_each(|sentence| check.breach(sentence.clone()));
    for (id, order) in &case.tables.orders {
        let mut sum = 0_i128;
        for line in &order.lines {
            match line.unit_price.as_i64() {
                Some(price) => sum += i128::from(price) * i128::from(line.quantity),
                None => check.breach(format!("{id}: a line of {} costs {} a unit", line.sku_id, line.unit_price)),
            }
        }
        check.must(sum == i128::from(order.total), || {
            format!("{id}: its lines add up to {sum}, not to {}", order.total)
        });
    }
    for journal in &case.journals {
        let inputs = journal.inbox.iter().map(|input| (&input.id, &input.payload));
        for (id, payload) in inputs.chain(journal.outbox.iter().map(|message| (&message.id, &message.payload))) {
            let Ok(value) = serde_json::from_str(payload) else { continue };
            check.must(is_whole(&value), || format!("{}: {id} holds an amount that is not whole", journal.module));
        }
    }
    check
}

fn is_whole(value: &Value) -> bool {
    match value {
        Value::Object(fields) => {
            fields.iter().all(|(name, value)| (name != "amount" || !value.is_f64()) && is_whole(value))
        }
        Value::Array(items) => items.iter().all(is_whole),
        _ => true,
    }
}

fn charged(ledger: &[Line]) -> BTreeMap<String, Charged> {
    let mut all: BTreeMap<String, Charged> = BTreeMap::new();
    for line in ledger {
        let moved = matches!(line.kind.as_str(), "authorized" | "captured" | "voided" | "refunded");
        let of = all.entry(line.reference.clone()).or_default();
        if moved && !of.currencies.contains(&line.currency) {
            of.currencies.push(line.currency.clone());
        }
        match line.kind.as_str() {
            "authorized" => drop(of.held.insert(line.intent.clone(), true)),
            "voided" => drop(of.held.insert(line.intent.clone(), false)),
            "captured" => {
                of.captures += 1;
                of.captured += i128::from(line.amount);
                of.held.insert(line.intent.clone(), false);
            }
            "refunded" => of.refunded += i128::from(line.amount),
            _ => {}
        }
    }
    all
}
