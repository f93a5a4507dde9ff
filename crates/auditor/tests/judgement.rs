//! A small sound store in real SQLite files, spoilt in one place at a time: each harm is told by the check that is there
//! for it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use pangaea_auditor::{Audit, Report};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

const JOURNAL: &str = include_str!("../../journal/migrations/0001_journal.sql");
const MODULES: [(&str, &str, &str); 3] = [
    ("product", include_str!("../../product/migrations/0001_product.sql"), include_str!("store/product.sql")),
    ("order", include_str!("../../order/migrations/0001_orders.sql"), include_str!("store/order.sql")),
    ("payment", include_str!("../../payment/migrations/0001_payment.sql"), include_str!("store/payment.sql")),
];

/// The provider's ledger of one order that was paid.
const LEDGER: [&str; 2] = [
    r#"{"seq":1,"kind":"authorized","key":"op_1","intent":"pi_1","amount":100,"currency":"GBP","reference":"ord_1","operation":"authorize","payment_method":"tok_ok"}"#,
    r#"{"seq":2,"kind":"captured","key":"op_2","intent":"pi_1","amount":100,"currency":"GBP","reference":"ord_1","operation":"capture"}"#,
];

/// A folder with a store in it, gone with the test.
struct Store(PathBuf);

#[tokio::test]
async fn a_sound_store_passes() {
    let store = Store::new().await;
    let report = store.judge().await;
    assert!(report.is_sound(), "{report}");
    // A claim that looked at nothing would hold as well.
    let idle: Vec<_> = report.checks.iter().filter(|check| check.looked_at == 0).map(|check| check.name).collect();
    assert_eq!(idle, ["streams", "timers_once", "dead_letters", "key_scopes"], "{report}");
}

