//! `tax`: what the runtime costs over a hand-written program of the same saga.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, ensure};
use clap::Args;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Method, Request};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::json;
use tokio::time::Instant;

use crate::byhand::{Bulk, ByHand, Calls, Written, bulk_rate};
use crate::orders::WARM_UP_ORDERS;
use crate::place::{Place, prepare};
use crate::sheet::{Bound, Sheet};
use crate::{Common, saga, settings};

/// Inputs of one order: five of order, two of product, four of payment.
const INPUTS_OF_ORDER: f64 = 11.0;
const PRODUCTS: u64 = 200;

#[derive(Args)]
pub(crate) struct TaxArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Orders of a run
    #[arg(long, value_name = "N", default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(100..=100_000))]
    orders: u64,
    /// Workers that place orders
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    workers: u32,
}

/// What one run finds.
struct Run {
    each: Bulk,
    one: Bulk,
    /// The program without HTTP and provider: orders, rows and values a second.
    alone: [f64; 3],
    by_hand: f64,
    store: f64,
}

/// The databases' own rate, the program's SQL alone, the program with HTTP and provider, and the store. The last two take
/// turns at being first: what is written before costs the disk something afterwards.
pub(crate) async fn run(args: TaxArgs) -> Result<Sheet> {
    let (dir, machine) = prepare(&args.common.dir).await?;
    let mut sheet = Sheet::new("tax", machine);
    let mut runs = Vec::new();
    for number in 1..=args.common.runs {
        let folder = dir.join(format!("run-{number}"));
        let place = Place::new(&folder.join("store"))?;
        let each = bulk_rate(&folder.join("each"), Calls::Each).await?;
        let one = bulk_rate(&folder.join("one"), Calls::One).await?;
        let alone = sql_alone(&folder.join("alone"), args.orders).await?;
        let (mut by_hand, mut store) = (0.0, 0.0);
        for is_store in [number % 2 == 0, number % 2 == 1] {
            match is_store {
                true => store = saga::full_load(&place, args.orders, args.workers, number).await?.confirmed_per_s,
                false => by_hand = whole(&folder.join("by-hand"), &args).await?,
            }
        }
        eprintln!(
            "bench: run {number}: SQL alone {:.0}, by hand {by_hand:.0}, store {store:.0} orders a second",
            alone[0]
        );
        runs.push(Run { each, one, alone, by_hand, store });
        if number == args.common.runs {
            sheet.settings(settings::of_sqlite(place.folder(), true).await?);
        }
    }
    sheet.setting("orders", format!("{} a run, of 1 to 3 lines; {} workers", args.orders, args.workers));
    figures(&mut sheet, &runs);
    Ok(sheet)
}

fn figures(sheet: &mut Sheet, runs: &[Run]) {
    let of = |read: &dyn Fn(&Run) -> f64| runs.iter().map(read).collect::<Vec<_>>();
    sheet.figure(
        "SQLite, 4 databases, 64 in a transaction, a call each: messages",
        "/s",
        &of(&|run| run.each.messages_per_s),
    );
    sheet.figure(
        "SQLite, 4 databases, 256 in a transaction, one call: messages",
        "/s",
        &of(&|run| run.one.messages_per_s),
    );
    sheet.figure("by hand, SQL alone: inputs", "/s", &of(&|run| run.alone[0] * INPUTS_OF_ORDER));
    sheet.figure("SQLite, one call: rows", "/s", &of(&|run| run.one.rows_per_s));
    sheet.figure("by hand, SQL alone: rows", "/s", &of(&|run| run.alone[1]));
    // An input of the saga writes more and wider rows than a message of the plain batch, with more indexes on them: what
    // both can be held to is the values that they write.
    sheet.figure("SQLite, a call each: values", "/s", &of(&|run| run.each.values_per_s));
    sheet.figure("SQLite, one call: values", "/s", &of(&|run| run.one.values_per_s));
    sheet.figure("by hand, SQL alone: values", "/s", &of(&|run| run.alone[2]));
    let reached = of(&|run| run.alone[2] / run.each.values_per_s);
    let figure = sheet.figure("by hand, SQL alone ÷ SQLite's rate with a call each, values", "", &reached);
    figure.must(Bound::AtLeast(0.8), Bound::AtLeast(0.8));
    let reached = of(&|run| run.alone[2] / run.one.values_per_s);
    sheet.figure("by hand, SQL alone ÷ SQLite's rate with one call, values", "", &reached);
    sheet.figure("by hand, SQL alone: confirmed orders", "/s", &of(&|run| run.alone[0]));
    sheet.figure("by hand: confirmed orders", "/s", &of(&|run| run.by_hand));
    sheet.figure("the store: confirmed orders", "/s", &of(&|run| run.store));
    let figure = sheet.figure("runtime tax: by hand ÷ the store", "", &of(&|run| run.by_hand / run.store));
    figure.must(Bound::AtMost(2.0), Bound::AtMost(1.4));
    let ratio = of(&|run| run.alone[0] / run.store);
    sheet.figure("by hand, SQL alone ÷ the store with HTTP, provider and load generator", "", &ratio);
}

