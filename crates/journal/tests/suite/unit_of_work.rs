//! Rows by key, the way out by SQL, and what a failed transaction leaves.

use pangaea_journal::{Database, JournalError, Row, Statement, Value};

use crate::support::{Place, Price, Shelf, Stock, on_each_database, refused, stock};

on_each_database!(
    keeps_rows_by_key,
    keeps_rows_by_compound_keys,
    fetches_rows_ahead,
    knows_absent_rows,
    takes_back_to_a_mark,
    flushes_before_sql,
    counts_sql_as_a_change,
    refuses_what_a_check_forbids,
    refuses_what_must_be_unique,
    hands_a_unique_value_on,
    commits_nothing_after_a_swallowed_error,
    needs_a_transaction,
    crosses_the_bound_on_values,
    keeps_any_text,
    refuses_a_nul_character,
    refuses_foreign_column_types,
    refuses_two_record_types_for_one_table,
);

async fn skus(database: &Database) -> Vec<(String, i64)> {
    let rows = database.fetch(Statement::new("SELECT sku, on_hand FROM stock ORDER BY sku")).await.unwrap();
    rows.iter().map(|row| (row.get(0).unwrap(), row.get(1).unwrap())).collect()
}

fn one(rows: &[Row]) -> i64 {
    rows[0].get(0).unwrap()
}

async fn keeps_rows_by_key(place: Place) {
    let (database, mut writer) = place.lead().await;
    writer.begin().await.unwrap();
    assert_eq!(writer.get::<Stock>(&"a".to_owned()).await.unwrap(), None);
    writer.put(stock("a", 1));
    writer.put(stock("b", 2));
    assert_eq!(writer.get::<Stock>(&"a".to_owned()).await.unwrap(), Some(stock("a", 1)));
    assert!(skus(&database).await.is_empty(), "nothing is seen before the commit");
    writer.commit().await.unwrap();
    assert_eq!(skus(&database).await, [("a".to_owned(), 1), ("b".to_owned(), 2)]);

    writer.begin().await.unwrap();
    writer.put(Stock { label: Some("new".into()), ..stock("a", 5) });
    writer.delete::<Stock>(&"b".to_owned());
    assert_eq!(writer.get::<Stock>(&"b".to_owned()).await.unwrap(), None);
    writer.commit().await.unwrap();
    assert_eq!(skus(&database).await, [("a".to_owned(), 5)]);

    writer.stop().await.unwrap();
    let mut next = database.writer(crate::support::TABLES, "1.0.0").await.unwrap();
    next.begin().await.unwrap();
    let row = next.get::<Stock>(&"a".to_owned()).await.unwrap().unwrap();
    assert_eq!(row, Stock { label: Some("new".into()), ..stock("a", 5) });
    place.remove().await;
}

async fn keeps_rows_by_compound_keys(place: Place) {
    let (database, mut writer) = place.lead().await;
    let price = |currency: &str, amount| Price { sku: "a".into(), currency: currency.into(), amount };
    let shelf = |bay| Shelf { aisle: 3, bay, side: "left".into() };
    writer.begin().await.unwrap();
    for (currency, amount) in [("GBP", 100), ("EUR", 120)] {
        writer.put(price(currency, amount));
    }
    (1..=3).for_each(|bay| writer.put(shelf(bay)));
    writer.commit().await.unwrap();

    // Rolled back, so that the rows come from the database again.
    writer.begin().await.unwrap();
    writer.rollback().await.unwrap();
    writer.begin().await.unwrap();
    let (a, gbp, usd) = ("a".to_owned(), "GBP".to_owned(), "USD".to_owned());
    assert_eq!(writer.get::<Price>((&a, &gbp)).await.unwrap(), Some(price("GBP", 100)));
    assert_eq!(writer.get::<Price>((&a, &usd)).await.unwrap(), None);
    let key = |bay: i64| vec![Value::from(3_i64), bay.into(), "left".into()];
    writer.prefetch::<Shelf>([key(1), key(2), key(9)]).await.unwrap();
    let left = "left".to_owned();
    assert_eq!(writer.get::<Shelf>((&3_i64, &2_i64, &left)).await.unwrap(), Some(shelf(2)));
    assert_eq!(writer.get::<Shelf>((&3_i64, &9_i64, &left)).await.unwrap(), None);
    writer.delete::<Price>((&a, &gbp));
    writer.put(shelf(2));
    writer.delete::<Shelf>((&3_i64, &1_i64, &left));
    writer.delete::<Shelf>((&3_i64, &9_i64, &left));
    writer.commit().await.unwrap();
    let rows = database.fetch(Statement::new("SELECT currency FROM price")).await.unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].get::<String>(0).unwrap(), "EUR");
    assert_eq!(one(&database.fetch(Statement::new("SELECT COUNT(*) FROM shelf")).await.unwrap()), 2);
    place.remove().await;
}

