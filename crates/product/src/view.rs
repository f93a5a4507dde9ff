//! What the module shows of itself over HTTP: the bodies of reads and of commands' answers.

use std::collections::BTreeMap;

use pangaea_contracts::{Money, ProductId, SkuId, Timestamp};
use pangaea_kernel::Problem;
use serde::Serialize;
use utoipa::ToSchema;

use crate::store::{PriceRow, ProductRow, SkuRow, StockRow};

/// An amount in the currency's minor unit, e.g. pence.
#[derive(ToSchema)]
#[schema(as = Money)]
#[expect(dead_code, reason = "stands for the contract's type in the OpenAPI document")]
pub(crate) struct MoneySchema {
    #[schema(example = 1299)]
    amount: i64,
    /// ISO 4217.
    #[schema(example = "GBP", pattern = "^[A-Z]{3}$")]
    currency: String,
}

/// A product of the catalogue. It does not say how many units there are: that changes with every order and is read per SKU.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Product)]
pub(crate) struct ProductView {
    #[schema(value_type = String, example = "prod_01kb…")]
    pub(crate) id: ProductId,
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) categories: Vec<String>,
    pub(crate) variants: Vec<VariantView>,
    /// An inline SVG of shapes only, at most 8 KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) picture: Option<String>,
    /// The number in the ETag.
    pub(crate) version: i64,
    #[schema(value_type = String, format = DateTime)]
    pub(crate) created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub(crate) updated_at: Timestamp,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Variant)]
pub(crate) struct VariantView {
    #[schema(value_type = String, example = "sku_9x…")]
    pub(crate) sku_id: SkuId,
    /// The merchant's own code.
    pub(crate) code: String,
    pub(crate) options: BTreeMap<String, String>,
    #[schema(value_type = MoneySchema)]
    pub(crate) price: Money,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Sku)]
pub(crate) struct SkuView {
    #[schema(value_type = String)]
    pub(crate) id: SkuId,
    pub(crate) code: String,
    #[schema(value_type = String)]
    pub(crate) product_id: ProductId,
    pub(crate) options: BTreeMap<String, String>,
    #[schema(value_type = MoneySchema)]
    pub(crate) price: Money,
    pub(crate) price_version: i64,
    /// Units there are.
    pub(crate) on_hand: i64,
    /// Of those, units held for orders that are not committed yet.
    pub(crate) reserved: i64,
    /// Units that can be ordered.
    pub(crate) available: i64,
    /// No longer sold.
    pub(crate) withdrawn: bool,
    /// The number in the ETag. It counts changes of the price and the withdrawal, not movements of stock.
    pub(crate) version: i64,
}

/// One price of a SKU and the time it holds: from `valid_from` on, and before `valid_until`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PriceInTime)]
pub(crate) struct PriceView {
    pub(crate) price_version: i64,
    #[schema(value_type = MoneySchema)]
    pub(crate) price: Money,
    #[schema(value_type = String, format = DateTime)]
    pub(crate) valid_from: Timestamp,
    /// Absent while it is the current price.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) valid_until: Option<Timestamp>,
}

/// How a SKU's stock stands after an adjustment.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StockLevel)]
pub(crate) struct StockView {
    #[schema(value_type = String)]
    pub(crate) sku_id: SkuId,
    pub(crate) on_hand: i64,
    pub(crate) reserved: i64,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BulkResults)]
pub(crate) struct BulkView {
    /// One per product, in the order in which they were given.
    pub(crate) results: Vec<BulkItemView>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BulkResult)]
pub(crate) struct BulkItemView {
    pub(crate) index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub(crate) product_id: Option<ProductId>,
    /// Why this product was not created; the others do not depend on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<Problem>,
}

// === impl views ===

impl ProductView {
    /// `skus` in any order; those that are not this product's are left out.
    pub(crate) fn new(row: ProductRow, skus: &[SkuRow]) -> Self {
        let variant = |sku_id: &SkuId| skus.iter().find(|sku| sku.sku_id == *sku_id).cloned().map(VariantView::from);
        Self {
            variants: row.sku_ids.0.iter().filter_map(variant).collect(),
            id: row.id,
            name: row.name,
            description: row.description,
            categories: row.categories.0,
            picture: row.picture,
            version: row.version,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

impl From<SkuRow> for VariantView {
    fn from(row: SkuRow) -> Self {
        Self { price: row.price(), sku_id: row.sku_id, code: row.code, options: row.options.0 }
    }
}

impl SkuView {
    pub(crate) fn new(sku: SkuRow, stock: &StockRow) -> Self {
        Self {
            price: sku.price(),
            id: sku.sku_id,
            code: sku.code,
            product_id: sku.product_id,
            options: sku.options.0,
            price_version: sku.price_version,
            on_hand: stock.on_hand,
            reserved: stock.reserved,
            available: stock.level().available(),
            withdrawn: sku.withdrawn,
            version: sku.version,
        }
    }
}

impl From<PriceRow> for PriceView {
    fn from(row: PriceRow) -> Self {
        Self {
            price_version: row.price_version,
            price: Money::new(row.amount, row.currency),
            valid_from: row.valid_from,
            valid_until: row.valid_until,
        }
    }
}
