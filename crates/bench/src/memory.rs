//! `memory`: how long a start takes, and how much memory a store holds idle and in each minute of load.

use std::pin::pin;
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
const LOOK: Duration = Duration::from_secs(1);
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
    #[arg(long, value_name = "MIN", default_value_t = 10, value_parser = clap::value_parser!(u32).range(7..=1_440))]
    minutes: u32,
}

/// Starts with existing databases; idle memory of each; then growth, minute by minute.
pub(crate) async fn run(args: MemoryArgs) -> Result<Sheet> {
    let (dir, machine) = prepare(&args.common.dir).await?;
    let mut sheet = Sheet::new("memory", machine);
    let place = Place::new(&dir.join("run-memory"))?.large();
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
    let minutes = under_load(&place, &args).await?;
    sheet.setting("growth under load", format!("{} orders/s, open loop, for {} minutes", args.rate, args.minutes));
    let by_minute: Vec<f64> = minutes.iter().map(|minute| minute.mean_mb).collect();
    let most: Vec<f64> = minutes.iter().map(|minute| minute.most_mb).collect();
    sheet.figure("resident in each minute of load, mean of each second's", "MB", &by_minute);
    sheet.figure("resident in each minute of load, most", "MB", &most);
    let figure = sheet.figure("last three minutes over the most of minutes 2 to 4", "MB", &[growth(&by_minute)?]);
    figure.must(Bound::AtMost(0.0), Bound::AtMost(0.0));
    Ok(sheet)
}

/// By how much the last three minutes, in the mean, are over the most of minutes 2 to 4.
///
/// What is kept within bounds is filled and dropped all the time, and at the end of a minute the generator looks through all
/// orders of it; so one look at a minute's end says where that saw-tooth was, and two such looks differ in either
/// direction. A minute counts by its mean, and the end by three of them. They are held against the most of three so that a
/// store that does not grow is under zero and needs no tolerance, while one that does is over it by five minutes' growth.
fn growth(by_minute: &[f64]) -> Result<f64> {
    let early = by_minute.get(1..4).context("there were no four minutes")?;
    let late = by_minute.get(by_minute.len().saturating_sub(3)..).context("there were no three minutes")?;
    Ok(late.iter().sum::<f64>() / 3.0 - early.iter().copied().fold(f64::MIN, f64::max))
}

/// What the store held in one minute.
struct Minute {
    mean_mb: f64,
    most_mb: f64,
}

async fn under_load(place: &Place, args: &MemoryArgs) -> Result<Vec<Minute>> {
    let store = place.start().await?;
    let shop = Shop::sign_in(&place.store_args(), WORKERS).await?;
    let process = store.process_id()?;
    let mut minutes = Vec::new();
    for number in 1..=args.minutes {
        let seed = 100 + u64::from(number);
        let load = orders::at_rate(&shop, seed, f64::from(args.rate), Duration::from_secs(60));
        let (report, looked) = beside(load, process).await;
        let report = report?;
        ensure!(report.shed == 0, "{} orders were shed: the load was not that of --rate", report.shed);
        let looked = looked?;
        let minute = Minute {
            mean_mb: looked.iter().sum::<f64>() / looked.len().max(1) as f64,
            most_mb: looked.iter().copied().fold(0.0, f64::max),
        };
        eprintln!(
            "bench: minute {number} of {}: {:.1} MB, at most {:.1} MB",
            args.minutes, minute.mean_mb, minute.most_mb
        );
        minutes.push(minute);
    }
    stopped_and_sound(place, store).await?;
    Ok(minutes)
}

/// What the process holds, each second until `load` ends.
async fn beside<T>(load: impl Future<Output = T>, process: u32) -> (T, Result<Vec<f64>>) {
    let mut load = pin!(load);
    let mut looked = Vec::new();
    let mut clock = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            done = load.as_mut() => return (done, looked.into_iter().collect()),
            _ = clock.tick() => looked.push(machine::resident_mib(process).map(|mib| mib * MB_PER_MIB)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_told_from_a_saw_tooth() {
        let over = |by_minute: &[f64]| growth(by_minute).unwrap();
        assert!(over(&[150.0, 212.0, 215.0, 211.0, 214.0, 212.0, 213.0, 211.0, 216.0, 212.0]) < 0.0);
        assert!(over(&[150.0, 212.0, 213.0, 214.0, 215.0, 216.0, 217.0, 218.0, 219.0, 220.0]) > 0.0);
        assert_eq!(over(&[1.0, 7.0, 7.0, 7.0, 9.0, 9.0, 9.0]), 2.0);
        assert!(growth(&[1.0, 2.0, 3.0]).is_err());
    }
}
