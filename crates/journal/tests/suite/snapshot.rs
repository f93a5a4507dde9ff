//! A database as of one commit, page by page, while its writer goes on.

use pangaea_journal::{Snapshot, TablePlace, TableShape, Value};

use crate::support::{Place, Price, Shelf, input, message, on_each_database, stock};

on_each_database!(reads_one_moment, reads_tables_by_key, knows_what_was_asked_for, rows_come_back);

async fn all(snapshot: &mut Snapshot, table: &str, page: usize) -> (TableShape, Vec<Vec<Value>>) {
    let shape = snapshot.tables().await.unwrap().into_iter().find(|shape| shape.table == table).unwrap();
    let (mut place, mut rows) = (TablePlace::default(), Vec::new());
    loop {
        let more = snapshot.rows(&shape, &mut place, page).await.unwrap();
        assert!(more.len() <= page);
        if more.is_empty() {
            return (shape, rows);
        }
        rows.extend(more);
    }
}

async fn reads_one_moment(place: Place) {
    let (database, mut writer) = place.lead().await;
    writer.begin().await.unwrap();
    writer.put(stock("a", 1));
    writer.append_inbox(input("cmd_1", 10), String::new());
    writer.append_outbox(message("msg_1", "{}"));
    writer.commit().await.unwrap();
    let mut snapshot = database.snapshot().await.unwrap();
    writer.begin().await.unwrap();
    writer.put(stock("b", 2));
    writer.append_inbox(input("cmd_2", 20), String::new());
    writer.append_outbox(message("msg_2", "{}"));
    writer.commit().await.unwrap();
    assert_eq!((snapshot.head().inbox_end, snapshot.head().outbox_end), (1, 1));
    assert_eq!(snapshot.inbox_from(1, 10).await.unwrap().len(), 1);
    assert_eq!(snapshot.outbox_after(0, 10).await.unwrap().len(), 1);
    assert_eq!(all(&mut snapshot, "stock", 10).await.1.len(), 1);
    snapshot.close().await.unwrap();
    let mut later = database.snapshot().await.unwrap();
    assert_eq!(all(&mut later, "stock", 10).await.1.len(), 2);
    assert_eq!(later.inbox_position_at(crate::support::at(11)).await.unwrap(), 2);
    later.close().await.unwrap();
    place.remove().await;
}

/// The order is one and the same on every database, whatever its collation.
async fn reads_tables_by_key(place: Place) {
    let (database, mut writer) = place.lead().await;
    writer.begin().await.unwrap();
    let skus = ["a", "B", "ä", "a_b", "ab", "a-b", "Z", "0"];
    for sku in skus {
        writer.put(Price { sku: sku.into(), currency: "EUR".into(), amount: 1 });
        writer.put(Price { sku: sku.into(), currency: "DKK".into(), amount: 2 });
        writer.put(stock(sku, 1));
    }
    for aisle in [10, 9, -1] {
        writer.put(Shelf { aisle, bay: 1, side: "left".into() });
    }
    writer.commit().await.unwrap();
    let mut snapshot = database.snapshot().await.unwrap();
    let names: Vec<String> = snapshot.tables().await.unwrap().into_iter().map(|shape| shape.table).collect();
    assert_eq!(names, ["price", "shelf", "stock"], "the journal's own tables are left out");
    let mut expected: Vec<_> = skus.iter().flat_map(|sku| [(*sku, "DKK"), (*sku, "EUR")]).collect();
    expected.sort();
    for page in [1, 3, 100] {
        let (shape, rows) = all(&mut snapshot, "price", page).await;
        assert_eq!((shape.columns.len(), &shape.key[..]), (3, &[0, 1][..]));
        let keys: Vec<_> = rows.iter().map(|row| (row[0].clone(), row[1].clone())).collect();
        let expected: Vec<_> = expected.iter().map(|(sku, currency)| ((*sku).into(), (*currency).into())).collect();
        assert_eq!(keys, expected, "pages of {page}");
        let shelves = all(&mut snapshot, "shelf", page).await.1;
        let aisles: Vec<_> = shelves.iter().map(|row| row[0].clone()).collect();
        assert_eq!(aisles, [Value::from(-1_i64), 9_i64.into(), 10_i64.into()]);
    }
    snapshot.close().await.unwrap();
    place.remove().await;
}

async fn knows_what_was_asked_for(place: Place) {
    let (database, mut writer) = place.lead().await;
    writer.begin().await.unwrap();
    writer.append_inbox(input("cmd_1", 10), "[1]".into());
    writer.append_inbox(input("cmd_2", 10), String::new());
    writer.commit().await.unwrap();
    writer.stop().await.unwrap();
    let mut snapshot = database.snapshot().await.unwrap();
    let asked: Vec<_> = snapshot.inbox_from(1, 10).await.unwrap().into_iter().map(|handled| handled.asked).collect();
    assert_eq!(asked, [Some("[1]".into()), Some(String::new())]);
    snapshot.close().await.unwrap();
    place.remove().await;
}

async fn rows_come_back(place: Place) {
    let (database, mut writer) = place.lead().await;
    let columns = ["sku", "on_hand", "label"].map(str::to_owned);
    let rows = vec![vec!["a".into(), 3_i64.into(), Value::Text(None)], vec!["b".into(), 4_i64.into(), "red".into()]];
    let mut snapshot = database.snapshot().await.unwrap();
    let stock = snapshot.tables().await.unwrap().into_iter().find(|shape| shape.table == "stock").unwrap();
    snapshot.close().await.unwrap();
    writer.load_rows(&stock, &columns, rows.clone()).await.unwrap();
    writer.begin().await.unwrap();
    let read: crate::support::Stock = writer.get(&"b".to_owned()).await.unwrap().unwrap();
    assert_eq!((read.on_hand, read.label.as_deref()), (4, Some("red")));
    writer.commit().await.unwrap();
    writer.load_rows(&stock, &["sku; DROP TABLE stock".to_owned()], Vec::new()).await.unwrap_err();
    writer.load_rows(&stock, &columns[..2], rows.clone()).await.unwrap_err();
    writer.load_rows(&stock, &columns, rows).await.unwrap_err();
    let mut snapshot = database.snapshot().await.unwrap();
    assert_eq!(all(&mut snapshot, "stock", 10).await.1.len(), 2, "what did not fit left nothing");
    snapshot.close().await.unwrap();
    place.remove().await;
}
