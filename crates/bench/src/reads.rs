//! `reads`: reading a product and a page of them, beside a bare axum route that reads the same rows.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use clap::Args;
use futures_util::future::try_join_all;
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use pangaea::load::Shop;
use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions, SqliteRow};
use sqlx::{ConnectOptions, Row};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use crate::place::{Place, prepare, stopped_and_sound};
use crate::sheet::{Bound, Sheet};
use crate::{Common, orders, settings};

const PAGE: usize = 20;
/// As the store's `database.read_connections_max`.
const READ_CONNECTIONS: u32 = 4;
const START_PATIENCE: Duration = Duration::from_secs(10);
const WARM_UP: Duration = Duration::from_millis(500);

#[derive(Args)]
pub(crate) struct ReadsArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Connections, each sending its next request as soon as the last is answered
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    connections: u32,
    /// How long a run takes
    #[arg(long, value_name = "S", default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=600))]
    run_s: u64,
}

#[derive(Args)]
pub(crate) struct BareArgs {
    database: PathBuf,
    listen: SocketAddr,
}

/// The two take turns, on the same database file.
pub(crate) async fn run(args: ReadsArgs) -> Result<Sheet> {
    let (dir, machine) = prepare(&args.common.dir).await?;
    let mut sheet = Sheet::new("reads", machine);
    let place = Place::new(&dir.join("run-reads"))?;
    // One address asks more often here than the store lets a stranger.
    let place = place.set("HTTP__RATE_LIMIT_PER_MINUTE__ANONYMOUS", "100000000");
    let store = place.start().await?;
    let shop = Shop::sign_in(&place.store_args(), 4).await?;
    orders::catalogue(&shop).await?;
    let page = shop.get(&format!("/v1/products?limit={PAGE}")).await?;
    let items = page.get("items").and_then(Value::as_array).context("the list has no items")?;
    ensure!(items.len() == PAGE, "the page has {} products", items.len());
    let ids = items.iter().filter_map(|item| item.get("id").and_then(Value::as_str)).map(str::to_owned);
    let ids: Vec<String> = ids.collect();
    let (bare, bare_address) = start_bare(&place).await?;
    let lasting = Duration::from_secs(args.run_s);
    for (what, paths) in [
        ("GET product", ids.iter().map(|id| format!("/v1/products/{id}")).collect()),
        ("GET product list", vec![format!("/v1/products?limit={PAGE}")]),
    ] {
        let (mut of_store, mut of_bare) = (Vec::new(), Vec::new());
        for number in 1..=args.common.runs {
            let mut both = [(place.address(), &mut of_store), (bare_address, &mut of_bare)];
            if number % 2 == 0 {
                both.reverse();
            }
            for (address, into) in both {
                requests_per_s(address, &paths, args.connections, WARM_UP).await?;
                into.push(requests_per_s(address, &paths, args.connections, lasting).await?);
            }
            eprintln!("bench: {what}, run {number} of {}", args.common.runs);
        }
        sheet.figure(what, "/s", &of_store);
        sheet.figure(format!("{what}, bare axum route"), "/s", &of_bare);
        let ratios: Vec<f64> = of_store.iter().zip(&of_bare).map(|(store, bare)| store / bare).collect();
        let figure = sheet.figure(format!("{what}, store ÷ bare"), "", &ratios);
        figure.must(Bound::AtLeast(0.5), Bound::AtLeast(0.8));
    }
    drop(bare);
    sheet.settings(settings::of_sqlite(place.folder(), true).await?);
    sheet.setting(
        "requests",
        format!("{} connections, {} s a run, {PAGE} products a page", args.connections, args.run_s),
    );
    stopped_and_sound(&place, store).await?;
    Ok(sheet)
}

async fn start_bare(place: &Place) -> Result<(Child, SocketAddr)> {
    let address = std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
    let mut command = Command::new(std::env::current_exe().context("the path of this executable")?);
    command.arg("bare-route").arg(place.database("product")).arg(address.to_string());
    let mut child = command.stdin(Stdio::null()).kill_on_drop(true).spawn().context("the bare route's process")?;
    let begun = Instant::now();
    while tokio::net::TcpStream::connect(address).await.is_err() {
        if let Some(status) = child.try_wait()? {
            bail!("the bare route has ended with {status}");
        }
        ensure!(begun.elapsed() < START_PATIENCE, "the bare route does not start");
        sleep(Duration::from_millis(10)).await;
    }
    Ok((child, address))
}

