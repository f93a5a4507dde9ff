//! Tables rebuilt from history: in a store that runs, in one that is stopped, and broken off half-way.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use pangaea_testkit::{Host, Output, Placement, Release, Store, eventually};
use pangaea_tests::{Accepted, Clients, Pace, Shop};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row, SqliteConnection};

const FAULTS: &str = "PANGAEA_FAULTS";
const SHADOW_MAX: Duration = Duration::from_secs(60);
/// The longest time without an accepted order while a rebuild runs, on a machine that does other things as well.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Orders that make the history, and orders that come while it is run again.
const ORDERS: usize = 150;
const MORE_ORDERS: usize = 20;
/// Nothing that what a handler says depends on: it stays what it was.
const DAMAGES: [&str; 3] = [
    "UPDATE timeline SET event = 'damaged', at = at + 1 WHERE seq = 2",
    "DELETE FROM timeline WHERE seq = 3",
    "INSERT INTO timeline (order_id, seq, at, state, event, detail) VALUES ('ord_nobody', 1, 1, 'placed', 'placed', NULL)",
];
const DIFFERS: i32 = 4;

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_timeline_is_rebuilt_while_orders_flow() -> Result<()> {
    let mut shop = Shop::open(Placement::Apart).await?;
    let sku = shop.new_sku(100_000, 100).await?;
    // Slower than a debug build runs history again: else a rebuild follows for minutes.
    let clients = Clients::start_at(&shop, &sku, Pace { clients: 3, rest: Duration::from_millis(50) })?;
    clients.accept_more(ORDERS).await?;
    // The clients ask again until it is back.
    shop.store.process("order")?.terminate(Duration::from_secs(60)).await?;
    for damage in DAMAGES {
        stranger(&shop.store, "order", damage).await?;
    }
    shop.store.restart("order").await?;
    let dry = rebuild(&shop.store, None, &["--dry-run", "--json"]).await?;
    ensure!(dry.status.code() == Some(DIFFERS), "{dry:?}");
    let dry: Value = serde_json::from_str(&dry.stdout)?;
    let changes = &dry["tables"][0];
    let is_told = ["changed", "added", "removed"].iter().all(|name| changes[name].as_u64() >= Some(1));
    ensure!(dry["clean"] == false && dry["differing"] == 0 && is_told, "{dry}");

    let began = Instant::now();
    let (done, more) = tokio::join!(rebuild(&shop.store, None, &["--json"]), clients.accept_more(MORE_ORDERS));
    let done: Value = serde_json::from_str(&done?.success()?.stdout)?;
    more?;
    ensure!(done["tables"][0]["removed"] == 1 && done["tables"][0]["table"] == "timeline", "{done}");
    let pause = longest_pause(&clients.accepted(), began);
    ensure!(pause < PAUSE_MAX, "no order was accepted for {} ms", pause.as_millis());
    clients.accept_more(MORE_ORDERS).await?;
    clients.stop().await?;
    is_what_its_history_makes(&mut shop, "order").await?;
    shop.close().await
}