async fn fetches_rows_ahead(place: Place) {
    let (database, mut writer) = place.lead().await;
    writer.begin().await.unwrap();
    (0..1_300).for_each(|number| writer.put(stock(&format!("sku-{number:04}"), number)));
    writer.commit().await.unwrap();
    writer.stop().await.unwrap();
    let mut writer = database.writer(crate::support::TABLES, "1.0.0").await.unwrap();
    writer.begin().await.unwrap();
    writer.put(stock("sku-0007", 777));
    // More keys than one statement takes, with one known, one changed, doubles, and absent ones.
    let keys = (0..1_400).chain(0..10).map(|number| vec![Value::from(format!("sku-{number:04}"))]);
    writer.prefetch::<Stock>(keys).await.unwrap();
    for (number, expected) in [(0, Some(0)), (7, Some(777)), (1_299, Some(1_299)), (1_300, None)] {
        let row = writer.get::<Stock>(&format!("sku-{number:04}")).await.unwrap();
        assert_eq!(row.map(|row| row.on_hand), expected, "{number}");
    }
    place.remove().await;
}

async fn knows_absent_rows(place: Place) {
    let (_, mut writer) = place.lead().await;
    writer.begin().await.unwrap();
    let key = "a".to_owned();
    assert_eq!(writer.get::<Stock>(&key).await.unwrap(), None);
    let mark = writer.mark();
    writer.put(stock("a", 1));
    writer.delete::<Stock>(&key);
    assert_eq!(writer.get::<Stock>(&key).await.unwrap(), None);
    writer.put(stock("a", 2));
    assert_eq!(writer.get::<Stock>(&key).await.unwrap(), Some(stock("a", 2)));
    writer.rollback_to(mark);
    assert_eq!(writer.get::<Stock>(&key).await.unwrap(), None);
    writer.commit().await.unwrap();
    place.remove().await;
}

async fn takes_back_to_a_mark(place: Place) {
    let (database, mut writer) = place.lead().await;
    writer.begin().await.unwrap();
    writer.put(stock("a", 1));
    let before = writer.mark();
    assert!(!writer.changed_since(before));
    writer.put(stock("a", 2));
    writer.put(stock("b", 1));
    let middle = writer.mark();
    writer.delete::<Stock>(&"a".to_owned());
    assert!(writer.changed_since(before) && writer.changed_since(middle));
    writer.rollback_to(middle);
    assert!(writer.changed_since(before) && !writer.changed_since(middle));
    assert_eq!(writer.get::<Stock>(&"a".to_owned()).await.unwrap(), Some(stock("a", 2)));
    writer.rollback_to(before);
    assert!(!writer.changed_since(before));
    writer.commit().await.unwrap();
    assert_eq!(skus(&database).await, [("a".to_owned(), 1)]);
    place.remove().await;
}

