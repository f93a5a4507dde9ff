//! `apart`: the saga in four processes over NATS and PostgreSQL.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use pangaea::load::{Report, Shop};
use pangaea_testkit::{Folder, Placement, Postgres, Store};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};

use crate::byhand::{JOURNAL, SCHEMAS, script};
use crate::machine::{Usage, usage};
use crate::orders::{self, WARM_UP_ORDERS};
use crate::place::{prepare, staff_at};
use crate::sheet::{Bound, Sheet, Spread};
use crate::{Common, settings};

/// Each in a process of its own.
const MODULES: [&str; 4] = ["product", "order", "payment", "user"];

#[derive(Args)]
#[command(after_help = "Servers and processes are in the temporary folder: TMPDIR names another, --dir does not.")]
pub(crate) struct ApartArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Orders of a run
    #[arg(long, value_name = "N", default_value_t = 3_000, value_parser = clap::value_parser!(u64).range(100..=1_000_000))]
    orders: u64,
    /// Workers that place orders
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    workers: u32,
    /// Clients of pgbench
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=100))]
    clients: u32,
    /// How long a run of pgbench takes
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    pgbench_s: u64,
}

/// Servers and processes are in the temporary folder; `TMPDIR` names another.
pub(crate) async fn run(args: ApartArgs) -> Result<Sheet> {
    let folder = std::env::temp_dir().join("pangaea-bench");
    let prepared = prepare(&folder).await;
    let (_, machine) =
        prepared.context("this bench is in the temporary folder, which TMPDIR names, and not in --dir")?;
    let mut sheet = Sheet::new("apart", machine);
    let (mut runs, mut batches, mut needed): (Vec<Report>, Vec<f64>, Vec<Vec<Usage>>) = Default::default();
    for number in 1..=args.common.runs {
        let store = Store::builder(Placement::ApartPostgres)
            .own_postgres()
            .set("TELEMETRY__LOG_FILTER", "warn")
            .set("MODULES__PRODUCT__OPTIONS__DEMO_CATALOGUE", "false");
        let mut store = store.start().await?;
        let shop = Shop::sign_in(&staff_at(store.api().base()), args.workers).await?;
        orders::catalogue(&shop).await?;
        orders::at_full_load(&shop, 0, WARM_UP_ORDERS, args.workers).await?;
        let before = usages(&mut store)?;
        let report = orders::at_full_load(&shop, u64::from(number), args.orders, args.workers).await?;
        eprintln!("bench: run {number} of {}: {:.1} confirmed a second", args.common.runs, report.confirmed_per_s);
        let used = usages(&mut store)?.into_iter().zip(before);
        needed.push(used.map(|(now, then)| Usage { cpu_s: now.cpu_s - then.cpu_s, ..now }).collect());
        runs.push(report);
        batches.push(inputs_of_batch(&store).await?);
        store.verify().await?;
        if number == args.common.runs {
            let url = store.env("DATABASE__URL").unwrap_or_default().to_owned();
            ensure!(!url.is_empty(), "the store has no database");
            sheet.settings(settings::of_postgres(&url).await?);
        }
        store.stop().await?;
    }
    sheet.setting("orders", format!("{} a run, of 1 to 3 lines; {} workers", args.orders, args.workers));
    let confirmed: Vec<f64> = runs.iter().map(|run| run.confirmed_per_s).collect();
    let figure = sheet.figure("confirmed orders, apart on NATS and PostgreSQL", "/s", &confirmed);
    figure.must(Bound::AtLeast(150.0), Bound::AtLeast(150.0));
    sheet.figure("inputs in a transaction, mean", "", &batches);
    for (place, module) in MODULES.iter().enumerate() {
        let of = |what: fn(&Usage) -> f64| needed.iter().map(|run| what(&run[place])).collect::<Vec<f64>>();
        sheet.figure(format!("{module}: most resident memory"), "MB", &of(|usage| usage.most_mb));
        let per_order: Vec<f64> =
            of(|usage| usage.cpu_s).iter().zip(&runs).map(|(cpu_s, run)| cpu_s * 1e3 / run.confirmed as f64).collect();
        sheet.figure(format!("{module}: processor time of an order"), "ms", &per_order);
    }
    let batch = (Spread::of(&batches).median.round() as u64).max(1);
    let mut bench = Vec::new();
    for number in 1..=args.common.runs {
        let orders = pgbench(&args, batch).await?;
        eprintln!("bench: pgbench, run {number} of {}: {orders:.1} orders a second", args.common.runs);
        bench.push(orders);
    }
    let (clients, seconds) = (args.clients, args.pgbench_s);
    let script =
        format!("the saga's 11 transactions of {batch} orders as one script, {clients} clients, {seconds} s a run");
    sheet.setting("pgbench", script);
    sheet.figure("pgbench on the saga's statements: orders", "/s", &bench);
    let ratio = Spread::of(&confirmed).median / Spread::of(&bench).median;
    let figure = sheet.figure("the store ÷ pgbench, of the medians", "", &[ratio]);
    figure.must(Bound::AtLeast(0.3), Bound::AtLeast(0.5));
    Ok(sheet)
}

