//! The store on PostgreSQL, over a proxy that the test shuts and heals: a server that comes late or goes away is waited
//! for, and nothing is lost.

use std::time::Duration;

use anyhow::Result;
use pangaea_testkit::{Link, Placement, Proxy, Store, eventually};
use pangaea_tests::Shop;

const RECOVERED_MAX: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_comes_late_and_goes_away_is_waited_for() -> Result<()> {
    let mut store = Store::builder(Placement::TogetherMemory).on_postgres().shut(Link::Postgres).spawn().await?;
    let process = store.process("order")?;
    let complains = async || {
        process.must_run()?;
        Ok(process.log().contains("waiting for the database").then_some(()))
    };
    eventually("the store to say that its database is away", RECOVERED_MAX, complains).await?;

    store.proxies().heal();
    store.wait_ready().await?;
    let shop = Shop::of(store).await?;
    let sku = shop.new_sku(100, 100).await?;
    shop.confirmed(&sku, 1).await?;

    shop.store.proxies().of(Link::Postgres).for_each(Proxy::shut);
    let unready = async || {
        let readiness = shop.store.readiness("order").await?;
        Ok((readiness.status == 503).then_some(()))
    };
    eventually("the store to be unready without its database", RECOVERED_MAX, unready).await?;
    shop.store.proxies().heal();
    let ready = async || Ok((shop.store.readiness("order").await?.status == 200).then_some(()));
    eventually("the store to be ready again", RECOVERED_MAX, ready).await?;
    for _ in 0..3 {
        shop.confirmed(&sku, 1).await?;
    }
    shop.stock_becomes(&sku, (96, 0)).await?;
    shop.close().await
}
