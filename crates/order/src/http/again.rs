//! Recorded commands as the requests that they were.

use pangaea_contracts::Message;
use pangaea_contracts::order::{CancelOrder, PlaceOrder, RefundOrder};
use pangaea_kernel::http::{HttpRequest, percent_encoded, picked};
use serde_json::Value;

/// `None`: no route makes such a command.
pub(crate) fn request_of(subject: &str, payload: &Value) -> Option<HttpRequest> {
    match subject {
        PlaceOrder::SUBJECT => Some(HttpRequest::post("/v1/orders", place(payload))),
        CancelOrder::SUBJECT => Some(HttpRequest::post(path_of(payload, "cancel")?, picked(payload, &["reason"]))),
        RefundOrder::SUBJECT => {
            Some(HttpRequest::post(path_of(payload, "refunds")?, picked(payload, &["lines", "restock", "reason"])))
        }
        _ => None,
    }
}

/// Who placed it is not said in the body: that is whoever sends it.
fn place(payload: &Value) -> Value {
    let mut body = picked(payload, &["payment_token", "customer_reference", "shipping_address"]);
    let lines = payload["lines"].as_array().into_iter().flatten();
    body["lines"] = lines.map(|line| picked(line, &["sku", "quantity", "unit_price"])).collect();
    body
}

fn path_of(payload: &Value, action: &str) -> Option<String> {
    let id = payload["order_id"].as_str()?;
    Some(format!("/v1/orders/{}/{action}", percent_encoded(id)))
}

#[cfg(test)]
mod tests {
    use pangaea_contracts::order::{Address, PlaceLine, RefundLine};
    use pangaea_contracts::{Actor, Currency, Money, Role};
    use pangaea_kernel::http::Caller;
    use serde_json::json;

    use super::super::orders::NewOrder;
    use super::super::refunds::NewRefund;
    use super::*;

    fn staff() -> Caller {
        Caller { actor: Actor::user("usr_staff", [Role::Staff]), session_id: "ses_1".into() }
    }

    fn body_of(message: &impl Message, subject: &str, path: &str) -> Value {
        let request = request_of(subject, &serde_json::to_value(message).unwrap()).unwrap();
        assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", path));
        request.body.unwrap()
    }

    #[test]
    fn the_request_of_a_command_makes_that_command() {
        let address = Address {
            name: "A".into(),
            line1: "1".into(),
            line2: None,
            city: "C".into(),
            postal_code: Some("P".into()),
            country: "GB".into(),
        };
        let line = |unit_price| PlaceLine { sku: "TEA".into(), quantity: 2, unit_price };
        let place = PlaceOrder {
            placed_by: "usr_staff".into(),
            lines: vec![line(None), line(Some(Money::new(5, Currency::GBP)))],
            payment_token: "tok_ok".into(),
            customer_reference: Some("C-1".into()),
            shipping_address: Some(address),
        };
        let bare = PlaceOrder { customer_reference: None, shipping_address: None, ..place.clone() };
        for command in [place, bare] {
            let body = body_of(&command, PlaceOrder::SUBJECT, "/v1/orders");
            let order: NewOrder = serde_json::from_value(body).unwrap();
            assert_eq!(order.into_command(&staff()).unwrap(), command);
        }
        let order_id: pangaea_contracts::OrderId = "ord_1".parse().unwrap();
        let lines = vec![RefundLine { line: 1, quantity: 1 }];
        let refund = RefundOrder { order_id: order_id.clone(), lines, restock: true, reason: None };
        let body = body_of(&refund, RefundOrder::SUBJECT, "/v1/orders/ord_1/refunds");
        let again: NewRefund = serde_json::from_value(body).unwrap();
        assert_eq!(again.into_command(order_id.clone(), &staff()).unwrap(), refund);
        let cancel = CancelOrder { order_id, reason: Some("late".into()) };
        let body = body_of(&cancel, CancelOrder::SUBJECT, "/v1/orders/ord_1/cancel");
        assert_eq!(body, json!({ "reason": "late" }));
        assert_eq!(request_of("order.rpc.unheard_of.v1", &json!({})), None);
    }
}
