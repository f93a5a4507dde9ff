//! What the product module says, and what others may ask of it: prices, and the stock's side of an order.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::message::messages;
use crate::order::Reason;
use crate::{Money, OrderId, ProductId, SkuId, Timestamp};

/// A SKU became sellable, or its price or name changed. Others keep a projection of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SkuPriced {
    pub sku_id: SkuId,
    /// The merchant's own code, as first written.
    pub code: String,
    pub product_id: ProductId,
    pub name: String,
    pub unit_price: Money,
    /// Grows by one with every change of the price.
    pub price_version: i64,
}

/// A SKU is no longer sold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SkuWithdrawn {
    pub sku_id: SkuId,
}

/// Units of one SKU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StockLine {
    pub sku_id: SkuId,
    /// At least 1.
    pub quantity: i64,
}

/// Order asks to hold the stock of all lines, or of none. A repeat gets the current answer again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReserveStock {
    pub order_id: OrderId,
    /// Lines of one SKU are summed by the receiver.
    pub lines: Vec<StockLine>,
    /// How long the reservation holds, in milliseconds.
    pub ttl_ms: i64,
}

/// Order asks to turn the reservation into a sale. An expired reservation is tried again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CommitStock {
    pub order_id: OrderId,
}

/// Order gives back what was reserved or committed. Where nothing was, a tombstone refuses the late original.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReleaseStock {
    pub order_id: OrderId,
}

/// Order says that sold units came back with a refund.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Restock {
    pub order_id: OrderId,
    /// Names the return, so that a repeat is counted once.
    pub refund_id: crate::RefundId,
    pub lines: Vec<StockLine>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StockReserved {
    pub order_id: OrderId,
    pub expires_at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StockRefused {
    pub order_id: OrderId,
    pub reason: Reason,
    /// The SKUs that were short; empty when stock was not the reason.
    #[serde(default)]
    pub shortages: Vec<Shortage>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Shortage {
    pub sku_id: SkuId,
    pub wanted: i64,
    pub available: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StockCommitted {
    pub order_id: OrderId,
}

/// The reservation had expired and its units are gone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CommitRefused {
    pub order_id: OrderId,
    pub reason: Reason,
}

/// Nothing is held for this order any more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StockReleased {
    pub order_id: OrderId,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Restocked {
    pub order_id: OrderId,
    pub refund_id: crate::RefundId,
}

/// A reservation's time ran out; its units can be sold again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReservationExpired {
    pub order_id: OrderId,
}

// === commands from HTTP ===

/// A product as a merchant states it. Its bounds are those of `POST /v1/products`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NewProduct {
    pub name: String,
    #[serde(default)]
    pub description: String,
    #[serde(default)]
    pub categories: Vec<String>,
    /// At least one; each becomes a SKU.
    pub variants: Vec<NewVariant>,
    /// An inline SVG.
    #[serde(default)]
    pub picture: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NewVariant {
    /// The merchant's own code: unique in the store, whatever its case.
    pub code: String,
    /// What tells this variant from the product's others, e.g. `size` = `100 g`.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    pub price: Money,
    /// Units there are at the beginning, at least 0.
    #[serde(default)]
    pub stock: i64,
}

/// Staff add one product: all of it, or nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CreateProduct {
    /// Of the first variant: what the command is keyed by.
    pub sku_id: SkuId,
    pub product: NewProduct,
}

/// Staff add many products; each stands for itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CreateProducts {
    /// Of the first variant of the first product: what the command is keyed by.
    pub sku_id: SkuId,
    pub products: Vec<NewProduct>,
    /// Do nothing in a store that has products already: for the demo catalogue.
    #[serde(default)]
    pub only_if_empty: bool,
}

/// Staff change how a product is presented. What is `None` stays.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReviseProduct {
    pub product_id: ProductId,
    /// The version that the change is of; `None` for whichever there is.
    pub expected_version: Option<i64>,
    #[serde(default)]
    pub name: Option<String>,
    #[serde(default)]
    pub description: Option<String>,
    #[serde(default)]
    pub categories: Option<Vec<String>>,
    #[serde(default)]
    pub picture: Option<String>,
    #[serde(default)]
    pub remove_picture: bool,
}

/// Staff take a product and all its SKUs out of the catalogue. Their codes stay taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WithdrawProduct {
    pub product_id: ProductId,
    pub expected_version: Option<i64>,
}

/// Staff set what a SKU costs from now on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SetPrice {
    pub sku_id: SkuId,
    pub expected_version: Option<i64>,
    pub price: Money,
}

/// Staff correct how many units there are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AdjustStock {
    pub sku_id: SkuId,
    /// Units that come (positive) or go (negative); never 0.
    pub delta: i64,
    pub reason: String,
    /// Compare-and-set: refused when `on_hand` is another number.
    #[serde(default)]
    pub expected_on_hand: Option<i64>,
}

messages! {
    CreateProduct = "product.rpc.create_product.v1", key sku_id;
    CreateProducts = "product.rpc.create_products.v1", key sku_id;
    ReviseProduct = "product.rpc.revise_product.v1", key product_id;
    WithdrawProduct = "product.rpc.withdraw_product.v1", key product_id;
    SetPrice = "product.rpc.set_price.v1", key sku_id;
    AdjustStock = "product.rpc.adjust_stock.v1", key sku_id;
    SkuPriced = "product.evt.sku_priced.v1", key sku_id;
    SkuWithdrawn = "product.evt.sku_withdrawn.v1", key sku_id;
    ReserveStock = "order.cmd.product.reserve_stock.v1", key order_id;
    CommitStock = "order.cmd.product.commit_stock.v1", key order_id;
    ReleaseStock = "order.cmd.product.release_stock.v1", key order_id;
    Restock = "order.cmd.product.restock.v1", key order_id;
    StockReserved = "product.evt.stock_reserved.v1", key order_id;
    StockRefused = "product.evt.stock_refused.v1", key order_id;
    StockCommitted = "product.evt.stock_committed.v1", key order_id;
    CommitRefused = "product.evt.commit_refused.v1", key order_id;
    StockReleased = "product.evt.stock_released.v1", key order_id;
    Restocked = "product.evt.restocked.v1", key order_id;
    ReservationExpired = "product.evt.reservation_expired.v1", key order_id;
}
