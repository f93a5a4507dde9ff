//! Recorded commands as the requests that they were.

use axum::http::Method;
use pangaea_contracts::Message;
use pangaea_contracts::product::{
    AdjustStock, CreateProduct, CreateProducts, ReviseProduct, SetPrice, WithdrawProduct,
};
use pangaea_kernel::http::{HttpRequest, percent_encoded, picked};
use serde_json::Value;

/// `None`: no route makes such a command.
///
/// A store's own seed is sent as products that staff add: what the other store has already is told one by one, and stays.
pub(crate) fn request_of(subject: &str, payload: &Value) -> Option<HttpRequest> {
    let text = |name: &str| payload[name].as_str().map(percent_encoded);
    let version = payload["expected_version"].as_i64();
    match subject {
        CreateProduct::SUBJECT => Some(HttpRequest::post("/v1/products", payload["product"].clone())),
        CreateProducts::SUBJECT => Some(HttpRequest::post("/v1/products/bulk", picked(payload, &["products"]))),
        ReviseProduct::SUBJECT => {
            let path = format!("/v1/products/{}", text("product_id")?);
            Some(HttpRequest::new(Method::PATCH, path).matching(version).with_body(patch(payload)))
        }
        WithdrawProduct::SUBJECT => {
            let path = format!("/v1/products/{}", text("product_id")?);
            Some(HttpRequest::new(Method::DELETE, path).matching(version))
        }
        SetPrice::SUBJECT => {
            let path = format!("/v1/skus/{}/price", text("sku_id")?);
            Some(HttpRequest::new(Method::PUT, path).matching(version).with_body(payload["price"].clone()))
        }
        AdjustStock::SUBJECT => {
            let path = format!("/v1/skus/{}/adjustments", text("sku_id")?);
            Some(HttpRequest::post(path, picked(payload, &["delta", "reason", "expected_on_hand"])))
        }
        _ => None,
    }
}

fn patch(payload: &Value) -> Value {
    let mut body = picked(payload, &["name", "description", "categories", "picture"]);
    if payload["remove_picture"] == true {
        body["picture"] = Value::Null;
    }
    body
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use pangaea_contracts::product::{NewProduct, NewVariant};
    use pangaea_contracts::{Currency, Money, ProductId, SkuId};
    use serde_json::json;

    use super::super::bodies::{AdjustmentBody, BulkBody, PatchBody, ProductBody};
    use super::*;

    fn request<M: Message>(message: &M, method: &str, path: &str) -> HttpRequest {
        let request = request_of(M::SUBJECT, &serde_json::to_value(message).unwrap()).unwrap();
        assert_eq!((request.method.as_str(), request.path.as_str()), (method, path));
        request
    }

    fn tea() -> NewProduct {
        let price = Money::new(650, Currency::GBP);
        let variants = vec![NewVariant { code: "TEA".into(), options: BTreeMap::new(), price, stock: 3 }];
        NewProduct {
            name: "Tea".into(),
            description: String::new(),
            categories: vec!["Tea".into()],
            variants,
            picture: None,
        }
    }

    #[test]
    fn the_request_of_a_new_product_makes_that_product() {
        let sku_id = SkuId::from_code("TEA");
        let one = request(&CreateProduct { sku_id: sku_id.clone(), product: tea() }, "POST", "/v1/products");
        let body: ProductBody = serde_json::from_value(one.body.unwrap()).unwrap();
        assert_eq!(NewProduct::from(body), tea());
        let many = CreateProducts { sku_id, products: vec![tea()], only_if_empty: true };
        let body = request(&many, "POST", "/v1/products/bulk").body.unwrap();
        let body: BulkBody = serde_json::from_value(body).unwrap();
        assert_eq!(body.products.into_iter().map(NewProduct::from).collect::<Vec<_>>(), [tea()]);
    }

    #[test]
    fn the_request_of_a_change_makes_that_change() {
        let product_id: ProductId = "prod_1".parse().unwrap();
        let change = ReviseProduct {
            product_id: product_id.clone(),
            expected_version: Some(3),
            name: Some("Green tea".into()),
            description: None,
            categories: None,
            picture: None,
            remove_picture: true,
        };
        let revise = request(&change, "PATCH", "/v1/products/prod_1");
        assert_eq!(revise.if_match_header().as_deref(), Some("\"3\""));
        let body: PatchBody = serde_json::from_value(revise.body.unwrap()).unwrap();
        assert_eq!(body.into_command(product_id.clone(), Some(3)).unwrap(), change);
        let withdraw = WithdrawProduct { product_id, expected_version: None };
        let withdraw = request(&withdraw, "DELETE", "/v1/products/prod_1");
        assert_eq!((withdraw.if_match_header().as_deref(), withdraw.body), (Some("*"), None));

        let sku_id = SkuId::from_code("TEA");
        let price = Money::new(1, Currency::GBP);
        let set = SetPrice { sku_id: sku_id.clone(), expected_version: Some(1), price };
        let set = request(&set, "PUT", &format!("/v1/skus/{sku_id}/price"));
        assert_eq!(serde_json::from_value::<Money>(set.body.unwrap()).unwrap(), price);
        let adjust = AdjustStock { sku_id: sku_id.clone(), delta: -2, reason: "broken".into(), expected_on_hand: None };
        let adjust = request(&adjust, "POST", &format!("/v1/skus/{sku_id}/adjustments"));
        assert_eq!(adjust.if_match_header(), None);
        let body: AdjustmentBody = serde_json::from_value(adjust.body.unwrap()).unwrap();
        assert_eq!((body.delta, body.reason.as_str(), body.expected_on_hand), (-2, "broken", None));
        assert_eq!(request_of("product.rpc.unheard_of.v1", &json!({})), None);
    }
}