/// Asked at a replica that does not lead, and done by the one that does. With least rights it is the provisioner's to do, see
/// `least_rights.rs`.
#[tokio::test(flavor = "multi_thread")]
async fn on_postgres_a_standby_has_the_leader_rebuild() -> Result<()> {
    let mut shop = Shop::open_with(Store::builder(Placement::ApartPostgres).with_all_rights()).await?;
    let sku = shop.new_sku(100_000, 100).await?;
    let clients = Clients::start_at(&shop, &sku, Pace { clients: 3, rest: Duration::from_millis(50) })?;
    clients.accept_more(ORDERS / 3).await?;
    shop.store.process("order")?.terminate(Duration::from_secs(60)).await?;
    for damage in DAMAGES {
        stranger(&shop.store, "order", damage).await?;
    }
    shop.store.restart("order").await?;
    let mut standby = shop.store.start_beside("order", &Release::this()?)?;
    standby.wait_ready().await?;
    ensure!(!standby.leads("order").await? && shop.store.leader_of("order").await == Some("order"));
    let unknown = rebuild_of(&shop.store, Some(&standby), "order", &["--projection", "lists"]).await?.failure()?;
    ensure!(unknown.stderr.contains("it has timeline, prices, refunds"), "{unknown:?}");
    let dry = rebuild(&shop.store, Some(&standby), &["--dry-run"]).await?;
    ensure!(dry.status.code() == Some(DIFFERS) && dry.stdout.contains("nothing was changed"), "{dry:?}");
    let done = rebuild(&shop.store, Some(&standby), &[]).await?.success()?;
    ensure!(done.stdout.contains("each says what was said") && done.stdout.ends_with("rebuilt\n"), "{done:?}");
    // The leader knows how it went; the standby asks it.
    for operations in [shop.store.operations_of("order")?, standby.operations()] {
        let newest = operations.get("/rebuild?module=order").send().await?.expect(200)?.body;
        ensure!(newest["end"]["done"]["tables"][0]["removed"] == 1, "{newest}");
    }
    clients.accept_more(MORE_ORDERS).await?;
    clients.stop().await?;
    standby.stop().await?;
    is_what_its_history_makes(&mut shop, "order").await?;
    let more = stranger(&shop.store, "order", "SELECT count(*)::TEXT FROM pg_tables WHERE tablename LIKE '%rebuild'");
    ensure!(more.await?.as_deref() == Some("0"));
    shop.close().await
}

/// SIGKILL while the shadow tables are filled: the old rows are there, and another rebuild goes its way.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_killed_in_a_rebuild_leaves_the_old_tables() -> Result<()> {
    let mut shop = Shop::open(Placement::Apart).await?;
    let sku = shop.new_sku(1_000, 100).await?;
    for _ in 0..5 {
        shop.confirmed(&sku, 1).await?;
    }
    shop.store.process("order")?.terminate(Duration::from_secs(60)).await?;
    stranger(&shop.store, "order", DAMAGES[0]).await?;
    let damaged = timeline(&shop.store).await?;
    // Each commit takes its time, so that there is a middle.
    shop.store.process("order")?.set_variable(FAULTS, Some("commit.before=hang:700x100000"));
    shop.store.restart("order").await?;
    let operations = shop.store.operations_of("order")?.clone();
    let begun = tokio::spawn(async move {
        operations.post("/rebuild", json!({ "module": "order", "projection": "timeline" })).send().await
    });
    let shadows = "SELECT CAST(COUNT(*) AS TEXT) FROM sqlite_master WHERE name LIKE '%!_!_rebuild' ESCAPE '!'";
    let there = eventually("a shadow table", SHADOW_MAX, async || {
        Ok((stranger(&shop.store, "order", shadows).await?.as_deref() == Some("1")).then_some(()))
    });
    there.await?;
    shop.store.kill("order")?;
    let _ = begun.await?;
    ensure!(timeline(&shop.store).await? == damaged, "the old rows are not there");
    ensure!(stranger(&shop.store, "order", shadows).await?.as_deref() == Some("1"), "it was too late");

    shop.store.process("order")?.set_variable(FAULTS, None);
    shop.store.restart("order").await?;
    ensure!(timeline(&shop.store).await? == damaged);
    rebuild(&shop.store, None, &[]).await?.success()?;
    ensure!(timeline(&shop.store).await? != damaged);
    ensure!(stranger(&shop.store, "order", shadows).await?.as_deref() == Some("0"));
    shop.confirmed(&sku, 1).await?;
    is_what_its_history_makes(&mut shop, "order").await?;
    shop.close().await
}

