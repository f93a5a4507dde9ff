//! v0.1.0 and this version on the same streams and schemas: a store is rolled forward and back, module by module, and two
//! releases beside each other have one leader.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pangaea_testkit::{Host, Placement, Release, Store, eventually};
use pangaea_tests::{Clients, Shop, settled};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};

const MODULES: [&str; 4] = ["product", "order", "payment", "user"];
/// Orders accepted in each mix of releases.
const ORDERS: usize = 15;
const SETTLED_MAX: Duration = Duration::from_secs(120);
/// How long two releases run beside each other before the leader is killed: several times the pause between two attempts
/// at the lock, of either release.
const BESIDE: Duration = Duration::from_secs(4);
const TAKEN_OVER_MAX: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_store_is_rolled_forward_and_back_while_orders_flow() -> Result<()> {
    let (old, new) = (Release::v0_1_0()?, Release::this()?);
    let mut shop = Shop::open_with(Store::builder(Placement::ApartPostgres).release(&old)).await?;
    let sku = shop.new_sku(1_000_000, 199).await?;
    let clients = Clients::start(&shop, &sku)?;
    clients.accept_more(ORDERS).await?;
    for (direction, release) in [("forward", &new), ("back", &old)] {
        for module in MODULES {
            let step = || format!("rolling {module} {direction}");
            replace(&mut shop.store, module, release).await.with_context(step)?;
            clients.accept_more(ORDERS).await.with_context(step)?;
            // It goes through all four modules, the replaced one among them.
            shop.confirmed(&sku, 1).await.with_context(step)?;
        }
    }
    // What v0.1.0 wrote after this version had written is read by this version again.
    for module in MODULES {
        replace(&mut shop.store, module, &new).await.with_context(|| format!("rolling {module} forward again"))?;
    }
    clients.accept_more(ORDERS).await?;
    let accepted = clients.stop().await?;
    for id in &accepted {
        let order = settled(&shop.staff, id, SETTLED_MAX).await?;
        ensure!(order["state"] == "confirmed", "{order}");
    }
    println!("{} orders accepted and confirmed over {} replacements", accepted.len(), 3 * MODULES.len());
    let versions = BTreeSet::from([old.version()?, new.version()?]);
    for module in MODULES {
        let found = versions_that_wrote(&shop.store, module).await?;
        ensure!(found == versions, "{module} was written by {found:?}, not by {versions:?}");
    }
    let ledger = shop.store.ledger()?;
    ensure!(ledger.double_captures.is_empty() && ledger.orphaned_authorizations.is_empty(), "{ledger:?}");
    shop.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn this_version_waits_beside_v0_1_0_and_takes_over() -> Result<()> {
    beside(&Release::v0_1_0()?, &Release::this()?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn v0_1_0_waits_beside_this_version_and_takes_over() -> Result<()> {
    beside(&Release::this()?, &Release::v0_1_0()?).await
}

/// A second process of payment, of another release: it leads only once the first is gone, and then for good.
async fn beside(leads: &Release, waits: &Release) -> Result<()> {
    let mut shop = Shop::open_with(Store::builder(Placement::ApartPostgres).release(leads)).await?;
    let sku = shop.new_sku(1_000_000, 199).await?;
    let clients = Clients::start(&shop, &sku)?;
    let first = epoch(&shop.store).await?;
    let mut second = shop.store.start_beside("payment", waits)?;
    eventually("the second process to run", TAKEN_OVER_MAX, async || {
        second.process().must_run()?;
        Ok(second.metrics().await.ok())
    })
    .await?;
    tokio::time::sleep(BESIDE).await;
    clients.accept_more(ORDERS).await?;
    shop.confirmed(&sku, 1).await?;
    // Who takes the lead begins a new epoch.
    ensure!(epoch(&shop.store).await? == first, "the second process has led beside the first");

    shop.store.kill("payment")?;
    leads_from(&shop.store, &mut second, first + 1).await?;
    clients.accept_more(ORDERS).await?;
    shop.confirmed(&sku, 1).await?;
    // The killed one comes back and has to wait in its turn.
    shop.store.process("payment")?.start()?;
    tokio::time::sleep(BESIDE).await;
    shop.store.process("payment")?.must_run()?;
    ensure!(epoch(&shop.store).await? == first + 1, "the first process has led beside the second");
    clients.accept_more(ORDERS).await?;
    let accepted = clients.stop().await?;
    for id in &accepted {
        let order = settled(&shop.staff, id, SETTLED_MAX).await?;
        ensure!(order["state"] == "confirmed", "{order}");
    }
    second.stop().await?;
    shop.store.wait_ready().await?;
    shop.confirmed(&sku, 1).await?;
    shop.close().await
}

/// Stops the module's process as an orchestrator does, and starts it as this release.
async fn replace(store: &mut Store, module: &str, release: &Release) -> Result<()> {
    for host in store.hosts_of(module) {
        host.stop().await?;
    }
    store.switch(module, release)?;
    store.restart(module).await
}

async fn leads_from(store: &Store, host: &mut Host, expected: i64) -> Result<()> {
    eventually("the other release to take over", TAKEN_OVER_MAX, async || {
        host.process().must_run()?;
        Ok((epoch(store).await? == expected && host.readiness().await?.status == 200).then_some(()))
    })
    .await
}

/// How often payment's leader has changed.
async fn epoch(store: &Store) -> Result<i64> {
    let rows = rows(store, "SELECT epoch FROM payment.head").await?;
    Ok(rows.first().context("payment has no head row")?.try_get(0)?)
}

async fn versions_that_wrote(store: &Store, module: &str) -> Result<BTreeSet<String>> {
    let rows = rows(store, &format!("SELECT DISTINCT code_version FROM \"{module}\".inbox")).await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

async fn rows(store: &Store, sql: &str) -> Result<Vec<sqlx::postgres::PgRow>> {
    let mut connection = PgConnection::connect(store.env("DATABASE__URL").context("no database")?).await?;
    let rows = sqlx::query(AssertSqlSafe(sql.to_owned())).fetch_all(&mut connection).await?;
    connection.close().await?;
    Ok(rows)
}
