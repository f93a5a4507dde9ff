//! Shadow tables: built beside a module's own and put in their place at once.

use std::sync::Arc;

use pangaea_journal::{ShadowRows, Snapshot, Statement, TableChange, TablePlace, TableShape, Value, Writer};

use crate::support::{Place, Shelf, Stock, on_each_database, on_each_durable_database, refused, stock};

on_each_database! {
    a_swap_makes_a_table_hold_what_its_shadow_holds,
    until_it_is_committed_nobody_sees_a_swap,
    what_a_rebuild_leaves_is_no_part_of_the_state_and_is_dropped,
}
on_each_durable_database! {
    a_snapshot_that_began_before_reads_on_what_it_read,
    a_writer_that_leaves_does_not_say_that_all_is_well,
}

async fn a_swap_makes_a_table_hold_what_its_shadow_holds(place: Place) {
    let (database, mut writer) = place.lead().await;
    writer.begin().await.unwrap();
    for (sku, on_hand) in [("same", 1), ("changed", 2), ("extra", 3)] {
        writer.put(Stock { label: Some(format!("label of {sku}")), ..stock(sku, on_hand) });
    }
    writer.put(Shelf { aisle: 1, bay: 1, side: "left".into() });
    writer.commit().await.unwrap();
    let (stocks, shelves) = (shape(&writer, "stock").await, shape(&writer, "shelf").await);

    writer.begin().await.unwrap();
    writer.make_shadows(&[stocks.clone(), shelves.clone()]).await.unwrap();
    writer.commit().await.unwrap();
    // In parts, of which a later one has the last word. One takes over the unique label of a row that goes.
    let row = |sku: &str, on_hand: i64, label: Option<&str>| -> Vec<Value> {
        vec![sku.into(), on_hand.into(), label.map(str::to_owned).into()]
    };
    let first = vec![row("same", 1, Some("label of same")), row("changed", 7, None), row("gone", 8, None)];
    let then = vec![row("changed", 9, None), row("missing", 4, Some("label of extra"))];
    for (rows, gone) in [(first, Vec::new()), (then, vec![vec!["gone".into()]])] {
        writer.begin().await.unwrap();
        writer.fill_shadow(&ShadowRows { shape: stocks.clone(), rows, gone }).await.unwrap();
        writer.commit().await.unwrap();
    }

    writer.begin().await.unwrap();
    assert!(writer.has_shadows(&[stocks.clone(), shelves.clone()]).await.unwrap());
    let changes = [writer.swap_shadow(&stocks).await.unwrap(), writer.swap_shadow(&shelves).await.unwrap()];
    assert!(!writer.has_shadows(std::slice::from_ref(&stocks)).await.unwrap());
    let seen = writer.get::<Stock>(&"changed".to_owned()).await.unwrap().unwrap();
    assert_eq!((seen.on_hand, seen.label), (9, None), "the map does not say what was");
    writer.commit().await.unwrap();
    let change = |table: &str, [rows_before, rows_after, changed, added, removed]: [u64; 5]| TableChange {
        table: table.into(),
        rows_before,
        rows_after,
        changed,
        added,
        removed,
    };
    assert_eq!(changes, [change("stock", [3, 3, 1, 1, 1]), change("shelf", [1, 0, 0, 0, 1])]);
    assert!(!changes[0].is_none());
    let rows = database.fetch(Statement::new("SELECT sku, on_hand FROM stock ORDER BY on_hand")).await.unwrap();
    let rows: Vec<(String, i64)> = rows.iter().map(|row| (row.get(0).unwrap(), row.get(1).unwrap())).collect();
    assert_eq!(rows, [("same".into(), 1), ("missing".into(), 4), ("changed".into(), 9)]);
    // A rule of the table's is asked when rows take their place, and then nothing has happened.
    writer.begin().await.unwrap();
    writer.make_shadows(std::slice::from_ref(&stocks)).await.unwrap();
    let rows = vec![row("broken", -1, None)];
    writer.fill_shadow(&ShadowRows { shape: stocks.clone(), rows, gone: Vec::new() }).await.unwrap();
    refused(writer.swap_shadow(&stocks).await);
    writer.rollback().await.unwrap();
    assert_eq!(count(&writer).await, 3);
    place.remove().await;
}

async fn until_it_is_committed_nobody_sees_a_swap(place: Place) {
    let (_database, mut writer) = place.lead().await;
    let stocks = filled(&mut writer).await;
    writer.begin().await.unwrap();
    writer.make_shadows(std::slice::from_ref(&stocks)).await.unwrap();
    writer.swap_shadow(&stocks).await.unwrap();
    assert_eq!(count(&writer).await, 2, "it is under way");
    writer.rollback().await.unwrap();
    assert_eq!(count(&writer).await, 2, "it is taken back");
    writer.begin().await.unwrap();
    assert!(writer.get::<Stock>(&"a".to_owned()).await.unwrap().is_some());
    writer.make_shadows(std::slice::from_ref(&stocks)).await.unwrap();
    writer.swap_shadow(&stocks).await.unwrap();
    writer.commit().await.unwrap();
    assert_eq!(count(&writer).await, 0);
    place.remove().await;
}