/// Orders, rows and values a second past HTTP, with a provider that answers at once.
async fn sql_alone(folder: &Path, orders: u64) -> Result<[f64; 3]> {
    let mut program = ByHand::start(folder, false).await?;
    let begun = Instant::now();
    program.place_directly(orders).await?;
    program.confirmed(orders).await?;
    let seconds = begun.elapsed().as_secs_f64();
    let Written { rows, values } = &*program.written;
    Ok([orders, rows.load(Ordering::Relaxed), values.load(Ordering::Relaxed)].map(|count| count as f64 / seconds))
}

/// Orders a second as clients and a provider see it.
async fn whole(folder: &Path, args: &TaxArgs) -> Result<f64> {
    let mut program = ByHand::start(folder, true).await?;
    load(program.address, WARM_UP_ORDERS, 0, args.workers).await?;
    program.confirmed(WARM_UP_ORDERS).await?;
    let begun = Instant::now();
    load(program.address, args.orders, WARM_UP_ORDERS, args.workers).await?;
    program.confirmed(WARM_UP_ORDERS + args.orders).await?;
    Ok(args.orders as f64 / begun.elapsed().as_secs_f64())
}

/// The load generator's closed loop, without what only the store has: tokens, and lists that say what has settled.
async fn load(address: SocketAddr, orders: u64, first: u64, workers: u32) -> Result<()> {
    let client: Client<HttpConnector, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let next = Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> =
        (0..workers).map(|_| tokio::spawn(work(client.clone(), address, next.clone(), orders, first))).collect();
    for task in tasks {
        task.await??;
    }
    Ok(())
}

async fn work(
    client: Client<HttpConnector, Full<Bytes>>,
    address: SocketAddr,
    next: Arc<AtomicU64>,
    orders: u64,
    first: u64,
) -> Result<()> {
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= orders {
            return Ok(());
        }
        let number = first + number;
        let lines: Vec<_> = (0..=number % 3).map(|line| {
            json!({ "sku": format!("BENCH-{:04}", 1 + (number * 7 + line * 31) % PRODUCTS), "quantity": 1 + number % 2 })
        }).collect();
        let body = json!({ "lines": lines, "payment_token": "tok_ok", "customer_reference": "load-1" });
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("http://{address}/v1/orders"))
            .header("idempotency-key", format!("load-1-{number}"))
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body.to_string())))?;
        let response = client.request(request).await.context("the hand-written program")?;
        ensure!(response.status() == 202, "the hand-written program answered {}", response.status());
        let body = response.into_body().collect().await?.to_bytes();
        let order: serde_json::Value = serde_json::from_slice(&body)?;
        ensure!(order.get("id").is_some(), "an order without an id");
    }
}
