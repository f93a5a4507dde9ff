//! `memory`: how long a start takes, and how much memory a store holds idle and after minutes of load.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use pangaea::load::Shop;
use tokio::time::sleep;

use crate::place::{Place, prepare, stopped_and_sound};
use crate::sheet::{Bound, Sheet};
use crate::{Common, machine, orders, saga, settings};

const IDLE: Duration = Duration::from_secs(5);
const WORKERS: u32 = 128;
/// Bytes of a MiB in millions: memory is bounded in MB.
const MB_PER_MIB: f64 = 1.048_576;

#[derive(Args)]
pub(crate) struct MemoryArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Orders in the store before it is started again
    #[arg(long, value_name = "N", default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(100..=1_000_000))]
    orders: u64,
    /// Orders a second while its growth is watched
    #[arg(long, value_name = "N", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// For how long
    #[arg(long, value_name = "MIN", default_value_t = 10, value_parser = clap::value_parser!(u32).range(5..=1_440))]
    minutes: u32,
}

/// Starts with existing databases; idle memory of each; then growth, minute by minute.
pub(crate) async fn run(args: MemoryArgs) -> Result<Sheet> {
    let (dir, machine) = prepare(&args.common.dir).await?;
    let mut sheet = Sheet::new("memory", machine);
    let place = Place::new(&dir.join("run-memory"))?;
    saga::full_load(&place, args.orders, WORKERS, 1).await?;
    sheet.settings(settings::of_sqlite(place.folder(), true).await?);
    sheet.setting("orders in the databases", args.orders);
    let (mut cold_ms, mut idle_mb) = (Vec::new(), Vec::new());
    for _ in 0..args.common.runs {
        let store = place.start().await?;
        cold_ms.push(store.ready_after.as_secs_f64() * 1_000.0);
        sleep(IDLE).await;
        idle_mb.push(machine::resident_mib(store.process_id()?)? * MB_PER_MIB);
        store.stop().await?;
    }
    sheet.figure("cold start to ready", "ms", &cold_ms).must(Bound::AtMost(300.0), Bound::AtMost(100.0));
    sheet.figure("idle memory, resident", "MB", &idle_mb).must(Bound::AtMost(60.0), Bound::AtMost(30.0));
    let by_minute = under_load(&place, &args).await?;
    sheet.setting("growth under load", format!("{} orders/s, open loop, for {} minutes", args.rate, args.minutes));
    sheet.figure("resident after each minute of load", "MB", &by_minute);
    let after_two = by_minute.get(1..).context("there were no two minutes")?;
    let last = after_two.last().copied().context("there was no minute")?;
    let most_early = after_two.iter().take(3).copied().fold(0.0, f64::max);
    let figure = sheet.figure("last minute over the most of minutes 2 to 4", "MB", &[last - most_early]);
    figure.must(Bound::AtMost(0.0), Bound::AtMost(0.0));
    Ok(sheet)
}

async fn under_load(place: &Place, args: &MemoryArgs) -> Result<Vec<f64>> {
    let store = place.start().await?;
    let shop = Shop::sign_in(&place.store_args(), WORKERS).await?;
    let mut by_minute = Vec::new();
    for minute in 1..=args.minutes {
        let seed = 100 + u64::from(minute);
        let report = orders::at_rate(&shop, seed, f64::from(args.rate), Duration::from_secs(60)).await?;
        ensure!(report.shed == 0, "{} orders were shed: the load was not that of --rate", report.shed);
        let mb = machine::resident_mib(store.process_id()?)? * MB_PER_MIB;
        eprintln!("bench: after minute {minute} of {}: {mb:.1} MB", args.minutes);
        by_minute.push(mb);
    }
    stopped_and_sound(place, store).await?;
    Ok(by_minute)
}