async fn requests_per_s(address: SocketAddr, paths: &[String], connections: u32, lasting: Duration) -> Result<f64> {
    let client: Client<HttpConnector, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let begun = Instant::now();
    let workers = (0..connections as usize).map(|worker| {
        let (client, paths) = (client.clone(), paths.to_vec());
        async move {
            let mut count = 0_u64;
            while begun.elapsed() < lasting {
                let path = &paths[(worker + count as usize) % paths.len()];
                let response = client.get(format!("http://{address}{path}").parse()?).await?;
                ensure!(response.status() == StatusCode::OK, "GET {path}: {}", response.status());
                response.into_body().collect().await?;
                count += 1;
            }
            Ok(count)
        }
    });
    let tasks = try_join_all(workers.map(tokio::spawn)).await?;
    let total: u64 = tasks.into_iter().sum::<Result<u64>>()?;
    Ok(total as f64 / begun.elapsed().as_secs_f64())
}

/// The least that a service would do for these two: the product's row, its SKUs with their stock, as JSON.
///
/// # Errors
/// When the database cannot be opened, or the address is taken.
pub(crate) async fn bare_route(args: BareArgs) -> Result<()> {
    let options = SqliteConnectOptions::new().filename(&args.database).read_only(true).disable_statement_logging();
    let pool = SqlitePoolOptions::new().max_connections(READ_CONNECTIONS).test_before_acquire(false);
    let pool = pool.connect_with(options).await?;
    let routes =
        Router::new().route("/v1/products", get(list)).route("/v1/products/{id}", get(product)).with_state(pool);
    Ok(axum::serve(tokio::net::TcpListener::bind(args.listen).await?, routes).await?)
}

const PRODUCT: &str = "SELECT id, name, description, categories, picture, price_min, version, created_at, updated_at \
    FROM product WHERE withdrawn = 0";
const SKUS: &str = "SELECT s.sku_id, s.code, s.options, s.price_amount, s.price_currency, t.on_hand - t.reserved, \
    s.product_id FROM sku s JOIN stock t ON t.sku_id = s.sku_id WHERE s.product_id IN";

async fn product(State(pool): State<SqlitePool>, Path(id): Path<String>) -> Result<impl IntoResponse, StatusCode> {
    let row = sqlx::query(sqlx::AssertSqlSafe(format!("{PRODUCT} AND id = ?"))).bind(&id).fetch_optional(&pool).await;
    let row = row.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?.ok_or(StatusCode::NOT_FOUND)?;
    let skus = sqlx::query(sqlx::AssertSqlSafe(format!("{SKUS} (?)"))).bind(&id).fetch_all(&pool).await;
    let skus = skus.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    as_json(&row, &skus).map(Json).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
}

async fn list(State(pool): State<SqlitePool>) -> Result<impl IntoResponse, StatusCode> {
    let failed = |_| StatusCode::INTERNAL_SERVER_ERROR;
    let page = format!("{PRODUCT} ORDER BY id LIMIT {PAGE}");
    let rows = sqlx::query(sqlx::AssertSqlSafe(page)).fetch_all(&pool).await.map_err(failed)?;
    let marks = vec!["?"; rows.len()].join(", ");
    let sql = format!("{SKUS} ({marks})");
    let mut query = sqlx::query(sqlx::AssertSqlSafe(sql));
    for row in &rows {
        query = query.bind(row.get::<String, _>(0));
    }
    let skus = query.fetch_all(&pool).await.map_err(failed)?;
    let items = rows.iter().map(|row| {
        let id: String = row.get(0);
        let own: Vec<&SqliteRow> = skus.iter().filter(|sku| sku.get::<String, _>(6) == id).collect();
        one(row, &own)
    });
    let items = items.collect::<Result<Vec<Value>>>().map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(Json(json!({ "items": items })))
}

fn as_json(row: &SqliteRow, skus: &[SqliteRow]) -> Result<Value> {
    one(row, &skus.iter().collect::<Vec<_>>())
}

fn one(row: &SqliteRow, skus: &[&SqliteRow]) -> Result<Value> {
    let parsed = |row: &SqliteRow, column: usize| serde_json::from_str::<Value>(row.get(column));
    let variants = skus.iter().map(|sku| {
        Ok(json!({
            "id": sku.get::<&str, _>(0),
            "code": sku.get::<&str, _>(1),
            "options": parsed(sku, 2)?,
            "price": { "amount": sku.get::<i64, _>(3), "currency": sku.get::<&str, _>(4) },
            "available": sku.get::<i64, _>(5),
        }))
    });
    Ok(json!({
        "id": row.get::<&str, _>(0),
        "name": row.get::<&str, _>(1),
        "description": row.get::<&str, _>(2),
        "categories": parsed(row, 3)?,
        "picture": row.get::<Option<&str>, _>(4),
        "variants": variants.collect::<Result<Vec<Value>>>()?,
        "version": row.get::<i64, _>(6),
        "created_at": row.get::<i64, _>(7),
        "updated_at": row.get::<i64, _>(8),
    }))
}