#[tokio::test]
async fn each_harm_is_told_by_its_check() {
    let timer = "INSERT INTO inbox SELECT 6, 'tmr_1', 'order.tmr.deadline.v1', 'ord_1', NULL, NULL, '', '', 'system', 1060, \
        NULL, '{}', NULL, NULL, ''; UPDATE head SET inbox_end = 6;";
    let still_set = format!(
        "{timer} INSERT INTO timer VALUES ('ord_1', 'order.tmr.deadline.v1', 'tmr_1', 1060, '', '', NULL, '{{}}')"
    );
    let letter = "INSERT INTO dead_letter VALUES ('msg_x', 1, 'dead', 's', 'ord_9', '{}', 'a bug', 'f', 3, 1000)";
    let parked = "INSERT INTO dead_letter VALUES ('msg_x', 1, 'parked', 's', 'ord_9', '{}', 'waits', 'f', 0, 1000)";
    let secret = "INSERT INTO secret VALUES ('password/usr_1', 'a hash that nobody may see', NULL); \
        UPDATE inbox SET answer = '{\"status\":202,\"told\":\"a hash that nobody may see\"}' WHERE position = 1";
    let effect = "INSERT INTO effect VALUES ('op_1', 'payment.eff.authorize.v1', 'ord_1', 'pending', 9, '', '', 'system', NULL, \
        '{}', 1, 9)";
    let harms: &[(&str, &str, &str)] = &[
        ("order", "DELETE FROM orders", "accepted"),
        ("order", "UPDATE orders SET state = 'committed', captured = 0", "one_end"),
        ("order", "DELETE FROM outbox WHERE position = 6; UPDATE head SET outbox_end = 5", "one_end"),
        ("order", "DELETE FROM timeline WHERE seq = 3", "timelines"),
        ("order", "UPDATE orders SET version = 6", "timelines"),
        ("order", "UPDATE outbox SET subject = 'order.evt.placed.v1' WHERE position = 3", "said"),
        ("product", "UPDATE outbox SET causation_id = 'msg_o2' WHERE position = 2", "said"),
        (
            "order",
            "UPDATE outbox SET causation_id = 'msg_y1', created_at = 1025 WHERE position = 5",
            "stock_before_money",
        ),
        ("order", "UPDATE orders SET total = 101", "money_whole"),
        ("order", "UPDATE orders SET total = 100.5", "money_whole"),
        ("order", "UPDATE inbox SET payload = '{\"price\":{\"amount\":1.5}}' WHERE position = 1", "money_whole"),
        ("payment", "UPDATE payment SET captured = 90", "money_conserved"),
        ("payment", "UPDATE transfer SET amount = 90 WHERE kind = 'capture'", "money_conserved"),
        ("payment", "UPDATE transfer SET debit_account = 'refunds' WHERE kind = 'capture'", "money_conserved"),
        ("payment", "DELETE FROM payment", "money_conserved"),
        ("payment", "UPDATE payment SET currency = 'EUR'", "money_conserved"),
        ("product", "UPDATE stock SET reserved = 1", "stock_conserved"),
        ("product", "UPDATE stock SET on_hand = 10", "stock_conserved"),
        ("product", "UPDATE reservation SET state = 'released'", "goods_for_money"),
        ("product", "UPDATE stock_movement SET quantity = -2 WHERE number = 2", "goods_for_money"),
        ("product", "UPDATE stock_movement SET cause = 'ord_9' WHERE number = 2", "goods_for_money"),
        ("order", "UPDATE head SET outbox_end = 7", "logs_dense"),
        ("order", "UPDATE inbox SET position = 9 WHERE position = 5", "logs_dense"),
        ("order", "UPDATE inbox SET admitted_at = 900 WHERE position = 2", "inputs_once"),
        ("order", "UPDATE head SET last_time = 10", "inputs_once"),
        ("order", "UPDATE outbox SET created_at = 1061 WHERE position = 6", "times"),
        ("order", "UPDATE outbox SET causation_id = 'nothing' WHERE position = 6", "times"),
        ("order", "UPDATE timeline SET at = 1001 WHERE seq = 2", "times"),
        ("order", "UPDATE read_cursor SET position = 3 WHERE source = 'product'", "cursors"),
        ("order", "UPDATE read_cursor SET log_id = 'log_x' WHERE source = 'product'", "cursors"),
        ("order", "UPDATE read_cursor SET message_id = 'msg_p1' WHERE source = 'product'", "cursors"),
        ("payment", "UPDATE read_cursor SET position = 3, message_id = 'msg_o3'", "cursors"),
        ("order", "DELETE FROM inbox WHERE position = 5; UPDATE head SET inbox_end = 4", "read_once"),
        ("product", "UPDATE inbox SET payload = '{}' WHERE position = 2", "read_once"),
        ("product", "UPDATE inbox SET source_position = 2, id = 'again' WHERE position = 2", "read_once"),
        ("payment", effect, "one_key"),
        ("order", &still_set, "timers_once"),
        ("order", letter, "dead_letters"),
        ("order", parked, "dead_letters"),
        ("order", secret, "secrets"),
    ];
    for (module, sql, check) in harms {
        let store = Store::new().await;
        store.run(module, sql).await;
        let report = store.judge().await;
        assert!(report.breached().contains(check), "{sql}: expected {check}\n{report}");
    }
}

