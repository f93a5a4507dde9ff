//! Several replicas of each module: who answers, who leads, and what one says that has led.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pangaea_testkit::{Api, Placement, Store, eventually};
use pangaea_tests::{Shop, order_body};

const LED_MAX: Duration = Duration::from_secs(60);
const ORDERS: usize = 5;

/// All twelve processes start at once on an empty database: one of each three migrates and leads, the others wait for it.
#[tokio::test(flavor = "multi_thread")]
async fn replicas_start_together_on_an_empty_database_and_one_of_each_leads() -> Result<()> {
    let mut shop = Shop::open(Placement::ApartReplicas(3)).await?;
    for module in ["product", "order", "payment", "user"] {
        let mut leaders = 0;
        for host in shop.store.hosts_of(module) {
            leaders += usize::from(host.leads(module).await?);
        }
        ensure!(leaders == 1, "{leaders} replicas lead {module}");
    }
    let sku = shop.new_sku(10, 100).await?;
    shop.confirmed(&sku, 1).await?;
    shop.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_on_a_standby_is_forwarded_and_answered_once() -> Result<()> {
    let mut shop = Shop::open(Placement::ApartReplicas(2)).await?;
    let sku = shop.new_sku(100, 100).await?;
    let (leader, standby) = leader_and_standby(&mut shop.store, "order").await?;
    let leader = shop.staff.at(shop.store.host_named(&leader)?.url());
    let standby = shop.staff.at(shop.store.host_named(&standby)?.url());
    for number in 0..ORDERS {
        let (first, second) = if number % 2 == 0 { (&standby, &leader) } else { (&leader, &standby) };
        let key = format!("forwarded-{number}");
        let placed = place(first, &sku.code, &key).await?;
        ensure!(placed.header("idempotent-replayed").is_none(), "{placed:?}");
        let again = place(second, &sku.code, &key).await?;
        ensure!(again.header("idempotent-replayed") == Some("true"), "{again:?}");
        ensure!(again.text_at("id")? == placed.text_at("id")?, "{again:?}");
        shop.settled(&standby, placed.text_at("id")?).await?;
    }
    // Copies at once, on both: one order.
    let copies: Vec<_> = (0..20)
        .map(|copy| {
            let (api, code) = (if copy % 2 == 0 { leader.clone() } else { standby.clone() }, sku.code.clone());
            tokio::spawn(async move { place(&api, &code, "copies").await?.text_at("id").map(str::to_owned) })
        })
        .collect();
    let mut ids = std::collections::BTreeSet::new();
    for copy in copies {
        ids.insert(copy.await??);
    }
    ensure!(ids.len() == 1, "{ids:?}");
    let id = ids.first().context("no order")?;
    shop.settled(&standby, id).await?;
    shop.stock_becomes(&sku, (100 - i64::try_from(ORDERS)? - 1, 0)).await?;
    shop.close().await
}

/// A leader that stood still while another took over wakes up with requests that it has not read yet. It writes none of
/// them: it hands them to the one that leads now.
#[tokio::test(flavor = "multi_thread")]
async fn a_stale_leader_steps_down_and_passes_on_what_it_is_asked() -> Result<()> {
    let mut shop = Shop::open(Placement::ApartReplicas(2)).await?;
    let sku = shop.new_sku(100, 100).await?;
    shop.confirmed(&sku, 1).await?;
    let (leader, standby) = leader_and_standby(&mut shop.store, "order").await?;
    let stale = shop.staff.at(shop.store.host_named(&leader)?.url());
    let other = shop.staff.at(shop.store.host_named(&standby)?.url());
    let process_id = shop.store.host_named(&leader)?.process().id();
    shop.store.host_named(&leader)?.process().signal("STOP")?;
    let waiting: Vec<_> = (0..ORDERS)
        .map(|number| {
            let (api, code) = (stale.clone(), sku.code.clone());
            tokio::spawn(async move { place(&api, &code, &format!("stale-{number}")).await })
        })
        .collect();
    eventually("the standby to lead", LED_MAX, async || {
        Ok(shop.store.host_named(&standby)?.leads("order").await.unwrap_or(false).then_some(()))
    })
    .await?;
    // Meanwhile the new leader handles two of them itself: the client has asked again elsewhere.
    let mut handled = Vec::new();
    for number in 0..2 {
        handled.push(place(&other, &sku.code, &format!("stale-{number}")).await?.text_at("id")?.to_owned());
    }
    shop.store.host_named(&leader)?.process().signal("CONT")?;
    for (number, answer) in waiting.into_iter().enumerate() {
        let answer = answer.await??;
        if let Some(id) = handled.get(number) {
            ensure!(answer.text_at("id")? == id, "{answer:?}");
        }
        shop.settled(&other, answer.text_at("id")?).await?;
    }
    let host = shop.store.host_named(&leader)?;
    ensure!(host.process().id() == process_id && host.process().ended()?.is_none(), "it goes on, in the same process");
    ensure!(!host.leads("order").await?, "it is a standby now");
    host.wait_ready().await?;
    shop.stock_becomes(&sku, (100 - 1 - i64::try_from(ORDERS)?, 0)).await?;
    shop.close().await
}

async fn place(api: &Api, code: &str, key: &str) -> Result<pangaea_testkit::Answer> {
    let ask = || api.post("/v1/orders", order_body(&[(code, 1)], "tok_ok")).key(key).send();
    let mut answer = ask().await?;
    // "Outcome unknown" asks for exactly this.
    for _ in 0..5 {
        if answer.status != 503 {
            break;
        }
        answer = ask().await?;
    }
    answer.expect(202)
}

async fn leader_and_standby(store: &mut Store, module: &str) -> Result<(String, String)> {
    let leader = store.leader_of(module).await.context("nobody leads")?.to_owned();
    let standby = store.hosts_of(module).map(|host| host.name().to_owned()).find(|name| *name != leader);
    Ok((leader, standby.context("no standby")?))
}
