use std::collections::{BTreeMap, HashMap};

use super::Case;
use crate::evidence::Reply;
use crate::report::Check;

/// A key is its principal's own, on one method and path: the same request gets the same order, another gets another.
pub(super) fn scopes(case: &Case) -> Check {
    let mut check = Check::new("key_scopes", "every idempotency key stands for one order of the principal who used it");
    let mut first: BTreeMap<(&str, &str), &str> = BTreeMap::new();
    let mut owners: HashMap<&str, (&str, &str)> = HashMap::new();
    for reply in case.replies.iter().flatten() {
        let Some((key, order)) = placed(reply) else { continue };
        check.look();
        let scope = (reply.principal.as_str(), key);
        let known = *first.entry(scope).or_insert(order);
        if known != order {
            check.breach(format!("{} was told of {known} and of {order} under the key {key}", reply.principal));
        }
        let owner = *owners.entry(order).or_insert(scope);
        if owner != scope {
            check.breach(format!("{order} was told to {owner:?} and to {scope:?}"));
        }
        let row = case.tables.orders.get(order);
        let customer = row.and_then(|order| order.customer_id.as_deref());
        if customer.is_some_and(|customer| reply.principal.starts_with("usr_") && customer != reply.principal) {
            check.breach(format!("{} was told of {order}, which is another's", reply.principal));
        }
    }
    check
}

/// The key and the order, of an order that was placed.
fn placed(reply: &Reply) -> Option<(&str, &str)> {
    let places = reply.method == "POST" && reply.path == "/v1/orders" && (200..300).contains(&reply.status);
    let order = reply.body["id"].as_str().filter(|_| places)?;
    Some((reply.key.as_deref()?, order))
}
