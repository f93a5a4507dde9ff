//! `replay`: inputs a second through the handlers again, and what memory a longer recording takes.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use tokio::process::Command;
use tokio::time::sleep;

use crate::place::{Place, prepare};
use crate::sheet::{Bound, Sheet};
use crate::{Common, machine, saga, settings};

const WORKERS: u32 = 128;
/// The long recording has so many times the orders of the short one.
const LONGER: u64 = 4;
const LOOK: Duration = Duration::from_millis(20);
/// Bytes of a MiB in millions: memory is told in MB.
const MB_PER_MIB: f64 = 1.048_576;

#[derive(Args)]
pub(crate) struct ReplayArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Orders of the short recording; the long one has four times as many
    #[arg(long, value_name = "N", default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(100..=1_000_000))]
    orders: u64,
}

/// What one replay took.
struct Replayed {
    inputs: u64,
    seconds: f64,
    peak_mb: f64,
}

/// Records a store of some orders and one of four times as many, and replays both.
pub(crate) async fn run(args: ReplayArgs) -> Result<Sheet> {
    let (dir, machine) = prepare(&args.common.dir).await?;
    let mut sheet = Sheet::new("replay", machine);
    let mut peaks = Vec::new();
    for (name, orders) in [("short", args.orders), ("long", args.orders * LONGER)] {
        let place = Place::new(&dir.join(format!("run-{name}")))?;
        saga::full_load(&place, orders, WORKERS, 1).await?;
        let file = place.folder().join(format!("{name}.rec"));
        let begun = Instant::now();
        place.record(&file).await?;
        let recorded_s = begun.elapsed().as_secs_f64();
        let bytes = std::fs::metadata(&file)?.len();
        let (mut rates, mut peak_mb) = (Vec::new(), Vec::new());
        for number in 1..=args.common.runs {
            let replayed = replay(&place, &file).await?;
            eprintln!("bench: {name}, run {number}: {:.0} inputs/s", replayed.inputs as f64 / replayed.seconds);
            rates.push(replayed.inputs as f64 / replayed.seconds);
            peak_mb.push(replayed.peak_mb);
            if number == args.common.runs {
                let what = format!("{} inputs of {orders} orders, {bytes} bytes", replayed.inputs);
                sheet.setting(&format!("the {name} recording"), what);
                let rate = replayed.inputs as f64 / recorded_s;
                sheet.figure(format!("recording, the {name} one, redacted"), "inputs/s", &[rate]);
            }
        }
        if name == "short" {
            sheet.settings(settings::of_sqlite(place.folder(), true).await?);
        }
        let figure =
            sheet.figure(format!("replaying the {name} one, from start to end of the process"), "inputs/s", &rates);
        figure.must(Bound::AtLeast(8_000.0), Bound::AtLeast(20_000.0));
        sheet.figure(format!("most memory of a replay, the {name} one"), "MB", &peak_mb);
        peaks.push(crate::sheet::Spread::of(&peak_mb).median);
    }
    let ratio = peaks[1] / peaks[0];
    sheet.figure("long ÷ short, of the medians of memory", "", &[ratio]).must(Bound::AtMost(1.2), Bound::AtMost(1.05));
    Ok(sheet)
}

/// Nothing may differ, or there is no figure.
async fn replay(place: &Place, file: &Path) -> Result<Replayed> {
    let mut command = Command::new(place.program()?);
    command.arg("replay").arg(file).arg("--json").stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    let begun = Instant::now();
    let child = command.spawn().context("pangaea replay")?;
    let id = child.id().context("it has ended at once")?;
    let output = child.wait_with_output();
    tokio::pin!(output);
    let mut peak_mib: f64 = 0.0;
    let output = loop {
        tokio::select! {
            output = &mut output => break output.context("pangaea replay")?,
            // It may end between two looks.
            () = sleep(LOOK) => peak_mib = peak_mib.max(machine::resident_mib(id).unwrap_or(0.0)),
        }
    };
    let seconds = begun.elapsed().as_secs_f64();
    ensure!(output.status.success(), "it differs: {}", String::from_utf8_lossy(&output.stdout));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).context("the report is JSON")?;
    let modules = report["modules"].as_array().context("the report has modules")?;
    let inputs = modules.iter().filter_map(|module| module["inputs"].as_u64()).sum();
    Ok(Replayed { inputs, seconds, peak_mb: peak_mib * MB_PER_MIB })
}