/// One at a time; ended by a word, and by a client that goes away.
#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_is_cancelled_and_refused_with_what_to_do() -> Result<()> {
    let mut shop = Shop::open(Placement::Apart).await?;
    let sku = shop.new_sku(1_000, 100).await?;
    shop.confirmed(&sku, 1).await?;
    let operations = || anyhow::Ok(shop.store.operations_of("order")?.clone());
    let post = async |path: &str, body: Value| operations()?.post(path, body).send().await;
    let none = operations()?.get("/rebuild?module=order").send().await?;
    none.expect_problem(404, "not-found")?;
    post("/rebuild", json!({ "module": "orders" })).await?.expect_problem(404, "not-found")?;
    post("/rebuild", json!({ "modul": "order" })).await?.expect_problem(422, "invalid")?;
    let wrong = post("/rebuild", json!({ "module": "order", "projection": "lists" })).await?.expect(200)?.text;
    ensure!(wrong.contains("it has timeline, prices, refunds"), "{wrong}");
    let elsewhere = rebuild_of(&shop.store, None, "payment", &[]).await?.failure()?.stderr;
    ensure!(elsewhere.contains("this process runs order"), "{elsewhere}");

    shop.store.process("order")?.terminate(Duration::from_secs(60)).await?;
    shop.store.process("order")?.set_variable(FAULTS, Some("commit.before=hang:1500x100000"));
    shop.store.restart("order").await?;
    let operations = shop.store.operations_of("order")?.clone();
    let begin = |operations: pangaea_testkit::Api| {
        tokio::spawn(async move { operations.post("/rebuild", json!({ "module": "order" })).send().await })
    };
    let newest = async || anyhow::Ok(operations.get("/rebuild?module=order").send().await?.body);
    let is_running = async || anyhow::Ok(newest().await?["end"].is_null().then_some(()));
    let first = begin(operations.clone());
    tokio::time::sleep(Duration::from_millis(300)).await;
    eventually("the rebuild to run", SHADOW_MAX, is_running).await?;
    let second = operations.post("/rebuild", json!({ "module": "order" })).send().await?;
    second.expect_problem(409, "conflict")?;
    operations.post("/rebuild/cancel", json!({ "module": "order" })).send().await?.expect(200)?;
    let told = first.await??.expect(200)?.text;
    ensure!(told.lines().last().is_some_and(|last| last.contains("it was cancelled")), "{told}");

    // Nobody listens any more.
    let second = begin(operations.clone());
    tokio::time::sleep(Duration::from_millis(300)).await;
    let second_runs = async || {
        let newest = newest().await?;
        Ok((newest["end"].is_null() && newest["id"].as_str().is_some_and(|id| id.ends_with("_2"))).then_some(()))
    };
    eventually("the second to run", SHADOW_MAX, second_runs).await?;
    second.abort();
    let ends = async || {
        let newest = newest().await?;
        Ok(newest["end"]["problem"]["detail"].as_str().map(str::to_owned))
    };
    let reason = eventually("the second to end", SHADOW_MAX, ends).await?;
    ensure!(reason.contains("cancelled"), "{reason}");
    shop.store.process("order")?.terminate(Duration::from_secs(60)).await?;
    shop.store.process("order")?.set_variable(FAULTS, None);
    shop.store.restart("order").await?;
    shop.close().await
}

/// Without a process that answers, the command is the writer, where the lock is free.
#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_module_is_rebuilt_by_the_command_itself() -> Result<()> {
    let mut shop = Shop::open(Placement::Apart).await?;
    let sku = shop.new_sku(1_000, 100).await?;
    for _ in 0..3 {
        shop.confirmed(&sku, 1).await?;
    }
    let stopped = async |store: &Store, module: &str, more: &[&str]| {
        store.run(&[&["rebuild", module, "--stopped"], more].concat()).await
    };
    let locked = stopped(&shop.store, "order", &[]).await?.failure()?.stderr;
    ensure!(locked.contains("--operations"), "{locked}");
    // A comparison needs no lock; every module's tables are what its history makes.
    for module in ["product", "order", "payment", "user"] {
        let clean = stopped(&shop.store, module, &["--dry-run"]).await?.success()?.stdout;
        ensure!(clean.contains("each says what was said") && clean.ends_with("nothing to do\n"), "{clean}");
        for projection in projections(module) {
            let clean = stopped(&shop.store, module, &["--dry-run", "--projection", projection]).await?;
            clean.success().with_context(|| format!("{module} {projection}"))?;
        }
    }
    let unknown = stopped(&shop.store, "orders", &[]).await?.failure()?.stderr;
    ensure!(unknown.contains("there is no module \"orders\"; this program has product, order"), "{unknown}");
    let unknown = stopped(&shop.store, "user", &["--projection", "timeline", "--dry-run"]).await?.failure()?.stderr;
    ensure!(unknown.contains("user has no projection \"timeline\"; it has addresses, sessions"), "{unknown}");

    // After a crash: what the next start makes of it is still to be done.
    shop.store.kill("order")?;
    stranger(&shop.store, "order", DAMAGES[1]).await?;
    let done = stopped(&shop.store, "order", &[]).await?.success()?.stdout;
    ensure!(done.ends_with("rebuilt\n"), "{done}");
    let clean_stop = stranger(&shop.store, "order", "SELECT CAST(clean_stop AS TEXT) FROM head").await?;
    ensure!(clean_stop.as_deref() == Some("0"), "{clean_stop:?}");
    shop.store.restart("order").await?;
    shop.confirmed(&sku, 1).await?;
    is_what_its_history_makes(&mut shop, "order").await?;
    shop.close().await
}

