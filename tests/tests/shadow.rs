//! `pangaea shadow` beside live stores: the same version says the same, a planted change is told within seconds, and what
//! happens to the store is waited out.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use pangaea_faults::{Plant, VARIABLE};
use pangaea_testkit::{Api, Placement, Process, Release, Store, eventually, free_port, workspace};
use pangaea_tests::{Clients, Pace, Shop, Sku};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

const MODULES: [&str; 4] = ["product", "order", "payment", "user"];
/// How a shadow that has found a difference ends.
const DIFFERS: i32 = 4;
const SEEN_MAX: Duration = Duration::from_secs(60);
/// From the first order on; a fraction of a second on a machine that is not busy with other tests.
const REPORTED_MAX: Duration = Duration::from_secs(5);
const END_MAX: Duration = Duration::from_secs(60);
/// 0.29 has no exact binary form, so that a floating point number shows.
const PRICE: i64 = 29;

/// For a log each.
static SHADOWS: AtomicU32 = AtomicU32::new(0);

/// A shadow that runs.
struct Shadow {
    process: Process,
    metrics: Api,
    module: &'static str,
}

// === impl Shadow ===

impl Shadow {
    /// Beside this store, with its configuration; once it follows.
    async fn start(store: &mut Store, module: &'static str, more: &[&str], faults: Option<&str>) -> Result<Self> {
        let (program, folder) = (store.program().to_owned(), store.folder().path().to_owned());
        let env = store.process(module)?.environment().to_vec();
        Self::start_with(&program, &folder, &env, module, more, faults).await
    }

    async fn start_with(
        program: &Path,
        folder: &Path,
        env: &[(String, String)],
        module: &'static str,
        more: &[&str],
        faults: Option<&str>,
    ) -> Result<Self> {
        let address = format!("127.0.0.1:{}", free_port());
        let config = workspace().join("config/together.toml").display().to_string();
        let number = SHADOWS.fetch_add(1, Ordering::Relaxed);
        let mut process = Process::new(&format!("shadow-{module}-{number}"), program, folder);
        process.args(&["shadow", module, "--config", &config, "--metrics-listen", &address]).args(more);
        process.envs(env).set_variable(VARIABLE, faults).start()?;
        let metrics = Api::new(&format!("http://{address}"))?;
        let mut shadow = Self { process, metrics, module };
        shadow.says("shadowing ").await?;
        Ok(shadow)
    }

    async fn says(&mut self, text: &str) -> Result<()> {
        let Self { process, module, .. } = self;
        let said = async || {
            let is_said = process.log().contains(text);
            if !is_said {
                process.must_run()?;
            }
            Ok(is_said.then_some(()))
        };
        let said = eventually(&format!("the shadow of {module} to say {text:?}"), SEEN_MAX, said).await;
        said.with_context(|| self.process.log())
    }

    async fn metric(&self, name: &str) -> Result<f64> {
        let text = self.metrics.get("/metrics").send().await?.expect(200)?.text;
        let series = format!("pangaea_shadow_{name}{{module=\"{}\"}} ", self.module);
        let value = text.lines().find_map(|line| line.strip_prefix(series.as_str()));
        Ok(value.with_context(|| format!("no {series}in {text}"))?.parse()?)
    }

    /// Waits until it has compared so many, and nothing waits.
    async fn compares(&mut self, inputs: f64) -> Result<()> {
        let what = format!("the shadow of {} to have compared {inputs} inputs", self.module);
        let compared = eventually(&what, SEEN_MAX, async || {
            self.process.must_run()?;
            let is_level = self.metric("lag").await? == 0.0 && self.metric("lag_seconds").await? == 0.0;
            Ok((is_level && self.metric("inputs_total").await? >= inputs).then_some(()))
        });
        compared.await
    }

    /// Nothing has differed, and the tables are those of the leader.
    async fn ends_clean(mut self) -> Result<()> {
        ensure!(self.metric("differing_total").await? == 0.0 && self.metric("following").await? == 1.0);
        let status = self.process.terminate(END_MAX).await?;
        let log = self.process.log();
        ensure!(status.success() && log.contains("nothing differs"), "{}: {status}\n{log}", self.module);
        ensure!(!log.contains("not compared") && !log.contains("were not written down"), "{log}");
        Ok(())
    }