async fn flushes_before_sql(place: Place) {
    let (database, mut writer) = place.lead().await;
    writer.begin().await.unwrap();
    writer.put(stock("a", 1));
    let sum = Statement::new("SELECT CAST(SUM(on_hand) AS BIGINT) FROM stock");
    assert_eq!(one(&writer.sql(sum.clone()).await.unwrap()), 1);
    writer.sql(Statement::new("UPDATE stock SET on_hand = on_hand + ?").bind(10_i64)).await.unwrap();
    assert_eq!(writer.get::<Stock>(&"a".to_owned()).await.unwrap(), Some(stock("a", 11)), "the map forgot the old row");
    writer.put(stock("b", 2));
    assert_eq!(one(&writer.sql(sum).await.unwrap()), 13);
    writer.delete::<Stock>(&"a".to_owned());
    writer.commit().await.unwrap();
    assert_eq!(skus(&database).await, [("b".to_owned(), 2)]);

    writer.begin().await.unwrap();
    writer.sql(Statement::new("DELETE FROM stock")).await.unwrap();
    writer.rollback().await.unwrap();
    assert_eq!(skus(&database).await.len(), 1, "a rollback takes SQL back too");
    place.remove().await;
}

/// A mark made before SQL still tells the truth: a handler that wrote, sent SQL and was then refused has changed rows.
async fn counts_sql_as_a_change(place: Place) {
    let (database, mut writer) = place.lead().await;
    let select = Statement::new("SELECT COUNT(*) FROM stock");
    writer.begin().await.unwrap();
    writer.put(stock("a", 1));
    let before = writer.mark();
    writer.sql(select.clone()).await.unwrap();
    assert!(
        !writer.changed_since(before) && writer.can_roll_back_to(before),
        "a flush of earlier changes is no change"
    );
    writer.put(stock("b", 1));
    writer.rollback_to(before);
    writer.commit().await.unwrap();
    assert_eq!(skus(&database).await, [("a".to_owned(), 1)]);

    for write in [true, false] {
        writer.begin().await.unwrap();
        let before = writer.mark();
        if write {
            writer.sql(Statement::new("UPDATE stock SET on_hand = 9")).await.unwrap();
        } else {
            writer.put(stock("c", 1));
            writer.sql(select.clone()).await.unwrap();
        }
        assert!(writer.changed_since(before) && !writer.can_roll_back_to(before));
        writer.rollback_to(before);
        let error = refused(writer.commit().await);
        assert!(error.to_string().contains("cannot be taken back"), "{error}");
        writer.rollback().await.unwrap();
        assert_eq!(skus(&database).await, [("a".to_owned(), 1)]);
    }
    place.remove().await;
}

async fn refuses_what_a_check_forbids(place: Place) {
    let (database, mut writer) = place.lead().await;
    writer.begin().await.unwrap();
    writer.put(stock("good", 1));
    writer.put(stock("less than nothing", -1));
    writer.append_outbox(crate::support::message("msg_1", "{}"));
    let error = refused(writer.commit().await);
    assert!(matches!(&error, JournalError::Constraint(_)), "{error:?}");
    assert!(!error.is_transient());
    writer.rollback().await.unwrap();
    assert!(skus(&database).await.is_empty());
    assert_eq!((writer.head().outbox_end, writer.next_outbox_position()), (0, 1));

    writer.begin().await.unwrap();
    let insert = Statement::new("INSERT INTO stock (sku, on_hand) VALUES (?, ?)");
    let error = refused(writer.sql(insert.bind("nothing").bind(None::<i64>)).await);
    assert!(matches!(&error, JournalError::Constraint(_)), "{error:?}");
    writer.rollback().await.unwrap();
    writer.begin().await.unwrap();
    writer.put(stock("good", 1));
    writer.commit().await.unwrap();
    assert_eq!(skus(&database).await, [("good".to_owned(), 1)]);
    place.remove().await;
}

