//! `telemetry`: orders a second with and without the export of traces.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, ensure};
use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use clap::Args;

use crate::place::{Place, prepare};
use crate::sheet::{Bound, Sheet};
use crate::{Common, saga};

const WORKERS: u32 = 128;

#[derive(Args)]
pub(crate) struct TelemetryArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Orders of a run
    #[arg(long, value_name = "N", default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(100..=1_000_000))]
    orders: u64,
    /// The part of the traces that is exported
    #[arg(long, default_value = "0.1")]
    ratio: String,
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
                true => {
                    place.set("TELEMETRY__OTLP_ENDPOINT", &endpoint).set("TELEMETRY__TRACE_SAMPLE_RATIO", &args.ratio)
                }
                false => place,
            };
            let report = saga::full_load(&place, args.orders, WORKERS, number).await?;
            eprintln!("bench: run {number}, export {is_exporting}: {:.1} a second", report.confirmed_per_s);
            let into = if is_exporting { &mut with } else { &mut without };
            into.push(report.confirmed_per_s);
        }
    }
    let bytes = received.load(Ordering::Relaxed);
    ensure!(bytes > 0, "nothing was exported, so there is no figure");
    sheet.setting(
        "export",
        format!("OTLP/HTTP to a sink in the load generator, ratio {}; {bytes} bytes in all", args.ratio),
    );
    sheet.figure("confirmed orders without export", "/s", &without);
    sheet.figure("confirmed orders with export", "/s", &with);
    let ratios: Vec<f64> = with.iter().zip(&without).map(|(with, without)| with / without).collect();
    let figure = sheet.figure("with ÷ without, of each pair", "", &ratios);
    figure.must(Bound::AtLeast(0.95), Bound::AtLeast(1.0));
    Ok(sheet)
}

/// Takes whatever is exported; its address and the bytes it has taken.
async fn sink() -> Result<(String, Arc<AtomicU64>)> {
    let received = Arc::new(AtomicU64::new(0));
    let count = received.clone();
    let take = move |body: Bytes| {
        count.fetch_add(body.len() as u64, Ordering::Relaxed);
        std::future::ready(())
    };
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.context("no port is free on the loopback")?;
    let address = listener.local_addr()?;
    // It ends with the bench.
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/v1/traces", post(take))).await });
    Ok((format!("http://{address}"), received))
}
