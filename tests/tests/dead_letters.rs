//! Dead letters from the command line: listed, shown, redriven, abandoned, in a store of several processes.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use pangaea_testkit::{Api, Output, Placement, Release, Store, eventually};
use pangaea_tests::{Shop, Sku, ask_to_place, buries, spoil_newest};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

const FAULTS: &str = "PANGAEA_FAULTS";
const RECOVERED_MAX: Duration = Duration::from_secs(90);
/// Starts until an input that kills the process is taken out of its way; three deaths are charged to it.
const STARTS_MAX: usize = 8;
/// Longer than a test takes: a timer of the order's must not come between.
const ANSWER_TIMEOUT_MS: &str = "600000";

/// What order cannot read is redriven in vain, then abandoned, and its order goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_letter_that_cannot_be_handled_is_looked_at_and_abandoned() -> Result<()> {
    let mut shop = open().await?;
    let sku = shop.new_sku(10, 100).await?;
    let order_id = order_whose_reservation_is_spoilt(&mut shop, &sku).await?;
    let cancel = || shop.customer.post(&format!("/v1/orders/{order_id}/cancel"), json!({}));
    cancel().send().await?.expect_problem(503, "parked")?;

    let listed = letters(&shop.store, "list", &["--json"]).await?.success()?.stdout;
    let listed: Value = serde_json::from_str(&listed)?;
    let [letter] = listed["items"].as_array().context("no items")?.as_slice() else { bail!("not one: {listed}") };
    ensure!(letter["key"] == order_id.as_str() && letter["state"] == "dead", "{letter}");
    ensure!(letter["subject"] == "product.evt.stock_reserved.v1" && letter["attempts"] == 3, "{letter}");
    let text = |field: &str| letter[field].as_str().map(str::to_owned).with_context(|| format!("no {field}: {letter}"));
    let (id, fingerprint) = (text("id")?, text("fingerprint")?);
    let table = letters(&shop.store, "list", &["--fingerprint", &fingerprint]).await?.success()?.stdout;
    ensure!(table.contains(&id) && table.contains("1 dead letters"), "{table}");
    let none = letters(&shop.store, "list", &["--key", "ord_of_nobody"]).await?.success()?.stdout;
    ensure!(none == "no dead letters\n", "{none}");

    // The payload begins with the order's id.
    let shown = letters(&shop.store, "show", &["--id", &id]).await?.success()?.stdout;
    ensure!(shown.contains("cannot decode") && !shown.contains("\"order_id"), "{shown}");
    let shown = letters(&shop.store, "show", &["--id", &id, "--payload"]).await?.success()?.stdout;
    ensure!(shown.contains("\"order_id"), "{shown}");

    let dry = letters(&shop.store, "redrive", &["--all", "--dry-run"]).await?.success()?.stdout;
    ensure!(dry.contains("would redrive") && dry.contains(&id), "{dry}");
    let again = letters(&shop.store, "redrive", &["--fingerprint", &fingerprint]).await?.failure()?.stdout;
    ensure!(again.contains("failed again") && again.contains("cannot decode"), "{again}");
    let kept = show(&shop.store, &id).await?;
    ensure!(kept["attempts"] == 4 && kept["key"] == order_id.as_str(), "{kept}");
    cancel().send().await?.expect_problem(503, "parked")?;
    let told = shop.store.verify().await.err().context("verify does not tell of the dead letter")?;
    ensure!(format!("{told:#}").contains("pangaea dead-letters list --module order"), "{told:#}");

    let abandoned = letters(&shop.store, "abandon", &["--id", &id]).await?.success()?.stdout;
    ensure!(abandoned.contains("1 abandoned"), "{abandoned}");
    let gone = letters(&shop.store, "redrive", &["--id", &id]).await?.failure()?.stderr;
    ensure!(gone.contains("no dead letter"), "{gone}");
    // The key goes on: its order takes commands, and gives back what product has reserved for it.
    let order = cancel().wait(30).send().await?.expect(200)?.body;
    ensure!(order["state"] == "cancelled", "{order}");
    shop.stock_becomes(&sku, (10, 0)).await?;
    // Product never said what was put into its log by hand: that stays, and a replay of its journal tells.
    let told = shop.store.verify().await.err().context("verify does not tell of the spoilt message")?;
    ensure!(format!("{told:#}").contains("product: its handlers say again"), "{told:#}");
    shop.store.verify_with(&["--no-replay"]).await?;
    shop.store.stop().await
}

