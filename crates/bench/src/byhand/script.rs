//! The same transactions as a script for pgbench.
//!
//! A script is one batch of orders from their placing to their confirmation. What must differ from one run of it to the
//! next, ids and positions, is made of two random numbers, `:u` and `:p`.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use anyhow::{Context, Result};
use tokio::sync::{mpsc, watch};

use super::batch::{Database, Script, Target, Value, Written};
use super::provider::Provider;
use super::{ByHand, Entrance, PRODUCTS, QUEUE, ended, order, payment, prices, product};

/// Of ids that begin with these and a row of zeros, the first zeros give way to the random number.
const PREFIXES: [&str; 7] = ["ord_", "msg_", "cmd_", "pay_", "tmr_", "op_", "pi_"];
const ZEROS: &str = "00000000";
const RANDOM_MAX: u64 = 9_000_000_000_000_000;

/// The schema of each module, with its tables.
pub(crate) const SCHEMAS: [(&str, &str); 3] =
    [("order", order::TABLES), ("product", product::TABLES), ("payment", payment::TABLES)];

/// The script of a batch of this size; orders have 1 to 3 lines.
///
/// # Errors
/// When the program stops.
pub(crate) fn script(batch: u64) -> Result<String> {
    // One thread, so that a module finds all of the batch when its turn comes.
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let body = runtime.block_on(write(batch))?;
    Ok(format!("\\set u random(1, {RANDOM_MAX})\n\\set p random(1, {RANDOM_MAX})\n{body}"))
}

async fn write(batch: u64) -> Result<String> {
    let (script, written) = (Script::default(), Arc::new(Written::default()));
    let ((to_order, orders), (to_product, products), (to_payment, payments)) =
        (mpsc::channel(QUEUE), mpsc::channel(QUEUE), mpsc::channel(QUEUE));
    let (report, confirmed) = watch::channel(0);
    let database = |module| Database::new(Target::Script(module, script.clone()), module, written.clone());
    let provider = Provider::start(Path::new(""), false).await?;
    let order = order::Order::new(database("order"), to_product, to_payment.clone(), report);
    let product = product::Product::new(database("product"), to_order.clone(), PRODUCTS);
    let payment = payment::Payment::new(database("payment"), to_order.clone(), to_payment, provider);
    let entrance = Entrance { orders: to_order, prices: Arc::new(prices()), numbers: Arc::new(AtomicU64::new(1)) };
    let mut program = ByHand { address: ([127, 0, 0, 1], 0).into(), entrance, confirmed, written: written.clone() };
    program.place_directly(batch).await?;
    tokio::spawn(ended("order", order.run(orders)));
    tokio::spawn(ended("product", product.run(products)));
    tokio::spawn(ended("payment", payment.run(payments)));
    program.confirmed(batch).await?;
    let text = std::mem::take(&mut *script.lock().ok().context("a task has panicked")?);
    Ok(text)
}

/// The statement with its values in it, one line for each statement.
pub(super) fn literal(sql: &str, values: &[Value]) -> String {
    let mut values = values.iter();
    let mut text = String::with_capacity(sql.len() * 4);
    for part in sql.split_inclusive('?') {
        match (part.strip_suffix('?'), values.len()) {
            (Some(before), 1..) => {
                text.push_str(before);
                text.push_str(&values.next().map(shown).unwrap_or_default());
            }
            _ => text.push_str(part),
        }
    }
    text
}

fn shown(value: &Value) -> String {
    match value {
        Value::Number(number) => number.to_string(),
        Value::Position(number) => format!("(:p + {number})"),
        Value::Null => "NULL".to_owned(),
        Value::Text(text) => {
            let mut text = text.replace('\'', "''");
            for prefix in PREFIXES {
                text = text.replace(&format!("{prefix}{ZEROS}"), &format!("{prefix}:u-"));
                for letter in ['r', 'a'] {
                    text = text.replace(&format!("{prefix}{letter}{ZEROS}"), &format!("{prefix}{letter}:u-"));
                }
            }
            format!("'{text}'")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_eleven_transactions_whatever_its_size() {
        for batch in [1, 7, 40] {
            let script = script(batch).unwrap();
            assert_eq!(script.matches("BEGIN").count(), 11, "{batch}");
            assert_eq!(script.matches("COMMIT").count(), 11, "{batch}");
            assert_eq!(script.matches("order.evt.confirmed.v1").count() as u64, batch);
            assert!(!script.contains('?'), "every value is there");
        }
    }

    #[test]
    fn ids_and_positions_differ_from_run_to_run_and_nothing_else_does() {
        let values =
            [Value::from("ord_00000000000000000000000007"), Value::Position(3), Value::from("it's"), Value::Null];
        let text = literal("INSERT INTO t VALUES (?, ?, ?, ?);", &values);
        assert_eq!(text, "INSERT INTO t VALUES ('ord_:u-000000000000000007', (:p + 3), 'it''s', NULL);");
        assert_eq!(literal("?", &[Value::from("sku_0000000000000007")]), "'sku_0000000000000007'");
    }
}
