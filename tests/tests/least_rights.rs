//! Modules with users and roles of their own: what they may do is what they declare, and with it the store works.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use async_nats::{Client, ConnectOptions};
use pangaea_testkit::{Placement, Store, eventually, run_program, workspace};
use pangaea_tests::Shop;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

/// Long enough that a module has looked several times.
const WITHOUT_RIGHTS: Duration = Duration::from_secs(3);
const MODULES: [&str; 4] = ["order", "payment", "product", "user"];
/// What the server has to say of a subject, it says before it answers a ping; the client tells it a moment later.
const TOLD_MAX: Duration = Duration::from_secs(20);
/// A subject that nobody may publish to: when it is refused, all before it have been judged.
const LAST: &str = "nobody.may.publish.here";
/// The client keeps 128 events for its callback, and drops more.
const ASKED_AT_ONCE: usize = 48;

#[tokio::test(flavor = "multi_thread")]
async fn orders_are_confirmed_with_least_rights() -> Result<()> {
    for placement in [Placement::Apart, Placement::ApartReplicas(2)] {
        let mut shop = Shop::open_with(Store::builder(placement).with_least_rights()).await?;
        let sku = shop.new_sku(100, 250).await?;
        for _ in 0..5 {
            shop.confirmed(&sku, 1).await?;
        }
        // A leader that is killed is followed by one with the same rights.
        shop.store.kill("order")?;
        shop.store.restart("order").await?;
        shop.confirmed(&sku, 1).await?;
        for module in MODULES {
            let log = shop.store.process(module)?.log();
            ensure!(!log.to_lowercase().contains("permission"), "{placement}, {module}: {log}");
        }
        shop.close().await?;
    }
    Ok(())
}

/// A role has rows and no tables of its own: it can neither make one nor look into another module's.
#[tokio::test(flavor = "multi_thread")]
async fn a_modules_role_may_change_rows_of_its_own_and_nothing_else() -> Result<()> {
    let mut shop = Shop::open_with(Store::builder(Placement::ApartPostgres).with_least_rights()).await?;
    let url = shop.store.env("DATABASE__URL").context("no database")?.to_owned();
    let mut order = PgConnection::connect(&url.replace("postgres@", "order@")).await?;
    for (sql, is_allowed) in [
        ("SELECT count(*) FROM \"order\".head", true),
        ("UPDATE \"order\".head SET clean_stop = clean_stop", true),
        ("DELETE FROM \"order\".timer WHERE false", true),
        ("CREATE TABLE \"order\".mine (id INT)", false),
        ("DROP TABLE \"order\".timer", false),
        ("ALTER TABLE \"order\".timer ADD COLUMN more TEXT", false),
        ("TRUNCATE \"order\".inbox", false),
        ("SELECT count(*) FROM payment.head", false),
        ("INSERT INTO product.timer SELECT * FROM \"order\".timer WHERE false", false),
        ("CREATE SCHEMA mine", false),
    ] {
        let told = sqlx::query(AssertSqlSafe(sql)).execute(&mut order).await;
        ensure!(told.is_ok() == is_allowed, "{sql}: {told:?}");
    }
    drop(order);
    // A rebuild makes tables for a while, so that it is the provisioner's; the module's rights are as before.
    let sku = shop.new_sku(10, 100).await?;
    shop.confirmed(&sku, 1).await?;
    let leader = shop.store.process("order")?;
    leader.terminate(TOLD_MAX).await?;
    let mut env = leader.environment().to_vec();
    env.retain(|(name, _)| !name.starts_with("PANGAEA__DATABASE__"));
    env.push(("PANGAEA__DATABASE__URL".to_owned(), url.replace("postgres@", "provisioner@")));
    let config = workspace().join("config/apart.toml").display().to_string();
    let args = ["rebuild", "order", "--stopped", "--config", &config];
    run_program(shop.store.folder().path(), &args, &env).await?.success()?;
    shop.store.restart("order").await?;
    shop.confirmed(&sku, 1).await?;
    shop.close().await
}