fn projections(module: &str) -> &'static [&'static str] {
    match module {
        "product" => &["search", "price-history", "stock-history", "stock"],
        "order" => &["timeline", "prices", "refunds"],
        "payment" => &["ledger"],
        _ => &["addresses", "sessions"],
    }
}

/// `pangaea rebuild order --projection timeline`, asked of the process that leads or of this one.
async fn rebuild(store: &Store, at: Option<&Host>, more: &[&str]) -> Result<Output> {
    rebuild_of(store, at, "order", &[&["--projection", "timeline"], more].concat()).await
}

async fn rebuild_of(store: &Store, at: Option<&Host>, module: &str, more: &[&str]) -> Result<Output> {
    let operations = match at {
        Some(host) => host.operations(),
        None => store.operations_of("order")?,
    };
    store.run(&[&["rebuild", module, "--operations", operations.base()], more].concat()).await
}

/// A recording of the stopped module replays, outputs and exact digest of the tables.
async fn is_what_its_history_makes(shop: &mut Shop, module: &str) -> Result<()> {
    shop.store.verify().await?;
    let file = shop.store.folder().join("after.rec");
    let record = ["record", "--modules", module, "--unredacted", "--force", "-o", &file];
    shop.store.run(&record).await?.success()?;
    let replayed = shop.store.run(&["replay", &file, "--json"]).await?.success()?.stdout;
    let report: Value = serde_json::from_str(&replayed)?;
    ensure!(report["modules"][0]["state"] == "equal", "{report}");
    Ok(())
}

async fn timeline(store: &Store) -> Result<Option<String>> {
    let rows = "SELECT group_concat(order_id || seq || at || state || event) FROM \
        (SELECT * FROM timeline ORDER BY order_id, seq)";
    stranger(store, "order", rows).await
}

fn longest_pause(accepted: &[Accepted], since: Instant) -> Duration {
    let times: Vec<Instant> =
        [since].into_iter().chain(accepted.iter().map(|order| order.accepted_at).filter(|at| *at > since)).collect();
    times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(Duration::MAX)
}

/// Runs SQL past the store, and gives the first value as text.
async fn stranger(store: &Store, module: &str, sql: &str) -> Result<Option<String>> {
    let url = store.env("DATABASE__URL").context("no database")?.replace("{module}", module);
    if url.starts_with("sqlite:") {
        let mut connection = SqliteConnection::connect(&url).await?;
        sqlx::raw_sql("PRAGMA busy_timeout = 5000").execute(&mut connection).await?;
        let rows = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).fetch_all(&mut connection).await?;
        let value = rows.first().map(|row| row.try_get(0)).transpose()?;
        connection.close().await?;
        return Ok(value);
    }
    let mut connection = PgConnection::connect(&url).await?;
    let path = format!("SET search_path = \"{module}\"");
    sqlx::raw_sql(AssertSqlSafe(path)).execute(&mut connection).await?;
    let rows = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).fetch_all(&mut connection).await?;
    let value = rows.first().map(|row| row.try_get(0)).transpose()?;
    connection.close().await?;
    Ok(value)
}