async fn refuses_what_must_be_unique(place: Place) {
    let (database, mut writer) = place.lead().await;
    let labelled = |sku: &str| Stock { label: Some("one of a kind".into()), ..stock(sku, 1) };
    writer.begin().await.unwrap();
    writer.put(labelled("a"));
    writer.commit().await.unwrap();
    writer.begin().await.unwrap();
    writer.put(stock("c", 3));
    writer.put(labelled("b"));
    let error = refused(writer.commit().await);
    assert!(matches!(&error, JournalError::Constraint(_)), "{error:?}");
    writer.rollback().await.unwrap();
    assert_eq!(skus(&database).await, [("a".to_owned(), 1)]);
    assert_eq!(writer.get::<Stock>(&"b".to_owned()).await.unwrap(), None, "the map forgot what was not committed");
    place.remove().await;
}

async fn hands_a_unique_value_on(place: Place) {
    let (database, mut writer) = place.lead().await;
    writer.begin().await.unwrap();
    writer.put(Stock { label: Some("first".into()), ..stock("z", 1) });
    writer.commit().await.unwrap();
    writer.begin().await.unwrap();
    writer.delete::<Stock>(&"z".to_owned());
    writer.put(Stock { label: Some("first".into()), ..stock("a", 2) });
    writer.commit().await.unwrap();
    assert_eq!(skus(&database).await, [("a".to_owned(), 2)]);
    place.remove().await;
}

async fn commits_nothing_after_a_swallowed_error(place: Place) {
    let (database, mut writer) = place.lead().await;
    writer.begin().await.unwrap();
    writer.put(stock("a", 1));
    refused(writer.sql(Statement::new("SELECT sku FROM nowhere")).await);
    writer.put(stock("b", 1));
    let error = refused(writer.commit().await);
    assert!(error.to_string().contains("nowhere"), "the first error is named: {error}");
    refused(writer.sql(Statement::new("SELECT 1")).await);
    writer.rollback().await.unwrap();
    assert!(skus(&database).await.is_empty());
    place.remove().await;
}

async fn needs_a_transaction(place: Place) {
    let (database, mut writer) = place.lead().await;
    writer.put(stock("a", 1));
    refused(writer.commit().await);
    refused(writer.sql(Statement::new("DELETE FROM stock")).await);
    writer.rollback().await.unwrap();
    writer.begin().await.unwrap();
    let error = refused(writer.begin().await);
    assert!(error.to_string().contains("already open"), "{error}");
    writer.put(stock("b", 1));
    writer.commit().await.unwrap();
    assert_eq!(skus(&database).await, [("b".to_owned(), 1)]);
    place.remove().await;
}

async fn crosses_the_bound_on_values(place: Place) {
    let (database, mut writer) = place.lead().await;
    // Six thousand rows of three values are more than one statement takes.
    const ROWS: i64 = 6_000;
    for round in 0..2 {
        writer.begin().await.unwrap();
        (0..ROWS).for_each(|number| writer.put(stock(&format!("sku-{number}"), number + round)));
        writer.commit().await.unwrap();
        let sums =
            database.fetch(Statement::new("SELECT COUNT(*), CAST(SUM(on_hand) AS BIGINT) FROM stock")).await.unwrap();
        let expected = (ROWS, ROWS * (ROWS - 1) / 2 + round * ROWS);
        assert_eq!((sums[0].get::<i64>(0).unwrap(), sums[0].get::<i64>(1).unwrap()), expected);
    }
    writer.begin().await.unwrap();
    (0..ROWS - 1).for_each(|number| writer.delete::<Stock>(&format!("sku-{number}")));
    for aisle in 0..ROWS {
        writer.put(Shelf { aisle, bay: 1, side: "left".into() });
    }
    writer.commit().await.unwrap();
    assert_eq!(skus(&database).await, [(format!("sku-{}", ROWS - 1), ROWS)]);
    writer.begin().await.unwrap();
    (0..ROWS).for_each(|aisle| writer.delete::<Shelf>((&aisle, &1_i64, &"left".to_owned())));
    writer.commit().await.unwrap();
    assert_eq!(one(&database.fetch(Statement::new("SELECT COUNT(*) FROM shelf")).await.unwrap()), 0);
    place.remove().await;
}