    async fn ends_by_itself(&mut self) -> Result<Option<i32>> {
        let status = eventually("the shadow to end", END_MAX, async || self.process.ended()).await;
        Ok(status.with_context(|| self.process.log())?.code())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_version_stays_clean_together_on_sqlite() -> Result<()> {
    let mut shop = Shop::open(Placement::TogetherMemory).await?;
    let sku = shop.new_sku(1_000_000, PRICE).await?;
    shop.confirmed(&sku, 1).await?;
    let mut shadows = Vec::new();
    for module in MODULES {
        shadows.push(Shadow::start(&mut shop.store, module, &[], None).await?);
    }
    shadows.push(Shadow::start(&mut shop.store, "order", &["--from-start"], None).await?);
    stays_clean(shop, &sku, shadows).await
}

/// Between v0.1.0 and this version the ids of spans have changed, which no state depends on. Nothing else is said otherwise.
#[tokio::test(flavor = "multi_thread")]
async fn this_version_shadows_a_leader_of_v0_1_0() -> Result<()> {
    let mut shop = Shop::open_with(Store::builder(Placement::TogetherMemory).release(&Release::v0_1_0()?)).await?;
    let sku = shop.new_sku(1_000, PRICE).await?;
    shop.confirmed(&sku, 1).await?;
    let mut shadows = Vec::new();
    for module in ["product", "order", "payment"] {
        shadows.push(Shadow::start(&mut shop.store, module, &["--ignore", "@traceparent"], None).await?);
    }
    let mut strict = Shadow::start(&mut shop.store, "order", &["--stop-at-first"], None).await?;
    for _ in 0..5 {
        shop.confirmed(&sku, 2).await?;
    }
    ensure!(strict.ends_by_itself().await? == Some(DIFFERS), "{}", strict.process.log());
    ensure!(strict.process.log().contains("@traceparent"), "{}", strict.process.log());
    for mut shadow in shadows {
        shadow.compares(5.0).await?;
        let status = shadow.process.terminate(END_MAX).await?;
        let log = shadow.process.log();
        ensure!(status.success() && log.contains("nothing differs"), "{}: {status}\n{log}", shadow.module);
    }
    shop.store.stop().await
}

/// Apart, by a role that may do nothing but read: so it cannot publish, whatever it does.
#[tokio::test(flavor = "multi_thread")]
async fn the_same_version_stays_clean_apart_on_postgres_with_the_right_to_read_only() -> Result<()> {
    let shop = Shop::open(Placement::ApartPostgres).await?;
    let sku = shop.new_sku(1_000_000, PRICE).await?;
    shop.confirmed(&sku, 1).await?;
    let url = shop.store.env("DATABASE__URL").context("no URL of the database")?.to_owned();
    let database = url.rsplit('/').next().context("no database in the URL")?;
    let role = format!("reader_of_{database}");
    let mut admin = PgConnection::connect(&url).await?;
    let mut grants = format!("CREATE ROLE {role} LOGIN;");
    for module in MODULES {
        grants += &format!(
            "GRANT USAGE ON SCHEMA \"{module}\" TO {role}; GRANT SELECT ON ALL TABLES IN SCHEMA \"{module}\" TO {role};"
        );
    }
    admin.execute(AssertSqlSafe(grants)).await?;
    let env = [("PANGAEA__DATABASE__URL".to_owned(), url.replace("postgres@", &format!("{role}@")))];
    let (program, folder) = (shop.store.program().to_owned(), shop.store.folder().path().to_owned());
    let mut shadows = Vec::new();
    for module in ["product", "order", "payment"] {
        shadows.push(Shadow::start_with(&program, &folder, &env, module, &[], None).await?);
    }
    shadows.push(Shadow::start_with(&program, &folder, &env, "order", &["--from-start"], None).await?);
    let mut reader = PgConnection::connect(&env[0].1).await?;
    let written = reader.execute("UPDATE \"order\".head SET epoch = 0").await;
    ensure!(written.is_err_and(|error| error.to_string().contains("permission denied")), "the role may write");
    reader.close().await?;
    stays_clean(shop, &sku, shadows).await?;
    // Roles are the server's, which outlives the store's database.
    let server = url.replace(&format!("/{database}"), "/postgres");
    let mut admin = PgConnection::connect(&server).await?;
    admin.execute(AssertSqlSafe(format!("DROP ROLE {role}"))).await?;
    Ok(())
}

async fn stays_clean(shop: Shop, sku: &Sku, mut shadows: Vec<Shadow>) -> Result<()> {
    let clients = Clients::start(&shop, sku)?;
    clients.accept_more(100).await?;
    clients.stop().await?;
    for shadow in &mut shadows {
        // An order is six inputs of order, two of product and four of payment at least; user has only signed in.
        shadow.compares(if shadow.module == "user" { 0.0 } else { 150.0 }).await?;
    }
    for shadow in shadows {
        shadow.ends_clean().await?;
    }
    shop.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planted_change_is_told_within_seconds_of_the_first_order() -> Result<()> {
    let mut shop = Shop::open(Placement::TogetherMemory).await?;
    let sku = shop.new_sku(1_000_000, PRICE).await?;
    // Under load before the first order that a shadow sees, too.
    let clients = Clients::start_at(&shop, &sku, Pace { clients: 2, rest: Duration::from_millis(50) })?;
    clients.accept_more(20).await?;
    for (module, plant, says) in [
        ("order", Plant::FloatMoney, "+ /total/amount 28"),
        ("payment", Plant::WallClockInAHandler, "+ @time"),
        ("product", Plant::WallClockInAHandler, "+ @time"),
    ] {
        let faults = format!("plant:{plant}");
        let begun = Instant::now();
        let mut shadow = Shadow::start(&mut shop.store, module, &[], Some(&faults)).await?;
        let followed = Instant::now();
        clients.accept_more(1).await?;
        shadow.says(says).await?;
        let (after, started) = (followed.elapsed(), followed - begun);
        println!("{plant} in {module} is told after {after:?}; the shadow took {started:?} to begin");
        ensure!(after < REPORTED_MAX, "{plant} in {module} is told only after {after:?}");
        let until_many = async || Ok((shadow.metric("differing_total").await? > 25.0).then_some(()));
        eventually("more to differ than is told one by one", SEEN_MAX, until_many).await?;
        let status = shadow.process.terminate(END_MAX).await?;
        let log = shadow.process.log();
        ensure!(status.code() == Some(DIFFERS), "{status}: {log}");
        ensure!(log.matches("s after it was admitted").count() == 20, "the number that is told is bounded: {log}");
        ensure!(log.contains("first difference: input ") && log.contains("may follow from it"), "{log}");
        ensure!(!log.contains("tok_ok"), "what contracts mark as secret is told: {log}");
    }
    first_of_all(&mut shop.store).await?;
    clients.stop().await?;
    shop.close().await
}

/// As lines of JSON, and no further than to the first difference.
async fn first_of_all(store: &mut Store) -> Result<()> {
    let faults = format!("plant:{}", Plant::FloatMoney);
    let more = ["--stop-at-first", "--json"];
    let mut shadow = Shadow::start(store, "order", &more, Some(&faults)).await?;
    let code = shadow.ends_by_itself().await?;
    let log = shadow.process.log();
    ensure!(code == Some(DIFFERS), "{code:?}: {log}");
    let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let [first, .., last] = &lines[..] else { anyhow::bail!("no lines of JSON: {log}") };
    ensure!(first["difference"]["input"]["position"] == last["summary"]["first_difference"]["position"], "{log}");
    ensure!(last["summary"]["differing"].as_u64() >= Some(1), "{log}");
    // Its time ends one, too.
    let mut shadow = Shadow::start(store, "order", &["--for", "2s", "--json"], None).await?;
    let code = shadow.ends_by_itself().await?;
    let log = shadow.process.log();
    let last: Value = serde_json::from_str(log.lines().last().unwrap_or_default()).with_context(|| log.clone())?;
    ensure!(code == Some(0) && last["summary"]["state"] == "equal", "{code:?}: {log}");
    ensure!(last["summary"]["inputs"].as_u64() > Some(0), "{log}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_killed_and_comes_back_is_followed_on() -> Result<()> {
    let mut shop = Shop::open(Placement::TogetherMemory).await?;
    let sku = shop.new_sku(1_000_000, PRICE).await?;
    let mut shadows = Vec::new();
    for module in ["order", "payment"] {
        shadows.push(Shadow::start(&mut shop.store, module, &[], None).await?);
    }
    let clients = Clients::start(&shop, &sku)?;
    clients.accept_more(20).await?;
    shop.store.kill("order")?;
    // Quiet for long enough that the shadows open the files anew.
    tokio::time::sleep(Duration::from_secs(3)).await;
    shop.store.restart("order").await?;
    clients.accept_more(20).await?;
    clients.stop().await?;
    for mut shadow in shadows {
        shadow.compares(100.0).await?;
        shadow.ends_clean().await?;
    }
    shop.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away_for_a_while_is_waited_for() -> Result<()> {
    let mut shop = Shop::open_with(Store::builder(Placement::TogetherMemory).own_postgres()).await?;
    let sku = shop.new_sku(1_000_000, PRICE).await?;
    let mut shadow = Shadow::start(&mut shop.store, "order", &[], None).await?;
    let clients = Clients::start(&shop, &sku)?;
    clients.accept_more(20).await?;
    shop.store.postgres().kill()?;
    shadow.says("waiting for the leader's database").await?;
    ensure!(shadow.metric("following").await? == 0.0);
    // Long enough for several tries.
    tokio::time::sleep(Duration::from_secs(2)).await;
    shop.store.postgres().start().await?;
    clients.accept_more(20).await?;
    clients.stop().await?;
    shadow.says("the leader's database is back").await?;
    shadow.compares(150.0).await?;
    let told = shadow.process.log().matches("waiting for the leader's database").count();
    ensure!(told == 1, "told {told} times: {}", shadow.process.log());
    shadow.ends_clean().await?;
    shop.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_shadowed_is_said() -> Result<()> {
    let folder = pangaea_testkit::Folder::new("no-shadow")?;
    let run = async |args: &[&str]| pangaea_testkit::run_program(folder.path(), args, &[]).await?.failure();
    let unknown = run(&["shadow", "nobody"]).await?;
    ensure!(
        unknown.stderr.contains("there is no module \"nobody\"") && unknown.status.code() == Some(1),
        "{unknown:?}"
    );
    let missing = run(&["shadow", "order"]).await?;
    ensure!(missing.stderr.contains("order has no database at") && missing.status.code() == Some(1), "{missing:?}");
    folder.set_clean();
    Ok(())
}
