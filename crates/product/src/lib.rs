//! The product module: catalogue, prices with their history, and stock.
//!
//! Stock is the store's scarce thing, and there is one writer: `0 <= reserved <= on_hand` holds after every message, all
//! lines of an order are reserved or none, and units on hand are the sum of their movements. [`verify`] checks it.
//!
//! How it is divided: `domain` decides without a database, `handlers` carry the decisions out on rows by key, `store` has
//! all SQL, `http` the routes, `view` the bodies.

mod domain;
mod handlers;
mod http;
mod settings;
mod store;
mod view;

use pangaea_contracts::product::{
    AdjustStock, CommitRefused, CommitStock, CreateProduct, CreateProducts, NewProduct, ReleaseStock,
    ReservationExpired, ReserveStock, Restock, Restocked, ReviseProduct, SetPrice, SkuPriced, SkuWithdrawn,
    StockCommitted, StockRefused, StockReleased, StockReserved, WithdrawProduct,
};
use pangaea_contracts::{Actor, SkuId};
use pangaea_kernel::http::{Edge, HttpRequest, Intent};
use pangaea_kernel::{Definition, Input, Keys, Module};
use serde_json::Value;
use utoipa_axum::router::OpenApiRouter;

use crate::handlers::ReservationTimeout;
use crate::store::{ProductRow, ReservationRow, RestockRow, SkuRow, StockRow};

pub use crate::domain::ReservationState;
pub use crate::settings::ProductSettings;
pub use crate::store::{Reservation, reservations, verify};

/// Catalogue, prices, stock.
#[derive(Clone, Debug, Default)]
pub struct Product {
    demo: bool,
}

const DEMO_CATALOGUE: &str = include_str!("../demo/catalogue.json");

// === impl Product ===

impl Product {
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether an empty store is given the demo catalogue at its first start.
    #[must_use]
    pub fn with_demo(self, demo: bool) -> Self {
        Self { demo }
    }
}

impl Module for Product {
    fn define(&self) -> Definition {
        let definition = Definition::new("product")
            .migrations(store::MIGRATIONS)
            .invariant("stock is the sum of its movements, reserved that of open reservations", store::verify)
            .projection("search", &["product_word", "product_category"])
            .projection("price-history", &["price_history"])
            .projection("stock-history", &["stock_movement"])
            .projection("stock", &["stock", "reservation", "restock"])
            .settings::<ProductSettings>()
            .emits::<SkuPriced>()
            .emits::<SkuWithdrawn>()
            .emits::<StockReserved>()
            .emits::<StockRefused>()
            .emits::<StockCommitted>()
            .emits::<CommitRefused>()
            .emits::<StockReleased>()
            .emits::<Restocked>()
            .emits::<ReservationExpired>();
        stock(catalogue(definition))
    }

    fn routes(&self) -> OpenApiRouter<Edge> {
        http::routes()
    }

    fn request_of(&self, subject: &str, _key: &str, payload: &Value, _actor: &Actor) -> Option<HttpRequest> {
        http::request_of(subject, payload)
    }

    fn seed(&self) -> Vec<Input> {
        if self.demo { demo_catalogue().into_iter().collect() } else { Vec::new() }
    }
}

fn catalogue(definition: Definition) -> Definition {
    definition
        .command::<CreateProduct>(handlers::create_product)
        .wants::<CreateProduct>(|command, keys| want_codes(&command.product, keys))
        .command::<CreateProducts>(handlers::create_products)
        .wants::<CreateProducts>(|command, keys| command.products.iter().for_each(|product| want_codes(product, keys)))
        .command::<ReviseProduct>(handlers::revise_product)
        .wants::<ReviseProduct>(|command, keys| keys.want::<ProductRow>(&command.product_id))
        .command::<WithdrawProduct>(handlers::withdraw_product)
        .wants::<WithdrawProduct>(|command, keys| keys.want::<ProductRow>(&command.product_id))
        .command::<SetPrice>(handlers::set_price)
        .wants::<SetPrice>(|command, keys| keys.want::<SkuRow>(&command.sku_id))
}

fn stock(definition: Definition) -> Definition {
    definition
        .command::<AdjustStock>(handlers::adjust_stock)
        .wants::<AdjustStock>(|command, keys| keys.want::<StockRow>(&command.sku_id))
        .on::<ReserveStock>(handlers::reserve_stock)
        .wants::<ReserveStock>(|command, keys| {
            keys.want::<ReservationRow>(&command.order_id);
            command.lines.iter().for_each(|line| keys.want::<StockRow>(&line.sku_id));
        })
        .on::<CommitStock>(handlers::commit_stock)
        .wants::<CommitStock>(|command, keys| keys.want::<ReservationRow>(&command.order_id))
        .on::<ReleaseStock>(handlers::release_stock)
        .wants::<ReleaseStock>(|command, keys| keys.want::<ReservationRow>(&command.order_id))
        .on::<Restock>(handlers::restock)
        .wants::<Restock>(|command, keys| {
            keys.want::<RestockRow>(&command.refund_id);
            keys.want::<ReservationRow>(&command.order_id);
        })
        .timer::<ReservationTimeout>(handlers::reservation_expired)
        .wants::<ReservationTimeout>(|timeout, keys| keys.want::<ReservationRow>(&timeout.order_id))
}

fn want_codes(product: &NewProduct, keys: &mut Keys) {
    product.variants.iter().for_each(|variant| keys.want::<SkuRow>(&SkuId::from_code(&variant.code)));
}

/// One command, once in the life of a store. The file is part of the program, and a test reads it; should it be broken all
/// the same, the store starts without it.
fn demo_catalogue() -> Option<Input> {
    let products: Vec<NewProduct> = serde_json::from_str(DEMO_CATALOGUE)
        .inspect_err(|error| tracing::error!(%error, "the demo catalogue cannot be read"))
        .ok()?;
    let sku_id = SkuId::from_code(&products.first()?.variants.first()?.code);
    let command = CreateProducts { sku_id, products, only_if_empty: true };
    Intent::system("/seed/product", "demo-catalogue-v1")
        .command(&command, Vec::new())
        .inspect_err(|problem| tracing::error!(%problem, "the demo catalogue cannot be sent"))
        .ok()
}