async fn what_a_rebuild_leaves_is_no_part_of_the_state_and_is_dropped(place: Place) {
    let (database, mut writer) = place.lead().await;
    let stocks = filled(&mut writer).await;
    writer.begin().await.unwrap();
    writer.make_shadows(std::slice::from_ref(&stocks)).await.unwrap();
    let rows = vec![vec!["a".into(), 5_i64.into(), Value::Text(None)]];
    writer.fill_shadow(&ShadowRows { shape: stocks.clone(), rows, gone: Vec::new() }).await.unwrap();
    writer.commit().await.unwrap();
    let names = database.contents().await.unwrap().into_iter().map(|one| one.table).collect::<Vec<_>>();
    assert_eq!(names, ["price", "shelf", "stock"]);
    let mut snapshot = database.snapshot().await.unwrap();
    assert_eq!(snapshot.tables().await.unwrap().len(), 3);
    snapshot.close().await.unwrap();
    // The next one, of another table.
    let shelves = shape(&writer, "shelf").await;
    writer.begin().await.unwrap();
    writer.make_shadows(std::slice::from_ref(&shelves)).await.unwrap();
    assert!(!writer.has_shadows(std::slice::from_ref(&stocks)).await.unwrap());
    writer.drop_shadows().await.unwrap();
    assert!(!writer.has_shadows(&[shelves]).await.unwrap());
    writer.commit().await.unwrap();
    place.remove().await;
}

async fn a_snapshot_that_began_before_reads_on_what_it_read(place: Place) {
    let (database, mut writer) = place.lead().await;
    let stocks = filled(&mut writer).await;
    let mut before = database.snapshot().await.unwrap();
    writer.begin().await.unwrap();
    writer.make_shadows(std::slice::from_ref(&stocks)).await.unwrap();
    writer.swap_shadow(&stocks).await.unwrap();
    writer.commit().await.unwrap();
    assert_eq!(rows(&mut before, &stocks).await, 2, "though it reads the table for the first time now");
    before.close().await.unwrap();
    let mut after = database.snapshot().await.unwrap();
    assert_eq!(rows(&mut after, &stocks).await, 0);
    after.close().await.unwrap();
    place.remove().await;
}

async fn a_writer_that_leaves_does_not_say_that_all_is_well(place: Place) {
    let (database, writer) = place.lead().await;
    drop(writer);
    let left = |clean: bool| {
        let (place, database) = (&place, &database);
        async move {
            // The server hears of a closed connection a little later.
            let mut writer = database.writer(crate::support::TABLES, "1.0.0").await;
            for _ in 0..100 {
                if writer.is_err() && place.is_postgres() {
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                    writer = database.writer(crate::support::TABLES, "1.0.0").await;
                }
            }
            let writer = writer.unwrap();
            assert_eq!(writer.head().previous_stop_clean, clean);
            writer
        }
    };
    left(false).await.leave().await.unwrap();
    left(false).await.stop().await.unwrap();
    left(true).await.leave().await.unwrap();
    left(true).await.stop().await.unwrap();
    place.remove().await;
}

/// Keys of changed rows are known in a scratch database, past the identity map too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changes_in_a_scratch_is_noted_whoever_changes_it() {
    let place = Place::sqlite_memory();
    let (_database, mut writer) = place.lead().await;
    let stocks = filled(&mut writer).await;
    writer.note_changes(std::slice::from_ref(&stocks)).await.unwrap();
    writer.begin().await.unwrap();
    writer.put(stock("a", 7));
    writer.put(stock("c", 8));
    writer.sql(Statement::new("UPDATE stock SET sku = 'd' WHERE sku = 'b'")).await.unwrap();
    writer.sql(Statement::new("DELETE FROM stock WHERE sku = 'c'")).await.unwrap();
    writer.commit().await.unwrap();
    let changes = writer.noted_changes(&stocks, 10).await.unwrap();
    let mut keys: Vec<_> = changes.rows.iter().map(|row| row[0].clone()).collect();
    keys.sort();
    assert_eq!(keys, ["a".into(), "d".into()] as [Value; 2]);
    let mut gone = changes.gone.clone();
    gone.sort();
    assert_eq!(gone, [vec!["b".into()], vec!["c".into()]] as [Vec<Value>; 2]);
    let one = writer.noted_changes(&stocks, 1).await.unwrap();
    assert_eq!(one.rows.len() + one.gone.len(), 1);
    writer.forget_changes(&changes).await.unwrap();
    let none = writer.noted_changes(&stocks, 10).await.unwrap();
    assert!(none.rows.is_empty() && none.gone.is_empty());
}

/// A table with two rows.
async fn filled(writer: &mut Writer) -> Arc<TableShape> {
    writer.begin().await.unwrap();
    writer.put(stock("a", 1));
    writer.put(stock("b", 2));
    writer.commit().await.unwrap();
    shape(writer, "stock").await
}

async fn shape(writer: &Writer, table: &str) -> Arc<TableShape> {
    let mut snapshot = writer.database().snapshot().await.unwrap();
    let shape = snapshot.tables().await.unwrap().into_iter().find(|shape| shape.table == table).unwrap();
    snapshot.close().await.unwrap();
    shape.can_be_shadowed().unwrap();
    Arc::new(shape)
}

async fn rows(snapshot: &mut Snapshot, shape: &TableShape) -> usize {
    snapshot.rows(shape, &mut TablePlace::default(), 100).await.unwrap().len()
}

/// As the read pool sees it.
async fn count(writer: &Writer) -> i64 {
    let rows = writer.database().fetch(Statement::new("SELECT COUNT(*) FROM stock")).await.unwrap();
    rows[0].get(0).unwrap()
}
