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

use crate::byhand::{ByHand, Written, bulk_rate};
use crate::orders::WARM_UP_ORDERS;
use crate::place::{Place, prepare};
use crate::sheet::{Bound, Sheet};
use crate::{Common, saga, settings};

/// Inputs of one order: five of order, two of product, four of payment.
const INPUTS_OF_ORDER: u64 = 11;
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

/// Each run: the databases' own rate, the program's SQL alone, the program with HTTP and provider, and the store.
pub(crate) async fn run(args: TaxArgs) -> Result<Sheet> {
    let (dir, machine) = prepare(&args.common.dir).await?;
    let mut sheet = Sheet::new("tax", machine);
    let (mut bulk_rows, mut alone_rows) = (Vec::new(), Vec::new());
    let (mut bulk_values, mut alone_values) = (Vec::new(), Vec::new());
    let (mut bulk, mut alone, mut by_hand, mut store) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for number in 1..=args.common.runs {
        let folder = dir.join(format!("run-{number}"));
        let own = bulk_rate(&folder.join("bulk")).await?;
        bulk.push(own.messages_per_s);
        bulk_rows.push(own.rows_per_s);
        bulk_values.push(own.values_per_s);
        let [orders, rows, values] = sql_alone(&folder.join("alone"), args.orders).await?;
        alone.push(orders);
        alone_rows.push(rows);
        alone_values.push(values);
        by_hand.push(whole(&folder.join("by-hand"), &args).await?);
        let place = Place::new(&folder.join("store"))?;
        store.push(saga::full_load(&place, args.orders, args.workers, number).await?.confirmed_per_s);
        let last = |runs: &[f64]| runs.last().copied().unwrap_or_default();
        let (bulk, alone, by_hand, store) = (last(&bulk), last(&alone), last(&by_hand), last(&store));
        eprintln!("bench: run {number}: bulk {bulk:.0}, SQL alone {alone:.0}, by hand {by_hand:.0}, store {store:.0}");
        if number == args.common.runs {
            sheet.settings(settings::of_sqlite(place.folder(), true).await?);
        }
    }
    sheet.setting("orders", format!("{} a run, of 1 to 3 lines; {} workers", args.orders, args.workers));
    sheet.figure("SQLite: messages through 4 databases, 64 in a transaction", "/s", &bulk);
    let inputs: Vec<f64> = alone.iter().map(|orders| orders * INPUTS_OF_ORDER as f64).collect();
    sheet.figure("by hand, SQL alone: inputs", "/s", &inputs);
    sheet.figure("SQLite: rows through the same 4 databases", "/s", &bulk_rows);
    sheet.figure("by hand, SQL alone: rows", "/s", &alone_rows);
    sheet.figure("SQLite: values through the same 4 databases", "/s", &bulk_values);
    sheet.figure("by hand, SQL alone: values", "/s", &alone_values);
    // An input of the saga writes more and wider rows than a message of the plain batch, with more indexes on them: what
    // both can be held to is the values that they write.
    let reached: Vec<f64> = alone_values.iter().zip(&bulk_values).map(|(alone, bulk)| alone / bulk).collect();
    let figure = sheet.figure("by hand, SQL alone ÷ SQLite's own rate, values", "", &reached);
    figure.must(Bound::AtLeast(0.8), Bound::AtLeast(0.8));
    sheet.figure("by hand, SQL alone: confirmed orders", "/s", &alone);
    sheet.figure("by hand: confirmed orders", "/s", &by_hand);
    sheet.figure("the store: confirmed orders", "/s", &store);
    let tax: Vec<f64> = by_hand.iter().zip(&store).map(|(by_hand, store)| by_hand / store).collect();
    sheet.figure("runtime tax: by hand ÷ the store", "", &tax).must(Bound::AtMost(2.0), Bound::AtMost(1.4));
    let tax: Vec<f64> = alone.iter().zip(&store).map(|(alone, store)| alone / store).collect();
    sheet.figure("by hand, SQL alone ÷ the store with HTTP, provider and load generator", "", &tax);
    Ok(sheet)
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