/// The job makes tables first and grants afterwards, and a module that starts in between waits and does not end.
#[tokio::test(flavor = "multi_thread")]
async fn a_module_waits_for_rights_that_come_a_moment_after_the_tables() -> Result<()> {
    let mut shop = Shop::open_with(Store::builder(Placement::ApartPostgres).with_least_rights()).await?;
    let sku = shop.new_sku(10, 100).await?;
    let url = shop.store.env("DATABASE__URL").context("no database")?.to_owned();
    let mut provisioner = PgConnection::connect(&url.replace("postgres@", "provisioner@")).await?;
    for table in ["migration", "head"] {
        shop.store.process("order")?.terminate(TOLD_MAX).await?;
        let right = format!("SELECT ON \"order\".{table}");
        sqlx::query(AssertSqlSafe(format!("REVOKE {right} FROM \"order\""))).execute(&mut provisioner).await?;
        let grant = async {
            tokio::time::sleep(WITHOUT_RIGHTS).await;
            sqlx::query(AssertSqlSafe(format!("GRANT {right} TO \"order\""))).execute(&mut provisioner).await
        };
        let (started, granted) = tokio::join!(shop.store.restart("order"), grant);
        granted?;
        started.with_context(|| format!("without rights on {table} for a while"))?;
        shop.confirmed(&sku, 1).await?;
    }
    shop.close().await
}

/// Each user on each subject: the server's answer is what the modules declare.
#[tokio::test(flavor = "multi_thread")]
async fn the_broker_allows_what_is_declared() -> Result<()> {
    let mut store = Store::builder(Placement::Apart).with_least_rights().start().await?;
    let declared: Value = serde_json::from_str(&store.run(&["topology", "--format", "json"]).await?.success()?.stdout)?;
    let namespace = store.env("BUS__NAMESPACE").context("no namespace")?.to_owned();
    let url = store.env("BUS__URL").context("no broker")?.to_owned();
    // What is published from now on is heard by nobody.
    for module in MODULES {
        store.kill(module)?;
    }
    async_nats::connect(&url).await.err().context("the broker lets in a stranger")?;
    let mut asked = 0;
    for user in MODULES.into_iter().chain(["provisioner"]) {
        let seed = std::fs::read_to_string(store.folder().path().join(format!("nats-{user}")))?;
        let cases = cases(user, &namespace, &declared)?;
        let refused = refused(&url, &seed, &cases).await.with_context(|| user.to_owned())?;
        for case in &cases {
            let is_refused = refused.contains(&(case.verb, case.subject.clone()));
            ensure!(
                is_refused != case.is_allowed,
                "{user} may {}{} {}",
                if is_refused { "not " } else { "" },
                case.verb,
                case.subject
            );
        }
        asked += cases.len();
    }
    ensure!(asked > 500, "only {asked} questions");
    println!("{asked} answers of the broker");
    // What owners have put into their own streams by hand is passed over.
    for module in MODULES {
        store.restart(module).await?;
    }
    store.stop().await
}

/// A question, and the answer by what is declared.
#[derive(Debug)]
struct Case {
    verb: &'static str,
    subject: String,
    is_allowed: bool,
}

