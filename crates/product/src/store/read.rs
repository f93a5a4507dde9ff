//! What the edge reads: committed rows, from the pool.

use pangaea_contracts::{ProductId, SkuId};
use pangaea_journal::{Column, Database, JournalError, Record, Statement, Value};
use pangaea_kernel::{Cx, Failure};

use super::{PriceRow, ProductRow, SkuRow, StockRow, word_column};

/// What a list of products is narrowed to and sorted by. Withdrawn products are never in it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Search {
    /// Every one must begin a word of the product's name or of one of its codes. Lower case, letters and digits.
    pub(crate) words: Vec<String>,
    /// Lower case.
    pub(crate) category: Option<String>,
    /// Whether a SKU (within the prices, if given) has units to sell.
    pub(crate) available: Option<bool>,
    /// Minor units, both ends included: a SKU must cost as much.
    pub(crate) prices: (Option<i64>, Option<i64>),
    pub(crate) sort: Sort,
    /// The sort key and id of the last item of the page before.
    pub(crate) after: Option<(Value, ProductId)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Sort {
    #[default]
    Name,
    Price,
    PriceDown,
    /// Ids begin with the time they were made at.
    Newest,
}

/// Whether no product was ever created.
///
/// # Errors
/// When it cannot be read.
pub(crate) async fn is_empty(cx: &mut Cx) -> Result<bool, Failure> {
    Ok(cx.sql(Statement::new("SELECT id FROM product LIMIT 1")).await?.is_empty())
}

/// A product that is not withdrawn, and its SKUs.
///
/// # Errors
/// When it cannot be read.
pub(crate) async fn product(
    database: &Database,
    id: &ProductId,
) -> Result<Option<(ProductRow, Vec<SkuRow>)>, JournalError> {
    let select = select::<ProductRow>("p").and("WHERE p.id = ? AND p.withdrawn = 0").bind_column(id);
    let Some(row) = all::<ProductRow>(database, select).await?.pop() else { return Ok(None) };
    let skus = skus_of(database, std::slice::from_ref(&row)).await?;
    Ok(Some((row, skus)))
}

/// At most `limit` products and all their SKUs.
///
/// # Errors
/// When they cannot be read.
pub(crate) async fn list(
    database: &Database,
    search: &Search,
    limit: u32,
) -> Result<(Vec<ProductRow>, Vec<SkuRow>), JournalError> {
    let mut select = select::<ProductRow>("p").and("WHERE p.withdrawn = 0");
    for word in &search.words {
        let from = word_column(word);
        let until = format!("{from}g");
        select = select
            .and("AND p.id IN (SELECT product_id FROM product_word WHERE word >= ? AND word < ?)")
            .bind(from)
            .bind(until);
    }
    if let Some(category) = &search.category {
        select = select
            .and("AND p.id IN (SELECT product_id FROM product_category WHERE category = ?)")
            .bind(category.as_str());
    }
    let (key, descending) = search.sort.column();
    let (compare, order) = if descending { ("<", "DESC") } else { (">", "ASC") };
    select = with_skus(select, search);
    if let Some((last_key, last_id)) = &search.after {
        select = select.and(&format!("AND ({key}, p.id) {compare} (?, ?)")).bind(last_key.clone()).bind_column(last_id);
    }
    let products =
        all::<ProductRow>(database, select.and(&format!("ORDER BY {key} {order}, p.id {order} LIMIT {limit}"))).await?;
    let skus = skus_of(database, &products).await?;
    Ok((products, skus))
}

/// Narrows to products with a SKU of the wanted price and availability.
fn with_skus(select: Statement, search: &Search) -> Statement {
    let with_prices = |mut select: Statement| {
        for (bound, compare) in [(search.prices.0, ">="), (search.prices.1, "<=")] {
            if let Some(amount) = bound {
                select = select.and(&format!("AND s.price_amount {compare} ?")).bind(amount);
            }
        }
        select
    };
    let mut select = select;
    if search.available == Some(false) || search.prices != (None, None) {
        select = with_prices(select.and("AND EXISTS (SELECT 1 FROM sku s WHERE s.product_id = p.id")).and(")");
    }
    if let Some(available) = search.available {
        let not = if available { "" } else { "NOT " };
        let join = "SELECT 1 FROM sku s JOIN stock t ON t.sku_id = s.sku_id WHERE s.product_id = p.id AND t.on_hand > t.reserved";
        select = with_prices(select.and(&format!("AND {not}EXISTS ({join}"))).and(")");
    }
    select
}