/// An input that kills the process is put aside, and handled when the cause is mended.
#[tokio::test(flavor = "multi_thread")]
async fn a_letter_is_redriven_once_its_cause_is_mended() -> Result<()> {
    let mut shop = open().await?;
    let sku = shop.new_sku(10, 100).await?;
    shop.store.kill("product")?;
    let placed = ask_to_place(&shop.customer, &[(&sku.code, 1)], "tok_ok").send().await?.expect(202)?;
    let order_id = placed.text_at("id")?.to_owned();
    shop.store.kill("order")?;
    shop.store.restart("product").await?;
    shop.store.process("order")?.set_variable(FAULTS, Some("handler.before=crash"));
    dies_until_it_buries(&mut shop.store).await?;
    shop.store.process("order")?.set_variable(FAULTS, None);
    shop.store.restart("order").await?;

    let listed = letters(&shop.store, "list", &["--key", &order_id]).await?.success()?.stdout;
    ensure!(listed.contains("the process was killed each time"), "{listed}");
    let stuck = shop.customer.get(&format!("/v1/orders/{order_id}")).send().await?.expect(200)?.body;
    ensure!(stuck["state"] == "placed", "{stuck}");
    let redriven = letters(&shop.store, "redrive", &["--all", "--json"]).await?.success()?.stdout;
    let last: Value = serde_json::from_str(redriven.lines().last().unwrap_or_default())?;
    ensure!(last["done"]["outcomes"]["redriven"].as_u64().is_some_and(|count| count >= 1), "{redriven}");
    let order = shop.settled(&shop.customer, &order_id).await?;
    ensure!(order["state"] == "confirmed", "{order}");
    ensure!(shop.charged(&order_id)? == (100, 0));
    shop.stock_becomes(&sku, (9, 0)).await?;
    shop.close().await
}

/// A replica that does not lead has the leader do it.
#[tokio::test(flavor = "multi_thread")]
async fn a_standby_passes_letters_on_to_the_leader() -> Result<()> {
    let mut shop = Shop::open(Placement::ApartPostgres).await?;
    put_letter(&shop.store).await?;
    let mut standby = shop.store.start_beside("order", &Release::this()?)?;
    standby.wait_ready().await?;
    ensure!(!standby.leads("order").await? && shop.store.leader_of("order").await == Some("order"));
    let deal = async |verb: &str| {
        let answer = standby.operations().post(&format!("/dead-letters/{verb}"), json!({ "id": "msg_put" }));
        anyhow::Ok(answer.send().await?.expect(200)?.text)
    };
    let again = deal("redrive").await?;
    ensure!(again.contains("failed_again") && again.contains("4 attempts"), "{again}");
    let kept = shop.store.operations_of("order")?.get("/dead-letters/order/msg_put").send().await?.expect(200)?;
    ensure!(kept.body["attempts"] == 4, "{}", kept.text);
    let abandoned = deal("abandon").await?;
    ensure!(abandoned.contains("\"abandoned\":1"), "{abandoned}");
    standby.operations().get("/dead-letters/order/msg_put").send().await?.expect_problem(404, "not-found")?;
    standby.stop().await?;
    shop.close().await
}

/// A letter that order cannot handle: nothing else depends on it.
async fn put_letter(store: &Store) -> Result<()> {
    let input = json!({
        "id": "msg_put", "kind": "Timer", "subject": "order.tmr.unheard_of.v1", "key": "ord_put",
        "causation_id": "msg_put", "correlation_id": "msg_put", "actor": { "subject": "system", "roles": [] },
        "traceparent": null, "payload": "{}",
    });
    let insert = "INSERT INTO \"order\".dead_letter VALUES \
        ('msg_put', 1, 'dead', 'order.tmr.unheard_of.v1', 'ord_put', $1, 'there is no handler', 'f', 3, 1)";
    let mut connection = PgConnection::connect(store.env("DATABASE__URL").context("no database")?).await?;
    sqlx::query(insert).bind(input.to_string()).execute(&mut connection).await?;
    Ok(connection.close().await?)
}

