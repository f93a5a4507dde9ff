//! `size`: does an order cost more in a store that holds many.

use anyhow::{Result, ensure};
use clap::Args;
use pangaea::load::Shop;

use crate::orders::{self, WARM_UP_ORDERS};
use crate::place::{Place, prepare, stopped_and_sound};
use crate::sheet::{Bound, Sheet, Spread};
use crate::{Common, settings};

const WORKERS: u32 = 128;
/// Orders are brought in so many at a time: between them the settling of all is asked for.
const FILL: u64 = 10_000;

#[derive(Args)]
pub(crate) struct SizeArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Orders in the small store
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1_000..=1_000_000))]
    small: u64,
    /// Orders in the large one
    #[arg(long, value_name = "N", default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(1_000..=1_000_000))]
    large: u64,
    /// Orders of a run
    #[arg(long, value_name = "N", default_value_t = 3_000, value_parser = clap::value_parser!(u64).range(100..=100_000))]
    orders: u64,
}

/// A store that grows: measured when it is small, and again when it is large.
pub(crate) async fn run(args: SizeArgs) -> Result<Sheet> {
    let (small_end, large) = (args.small + u64::from(args.common.runs) * args.orders, args.large);
    ensure!(small_end < large, "--large {large} must be more than the small store holds after its runs, {small_end}");
    let (dir, machine) = prepare(&args.common.dir).await?;
    let mut sheet = Sheet::new("size", machine);
    let place = Place::new(&dir.join("run-size"))?.large();
    let store = place.start().await?;
    let shop = Shop::sign_in(&place.store_args(), WORKERS).await?;
    orders::catalogue(&shop).await?;
    orders::at_full_load(&shop, 0, WARM_UP_ORDERS, WORKERS).await?;
    let mut held = WARM_UP_ORDERS;
    let small = cost_ms(&place, &shop, &mut held, args.small, &args).await?;
    let large = cost_ms(&place, &shop, &mut held, args.large, &args).await?;
    sheet.settings(settings::of_sqlite(place.folder(), true).await?);
    sheet.setting("orders", format!("all placed through the API; {} a run, {WORKERS} workers", args.orders));
    sheet.figure(format!("an order's cost, {} in the store", args.small), "ms", &small);
    sheet.figure(format!("an order's cost, {} in the store", args.large), "ms", &large);
    let ratio = Spread::of(&large).median / Spread::of(&small).median;
    sheet.figure("large ÷ small, of the medians", "", &[ratio]).must(Bound::AtMost(1.3), Bound::AtMost(1.1));
    stopped_and_sound(&place, store).await?;
    Ok(sheet)
}

/// Fills the store up to `orders`, then measures each run: milliseconds of the whole machine for a confirmed order.
async fn cost_ms(place: &Place, shop: &Shop, held: &mut u64, orders: u64, args: &SizeArgs) -> Result<Vec<f64>> {
    while *held < orders {
        let more = FILL.min(orders - *held);
        orders::at_full_load(shop, *held, more, WORKERS).await?;
        *held += more;
    }
    let mut runs = Vec::new();
    for _ in 0..args.common.runs {
        let report = orders::at_full_load(shop, *held, args.orders, WORKERS).await?;
        *held += args.orders;
        runs.push(1_000.0 / report.confirmed_per_s);
        place.verify().await?;
    }
    Ok(runs)
}
