//! What is secret or personal is in no byte that a store leaves: no journal, no stream of the broker, no log, and nothing that
//! it exports.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pangaea_testkit::{Answer, Api, Placement, Store};
use pangaea_tests::{Collector, LogLine, Shop, ask_to_place, order_body};
use serde_json::json;

const EMAIL: &str = "canary.bird@coalmine.example";
const NAME: &str = "Canary Yellowbird";
const PASSWORD: &str = "canary-password-in-a-mine";
const WRONG_PASSWORD: &str = "canary-password-mistyped";
/// The order keeps it, of course; it must not leave the store with spans, logs or metrics. The tokens are those of `live`.
const NOT_EXPORTED: [&str; 6] = ["Mole Underhill", "1 Coal Mine", "Cageham", "tok_ok", "tok_declined", "payment_token"];
const STOP_MAX: Duration = Duration::from_secs(30);
const MODULES: [&str; 4] = ["product", "order", "payment", "user"];

/// Every file of a store, in lower case, because addresses are normalised.
struct Files(BTreeMap<PathBuf, Vec<u8>>);

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_and_nothing_personal_is_left_anywhere() -> Result<()> {
    // All that our own code can log, not only what it does by default.
    let filter = "info,pangaea_runtime=trace,pangaea_kernel=trace,pangaea_journal=trace,pangaea_bus=trace,\
        pangaea_user=trace,pangaea_order=trace,pangaea_payment=trace,pangaea_product=trace,pangaea=trace";
    let collector = Collector::start().await?;
    let builder = Store::builder(Placement::Apart)
        .set("TELEMETRY__LOG_FILTER", filter)
        .set("TELEMETRY__OTLP_ENDPOINT", &collector.endpoint())
        .set("TELEMETRY__OTLP_LOGS", "true")
        .set("TELEMETRY__OTLP_METRICS", "true")
        .set("TELEMETRY__OTLP_METRICS_INTERVAL_S", "1");
    let mut shop = Shop::open_with(builder).await?;
    let (order_id, tokens) = live(&shop).await?;
    let mut canaries = [EMAIL, NAME, PASSWORD, WRONG_PASSWORD, "canary", "yellowbird"].map(str::to_owned).to_vec();
    canaries.extend(tokens);

    Files::of(shop.store.folder().path())?.hold_none_of(&canaries).context("while it runs")?;
    for module in MODULES.iter().rev() {
        let status = shop.store.process(module)?.terminate(STOP_MAX).await?;
        ensure!(status.success(), "{module}: {status}");
    }
    let files = Files::of(shop.store.folder().path())?;
    files.hold_none_of(&canaries).context("after it has stopped")?;

    for canary in canaries.iter().map(String::as_str).chain(NOT_EXPORTED) {
        let found = collector.signals_with(canary);
        ensure!(found.is_empty(), "{canary} was exported with {found:?}");
    }
    for (what, signal) in
        [(order_id.as_str(), "traces"), ("/v1/orders/{id}", "logs"), ("order.rpc.place.v1", "metrics")]
    {
        ensure!(collector.signals_with(what).contains(signal), "{what} is in no {signal}");
    }

    // The search finds what is there: in every database, in the streams, and in the logs of all processes.
    for (what, kind) in [(order_id.as_str(), "order.db"), (&order_id, "payment.db"), (&order_id, "/nats/")] {
        ensure!(files.with(what).iter().any(|file| file.contains(kind)), "{what} is in no {kind}");
    }
    ensure!(files.with("user.rpc.register.v1").iter().any(|file| file.ends_with("user.db")), "no registration");
    ensure!(files.with("user.evt.registered.v1").iter().any(|file| file.contains("/nats/")), "no event of it");
    for module in MODULES {
        let log = format!("/{module}.log");
        ensure!(files.with("draining").iter().any(|file| file.ends_with(&log)), "{module} has logged nothing");
        let service = format!("pangaea-{module}");
        let is_last = |line: &LogLine| line.service == service && line.body.contains("draining");
        ensure!(collector.logs().iter().any(is_last), "{module} has not exported its last lines");
        ensure!(collector.metrics().contains_key(&service), "{module} has exported no metrics");
    }
    for module in MODULES {
        shop.store.restart(module).await?;
    }
    shop.close().await
}

