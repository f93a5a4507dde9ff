//! `pangaea replay FILE --live URL`: a recording's commands as requests to a running store.
//!
//! What the recording's modules told each other is not sent: the running store does that by itself. So what is compared is
//! the answers, and everything between two commands takes the time that it takes there.

mod drive;
mod order;
mod plan;
mod report;

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use clap::Args;
use pangaea_kernel::Module;
use pangaea_replay::{Bound, ModuleRecording, Recording};

use self::drive::Driver;
use self::plan::Planner;
use crate::commands::DIFFERS_EXIT;
use crate::commands::ticker::Ticker;
use crate::retail::StoreArgs;
use crate::retail::answer::Failure;
use crate::retail::client::Client;

/// The simulator's token that is always good.
const GOOD_TOKEN: &str = "tok_ok";

#[derive(Args)]
pub(super) struct LiveArgs {
    /// Send the recorded commands to the running store at this address (http only)
    #[arg(long, value_name = "URL", conflicts_with_all = ["check", "html", "ignore"])]
    pub(super) live: Option<String>,
    /// With --live: how many times as fast as recorded, 0.1 for ten times slower; `max` for as fast as answers come
    #[arg(long, value_name = "N|max", default_value = "1", allow_hyphen_values = true, value_parser = parse_speed)]
    speed: Speed,
    /// With --live: names this run; a repeat under one name is answered as the first was. The recording's id when not given
    #[arg(long, value_name = "NAME", requires = "live")]
    run: Option<String>,
    /// With --live: the staff account that sends everything
    #[arg(long, value_name = "EMAIL", default_value = "staff@demo.pangaea.example")]
    email: String,
    /// With --live: its password
    #[arg(long, value_name = "PASSWORD", default_value = "demo-staff-password")]
    password: String,
    /// With --live: pay with this token in place of the recorded ones; `tok_ok` in place of redacted ones when not given
    #[arg(long, value_name = "TOKEN", requires = "live")]
    payment_token: Option<String>,
    /// With --live: requests under way at once, at most
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    in_flight: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Speed {
    Times(f64),
    Max,
}

fn parse_speed(text: &str) -> Result<Speed, String> {
    if text == "max" {
        return Ok(Speed::Max);
    }
    let times: Option<f64> = text.parse().ok();
    let times = times.filter(|times| times.is_finite() && (0.001..=1_000_000.0).contains(times));
    times.map(Speed::Times).ok_or_else(|| "expected a number greater than 0, e.g. 0.1, 1 or 25, or max".to_owned())
}

/// Sends what is recorded of these modules, and says how it was answered.
///
/// # Errors
/// When nobody answers at the address, the account is not staff's, or the connection is lost for good: a report of what was
/// sent so far is printed before that.
pub(super) async fn run(
    args: &LiveArgs,
    recording: &Recording,
    modules: Vec<(ModuleRecording, Arc<dyn Module>)>,
    bound: Bound,
    as_json: bool,
) -> Result<ExitCode> {
    let url = args.live.as_deref().unwrap_or_default();
    let run = args.run.clone().unwrap_or_else(|| recording.id().to_owned());
    let client = sign_in(args, url).await?;
    let is_redacted = recording.header().redacted;
    let token = args.payment_token.clone().or_else(|| is_redacted.then(|| GOOD_TOKEN.to_owned()));
    let planner = Planner::new(modules, run.clone(), token.clone(), is_redacted);
    let mut driver = Driver::new(client, args.speed, args.in_flight as usize);
    let ticker = Ticker::start("sending", None, driver.sent());
    let outcome = driver.drive(planner, bound).await;
    drop(ticker);
    let report = outcome?.of_run(url, run, token);
    let mut out = std::io::stdout().lock();
    match as_json {
        true => writeln!(out, "{:#}", serde_json::to_value(&report)?)?,
        false => write!(out, "{}", report.text())?,
    }
    if let Some(reason) = &report.broken_off {
        bail!("{url}: {reason}; --run {} goes on where this ends", report.run);
    }
    Ok(if report.is_as_recorded() { ExitCode::SUCCESS } else { ExitCode::from(DIFFERS_EXIT) })
}

async fn sign_in(args: &LiveArgs, url: &str) -> Result<Client> {
    let store = StoreArgs { url: url.to_owned(), email: args.email.clone(), password: args.password.clone() };
    let client = Client::sign_in(&store, args.in_flight as usize).await.context("--live")?;
    // Only staff may ask for the orders of a reference.
    match client.get("/v1/orders?customer_reference=none&limit=1").await {
        Err(Failure::Refused { status: 403, .. }) => bail!("{} is no staff account (--email)", args.email),
        _ => Ok(client),
    }
}

#[cfg(test)]
mod tests {
    use super::{Speed, parse_speed};

    #[test]
    fn a_speed_is_positive_or_max() {
        for (text, expected) in [("max", Speed::Max), ("1", Speed::Times(1.0)), ("0.1", Speed::Times(0.1))] {
            assert_eq!(parse_speed(text), Ok(expected), "{text}");
        }
        for text in ["0", "-1", "NaN", "inf", "fast", ""] {
            assert!(parse_speed(text).is_err(), "{text}");
        }
    }
}
