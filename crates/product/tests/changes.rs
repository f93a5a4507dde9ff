//! Planted changes of behaviour: each shows in what the module says or holds in the usual life of its stock.

mod common;

use common::{Store, TTL_MS, line, order};
use pangaea_contracts::Message;
use pangaea_contracts::product::{CommitStock, ReleaseStock, ReserveStock, StockLine};
use pangaea_faults::{Change, with_change};

/// The beginning of the first line that differs, without or with the change.
const SHOWN_BY: [(Change, &str); 3] = [
    (Change::ExtraEvent, "says product.evt.stock_committed"),
    (Change::ChangedStockGuard, "says product.evt.stock_reserved"),
    (Change::UnorderedMap, "holds reservation"),
];

const CODES: [&str; 8] = ["A", "B", "C", "D", "E", "F", "G", "H"];

/// One order of many lines is sold, one takes the last units and gives them back, one comes too late.
async fn live() -> Vec<String> {
    let mut store = Store::with_stock(&CODES.map(|code| (code, 5))).await;
    let mut seen = Vec::new();
    let every = CODES.map(|code| line(code, 2)).to_vec();
    hear(&mut store, &mut seen, &reserve(1, every)).await;
    hear(&mut store, &mut seen, &CommitStock { order_id: order(1) }).await;
    hear(&mut store, &mut seen, &reserve(2, vec![line("A", 3)])).await;
    hear(&mut store, &mut seen, &reserve(3, vec![line("A", 1), line("B", 1)])).await;
    hear(&mut store, &mut seen, &ReleaseStock { order_id: order(2) }).await;
    for contents in store.database.contents().await.unwrap() {
        seen.extend(contents.rows.iter().map(|row| format!("holds {} {row:?}", contents.table)));
    }
    seen
}

async fn hear<M: Message>(store: &mut Store, seen: &mut Vec<String>, message: &M) {
    let said = store.deliver(message).await;
    seen.extend(said.iter().map(|(subject, payload)| format!("says {subject} {payload}")));
}

fn reserve(number: u32, lines: Vec<StockLine>) -> ReserveStock {
    ReserveStock { order_id: order(number), lines, ttl_ms: TTL_MS }
}

#[tokio::test]
async fn each_change_shows_in_the_usual_life_of_the_stock() {
    let unchanged = live().await;
    assert_eq!(unchanged, live().await, "without a change nothing differs");
    for (change, shown_by) in SHOWN_BY {
        let guard = with_change(change);
        let changed = live().await;
        drop(guard);
        let differs = unchanged.iter().zip(&changed).find(|(before, after)| before != after);
        let (before, after) = differs.unwrap_or_else(|| panic!("{change} does not show"));
        let shows = before.starts_with(shown_by) || after.starts_with(shown_by);
        assert!(shows, "{change} shows otherwise:\n  {before}\n  {after}");
    }
}