/// What the operations listener says to what makes no sense.
#[tokio::test(flavor = "multi_thread")]
async fn wrong_requests_about_letters_are_answered_with_what_to_do() -> Result<()> {
    let shop = open().await?;
    let operations = shop.store.operations_of("order")?;
    let redrive = |body: Value| operations.post("/dead-letters/redrive", body);
    redrive(json!({})).send().await?.expect_problem(422, "invalid")?;
    redrive(json!({ "id": "msg_1", "all": true })).send().await?.expect_problem(422, "invalid")?;
    redrive(json!({ "al": true })).send().await?.expect_problem(422, "invalid")?;
    redrive(json!({ "id": "msg_1" })).send().await?.expect_problem(404, "not-found")?;
    let elsewhere = redrive(json!({ "all": true, "module": "payment" })).send().await?;
    let elsewhere = elsewhere.expect_problem(404, "not-found")?;
    ensure!(elsewhere.text.contains("this process runs order"), "{}", elsewhere.text);
    operations.get("/dead-letters/order/msg_1").send().await?.expect_problem(404, "not-found")?;
    operations.get("/dead-letters?limit=0").send().await?.expect_problem(422, "invalid")?;
    operations.get("/dead-letters?cursor=x").send().await?.expect_problem(400, "malformed-request")?;
    let nothing = redrive(json!({ "all": true })).send().await?.expect(200)?;
    ensure!(nothing.text == "{\"done\":{\"outcomes\":{},\"more\":false}}\n", "{}", nothing.text);
    // The way for clients has none of it.
    Api::new(shop.store.url_of("order")?)?.get("/dead-letters").send().await?.expect_problem(404, "not-found")?;

    let nowhere = ["dead-letters", "list", "--operations", "http://127.0.0.1:9"];
    let nowhere = shop.store.run(&nowhere).await?.failure()?.stderr;
    ensure!(nowhere.contains("is the store running"), "{nowhere}");
    shop.close().await
}

async fn open() -> Result<Shop> {
    let builder = Store::builder(Placement::Apart);
    Shop::open_with(builder.set("MODULES__ORDER__SETTINGS__ANSWER_TIMEOUT_MS", ANSWER_TIMEOUT_MS)).await
}

/// `pangaea dead-letters` about the letters of the process that runs order.
async fn letters(store: &Store, verb: &str, more: &[&str]) -> Result<Output> {
    let operations = store.operations_of("order")?.base();
    store.run(&[&["dead-letters", verb, "--operations", operations], more].concat()).await
}

async fn show(store: &Store, id: &str) -> Result<Value> {
    let shown = letters(store, "show", &["--id", id, "--json"]).await?.success()?.stdout;
    Ok(serde_json::from_str(&shown)?)
}

/// An order for which product says what order cannot read.
async fn order_whose_reservation_is_spoilt(shop: &mut Shop, sku: &Sku) -> Result<String> {
    // Product handles the command, and its answer waits in the outbox, where it can be spoilt before anybody reads it.
    shop.store.kill("product")?;
    shop.store.process("product")?.set_variable(FAULTS, Some("append.before=hang:600000x100000"));
    shop.store.restart("product").await?;
    let placed = ask_to_place(&shop.customer, &[(&sku.code, 1)], "tok_ok").send().await?.expect(202)?;
    let order_id = placed.text_at("id")?.to_owned();
    let spoilt = eventually("product to reserve", RECOVERED_MAX, async || {
        let (_, reserved) = shop.stock(sku).await?;
        Ok((reserved == 1).then_some(()))
    });
    spoilt.await?;
    shop.store.kill("product")?;
    spoil_newest(&shop.store, "product", "product.evt.stock_reserved.v1", &order_id)?;
    shop.store.process("product")?.set_variable(FAULTS, None);
    shop.store.restart("product").await?;
    buries(&shop.store, "order").await?;
    Ok(order_id)
}

/// Starts order again and again; each time an input kills it, until that input is a dead letter.
async fn dies_until_it_buries(store: &mut Store) -> Result<()> {
    for _ in 0..STARTS_MAX {
        let order = store.process("order")?;
        order.start()?;
        let buried = eventually("order to die or to bury what kills it", RECOVERED_MAX, async || {
            if order.log().contains("dead letter") {
                return Ok(Some(true));
            }
            Ok(order.ended()?.map(|_| false))
        });
        if buried.await? {
            // It may be about to die of another input.
            if order.ended()?.is_none() {
                order.kill()?;
            }
            return Ok(());
        }
    }
    bail!("order died {STARTS_MAX} times and has buried nothing; its log ends:\n{}", store.process("order")?.log_tail())
}
