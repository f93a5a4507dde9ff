//! The routes over the real module: reads, searches, conditions, and what the edge refuses by itself.

mod common;

use common::Store;
use common::shop::{Shop, product, stocked};
use pangaea_contracts::{Role, SkuId};
use pangaea_kernel::http::access_table;
use serde_json::{Value, json};

async fn shop() -> Shop {
    Shop::open(Store::open().await)
}

#[tokio::test]
async fn searches_narrow_and_sort() {
    let shop = stocked(Store::open().await).await;
    for (query, names) in [
        ("", vec!["Earl Grey", "Garden trowel", "Green Tea", "teapot", "Élan notebook"]),
        ("q=tea", vec!["Earl Grey", "Green Tea", "teapot"]),
        ("q=TEA+gre", vec!["Earl Grey", "Green Tea"]),
        ("q=TEA-EG", vec!["Earl Grey"]),
        ("q=%C3%A9l", vec!["Élan notebook"]),
        ("q=85", vec!["Élan notebook"]),
        ("q=%25", vec!["Earl Grey", "Garden trowel", "Green Tea", "teapot", "Élan notebook"]),
        ("q=nothing", vec![]),
        ("category=TEA", vec!["Earl Grey", "Green Tea", "teapot"]),
        ("category=tea&available=true", vec!["Earl Grey", "teapot"]),
        ("available=false", vec!["Green Tea"]),
        ("min_price=451&max_price=1680", vec!["Earl Grey", "Garden trowel"]),
        ("min_price=450&max_price=450&available=true", vec!["Élan notebook"]),
        ("sort=-price&available=true", vec!["teapot", "Garden trowel", "Earl Grey", "Élan notebook"]),
    ] {
        assert_eq!(shop.names(query).await, names, "{query}");
    }
}

#[tokio::test]
async fn every_order_pages_through_each_product_once() {
    let shop = stocked(Store::open().await).await;
    for sort in ["name", "price", "-price", "newest"] {
        let whole = shop.names(&format!("sort={sort}")).await;
        let (mut paged, mut path) = (Vec::new(), Some(format!("/v1/products?sort={sort}&limit=2")));
        while let Some(next) = path.take() {
            let reply = shop.get(&next).await;
            let items = reply.body["items"].as_array().unwrap();
            assert!(items.len() <= 2 && paged.len() < 5);
            paged.extend(items.iter().map(|item| item["name"].as_str().unwrap().to_owned()));
            let link = reply.headers.get("link").map(|link| link.to_str().unwrap().to_owned());
            assert_eq!(link.is_some(), reply.body["next_cursor"].is_string());
            path = link.map(|link| link.trim_start_matches('<').split('>').next().unwrap().to_owned());
        }
        assert_eq!(paged, whole, "{sort}");
    }
    let cursor = shop.get("/v1/products?sort=price&limit=2").await.body["next_cursor"].as_str().unwrap().to_owned();
    assert_eq!(shop.get(&format!("/v1/products?sort=name&cursor={cursor}")).await.status, 400);
}

#[tokio::test]
async fn parameters_out_of_bounds_are_refused() {
    let shop = shop().await;
    for (query, status) in [
        ("limit=0", 422),
        ("limit=201", 422),
        ("limit=x", 400),
        ("cursor=x", 400),
        ("sort=best", 400),
        ("colour=red", 400),
        ("min_price=2&max_price=1", 422),
        ("q=a+b+c+d+e+f+g+h+i", 422),
    ] {
        let reply = shop.get(&format!("/v1/products?{query}")).await;
        assert_eq!(reply.status.as_u16(), status, "{query}: {}", reply.body);
        assert_eq!(reply.headers["content-type"], "application/problem+json");
    }
}

#[tokio::test]
async fn a_product_is_read_changed_and_withdrawn_under_its_tag() {
    let shop = shop().await;
    let created = shop.post("/v1/products", "one", product("Earl Grey", "Tea", "TEA-1", 650, 4)).await;
    assert_eq!((created.status.as_u16(), created.headers["etag"].to_str().unwrap()), (201, "\"1\""));
    let path = created.headers["location"].to_str().unwrap().to_owned();
    let read = shop.get(&path).await;
    assert_eq!(
        (read.status.as_u16(), &read.body, &read.headers["etag"]),
        (200, &created.body, &created.headers["etag"])
    );
    assert_eq!(shop.send("GET", &path, &[("if-none-match", "\"1\"")], None).await.status, 304);
    assert_eq!(shop.send("GET", &path, &[("if-none-match", "\"2\"")], None).await.status, 200);

    let patch = json!({"name": "Grey Earl", "picture": null});
    assert_eq!(shop.send("PATCH", &path, &[], Some(patch.clone())).await.status, 428);
    assert_eq!(shop.send("PATCH", &path, &[("if-match", "\"7\"")], Some(patch.clone())).await.status, 412);
    let misspelt = shop.send("PATCH", &path, &[("if-match", "\"1\"")], Some(json!({"nmae": "x"}))).await;
    assert_eq!(misspelt.status, 422, "{}", misspelt.body);
    let changed = shop.send("PATCH", &path, &[("if-match", "\"1\"")], Some(patch)).await;
    assert_eq!((changed.status.as_u16(), &changed.headers["etag"]), (200, &"\"2\"".parse().unwrap()));
    assert_eq!(shop.names("q=grey").await, ["Grey Earl"]);

    assert_eq!(shop.send("DELETE", &path, &[("if-match", "\"1\"")], None).await.status, 412);
    assert_eq!(shop.send("DELETE", &path, &[("if-match", "\"2\"")], None).await.status, 204);
    assert_eq!(shop.get(&path).await.status, 404);
    assert_eq!(shop.names("").await, [] as [&str; 0]);
    assert_eq!(shop.get("/v1/skus/tea-1").await.body["withdrawn"], true);
}