/// A SKU and its stock.
///
/// # Errors
/// When it cannot be read.
pub(crate) async fn sku(database: &Database, sku_id: &SkuId) -> Result<Option<(SkuRow, StockRow)>, JournalError> {
    // One statement, so that price and stock are of one moment.
    let columns = [columns::<SkuRow>("s"), columns::<StockRow>("t")].concat().join(", ");
    let sql = format!("SELECT {columns} FROM sku s JOIN stock t ON t.sku_id = s.sku_id WHERE s.sku_id = ?");
    let rows = database.fetch(Statement::new(sql).bind_column(sku_id)).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let offset = SkuRow::COLUMNS.len();
    let stock = StockRow {
        sku_id: row.get(offset)?,
        on_hand: row.get(offset + 1)?,
        reserved: row.get(offset + 2)?,
        movements: row.get(offset + 3)?,
        withdrawn: row.get(offset + 4)?,
    };
    Ok(Some((SkuRow::from_row(row)?, stock)))
}

/// At most `limit` prices of a SKU, the newest first; `before` is the last page's oldest version.
///
/// # Errors
/// When they cannot be read.
pub(crate) async fn prices(
    database: &Database,
    sku_id: &SkuId,
    before: Option<i64>,
    limit: u32,
) -> Result<Vec<PriceRow>, JournalError> {
    let select = select::<PriceRow>("h")
        .and("WHERE h.sku_id = ? AND h.price_version < ?")
        .bind_column(sku_id)
        .bind(before.unwrap_or(i64::MAX))
        .and(&format!("ORDER BY h.price_version DESC LIMIT {limit}"));
    all(database, select).await
}

async fn skus_of(database: &Database, products: &[ProductRow]) -> Result<Vec<SkuRow>, JournalError> {
    let ids: Vec<Value> = products.iter().map(|product| product.id.to_value()).collect();
    all(database, select::<SkuRow>("s").and("WHERE s.product_id").and_in(ids)).await
}

fn columns<R: Record>(alias: &str) -> Vec<String> {
    R::COLUMNS.iter().map(|column| format!("{alias}.{column}")).collect()
}

fn select<R: Record>(alias: &str) -> Statement {
    Statement::new(format!("SELECT {} FROM {} {alias}", columns::<R>(alias).join(", "), R::TABLE))
}

async fn all<R: Record>(database: &Database, select: Statement) -> Result<Vec<R>, JournalError> {
    database.fetch(select).await?.iter().map(R::from_row).collect()
}

// === impl Sort ===

impl Sort {
    /// The column, and whether the order is from high to low.
    const fn column(self) -> (&'static str, bool) {
        match self {
            Self::Name => ("p.name_key", false),
            Self::Price => ("p.price_min", false),
            Self::PriceDown => ("p.price_min", true),
            Self::Newest => ("p.id", true),
        }
    }

    /// As in `?sort=`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Price => "price",
            Self::PriceDown => "-price",
            Self::Newest => "newest",
        }
    }

    /// The sort key of a product, as a cursor holds it.
    pub(crate) fn key_of(self, product: &ProductRow) -> String {
        match self {
            Self::Name => product.name_key.clone(),
            Self::Price | Self::PriceDown => product.price_min.to_string(),
            Self::Newest => product.id.to_string(),
        }
    }

    /// Reads a key that [`Sort::key_of`] made.
    pub(crate) fn key_from(self, text: &str) -> Option<Value> {
        match self {
            Self::Name | Self::Newest => Some(text.into()),
            Self::Price | Self::PriceDown => text.parse::<i64>().ok().map(Value::from),
        }
    }
}
