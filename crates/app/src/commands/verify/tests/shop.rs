//! The databases and the ledger of a small store: two orders, one confirmed and one cancelled.

use std::path::{Path, PathBuf};
use std::time::Duration;

use pangaea_journal::{Database, DatabaseOptions, Statement, Writer};
use pangaea_runtime::config::{Config, Overrides, Sources};
use serde_json::json;

use crate::catalogue::Catalogue;
use crate::commands::verify::check::Check;
use crate::commands::verify::persisting;
use crate::commands::verify::stores::Stores;

pub(super) const CONFIRMED: &str = "ord_1confirmed";
pub(super) const CANCELLED: &str = "ord_2cancelled";

const ORDERS: &str = "INSERT INTO orders (id, version, state, state_since, attempt, awaits_void, awaits_release, placed_at, \
    currency, total, captured, refunded, refund_pending, lines) VALUES \
    ('ord_1confirmed', 1, 'confirmed', 1, 0, 0, 0, 1, 'GBP', 1299, 1299, 0, 0, '[]'), \
    ('ord_2cancelled', 1, 'cancelled', 1, 0, 0, 0, 1, 'GBP', 500, 0, 0, 0, '[]')";
const TIMELINE: &str = "INSERT INTO timeline (order_id, seq, at, state, event) VALUES \
    ('ord_1confirmed', 1, 1, 'confirmed', 'confirmed'), ('ord_2cancelled', 1, 1, 'cancelled', 'cancelled')";
const RESERVATIONS: &str = "INSERT INTO reservation (order_id, state, lines, returned, expires_at) VALUES \
    ('ord_1confirmed', 'committed', '[]', '[]', 1), ('ord_2cancelled', 'released', '[]', '[]', 1)";
const PAYMENTS: &str = "INSERT INTO payment (order_id, payment_id, currency, amount, state, intent_open, held, captured, \
    refunded, refund_pending, void, authorizing, capturing, voiding, reconcile_round, retry_round, transfers, version, \
    created_at, updated_at) VALUES \
    ('ord_1confirmed', 'pay_1', 'GBP', 1299, 'succeeded', 0, 0, 1299, 0, 0, 'none', '{}', '{}', '{}', 0, 0, 2, 1, 1, 1), \
    ('ord_2cancelled', 'pay_2', 'GBP', 500, 'canceled', 0, 0, 0, 0, 0, 'done', '{}', '{}', '{}', 0, 0, 0, 1, 1, 1)";
const TRANSFERS: &str = "INSERT INTO transfer (id, payment_id, order_id, number, kind, state, debit_account, credit_account, \
    amount, currency, at) VALUES \
    ('tra_1', 'pay_1', 'ord_1confirmed', 1, 'authorize', 'posted', 'authorized_holds', 'customer', 1299, 'GBP', 1), \
    ('tra_2', 'pay_1', 'ord_1confirmed', 2, 'capture', 'posted', 'captured', 'authorized_holds', 1299, 'GBP', 1)";

/// A folder that is gone when the test is over.
pub(super) struct TestShop {
    folder: PathBuf,
}

// === impl TestShop ===

impl TestShop {
    /// A sound store.
    pub(super) async fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("pangaea-verify-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let shop = Self { folder };
        for module in ["product", "order", "payment", "user"] {
            shop.lead(module).await;
        }
        shop.change("order", &[ORDERS, TIMELINE]).await;
        shop.change("product", &[RESERVATIONS]).await;
        shop.change("payment", &[PAYMENTS, TRANSFERS]).await;
        shop.book("authorized", CONFIRMED, "pi_1", 1299);
        shop.book("captured", CONFIRMED, "pi_1", 1299);
        shop
    }

    pub(super) fn config(&self) -> Config {
        let key = |key: &str, value: String| (key.to_owned(), value);
        let set = vec![
            key("database.url", format!("sqlite:{}/{{module}}.db", self.folder.display())),
            key("modules.payment.options.provider.ledger", self.ledger().display().to_string()),
        ];
        let overrides = Overrides { set, ..Overrides::default() };
        Config::load(&Sources { overrides, ..Sources::default() }).unwrap().config
    }

    pub(super) fn path(&self) -> &Path {
        &self.folder
    }

    fn ledger(&self) -> PathBuf {
        self.folder.join("ledger.jsonl")
    }

    async fn lead(&self, module: &str) -> (Database, Writer) {
        let definition = Catalogue::store().definition(module, &self.config()).unwrap();
        let url = self.config().database.url;
        let options = DatabaseOptions { url, read_connections_max: 1, synchronous_full: false };
        let database = Database::open(module, &options).await.unwrap();
        let writer = database.writer(definition.all_migrations(), "test").await.unwrap();
        (database, writer)
    }

    /// Changes a module's tables as no handler would.
    pub(super) async fn change(&self, module: &str, statements: &[&str]) {
        let (database, mut writer) = self.lead(module).await;
        writer.begin().await.unwrap();
        for sql in statements {
            writer.sql(Statement::new(*sql)).await.unwrap();
        }
        writer.commit().await.unwrap();
        database.close().await;
    }

    /// Appends a line to the provider's ledger.
    pub(super) fn book(&self, kind: &str, reference: &str, intent: &str, amount: i64) {
        let text = std::fs::read_to_string(self.ledger()).unwrap_or_default();
        let seq = text.lines().count() + 1;
        let line = json!({
            "seq": seq, "at_ms": 1, "kind": kind, "key": format!("op_{seq}"), "intent": intent, "amount": amount,
            "currency": "GBP", "reference": reference, "operation": "authorize", "fingerprint": "f",
            "answer": { "status": 200, "body": {} },
        });
        std::fs::write(self.ledger(), format!("{text}{line}\n")).unwrap();
    }

    /// The checks that are breached, by name, with their first breach.
    pub(super) async fn breaches(&self, allow_dead_letters: bool) -> Vec<(String, String)> {
        let stores = Stores::open(&self.config(), &Catalogue::store(), None, allow_dead_letters).await.unwrap();
        let checks = persisting(&stores, Duration::from_millis(300)).await.unwrap();
        assert!(checks.len() > 25, "{} checks", checks.len());
        stores.close().await;
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let breached = checks.iter().filter(|check| !check.is_ok()).map(Check::json);
        breached.map(|check| (text(&check["name"]), text(&check["breaches"][0]))).collect()
    }
}

impl Drop for TestShop {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