async fn keeps_any_text(place: Place) {
    let (database, mut writer) = place.lead().await;
    let texts = [
        "O'Brien's \"best\" `tea`; DROP TABLE stock; --",
        "日本語, Ελληνικά, naïve, 🫖, e\u{301}",
        "is it $1 or ?, or %s \\ \\' '' \u{1f}\u{7f}\n\t",
        " leading and trailing ",
    ];
    writer.begin().await.unwrap();
    for text in texts {
        writer.put(Stock { label: Some(text.to_owned()), ..stock(&format!("sku {text}"), 1) });
    }
    writer.commit().await.unwrap();
    for text in texts {
        let by_label = Statement::new("SELECT sku FROM stock WHERE label = ?").bind(text);
        let rows = database.fetch(by_label).await.unwrap();
        assert_eq!(rows[0].get::<String>(0).unwrap(), format!("sku {text}"));
        writer.begin().await.unwrap();
        let row = writer.get::<Stock>(&format!("sku {text}")).await.unwrap().unwrap();
        assert_eq!(row.label.as_deref(), Some(text));
        writer.rollback().await.unwrap();
    }
    place.remove().await;
}

async fn refuses_a_nul_character(place: Place) {
    let (database, mut writer) = place.lead().await;
    writer.begin().await.unwrap();
    writer.put(stock("a\0b", 1));
    let error = refused(writer.commit().await);
    assert!(matches!(&error, JournalError::Constraint(reason) if reason.contains("U+0000")), "{error}");
    writer.rollback().await.unwrap();
    assert!(skus(&database).await.is_empty());
    place.remove().await;
}

async fn refuses_foreign_column_types(place: Place) {
    let (database, _writer) = place.lead().await;
    for expression in ["1.5", "CAST(1.5 AS REAL)"] {
        let error = refused(database.fetch(Statement::new(format!("SELECT {expression}"))).await);
        assert!(matches!(&error, JournalError::Decode(reason) if reason.contains("CAST")), "{error}");
    }
    let rows = database.fetch(Statement::new("SELECT 1, 'text', NULL, CAST(NULL AS BIGINT)")).await.unwrap();
    assert_eq!((rows[0].get::<u32>(0).unwrap(), rows[0].get::<String>(1).unwrap()), (1, "text".to_owned()));
    assert_eq!((rows[0].get::<Option<String>>(2).unwrap(), rows[0].get::<Option<i64>>(3).unwrap()), (None, None));
    for error in [refused(rows[0].get::<String>(0)), refused(rows[0].get::<i64>(9)), refused(rows[0].get::<i64>(2))] {
        assert!(matches!(error, JournalError::Decode(_)), "{error}");
    }
    place.remove().await;
}

pangaea_journal::record! {
    /// A second idea of the same table.
    struct Other in "stock" {
        key { sku: String }
        label: Option<String>,
    }
}

async fn refuses_two_record_types_for_one_table(place: Place) {
    let (_, mut writer) = place.lead().await;
    writer.begin().await.unwrap();
    writer.put(stock("a", 1));
    let error = refused(writer.get::<Other>(&"a".to_owned()).await);
    assert!(error.to_string().contains("two record types are declared for the table stock"), "{error}");
    writer.rollback().await.unwrap();
    writer.begin().await.unwrap();
    writer.put(stock("a", 1));
    writer.put(Other { sku: "b".into(), label: None });
    assert!(refused(writer.commit().await).to_string().contains("two record types"));
    writer.rollback().await.unwrap();
    place.remove().await;
}