/// Everything that a customer does with an account. An order's id, and the tokens that were given out.
async fn live(shop: &Shop) -> Result<(String, Vec<String>)> {
    let api = shop.store.api();
    let account = json!({ "email": EMAIL, "password": PASSWORD, "name": NAME });
    api.post("/v1/users", account.clone()).send().await?.expect(201)?;
    api.post("/v1/users", account).send().await?.expect(409)?;
    let weak = json!({ "email": EMAIL, "password": "canary", "name": NAME });
    api.post("/v1/users", weak).send().await?.expect(422)?;
    let mistyped = json!({ "email": EMAIL, "password": WRONG_PASSWORD });
    api.post("/v1/sessions", mistyped).send().await?.expect(401)?;
    let misplaced = json!({ "email": EMAIL, "password": [PASSWORD] });
    api.post("/v1/sessions", misplaced).send().await?.expect_any(&[400, 422])?;

    let signed_in = api.post("/v1/sessions", json!({ "email": EMAIL, "password": PASSWORD })).send().await?;
    let signed_in = signed_in.expect(201)?;
    let renewed = refresh(api, &signed_in).await?.expect(200)?;
    let again = refresh(api, &renewed).await?.expect(200)?;
    let mut tokens = Vec::new();
    for answer in [&signed_in, &renewed, &again] {
        let access = answer.text_at("access_token")?;
        // Its first two parts would be worth nothing, but need not be anywhere either.
        let signature = access.rsplit('.').next().context("a token has three parts")?;
        tokens.extend([access, signature, answer.text_at("refresh_token")?].map(str::to_owned));
    }
    // One that was used up long ago ends its session, which is worth a line in a log.
    refresh(api, &signed_in).await?.expect(401)?;

    let customer = api.sign_in_as(EMAIL, PASSWORD).await?;
    let sku = shop.new_sku(10, 100).await?;
    let mut body = order_body(&[(&sku.code, 1)], "tok_ok");
    body["shipping_address"] =
        json!({ "name": "Mole Underhill", "line1": "1 Coal Mine", "city": "Cageham", "country": "GB" });
    let placed = customer.post("/v1/orders", body).wait(30).send().await?;
    let order = shop.settled(&customer, placed.expect_any(&[200, 202])?.text_at("id")?).await?;
    ensure!(order["state"] == "confirmed", "{order}");
    let declined = ask_to_place(&customer, &[(&sku.code, 1)], "tok_declined").wait(30).send().await?;
    shop.settled(&customer, declined.expect_any(&[200, 202])?.text_at("id")?).await?;
    tokens.extend(customer.token().map(str::to_owned));
    Ok((order["id"].as_str().context("an id")?.to_owned(), tokens))
}

async fn refresh(api: &Api, session: &Answer) -> Result<Answer> {
    let body = json!({ "refresh_token": session.text_at("refresh_token")? });
    api.post("/v1/sessions/refresh", body).send().await
}

// === impl Files ===

impl Files {
    fn of(folder: &Path) -> Result<Self> {
        let mut files = BTreeMap::new();
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder)? {
                let path = entry?.path();
                if path.is_dir() {
                    folders.push(path);
                } else if let Ok(bytes) = std::fs::read(&path) {
                    // One that is gone again was a temporary file of the broker or of the database.
                    files.insert(path, bytes.to_ascii_lowercase());
                }
            }
        }
        Ok(Self(files))
    }

    /// The files that hold this text, whatever its case.
    fn with(&self, text: &str) -> Vec<String> {
        let text = text.to_ascii_lowercase().into_bytes();
        let holds = |bytes: &[u8]| bytes.windows(text.len()).any(|window| window == text);
        let found = self.0.iter().filter(|(_, bytes)| holds(bytes));
        found.map(|(path, _)| path.display().to_string()).collect()
    }

    fn hold_none_of(&self, canaries: &[String]) -> Result<()> {
        for canary in canaries {
            let found = self.with(canary);
            ensure!(found.is_empty(), "{canary} is in {found:?}");
        }
        Ok(())
    }
}