#[tokio::test]
async fn the_ledger_and_what_clients_wrote_are_judged_too() {
    let line = |seq: u32, rest: &str| format!(r#"{{"seq":{seq},"currency":"GBP","reference":"ord_1",{rest}}}"#);
    let cases = [
        (line(3, r#""kind":"captured","key":"op_2","intent":"pi_1","amount":100,"operation":"capture""#), "one_charge"),
        (
            line(
                3,
                r#""kind":"authorized","key":"op_1-2","intent":"pi_2","amount":100,"operation":"authorize","payment_method":"tok_ok""#,
            ),
            "one_key",
        ),
        (
            line(
                3,
                r#""kind":"authorized","key":"op_1","intent":"pi_2","amount":100,"operation":"authorize","payment_method":"tok_ok""#,
            ),
            "one_charge",
        ),
        (
            line(3, r#""kind":"refunded","key":"op_2","intent":"pi_1","amount":40,"operation":"refund""#),
            "money_conserved",
        ),
    ];
    for (line, check) in cases {
        let store = Store::new().await;
        store.write("ledger", &[LEDGER[0], LEDGER[1], &line]);
        let report = store.judge().await;
        assert!(report.breached().contains(&check), "{line}: expected {check}\n{report}");
    }

    let store = Store::new().await;
    store.write("accepted", &["ord_1", "ord_1"]);
    assert_eq!(store.judge().await.breached(), ["accepted"]);
    store.write("accepted", &["ord_1", "ord_2"]);
    assert_eq!(store.judge().await.breached(), ["accepted"]);
    store.write("accepted", &["ord_1"]);
    let reply = |principal: &str| {
        format!(
            r#"{{"principal":"{principal}","method":"POST","path":"/v1/orders","key":"k","status":202,"body":{{"id":"ord_1"}}}}"#
        )
    };
    store.write("replies", &[&reply("usr_1"), &reply("usr_1")]);
    assert!(store.judge().await.is_sound());
    store.write("replies", &[&reply("usr_1"), &reply("usr_2")]);
    assert_eq!(store.judge().await.breached(), ["key_scopes"]);
    let audit = Audit { canaries: vec!["\"o\":4".to_owned()], ..store.audit() };
    assert!(audit.judge().await.unwrap().breached().contains(&"secrets"));
}

#[tokio::test]
async fn what_is_under_way_is_no_breach_until_all_should_be_quiet() {
    let store = Store::new().await;
    // The capture has been asked for; its answer has not come.
    store
        .run(
            "order",
            "DELETE FROM inbox WHERE position = 5; DELETE FROM outbox WHERE position = 6; DELETE FROM timeline WHERE seq = 5; \
             UPDATE head SET inbox_end = 4, outbox_end = 5, last_time = 1040; \
             UPDATE orders SET state = 'committed', captured = 0, version = 4; \
             UPDATE read_cursor SET position = 1, message_id = 'msg_y1' WHERE source = 'payment';",
        )
        .await;
    store.run("product", "UPDATE read_cursor SET position = 5, message_id = 'msg_o5'").await;
    let open = Audit { settled: false, ..store.audit() }.judge().await.unwrap();
    assert!(open.is_sound(), "{open}");
    assert_eq!(store.judge().await.breached(), ["one_end", "cursors"]);
}

#[tokio::test]
async fn a_store_that_cannot_be_read_is_not_judged() {
    let store = Store::new().await;
    let audit = |change: fn(&mut Audit)| {
        let mut audit = store.audit();
        change(&mut audit);
        audit
    };
    for (audit, told) in [
        (audit(|audit| audit.database = "sqlite:/nowhere/{module}.db".into()), "no module has a database"),
        (audit(|audit| audit.database = "mysql://x".into()), "neither sqlite: nor postgres:"),
        (audit(|audit| audit.ledger = Some("/nowhere".into())), "reading the ledger /nowhere"),
        (audit(|audit| audit.accepted = Some("/nowhere".into())), "reading the accepted orders"),
    ] {
        let error = format!("{:#}", audit.judge().await.unwrap_err());
        assert!(error.contains(told), "{error}");
    }
    store.write("ledger", &[r#"{"seq":1,"amount":1.5}"#]);
    assert!(format!("{:#}", store.audit().judge().await.unwrap_err()).contains("line 1 of the ledger"));
}

// === impl Store ===

impl Store {
    async fn new() -> Self {
        static STORES: AtomicU32 = AtomicU32::new(0);
        let number = STORES.fetch_add(1, Ordering::Relaxed);
        let store = Self(std::env::temp_dir().join(format!("pangaea-auditor-{}-{number}", std::process::id())));
        std::fs::create_dir_all(&store.0).unwrap();
        for (module, tables, rows) in MODULES {
            store.run(module, &format!("{JOURNAL}\n{tables}\n{rows}")).await;
        }
        store.write("ledger", &LEDGER);
        store.write("accepted", &["ord_1"]);
        store
    }

    async fn run(&self, module: &str, sql: &str) {
        let options = SqliteConnectOptions::new().filename(self.0.join(format!("{module}.db"))).create_if_missing(true);
        let mut connection = options.connect().await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    fn write(&self, name: &str, lines: &[&str]) {
        std::fs::write(self.0.join(name), lines.join("\n") + "\n").unwrap();
    }

    fn audit(&self) -> Audit {
        let written = |name: &str| Some(self.0.join(name)).filter(|file: &PathBuf| Path::is_file(file));
        Audit {
            database: format!("sqlite:{}/{{module}}.db", self.0.display()),
            accepted: written("accepted"),
            ledger: written("ledger"),
            replies: written("replies"),
            settled: true,
            ..Audit::default()
        }
    }

    async fn judge(&self) -> Report {
        self.audit().judge().await.unwrap()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