/// Of each module's process, in the order of [`MODULES`].
fn usages(store: &mut Store) -> Result<Vec<Usage>> {
    let of = |module| usage(store.process(module)?.id().with_context(|| format!("{module} does not run"))?);
    MODULES.into_iter().map(of).collect()
}

/// By the store's own count, over the three modules that an order goes through.
async fn inputs_of_batch(store: &Store) -> Result<f64> {
    let (mut inputs, mut batches) = (0.0, 0.0);
    for module in ["order", "product", "payment"] {
        let metrics = store.metrics(module).await?;
        let of = |name: &str| {
            let line = metrics.lines().find(|line| line.starts_with(name)).with_context(|| format!("no {name}"))?;
            line.rsplit(' ').next().unwrap_or_default().parse::<f64>().with_context(|| line.to_owned())
        };
        inputs += of("pangaea_batch_size_sum")?;
        batches += of("pangaea_batch_size_count")?;
    }
    Ok(inputs / batches)
}

/// Orders a second that pgbench brings through a server of its own.
async fn pgbench(args: &ApartArgs, batch: u64) -> Result<f64> {
    let folder = Folder::new("pgbench")?;
    let mut server = Postgres::new(folder.path()).await?;
    server.start().await?;
    let address = server.address();
    let mut connection = PgConnection::connect(&format!("postgres://postgres@{address}/postgres")).await?;
    for (module, tables) in SCHEMAS {
        let head = "INSERT INTO head VALUES (1, 1, 'log_00000000000000000000', 0, 0, 0, 0, '0.1.0')";
        let sql = format!("CREATE SCHEMA \"{module}\"; SET search_path TO \"{module}\"; {JOURNAL}; {tables}; {head}");
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.with_context(|| module.to_owned())?;
    }
    let text = tokio::task::spawn_blocking(move || script(batch)).await.context("the script")??;
    std::fs::write(folder.path().join("saga.sql"), text)?;
    let mut pgbench = Postgres::program("pgbench", folder.path())?;
    let (port, seconds, clients) = (address.port().to_string(), args.pgbench_s.to_string(), args.clients.to_string());
    let file = folder.join("saga.sql");
    pgbench.args(&["-n", "-h", "127.0.0.1", "-p", &port, "-U", "postgres", "-f", &file, "-c", &clients, "-j", "2"]);
    pgbench.args(&["-T", &seconds, "postgres"]);
    let output = pgbench.run(Duration::from_secs(args.pgbench_s + 60)).await?.success().context("pgbench")?;
    let select = "SELECT count(*) FROM \"order\".orders WHERE state = 'confirmed'";
    let confirmed: i64 = sqlx::query(select).fetch_one(&mut connection).await?.get(0);
    ensure!(confirmed > 0, "pgbench has confirmed nothing:\n{}", output.stdout);
    connection.close().await?;
    folder.set_clean();
    let rate =
        output.stdout.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse::<f64>().ok());
    Ok(rate.context("pgbench says no rate")? * batch as f64)
}
