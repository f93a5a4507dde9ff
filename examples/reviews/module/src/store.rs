use std::collections::BTreeSet;

use pangaea_contracts::{OrderId, SkuId, Timestamp, UserId};
use pangaea_journal::{Database, JournalError, Json, Migration, Record, Statement, record};

pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration { name: "0001_reviews", sql: include_str!("../migrations/0001_reviews.sql") },
    Migration { name: "0002_held_back", sql: include_str!("../migrations/0002_held_back.sql") },
];

record! {
    pub(crate) struct PlacedOrder in "placed_order" {
        key { order_id: OrderId }
        buyer: UserId,
        skus: Json<BTreeSet<SkuId>>,
    }
}

record! {
    pub(crate) struct Purchase in "purchase" {
        key { buyer: UserId, sku_id: SkuId }
        order_id: OrderId,
    }
}

record! {
    pub(crate) struct Review in "review" {
        key { sku_id: SkuId, buyer: UserId }
        /// Its place among those that can be read, from 1.
        number: Option<i64>,
        stars: u32,
        text: String,
        posted_at: Timestamp,
    }
}

record! {
    pub(crate) struct Score in "score" {
        key { sku_id: SkuId }
        reviews: i64,
        /// The sum.
        stars: i64,
    }
}

/// Reviews of a SKU that can be read, the newest first, beginning before the number `before`. What has no number yet is below
/// none.
pub(crate) async fn reviews(
    database: &Database,
    sku_id: &SkuId,
    before: i64,
    limit: u32,
) -> Result<Vec<Review>, JournalError> {
    let statement = select::<Review>().and("WHERE sku_id = ? AND number < ?").bind_column(sku_id).bind(before);
    rows(database, statement.and(&format!("ORDER BY number DESC LIMIT {limit}"))).await
}

pub(crate) async fn score(database: &Database, sku_id: &SkuId) -> Result<Option<Score>, JournalError> {
    let found = rows(database, select::<Score>().and("WHERE sku_id = ?").bind_column(sku_id)).await?;
    Ok(found.into_iter().next())
}

/// An index has just the reviews of each kind.
pub(crate) async fn by_state(database: &Database) -> Result<Vec<(String, i64)>, JournalError> {
    let count = "SELECT 'posted', COUNT(*) FROM review WHERE number IS NOT NULL \
                 UNION ALL SELECT 'held_back', COUNT(*) FROM review WHERE number IS NULL";
    let rows = database.fetch(Statement::new(count)).await?;
    rows.iter().map(|row| Ok((row.get(0)?, row.get(1)?))).collect()
}

/// Scores that are not the sum of the reviews that can be read, and reviews that can be read but are in no score.
pub(crate) async fn verify(database: &Database) -> Result<Vec<String>, JournalError> {
    let select = "SELECT s.sku_id FROM score s LEFT JOIN review r ON r.sku_id = s.sku_id AND r.number IS NOT NULL \
                  GROUP BY s.sku_id, s.reviews, s.stars \
                  HAVING COUNT(r.number) <> s.reviews OR COALESCE(SUM(r.stars), 0) <> s.stars LIMIT 100";
    let lost = "SELECT DISTINCT sku_id FROM review r WHERE number IS NOT NULL \
                AND NOT EXISTS (SELECT 1 FROM score s WHERE s.sku_id = r.sku_id) LIMIT 100";
    let mut breaches = Vec::new();
    for sql in [select, lost] {
        for row in database.fetch(Statement::new(sql)).await? {
            breaches.push(format!("the score of {}", row.get::<String>(0)?));
        }
    }
    Ok(breaches)
}

fn select<R: Record>() -> Statement {
    Statement::new(format!("SELECT {} FROM {}", R::COLUMNS.join(", "), R::TABLE))
}

async fn rows<R: Record>(database: &Database, statement: Statement) -> Result<Vec<R>, JournalError> {
    database.fetch(statement).await?.iter().map(R::from_row).collect()
}
