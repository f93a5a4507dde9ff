use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use pangaea_contracts::product::StockLine;
use pangaea_contracts::{Currency, Money, OrderId, ProductId, RefundId, SkuId, Timestamp};
use pangaea_journal::{Json, Migration, record, text_column};

use crate::domain::{Level, Refusal, ReservationState};

pub(crate) const MIGRATIONS: &[Migration] =
    &[Migration { name: "product/0001", sql: include_str!("../../migrations/0001_product.sql") }];

record! {
    pub(crate) struct ProductRow in "product" {
        key { id: ProductId }
        name: String,
        /// The name in lower case: what lists are sorted by.
        name_key: String,
        description: String,
        categories: Json<Vec<String>>,
        /// An inline SVG.
        picture: Option<String>,
        /// In the order in which the variants were given.
        sku_ids: Json<Vec<SkuId>>,
        /// The lowest price of its SKUs, in minor units: what lists are sorted by.
        price_min: i64,
        withdrawn: bool,
        created_at: Timestamp,
        updated_at: Timestamp,
        version: i64,
    }
}

record! {
    /// See [`word_column`].
    pub(crate) struct WordRow in "product_word" {
        key { word: String, product_id: ProductId }
    }
}

record! {
    /// In lower case.
    pub(crate) struct CategoryRow in "product_category" {
        key { category: String, product_id: ProductId }
    }
}

record! {
    pub(crate) struct SkuRow in "sku" {
        key { sku_id: SkuId }
        code: String,
        product_id: ProductId,
        options: Json<BTreeMap<String, String>>,
        price_amount: i64,
        price_currency: Currency,
        price_version: i64,
        withdrawn: bool,
        version: i64,
    }
}

record! {
    pub(crate) struct PriceRow in "price_history" {
        key { sku_id: SkuId, price_version: i64 }
        amount: i64,
        currency: Currency,
        valid_from: Timestamp,
        /// None while it is the current price.
        valid_until: Option<Timestamp>,
    }
}

record! {
    pub(crate) struct StockRow in "stock" {
        key { sku_id: SkuId }
        on_hand: i64,
        reserved: i64,
        /// Rows of `stock_movement` for this SKU so far.
        movements: i64,
        /// Copied from the SKU, so that a reservation reads one row per SKU and not two.
        withdrawn: bool,
    }
}

record! {
    pub(crate) struct MovementRow in "stock_movement" {
        key { sku_id: SkuId, number: i64 }
        kind: MovementKind,
        /// Units that came (positive) or went (negative).
        quantity: i64,
        /// The order, the refund or the request that moved them.
        cause: String,
        /// Of an adjustment: its reason in words.
        note: Option<String>,
        moved_at: Timestamp,
    }
}

record! {
    pub(crate) struct ReservationRow in "reservation" {
        key { order_id: OrderId }
        state: ReservationState,
        /// Summed per SKU.
        lines: Json<Vec<StockLine>>,
        /// Of what was sold: units that came back with refunds.
        returned: Json<Vec<StockLine>>,
        expires_at: Timestamp,
        /// Why it was refused, to be said again to a repeat.
        refusal: Option<Json<Refusal>>,
    }
}

record! {
    pub(crate) struct RestockRow in "restock" {
        key { refund_id: RefundId }
        order_id: OrderId,
        /// What came back; at most what had been sold and was not back yet.
        lines: Json<Vec<StockLine>>,
        restocked_at: Timestamp,
    }
}

/// Why units came or went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MovementKind {
    Opening,
    Adjustment,
    Sale,
    /// Sold units that came back: a release after the commit, or a refund.
    Return,
}

/// How a word stands in `product_word`: the hexadecimal digits of its UTF-8 text.
///
/// A prefix is then the range from its own digits to those digits and a `g`, in every collation. `LIKE` was rejected:
/// neither database uses the key's index for it without an operator class or collation that the other does not know.
pub(crate) fn word_column(word: &str) -> String {
    use std::fmt::Write as _;
    word.bytes().fold(String::with_capacity(word.len() * 2), |mut text, byte| {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

// === impl rows ===

impl SkuRow {
    pub(crate) fn price(&self) -> Money {
        Money::new(self.price_amount, self.price_currency)
    }
}

impl StockRow {
    pub(crate) fn level(&self) -> Level {
        Level { on_hand: self.on_hand, reserved: self.reserved }
    }
}

// === impl MovementKind ===

impl MovementKind {
    const ALL: [MovementKind; 4] = [Self::Opening, Self::Adjustment, Self::Sale, Self::Return];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Opening => "opening",
            Self::Adjustment => "adjustment",
            Self::Sale => "sale",
            Self::Return => "return",
        }
    }
}

impl fmt::Display for MovementKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for MovementKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| format!("{text:?} is no kind of movement"))
    }
}

text_column!(MovementKind, ReservationState);
