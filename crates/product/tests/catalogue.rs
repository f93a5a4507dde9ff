//! The catalogue: products, prices and their history, the demo.

mod common;

use common::{Store, product, said, subjects};
use pangaea_contracts::product::{
    CreateProduct, CreateProducts, NewProduct, ReviseProduct, SetPrice, SkuPriced, WithdrawProduct,
};
use pangaea_contracts::{Currency, Message, Money, PAYLOAD_BYTES_MAX, ProductId, SkuId};
use pangaea_kernel::{Answer, Done, Module, Work};
use pangaea_product::Product;

fn create(product: NewProduct) -> CreateProduct {
    CreateProduct { sku_id: SkuId::from_code(&product.variants[0].code), product }
}

fn bulk(products: Vec<NewProduct>) -> CreateProducts {
    CreateProducts { sku_id: SkuId::from_code("first"), products, only_if_empty: false }
}

fn id_of(answer: &Answer) -> ProductId {
    answer.body["id"].as_str().unwrap().parse().unwrap()
}

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
}

#[tokio::test]
async fn a_product_is_created_whole_and_its_skus_are_priced() {
    let mut store = Store::open().await;
    let mut tea = product("Tea-1", 7);
    let second = pangaea_contracts::product::NewVariant { code: "TEA-2".into(), stock: 0, ..tea.variants[0].clone() };
    tea.variants.push(second);
    let (answer, log) = store.command(&create(tea)).await;
    assert_eq!((answer.status, header(&answer, "etag")), (201, Some("\"1\"")));
    assert_eq!(header(&answer, "location"), Some(format!("/v1/products/{}", id_of(&answer)).as_str()));
    let said = said(&log);
    assert_eq!(subjects(&said), [SkuPriced::SUBJECT, SkuPriced::SUBJECT]);
    let priced: SkuPriced = serde_json::from_value(said[0].1.clone()).unwrap();
    assert_eq!(
        (priced.code.as_str(), priced.unit_price, priced.price_version),
        ("Tea-1", Money::new(450, Currency::GBP), 1)
    );
    assert_eq!(priced.sku_id, SkuId::from_code("TEA-1"));
    assert_eq!((store.stock("tea-1").await, store.stock("tea-2").await), ((7, 0), (0, 0)));
    assert_eq!(store.movements("tea-2").await, []);
    store.sound().await;
}

#[tokio::test]
async fn a_taken_code_is_a_conflict_that_names_the_field_and_writes_nothing() {
    let mut store = Store::with_stock(&[("A", 1)]).await;
    let mut second = product("B", 1);
    second.variants.push(product("a", 1).variants.remove(0));
    let (answer, log) = store.command(&create(second)).await;
    assert_eq!((answer.status, log.len()), (409, 0));
    assert_eq!(answer.body["errors"][0]["pointer"], "/variants/1/code");
    assert_eq!(store.one::<i64>("SELECT COUNT(*) FROM sku WHERE withdrawn = ?", 0_i64).await, 1);
}

#[tokio::test]
async fn of_many_products_each_stands_for_itself() {
    let mut store = Store::with_stock(&[("A", 1)]).await;
    let nameless = NewProduct { name: " ".into(), ..product("C", 1) };
    let (answer, log) =
        store.command(&bulk(vec![product("B", 1), product("a", 1), nameless, product("b", 1), product("D", 1)])).await;
    assert_eq!(answer.status, 200);
    let results = answer.body["results"].as_array().unwrap();
    let statuses: Vec<_> = results.iter().map(|result| result["error"]["status"].as_i64()).collect();
    assert_eq!(statuses, [None, Some(409), Some(422), Some(409), None]);
    let pointers: Vec<_> =
        results.iter().filter_map(|result| result["error"]["errors"][0]["pointer"].as_str()).collect();
    assert_eq!(pointers, ["/products/1/variants/0/code", "/products/2/name", "/products/3/variants/0/code"]);
    assert!(results[0]["product_id"].is_string() && results[4]["product_id"].is_string());
    assert_eq!(log.len(), 2);
    store.sound().await;
}

#[tokio::test]
async fn a_price_has_a_version_and_a_past() {
    let mut store = Store::with_stock(&[("A", 1)]).await;
    let sku_id = SkuId::from_code("A");
    let began = store.now;
    let set = |amount, expected_version| SetPrice {
        sku_id: SkuId::from_code("a"),
        expected_version,
        price: Money::new(amount, Currency::GBP),
    };
    store.now = store.now.plus_millis(1_000);
    let (answer, log) = store.command(&set(500, Some(1))).await;
    assert_eq!(
        (answer.status, header(&answer, "etag"), &answer.body["price"]["amount"]),
        (200, Some("\"2\""), &500.into())
    );
    let priced: SkuPriced = serde_json::from_value(said(&log)[0].1.clone()).unwrap();
    assert_eq!((priced.unit_price.amount, priced.price_version, priced.name.as_str()), (500, 2, "The A"));
    assert_eq!(store.command(&set(600, Some(1))).await.0.status, 412);
    // The same price again is no change.
    let (answer, log) = store.command(&set(500, None)).await;
    assert_eq!((answer.status, header(&answer, "etag"), log.len()), (200, Some("\"2\""), 0));
    let past: Option<i64> = store
        .one("SELECT valid_until FROM price_history WHERE price_version = 1 AND sku_id = ?", sku_id.as_str())
        .await;
    assert_eq!(past, Some(began.as_millis() + 1_000));
    assert_eq!(store.one::<i64>("SELECT price_min FROM product WHERE name = ?", "The A").await, 500);
    let nowhere = SetPrice { sku_id: SkuId::from_code("nowhere"), ..set(1, None) };
    assert_eq!(store.command(&nowhere).await.0.status, 404);
}

