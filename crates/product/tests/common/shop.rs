//! The routes over the real module, with the writer behind a lock instead of a queue.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use pangaea_contracts::{Actor, Role};
use pangaea_kernel::auth::TokenVerifier;
use pangaea_kernel::http::{Caller, CommandFuture, Commands, Edge, EdgeParts};
use pangaea_kernel::{Done, Input, ManualClock, Module, Work};
use pangaea_product::Product;
use serde_json::{Value, json};
use tokio::sync::{Mutex, watch};
use tower::ServiceExt;

use super::Store;

struct Direct(Arc<Mutex<Store>>);

impl Commands for Direct {
    fn submit(&self, command: Input) -> CommandFuture {
        let store = self.0.clone();
        Box::pin(async move {
            let mut store = store.lock().await;
            let now = store.now;
            let result = store.executor.run(&[Work::Input(command)], now).await.unwrap();
            match result.done.into_iter().next() {
                Some(Done::Answered(answer)) => Ok(answer),
                other => panic!("not answered: {other:?}"),
            }
        })
    }
}

pub(crate) struct Shop {
    router: axum::Router,
    pub(crate) document: Value,
}

pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Shop {
    pub(crate) fn open(store: Store) -> Self {
        let database = store.database.clone();
        let clock = Arc::new(ManualClock::at(store.now));
        let edge = Edge::new(EdgeParts {
            verifier: TokenVerifier::new(database.clone(), clock.clone()),
            database,
            clock,
            commands: Arc::new(Direct(Arc::new(Mutex::new(store)))),
            settings: Value::Null,
            changes: watch::channel(0).1,
        });
        let (router, document) = Product::new().routes().with_state(edge).split_for_parts();
        Self { router, document: serde_json::to_value(document).unwrap() }
    }

    pub(crate) async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<Value>) -> Reply {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let actor = Actor::user("usr_staff", [Role::Staff]);
        request = request.extension(Caller { actor, session_id: "ses_1".into() });
        let request = request.body(body.map_or_else(Body::empty, |body| Body::from(body.to_string()))).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        Reply { status, headers, body: serde_json::from_slice(&bytes).unwrap_or(Value::Null) }
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], None).await
    }

    pub(crate) async fn post(&self, path: &str, key: &str, body: Value) -> Reply {
        self.send("POST", path, &[("idempotency-key", key)], Some(body)).await
    }

    pub(crate) async fn names(&self, query: &str) -> Vec<String> {
        let reply = self.get(&format!("/v1/products?{query}")).await;
        assert_eq!(reply.status, 200, "{query}: {}", reply.body);
        let items = reply.body["items"].as_array().unwrap();
        items.iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect()
    }
}

pub(crate) fn product(name: &str, category: &str, code: &str, pence: i64, stock: i64) -> Value {
    let price = json!({"amount": pence, "currency": "GBP"});
    json!({"name": name, "categories": [category], "variants": [{"code": code, "price": price, "stock": stock}]})
}

pub(crate) async fn stocked(store: Store) -> Shop {
    let shop = Shop::open(store);
    let products = json!({"products": [
        product("Earl Grey", "Tea", "TEA-EG-1", 650, 10),
        product("Green Tea", "Tea", "TEA-GR-1", 450, 0),
        product("Garden trowel", "Garden", "TROWEL", 1680, 3),
        product("Élan notebook", "Paper", "NB-85123", 450, 5),
        product("teapot", "tea", "POT", 3450, 2),
    ]});
    let reply = shop.post("/v1/products/bulk", "stock", products).await;
    assert!(reply.status == 200 && !reply.body.to_string().contains("error"), "{}", reply.body);
    shop
}
