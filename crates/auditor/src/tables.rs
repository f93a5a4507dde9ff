//! The tables of the modules that an order goes through. Money is in minor units, all of it in whole numbers.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::database::Source;

#[derive(Debug, Default)]
pub(crate) struct Tables {
    pub(crate) orders: BTreeMap<String, Order>,
    pub(crate) order_refunds: Vec<OrderRefund>,
    pub(crate) payments: BTreeMap<String, Payment>,
    pub(crate) transfers: Vec<Transfer>,
    pub(crate) stock: BTreeMap<String, Stock>,
    pub(crate) movements: Vec<Movement>,
    pub(crate) reservations: BTreeMap<String, Reservation>,
    /// Sentences about money that is not a whole number.
    pub(crate) not_integral: Vec<String>,
    /// The modules whose tables were there.
    pub(crate) modules: Vec<&'static str>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Order {
    pub(crate) state: String,
    pub(crate) version: i64,
    pub(crate) placed_at: i64,
    pub(crate) customer_id: Option<String>,
    pub(crate) currency: String,
    pub(crate) total: i64,
    pub(crate) captured: i64,
    pub(crate) refunded: i64,
    pub(crate) refund_pending: i64,
    pub(crate) lines: Vec<OrderLine>,
    pub(crate) timeline: Vec<Entry>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct OrderLine {
    pub(crate) sku_id: String,
    pub(crate) quantity: i64,
    pub(crate) unit_price: serde_json::Number,
}

/// An entry of an order's timeline.
#[derive(Clone, Debug, Default)]
pub(crate) struct Entry {
    pub(crate) seq: i64,
    pub(crate) at: i64,
    pub(crate) state: String,
    pub(crate) event: String,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct OrderRefund {
    pub(crate) order_id: String,
    pub(crate) state: String,
    pub(crate) amount: i64,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Payment {
    pub(crate) state: String,
    pub(crate) currency: String,
    pub(crate) held: i64,
    pub(crate) captured: i64,
    pub(crate) refunded: i64,
    /// A call or an undoing has not come to its end.
    pub(crate) under_way: bool,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Transfer {
    pub(crate) order_id: String,
    pub(crate) kind: String,
    pub(crate) state: String,
    pub(crate) debit: String,
    pub(crate) credit: String,
    pub(crate) amount: i64,
    pub(crate) currency: String,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Stock {
    pub(crate) on_hand: i64,
    pub(crate) reserved: i64,
    pub(crate) movements: i64,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Movement {
    pub(crate) sku_id: String,
    pub(crate) number: i64,
    pub(crate) kind: String,
    pub(crate) quantity: i64,
    /// The order of a sale.
    pub(crate) cause: String,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Reservation {
    pub(crate) state: String,
    pub(crate) lines: Vec<Units>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Units {
    pub(crate) sku_id: String,
    pub(crate) quantity: i64,
}

// === impl Tables ===

impl Tables {
    pub(crate) async fn read(&mut self, source: &mut Source, module: &'static str) -> Result<()> {
        self.modules.push(module);
        match module {
            "order" => self.read_orders(source).await,
            "payment" => self.read_payments(source).await,
            "product" => self.read_stock(source).await,
            _ => Ok(()),
        }
    }

    pub(crate) fn has(&self, module: &str) -> bool {
        self.modules.contains(&module)
    }

    async fn read_orders(&mut self, source: &mut Source) -> Result<()> {
        let sql = "SELECT id, state, version, placed_at, customer_id, currency, total, captured, refunded, refund_pending, \
            lines FROM orders";
        for row in source.rows(sql).await? {
            let id = row.text(0);
            let lines = serde_json::from_str(&row.text(10)).with_context(|| format!("the lines of order {id}"))?;
            let order = Order {
                state: row.text(1),
                version: row.int(2),
                placed_at: row.int(3),
                customer_id: row.optional(4),
                currency: row.text(5),
                total: row.int(6),
                captured: row.int(7),
                refunded: row.int(8),
                refund_pending: row.int(9),
                lines,
                timeline: Vec::new(),
            };
            self.orders.insert(id, order);
        }
        for row in source.rows("SELECT order_id, seq, at, state, event FROM timeline ORDER BY order_id, seq").await? {
            let entry = Entry { seq: row.int(1), at: row.int(2), state: row.text(3), event: row.text(4) };
            self.orders.entry(row.text(0)).or_default().timeline.push(entry);
        }
        let refunds = source.rows("SELECT order_id, state, amount FROM refund").await?;
        let refund =
            |row: &crate::database::Row| OrderRefund { order_id: row.text(0), state: row.text(1), amount: row.int(2) };
        self.order_refunds = refunds.iter().map(refund).collect();
        let money = ["total", "captured", "refunded", "refund_pending"];
        self.not_integral.extend(source.not_integral("orders", &money).await?);
        self.not_integral.extend(source.not_integral("refund", &["amount"]).await?);
        Ok(())
    }

    async fn read_payments(&mut self, source: &mut Source) -> Result<()> {
        let sql = "SELECT order_id, state, currency, held, captured, refunded, \
            CASE WHEN in_flight IS NOT NULL OR void IN ('cleanup', 'wanted') OR refund_pending > 0 \
            OR state IN ('processing', 'requires_action') THEN 1 ELSE 0 END FROM payment";
        for row in source.rows(sql).await? {
            let payment = Payment {
                state: row.text(1),
                currency: row.text(2),
                held: row.int(3),
                captured: row.int(4),
                refunded: row.int(5),
                under_way: row.int(6) == 1,
            };
            self.payments.insert(row.text(0), payment);
        }
        let sql = "SELECT order_id, kind, state, debit_account, credit_account, amount, currency FROM transfer \
            ORDER BY order_id, number";
        let transfer = |row: &crate::database::Row| Transfer {
            order_id: row.text(0),
            kind: row.text(1),
            state: row.text(2),
            debit: row.text(3),
            credit: row.text(4),
            amount: row.int(5),
            currency: row.text(6),
        };
        self.transfers = source.rows(sql).await?.iter().map(transfer).collect();
        let money = ["amount", "held", "captured", "refunded", "refund_pending"];
        self.not_integral.extend(source.not_integral("payment", &money).await?);
        self.not_integral.extend(source.not_integral("transfer", &["amount"]).await?);
        Ok(())
    }

    async fn read_stock(&mut self, source: &mut Source) -> Result<()> {
        for row in source.rows("SELECT sku_id, on_hand, reserved, movements FROM stock").await? {
            let stock = Stock { on_hand: row.int(1), reserved: row.int(2), movements: row.int(3) };
            self.stock.insert(row.text(0), stock);
        }
        let sql = "SELECT sku_id, number, kind, quantity, cause FROM stock_movement ORDER BY sku_id, number";
        let movement = |row: &crate::database::Row| Movement {
            sku_id: row.text(0),
            number: row.int(1),
            kind: row.text(2),
            quantity: row.int(3),
            cause: row.text(4),
        };
        self.movements = source.rows(sql).await?.iter().map(movement).collect();
        for row in source.rows("SELECT order_id, state, lines FROM reservation").await? {
            let id = row.text(0);
            let lines = serde_json::from_str(&row.text(2)).with_context(|| format!("the reservation of {id}"))?;
            self.reservations.insert(id, Reservation { state: row.text(1), lines });
        }
        self.not_integral.extend(source.not_integral("sku", &["price_amount"]).await?);
        Ok(())
    }
}