#[tokio::test]
async fn a_revision_needs_its_version_and_renames_the_skus() {
    let mut store = Store::open().await;
    let (created, _) = store.command(&create(product("A", 1))).await;
    let revision = |name: Option<&str>, expected_version| ReviseProduct {
        product_id: id_of(&created),
        expected_version,
        name: name.map(str::to_owned),
        description: None,
        categories: Some(vec!["Other".into()]),
        picture: Some("<svg/>".into()),
        remove_picture: false,
    };
    assert_eq!(store.command(&revision(None, Some(2))).await.0.status, 412);
    let (answer, log) = store.command(&revision(Some("Renamed thing"), Some(1))).await;
    assert_eq!(
        (answer.status, &answer.body["name"], &answer.body["version"]),
        (200, &"Renamed thing".into(), &2.into())
    );
    assert_eq!(
        (answer.body["picture"].as_str(), answer.body["description"].as_str()),
        (Some("<svg/>"), Some("Something to sell."))
    );
    let priced: SkuPriced = serde_json::from_value(said(&log)[0].1.clone()).unwrap();
    assert_eq!((priced.name.as_str(), priced.price_version), ("Renamed thing", 1));
    let (answer, log) =
        store.command(&ReviseProduct { remove_picture: true, picture: None, ..revision(None, None) }).await;
    assert_eq!((answer.body.get("picture"), log.len()), (None, 0));
    let categories = "SELECT COUNT(*) FROM product_category WHERE category = ?";
    assert_eq!((store.one::<i64>(categories, "other").await, store.one::<i64>(categories, "tests").await), (1, 0));
}

#[tokio::test]
async fn a_withdrawn_product_is_gone_and_its_codes_stay_taken() {
    let mut store = Store::open().await;
    let (created, _) = store.command(&create(product("A", 1))).await;
    let withdraw = WithdrawProduct { product_id: id_of(&created), expected_version: Some(1) };
    assert_eq!(store.command(&withdraw).await.0.status, 204);
    assert_eq!(store.command(&withdraw).await.0.status, 404);
    assert_eq!(store.command(&create(product("a", 1))).await.0.status, 409);
}

#[tokio::test]
async fn the_demo_catalogue_fills_an_empty_store_once() {
    assert!(Product::new().seed().is_empty());
    let seed = Product::new().with_demo(true).seed();
    assert_eq!(seed.len(), 1);
    assert!(seed[0].payload.len() <= PAYLOAD_BYTES_MAX, "the seed is {} bytes: split it", seed[0].payload.len());
    let mut store = Store::open().await;
    let mut answers = Vec::new();
    for _ in 0..2 {
        let result = store.run(seed.clone()).await;
        let [Done::Answered(answer)] = result.done.as_slice() else { panic!("{:?}", result.done) };
        answers.push((answer.clone(), result.log.len()));
    }
    let results = answers[0].0.body["results"].as_array().unwrap();
    assert!(results.len() >= 40, "about 40 products, not {}", results.len());
    assert!(results.iter().all(|result| result.get("error").is_none()), "{results:?}");
    assert!(answers[0].1 > results.len() && answers[1].1 == 0);
    assert_eq!(answers[0].0.body, answers[1].0.body);
    assert_eq!(store.one::<i64>("SELECT COUNT(*) FROM stock WHERE NOT (on_hand BETWEEN 50 AND ?)", 500_i64).await, 0);
    assert_eq!(
        store.one::<i64>("SELECT COUNT(*) FROM product WHERE picture IS NULL OR LENGTH(picture) > ?", 600_i64).await,
        0
    );
    store.sound().await;
}

#[tokio::test]
async fn the_demo_catalogue_leaves_a_store_with_products_alone() {
    let mut store = Store::with_stock(&[("A", 1)]).await;
    let seed = Product::new().with_demo(true).seed().remove(0);
    let result = store.executor.run(&[Work::Input(seed)], store.now).await.unwrap();
    let [Done::Answered(answer)] = result.done.as_slice() else { panic!("{:?}", result.done) };
    assert_eq!((answer.status, answer.body["results"].as_array().map(Vec::len), result.log.len()), (200, Some(0), 0));
    assert_eq!(store.one::<i64>("SELECT COUNT(*) FROM product WHERE version >= ?", 1_i64).await, 1);
}
