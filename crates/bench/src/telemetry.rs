//! `telemetry`: orders a second with and without the export of traces.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use axum::Router;
use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::routing::post;
use clap::Args;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;

use crate::orders::WARM_UP_ORDERS;
use crate::place::{Place, prepare};
use crate::sheet::{Bound, Sheet};
use crate::{Common, saga};

const WORKERS: u32 = 128;

/// Bodies as they came.
type Received = Arc<Mutex<Vec<Bytes>>>;

#[derive(Args)]
pub(crate) struct TelemetryArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Orders of a run
    #[arg(long, value_name = "N", default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(100..=1_000_000))]
    orders: u64,
    /// The part of the traces that is exported
    #[arg(long, default_value_t = 0.1)]
    ratio: f64,
}

/// Each run is a pair, with and without; which comes first takes turns, because a machine warms up.
pub(crate) async fn run(args: TelemetryArgs) -> Result<Sheet> {
    let (dir, machine) = prepare(&args.common.dir).await?;
    let mut sheet = Sheet::new("telemetry", machine);
    let (endpoint, received) = sink().await?;
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for number in 1..=args.common.runs {
        for is_exporting in [number % 2 == 0, number % 2 == 1] {
            let place = Place::new(&dir.join(format!("run-{number}-{is_exporting}")))?;
            let place = match is_exporting {
                true => place
                    .set("TELEMETRY__OTLP_ENDPOINT", &endpoint)
                    .set("TELEMETRY__TRACE_SAMPLE_RATIO", &args.ratio.to_string()),
                false => place,
            };
            let report = saga::full_load(&place, args.orders, WORKERS, number).await?;
            eprintln!("bench: run {number}, export {is_exporting}: {:.1} a second", report.confirmed_per_s);
            let into = if is_exporting { &mut with } else { &mut without };
            into.push(report.confirmed_per_s);
        }
    }
    let (bytes, traces) = placings(&received)?;
    let orders = (args.orders + WARM_UP_ORDERS) * u64::from(args.common.runs);
    let least = (orders as f64 * args.ratio * 0.8) as usize;
    ensure!(
        traces >= least,
        "{traces} of {orders} placings were exported, {least} at least should be: there is no figure"
    );
    let what = format!(
        "OTLP/HTTP to a sink in the load generator, ratio {}; {bytes} bytes, {traces} of {orders} orders",
        args.ratio
    );
    sheet.setting("export", what);
    sheet.figure("confirmed orders without export", "/s", &without);
    sheet.figure("confirmed orders with export", "/s", &with);
    let ratios: Vec<f64> = with.iter().zip(&without).map(|(with, without)| with / without).collect();
    let figure = sheet.figure("with ÷ without, of each pair", "", &ratios);
    figure.must(Bound::AtLeast(0.95), Bound::AtLeast(1.0));
    Ok(sheet)
}

/// Bytes received, and how many requests that place an order are among the spans.
fn placings(received: &Received) -> Result<(usize, usize)> {
    let (mut bytes, mut placings) = (0, 0);
    for body in received.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        bytes += body.len();
        let request = ExportTraceServiceRequest::decode(body.clone()).context("an export that is not OTLP")?;
        let scopes = request.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
        placings += scopes.flat_map(|scope| &scope.spans).filter(|span| span.name == "POST /v1/orders").count();
    }
    Ok((bytes, placings))
}

/// Takes whatever is exported, to be looked at when the clock has stopped; its address.
async fn sink() -> Result<(String, Received)> {
    let received = Received::default();
    let into = received.clone();
    let take = move |body: Bytes| {
        into.lock().unwrap_or_else(PoisonError::into_inner).push(body);
        std::future::ready(())
    };
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.context("no port is free on the loopback")?;
    let address = listener.local_addr()?;
    let routes = Router::new().route("/v1/traces", post(take)).layer(DefaultBodyLimit::disable());
    // It ends with the bench.
    tokio::spawn(async move { axum::serve(listener, routes).await });
    Ok((format!("http://{address}"), received))
}
