use std::collections::{BTreeMap, HashMap};

use super::Case;
use crate::report::Check;
use crate::tables::Units;

/// Units neither appear nor vanish, and none is promised that is not there.
pub(super) fn conserved(case: &Case) -> Check {
    let mut check =
        Check::new("stock_conserved", "units on hand are their movements, none is promised twice, none is below zero");
    let mut moved: HashMap<&str, (i64, i64)> = HashMap::new();
    for movement in &case.tables.movements {
        let (sum, count) = moved.entry(&movement.sku_id).or_default();
        *sum += movement.quantity;
        *count += 1;
        let (sku, number, expected) = (&movement.sku_id, movement.number, *count);
        check.must(number == expected, || format!("{sku}: its movement {number} stands where {expected} belongs"));
    }
    let mut held: HashMap<&str, i64> = HashMap::new();
    for reservation in case.tables.reservations.values().filter(|reservation| reservation.state == "open") {
        for Units { sku_id, quantity } in &reservation.lines {
            *held.entry(sku_id).or_default() += quantity;
        }
    }
    for (sku, stock) in &case.tables.stock {
        let (sum, count) = moved.get(sku.as_str()).copied().unwrap_or_default();
        let promised = held.remove(sku.as_str()).unwrap_or(0);
        check.must(stock.on_hand == sum && stock.movements == count, || {
            format!("{sku}: {} on hand, its {count} movements add up to {sum}", stock.on_hand)
        });
        if stock.reserved != promised {
            check.breach(format!("{sku}: {} reserved, its open reservations add up to {promised}", stock.reserved));
        }
        if stock.reserved < 0 || stock.reserved > stock.on_hand {
            check.breach(format!("{sku} is oversold: {} of {} on hand are promised", stock.reserved, stock.on_hand));
        }
    }
    for (sku, quantity) in held {
        check.breach(format!("{quantity} units of {sku} are promised, of which there is no stock"));
    }
    check
}

/// Who paid has the goods, and who did not has none.
pub(super) fn sold(case: &Case) -> Check {
    let mut check =
        Check::new("goods_for_money", "every confirmed order was sold its units once, every cancelled one holds none");
    if !case.tables.has("order") || !case.tables.has("product") {
        return check;
    }
    let stuck = case.stuck();
    let mut sales: HashMap<&str, BTreeMap<&str, i64>> = HashMap::new();
    for sale in case.tables.movements.iter().filter(|movement| movement.kind == "sale") {
        *sales.entry(&sale.cause).or_default().entry(&sale.sku_id).or_default() -= sale.quantity;
        if !case.tables.orders.contains_key(&sale.cause) {
            check.breach(format!("units of {} were sold to {}, which is no order", sale.sku_id, sale.cause));
        }
    }
    for (id, order) in &case.tables.orders {
        check.look();
        let state = case.tables.reservations.get(id).map_or("none", |reservation| reservation.state.as_str());
        if order.is_paid() {
            let mut wanted: BTreeMap<&str, i64> = BTreeMap::new();
            for line in &order.lines {
                *wanted.entry(&line.sku_id).or_default() += line.quantity;
            }
            let sold = sales.get(id.as_str()).cloned().unwrap_or_default();
            if sold != wanted {
                check.breach(format!("{id} is {} for {wanted:?}, and was sold {sold:?}", order.state));
            }
            if state != "committed" {
                check.breach(format!("{id} is {}, its reservation is {state}", order.state));
            }
        } else if order.state == "cancelled" && matches!(state, "open" | "committed") && !stuck.contains(id.as_str()) {
            check.breach(format!("{id} is cancelled, its reservation is {state}"));
        }
    }
    check
}
