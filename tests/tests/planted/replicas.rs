//! Two processes that both believe to lead, on one PostgreSQL.

use anyhow::Result;
use pangaea_faults::{Plant, VARIABLE};
use pangaea_testkit::{Api, Placement, Process, eventually, free_port, program, workspace};
use pangaea_tests::{Shop, ask_to_place};

use crate::support::{SEEN_MAX, builder, must_be_caught};

/// What a second process shares with the first.
const SHARED: [&str; 4] = [
    "DATABASE__URL",
    "MODULES__PAYMENT__OPTIONS__PROVIDER__URL",
    "MODULES__USER__OPTIONS__SEALING_KEY_FILE",
    "MODULES__ORDER__SETTINGS__ACTION_TIMEOUT_MS",
];
/// Longer than the second process takes to start.
const ACTION_TIMEOUT_MS: &str = "12000";
/// A timer's transaction stays open for long enough to be met by another.
const SLOW_TIMERS: &str = "timer.after=hang:400@1x1000000000";

#[tokio::test(flavor = "multi_thread")]
async fn a_timer_that_two_replicas_fire() -> Result<()> {
    let plant = Plant::TimerFiredByTwoReplicas;
    let (shop, _second) = two_leaders(&format!("plant:{plant} {SLOW_TIMERS}")).await?;
    must_be_caught(&shop, &shop.audit()?, "timers_once").await?;
    drop(shop);
    is_superseded(&format!("guarded:{plant} {SLOW_TIMERS}")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_row_that_is_not_checked() -> Result<()> {
    let plant = Plant::HeadRowNotChecked;
    let (shop, second) = two_leaders(&format!("plant:{plant}")).await?;
    // Both write, each where it believes the log to end.
    let other = Api::new(&second.http)?.sign_in(pangaea_testkit::Account::CUSTOMER).await?;
    for api in [&shop.customer, &other, &shop.customer, &other] {
        let _ = ask_to_place(api, &[("NEVER-SOLD", 1)], "tok_ok").send().await?;
    }
    must_be_caught(&shop, &shop.audit()?, "logs_dense").await?;
    drop(shop);
    is_superseded(&format!("guarded:{plant}")).await
}

/// The head row tells the first that another has taken over; it stops, and has done no harm.
async fn is_superseded(faults: &str) -> Result<()> {
    let (mut shop, second) = two_leaders(faults).await?;
    let _ = ask_to_place(&shop.customer, &[("NEVER-SOLD", 1)], "tok_ok").send().await;
    crate::support::must_say(&mut shop, "order", "another writer has taken over").await?;
    let audit = shop.audit()?;
    audit.judge_within(SEEN_MAX).await?.ensure_sound()?;
    drop(second);
    shop.store.folder().set_clean();
    Ok(())
}

struct Second {
    #[expect(dead_code, reason = "it runs for as long as it is held")]
    process: Process,
    http: String,
}

/// A store that has an order with a deadline, and a second process that leads the same schemas.
async fn two_leaders(faults: &str) -> Result<(Shop, Second)> {
    let start = builder(Placement::TogetherMemory)
        .on_postgres()
        .set("MODULES__ORDER__SETTINGS__ACTION_TIMEOUT_MS", ACTION_TIMEOUT_MS)
        .variable(VARIABLE, faults);
    let shop = Shop::open_with(start).await?;
    let sku = shop.new_sku(10, 100).await?;
    let placed = ask_to_place(&shop.customer, &[(&sku.code, 1)], "tok_action_required").send().await?.expect(202)?;
    // What is still on its way between modules would be read by the second from logs that it has seen the end of.
    shop.reaches(&shop.customer, placed.text_at("id")?, "action_required").await?;
    let second = second(&shop, faults).await?;
    Ok((shop, second))
}

async fn second(shop: &Shop, faults: &str) -> Result<Second> {
    let address = || format!("127.0.0.1:{}", free_port());
    let (http, operations) = (address(), address());
    let mut env: Vec<(String, String)> =
        SHARED.iter().filter_map(|name| Some(((*name).to_owned(), shop.store.env(name)?.to_owned()))).collect();
    env.extend([("HTTP__LISTEN".to_owned(), http.clone()), ("OPERATIONS__LISTEN".to_owned(), operations.clone())]);
    let mut env: Vec<_> = env.into_iter().map(|(name, value)| (format!("PANGAEA__{name}"), value)).collect();
    env.push((VARIABLE.to_owned(), faults.to_owned()));
    let mut process = Process::new("second", program()?, shop.store.folder().path());
    let config = workspace().join("config/together.toml").display().to_string();
    process.args(&["run", "--config", &config]).envs(&env).start()?;
    let health = Api::new(&format!("http://{operations}"))?;
    let ready = async || {
        process.must_run()?;
        Ok(health.get("/readyz").send().await.ok().filter(|answer| answer.status == 200))
    };
    eventually("the second process to be ready", SEEN_MAX, ready).await?;
    Ok(Second { process, http: format!("http://{http}") })
}