#[tokio::test]
async fn a_sku_is_read_by_id_or_code_priced_and_adjusted() {
    let shop = stocked(Store::open().await).await;
    let id = SkuId::from_code("TROWEL");
    let by_code = shop.get("/v1/skus/trowel").await;
    assert_eq!(by_code.body, shop.get(&format!("/v1/skus/{id}")).await.body);
    assert_eq!(
        (&by_code.body["id"], &by_code.body["on_hand"], &by_code.body["reserved"]),
        (&json!(id), &json!(3), &json!(0))
    );
    assert_eq!(shop.get("/v1/skus/nowhere").await.status, 404);

    let price = json!({"amount": 1500, "currency": "GBP"});
    let path = "/v1/skus/TROWEL/price";
    assert_eq!(shop.send("PUT", path, &[], Some(price.clone())).await.status, 428);
    let negative = json!({"amount": -1, "currency": "GBP"});
    assert_eq!(shop.send("PUT", path, &[("if-match", "\"1\"")], Some(negative)).await.status, 422);
    let set = shop.send("PUT", path, &[("if-match", "\"1\"")], Some(price.clone())).await;
    assert_eq!(
        (set.status.as_u16(), &set.body["price"], set.headers["etag"].to_str().unwrap()),
        (200, &price, "\"2\"")
    );
    assert_eq!(shop.send("PUT", path, &[("if-match", "\"1\"")], Some(price)).await.status, 412);

    let first = shop.get("/v1/skus/TROWEL/prices?limit=1").await;
    assert_eq!(
        (&first.body["items"][0]["price"]["amount"], first.body["items"][0].get("valid_until")),
        (&json!(1500), None)
    );
    let next = first.headers["link"].to_str().unwrap().trim_start_matches('<').split('>').next().unwrap().to_owned();
    let second = shop.get(&next).await;
    assert_eq!(
        (&second.body["items"][0]["price"]["amount"], &second.body["next_cursor"]),
        (&json!(1680), &Value::Null)
    );
    assert_eq!(second.body["items"][0]["valid_until"], first.body["items"][0]["valid_from"]);
    assert_eq!(shop.send("GET", "/v1/skus/TROWEL/prices", &[("if-none-match", "\"2\"")], None).await.status, 304);

    let adjust = |delta: i64| json!({"delta": delta, "reason": "broken"});
    let path = "/v1/skus/TROWEL/adjustments";
    let done = shop.post(path, "a", adjust(-1)).await;
    assert_eq!((done.status.as_u16(), done.body), (200, json!({"sku_id": id, "on_hand": 2, "reserved": 0})));
    assert_eq!(shop.post(path, "a", adjust(-1)).await.body["on_hand"], 2);
    assert_eq!(shop.post(path, "a", adjust(-2)).await.status, 422);
    assert_eq!(shop.post(path, "b", adjust(0)).await.body["errors"][0]["pointer"], "/delta");
    assert_eq!(shop.post(path, "c", adjust(-3)).await.status, 409);
    assert_eq!(shop.send("POST", path, &[], Some(adjust(1))).await.status, 400);
}

#[tokio::test]
async fn the_edge_refuses_what_needs_no_state() {
    let shop = shop().await;
    let mut unsound = product("", "Tea", "A", 1, 1);
    unsound["variants"][0]["price"]["amount"] = json!(-1);
    unsound["picture"] = json!("<svg onload=\"x()\"/>");
    let reply = shop.post("/v1/products", "1", unsound).await;
    let pointers: Vec<_> =
        reply.body["errors"].as_array().unwrap().iter().map(|error| error["pointer"].as_str().unwrap()).collect();
    assert_eq!((reply.status.as_u16(), pointers), (422, vec!["/name", "/picture", "/variants/0/price"]));
    let mistyped = shop
        .post(
            "/v1/products",
            "2",
            json!({"name": "x", "variants": [{"code": "A", "price": {"amount": 1.5, "currency": "GBP"}}]}),
        )
        .await;
    assert_eq!(
        (mistyped.status.as_u16(), &mistyped.body["errors"][0]["pointer"]),
        (422, &json!("/variants/0/price/amount"))
    );
    let many: Vec<_> = (0..201).map(|index| product("x", "y", &format!("C{index}"), 1, 1)).collect();
    assert_eq!(shop.post("/v1/products/bulk", "3", json!({"products": many})).await.status, 422);
    assert_eq!(shop.post("/v1/products/bulk", "4", json!({"products": []})).await.status, 422);
    let heavy: Vec<_> = (0..100)
        .map(|index| {
            let mut heavy = product("x", "y", &format!("C{index}"), 1, 1);
            heavy["description"] = json!("d".repeat(4_000));
            heavy
        })
        .collect();
    assert_eq!(shop.post("/v1/products/bulk", "5", json!({"products": heavy})).await.status, 413);
}

#[tokio::test]
async fn every_operation_says_who_may_call_it() {
    let shop = shop().await;
    let table = access_table(&shop.document).unwrap();
    let anonymous: Vec<_> = table
        .iter()
        .filter(|(_, access)| access.anonymous)
        .map(|((method, path), _)| format!("{method} {path}"))
        .collect();
    assert_eq!(
        anonymous,
        ["GET /v1/products", "GET /v1/products/{id}", "GET /v1/skus/{sku}", "GET /v1/skus/{sku}/prices"]
    );
    assert_eq!(table.len(), 10);
    assert!(table.values().all(|access| access.anonymous || access.roles == [Role::Staff]));
}