/// Every subject of every module, every call of the JetStream API on every stream and consumer.
fn cases(user: &str, namespace: &str, declared: &Value) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    let mut case = |verb, subject: String, is_allowed| cases.push(Case { verb, subject, is_allowed });
    let edges = declared["edges"].as_array().context("no edges")?;
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(|one| one.as_str().map(str::to_owned)).collect()
    };
    for module in declared["modules"].as_array().context("no modules")? {
        let name = module["name"].as_str().context("no name")?;
        let is_own = name == user;
        let reads = edges.iter().any(|edge| edge["module"] == user && edge["source"] == name);
        for subject in [texts(&module["emits"]), texts(&module["sends"])].concat() {
            case("publish", format!("{namespace}.{subject}"), is_own);
            case("subscribe", format!("{namespace}.{subject}"), false);
        }
        for subject in texts(&module["serves"]) {
            case("publish", format!("{namespace}.{subject}"), is_own);
            case("subscribe", format!("{namespace}.{subject}"), is_own);
        }
        case("publish", format!("{namespace}.{name}.rpc.lead_7.v1"), is_own);
        case("publish", format!("{namespace}.{name}.rpc.log_read.v1"), is_own || reads);
        case("publish", format!("{namespace}.{name}.end"), is_own);
        case("publish", format!("{namespace}.{name}.reader"), reads);
        case("subscribe", format!("{namespace}.{name}.end"), reads);
        case("subscribe", format!("{namespace}.{name}.reader"), is_own);
        case("subscribe", format!("_INBOX_{name}.any.thing"), is_own);
        let stream = format!("{namespace}_{name}").to_uppercase();
        let is_provisioner = user == "provisioner";
        case("publish", format!("$JS.API.STREAM.INFO.{stream}"), is_own || reads || is_provisioner);
        case("publish", format!("$JS.API.STREAM.CREATE.{stream}"), is_provisioner);
        case("publish", format!("$JS.API.STREAM.MSG.GET.{stream}"), is_own || reads);
        for call in ["UPDATE", "DELETE", "PURGE", "SNAPSHOT", "RESTORE", "MSG.DELETE"] {
            case("publish", format!("$JS.API.STREAM.{call}.{stream}"), false);
        }
        // Every reader's name at every stream: it may be the consumer's name at another one.
        let readers: BTreeSet<_> = edges.iter().filter_map(|edge| edge["reader"].as_str()).collect();
        for reader in readers {
            let is_it = |edge: &&Value| edge["reader"] == reader && edge["source"] == name && edge["module"] == user;
            let reads = edges.iter().any(|edge| is_it(&edge));
            for call in ["CREATE", "DELETE", "MSG.NEXT"] {
                case("publish", format!("$JS.API.CONSUMER.{call}.{stream}.{reader}"), reads);
            }
            for call in ["DURABLE.CREATE", "INFO", "PAUSE"] {
                case("publish", format!("$JS.API.CONSUMER.{call}.{stream}.{reader}"), false);
            }
            case("publish", format!("$JS.ACK.{stream}.{reader}.1.1.1.1.1"), reads);
        }
    }
    let key_is_asked_for = user != "provisioner";
    case("publish", format!("{namespace}.user.rpc.token_key.v1"), key_is_asked_for);
    case("subscribe", format!("{namespace}.>"), false);
    case("subscribe", ">".to_owned(), false);
    case("subscribe", "_INBOX.>".to_owned(), false);
    case("publish", "$JS.API.STREAM.NAMES".to_owned(), false);
    case("publish", "$SYS.REQ.SERVER.PING".to_owned(), false);
    Ok(cases)
}

/// What the server refuses this user.
async fn refused(url: &str, seed: &str, cases: &[Case]) -> Result<BTreeSet<(&'static str, String)>> {
    let told = Arc::new(Mutex::new(Vec::<String>::new()));
    let heard = told.clone();
    let options = ConnectOptions::with_nkey(seed.trim().to_owned()).event_callback(move |event| {
        if let Ok(mut told) = heard.lock() {
            told.push(event.to_string());
        }
        std::future::ready(())
    });
    let client = options.connect(url).await?;
    let mut subscriptions = Vec::new();
    for (number, some) in cases.chunks(ASKED_AT_ONCE).enumerate() {
        for case in some {
            match case.verb {
                "subscribe" => subscriptions.push(client.subscribe(case.subject.clone()).await?),
                _ => client.publish(case.subject.clone(), "".into()).await?,
            }
        }
        wait_until_judged(&client, number, &told).await?;
    }
    let told = told.lock().map(|told| told.clone()).unwrap_or_default();
    let is_refused = |case: &Case| {
        let what = if case.verb == "subscribe" { "subscription to" } else { "publish to" };
        let said = format!("{what} \"{}\"", case.subject.to_lowercase());
        told.iter().any(|event| event.to_lowercase().contains(&said))
    };
    Ok(cases.iter().filter(|case| is_refused(case)).map(|case| (case.verb, case.subject.clone())).collect())
}

async fn wait_until_judged(client: &Client, number: usize, told: &Arc<Mutex<Vec<String>>>) -> Result<()> {
    let last = format!("{LAST}.{number}");
    client.publish(last.clone(), "".into()).await?;
    client.flush().await?;
    eventually("the server's last refusal", TOLD_MAX, async || {
        Ok(told.lock().ok().filter(|told| told.iter().any(|event| event.contains(&last))).map(drop))
    })
    .await
}
