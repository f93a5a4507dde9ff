//! `saga`: orders from their placing to their confirmation, in one process on SQLite.

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use pangaea::load::{Report, Shop};

use crate::orders::{self, WARM_UP_ORDERS};
use crate::place::{Place, prepare, stopped_and_sound};
use crate::sheet::{Bound, Sheet, Spread};
use crate::{Common, settings};

#[derive(Args)]
pub(crate) struct SagaArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Orders of a run
    #[arg(long, value_name = "N", default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(100..=1_000_000))]
    orders: u64,
    /// Workers that place orders at full load
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    workers: u32,
    /// How long a run at half the rate takes
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    half_rate_s: u64,
}

/// Full load, each run on a store of its own; then half the rate that was reached, on the last of them.
pub(crate) async fn run(args: SagaArgs) -> Result<Sheet> {
    let (dir, machine) = prepare(&args.common.dir).await?;
    let mut sheet = Sheet::new("saga", machine);
    let mut runs: Vec<Report> = Vec::new();
    for number in 1..=args.common.runs {
        let place = Place::new(&dir.join(format!("run-{number}")))?;
        let report = full_load(&place, args.orders, args.workers, number).await?;
        eprintln!("bench: run {number} of {}: {:.1} confirmed a second", args.common.runs, report.confirmed_per_s);
        runs.push(report);
        if number == args.common.runs {
            sheet.settings(settings::of_sqlite(place.folder(), true).await?);
        }
    }
    sheet.setting("orders", format!("{} a run, of 1 to 3 lines; {} workers", args.orders, args.workers));
    let of = |read: fn(&Report) -> f64, runs: &[Report]| runs.iter().map(read).collect::<Vec<_>>();
    let confirmed = of(|run| run.confirmed_per_s, &runs);
    let half = Spread::of(&confirmed).median / 2.0;
    let figure = sheet.figure("confirmed orders at full load", "/s", &confirmed);
    figure.must(Bound::AtLeast(600.0), Bound::AtLeast(2_000.0));
    sheet.figure("accepting at full load, p50", "ms", &of(|run| run.accept.p50_ms, &runs));
    sheet.figure("accepting at full load, p99", "ms", &of(|run| run.accept.p99_ms, &runs));

    let place = Place::new(&dir.join(format!("run-{}", args.common.runs)))?;
    let store = place.start().await?;
    let shop = Shop::sign_in(&place.store_args(), args.workers).await?;
    let mut halves: Vec<Report> = Vec::new();
    for number in 1..=args.common.runs {
        let seed = u64::from(args.common.runs + number);
        halves.push(orders::at_rate(&shop, seed, half, Duration::from_secs(args.half_rate_s)).await?);
        place.verify().await?;
    }
    stopped_and_sound(&place, store).await?;
    let shed: u64 = halves.iter().map(|run| run.shed).sum();
    sheet.setting(
        "half rate",
        format!("{half:.0} orders/s, open loop, exponential gaps, {} s a run; {shed} shed", args.half_rate_s),
    );
    sheet.figure("accepting at half rate, p50", "ms", &of(|run| run.accept.p50_ms, &halves));
    let figure = sheet.figure("accepting at half rate, p99", "ms", &of(|run| run.accept.p99_ms, &halves));
    figure.must(Bound::AtMost(50.0), Bound::AtMost(20.0));
    let figure = sheet.figure("placed to confirmed at half rate, p50", "ms", &of(|run| run.confirm.p50_ms, &halves));
    figure.must(Bound::AtMost(100.0), Bound::AtMost(40.0));
    let figure = sheet.figure("placed to confirmed at half rate, p99", "ms", &of(|run| run.confirm.p99_ms, &halves));
    figure.must(Bound::AtMost(500.0), Bound::AtMost(150.0));
    Ok(sheet)
}

/// A new store, a catalogue, a warm-up, and then as many orders at once as the workers can place.
pub(crate) async fn full_load(place: &Place, orders: u64, workers: u32, seed: u32) -> Result<Report> {
    let store = place.start().await?;
    let shop = Shop::sign_in(&place.store_args(), workers).await?;
    orders::catalogue(&shop).await?;
    orders::at_full_load(&shop, 1_000_000 + u64::from(seed), WARM_UP_ORDERS, workers).await?;
    let report = orders::at_full_load(&shop, u64::from(seed), orders, workers).await?;
    stopped_and_sound(place, store).await?;
    Ok(report)
}
