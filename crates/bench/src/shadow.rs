//! `shadow`: orders at half the highest rate, with and without a shadow of order beside the store.

use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;
use pangaea::load::{Report, Shop};
use serde_json::Value;

use crate::orders;
use crate::place::{Place, Store, prepare, stopped_and_sound};
use crate::sheet::{Bound, Sheet};
use crate::{Common, saga, settings};

/// One figure of a run.
type Read = fn(&Report) -> f64;

#[derive(Args)]
pub(crate) struct ShadowArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Orders of the run that finds the highest rate
    #[arg(long, value_name = "N", default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(100..=1_000_000))]
    orders: u64,
    /// Workers that place orders at full load
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    workers: u32,
    /// How long a run at half the rate takes
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    half_rate_s: u64,
}

/// The highest rate once; then pairs of runs at half of it on the same store, with and without. Which comes first takes turns,
/// because a store grows and a machine warms up.
pub(crate) async fn run(args: ShadowArgs) -> Result<Sheet> {
    let (dir, machine) = prepare(&args.common.dir).await?;
    let mut sheet = Sheet::new("shadow", machine);
    let place = Place::new(&dir.join("run-1"))?;
    let highest = saga::full_load(&place, args.orders, args.workers, 1).await?.confirmed_per_s;
    eprintln!("bench: {highest:.1} confirmed a second at full load");
    sheet.settings(settings::of_sqlite(place.folder(), true).await?);
    let store = place.start().await?;
    let shop = Shop::sign_in(&place.store_args(), args.workers).await?;
    let lasting = Duration::from_secs(args.half_rate_s);
    let (mut without, mut with, mut summaries) = (Vec::new(), Vec::new(), Vec::new());
    for number in 1..=args.common.runs {
        for is_shadowed in [number % 2 == 0, number % 2 == 1] {
            let shadow = if is_shadowed { Some(shadow(&place).await?) } else { None };
            let seed = u64::from(2 * number) + u64::from(is_shadowed);
            let report = orders::at_rate(&shop, seed, highest / 2.0, lasting).await?;
            eprintln!("bench: run {number}, shadow {is_shadowed}: {:.1} a second", report.confirmed_per_s);
            if is_shadowed { &mut with } else { &mut without }.push(report);
            if let Some(shadow) = shadow {
                summaries.push(summary(shadow).await?);
            }
            place.verify().await?;
        }
    }
    stopped_and_sound(&place, store).await?;
    let shed: u64 = with.iter().chain(&without).map(|run| run.shed).sum();
    let half = highest / 2.0;
    let how = format!("{half:.0} orders/s, open loop, exponential gaps, {} s a run; {shed} shed", args.half_rate_s);
    sheet.setting("half rate", how);
    figures(&mut sheet, &with, &without, &summaries);
    Ok(sheet)
}

fn figures(sheet: &mut Sheet, with: &[Report], without: &[Report], summaries: &[Value]) {
    let of = |read: fn(&Report) -> f64, runs: &[Report]| runs.iter().map(read).collect::<Vec<_>>();
    let confirmed: fn(&Report) -> f64 = |run| run.confirmed_per_s;
    let read: [(&str, &str, Read); 3] = [
        ("confirmed orders", "/s", confirmed),
        ("accepting, p99", "ms", |run| run.accept.p99_ms),
        ("placed to confirmed, p99", "ms", |run| run.confirm.p99_ms),
    ];
    for (what, unit, read) in read {
        sheet.figure(format!("{what}, without a shadow"), unit, &of(read, without));
        sheet.figure(format!("{what}, with a shadow of order"), unit, &of(read, with));
    }
    let pairs = of(confirmed, with).into_iter().zip(of(confirmed, without));
    let ratios: Vec<f64> = pairs.map(|(with, without)| with / without).collect();
    let figure = sheet.figure("orders with ÷ without, of each pair", "", &ratios);
    figure.must(Bound::AtLeast(0.95), Bound::AtLeast(1.0));
    let number = |name: &str| summaries.iter().filter_map(|one| one[name].as_f64()).collect::<Vec<_>>();
    sheet.figure("inputs that the shadow compared", "", &number("inputs"));
    sheet.figure("the longest that one was seen to wait for it", "s", &number("lag_seconds_max"));
}

/// A shadow of order beside the store of this place, once it follows.
async fn shadow(place: &Place) -> Result<Store> {
    place.beside("shadow", &["shadow", "order", "--json"], "shadowing order").await
}

/// Ends it; a figure counts only if it has followed to the end and seen nothing.
async fn summary(shadow: Store) -> Result<Value> {
    let log = shadow.stop_and_read().await?;
    let last: Option<Value> = log.lines().last().and_then(|line| serde_json::from_str(line).ok());
    let summary = last.map(|mut last| last["summary"].take()).unwrap_or_default();
    let is_whole = summary["differing"] == 0 && summary["lag"] == 0 && summary["state"] == "equal";
    ensure!(is_whole && summary["inputs"].as_u64() > Some(0), "the shadow has not seen all of it as it was:\n{log}");
    Ok(summary)
}
