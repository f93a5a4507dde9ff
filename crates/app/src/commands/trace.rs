//! `pangaea order` and `pangaea trace`: what happened to an order or within a trace, told from the journals alone.
//!
//! They open read pools only, so a live store goes on meanwhile, and they go along causes rather than over tables: from an
//! input to its messages, from each to its handling in whoever reads it, and so on. Only a trace id has to be looked for.

mod fact;
mod ids;
mod progress;
mod redact;
mod report;
mod seek;
mod stores;
pub(super) mod style;
#[cfg(test)]
mod tests;
mod text;
mod tree;
mod walk;
mod waterfall;

use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use pangaea_contracts::Timestamp;
use pangaea_kernel::{Clock as _, SystemClock};

use self::ids::{TraceTarget, trace_target};
use self::redact::Redaction;
use self::report::{Query, Report};
use self::seek::Search;
use self::stores::Stores;
use self::style::Style;
use self::walk::Walk;
use super::ConfigArgs;
use crate::catalogue::Catalogue;

#[derive(Args)]
#[command(after_help = "Examples:\n  \
    pangaea order ord_01m855w2c7fy1ab13bd5cde8kq\n  \
    pangaea order 01m855w2 --config config/apart.toml\n  \
    pangaea order ord_01m855w2c7fy1ab13bd5cde8kq --json --payloads\n\n\
    Reads the databases that the configuration names, of a running or a stopped store, and writes nothing. A module whose\n\
    database cannot be read is named in a warning. The order's own timeline leads to everything that changed it, by index;\n\
    requests that were refused, such as a cancellation that came too late, are in no timeline: --scan finds them too.\n\n\
    Tries of an effect are known until it has its result; from then on, how long they took together.\n\n\
    Exit code: 0 when the order was found, 1 otherwise.")]
pub(crate) struct OrderArgs {
    /// The order's id, or the beginning of one
    #[arg(value_name = "ID")]
    id: String,
    /// Also look at every input since the order was placed, for those that changed nothing
    #[arg(long)]
    scan: bool,
    #[command(flatten)]
    view: View,
}

#[derive(Args)]
#[command(after_help = "Examples:\n  \
    pangaea trace 0af7651916cd43dd8448eb211c80319c\n  \
    pangaea trace 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01 --since 2026-11-23T21:00:00Z\n  \
    pangaea trace msg_01m855w2c7fy1ab13bd5cde8kq --json\n\n\
    Reads the databases that the configuration names, of a running or a stopped store, and writes nothing. There is no\n\
    index on trace ids: every inbox is looked through once, with progress on standard error; --since leaves out what is\n\
    older. The id of an input (cmd_…, msg_…, tmr_…, op_…) is found at once.\n\n\
    Exit code: 0 when something was found, 1 otherwise.")]
pub(crate) struct TraceArgs {
    /// A trace id or its beginning, a traceparent, or the id of an input
    #[arg(value_name = "ID")]
    id: String,
    /// Look only at what was handled since this moment, in RFC 3339
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    since: Option<Timestamp>,
    #[command(flatten)]
    view: View,
}

/// What is shown, and how.
#[derive(Args)]
struct View {
    #[command(flatten)]
    config: ConfigArgs,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    /// Show what the messages say, without what is secret or personal
    #[arg(long)]
    payloads: bool,
    /// Steps, at most
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// Columns of the waterfall; the terminal's when not given, and 120 where there is none
    #[arg(long, value_name = "COLUMNS", value_parser = clap::value_parser!(u16).range(40..=1_000))]
    width: Option<u16>,
    /// Draw the waterfall with plain characters
    #[arg(long)]
    ascii: bool,
}

fn parse_moment(text: &str) -> Result<Timestamp, String> {
    serde_json::from_value(text.into()).map_err(|error| format!("{error}; e.g. 2026-11-23T21:00:00Z"))
}

/// Prints what happened to an order.
///
/// # Errors
/// When there is no such order, several begin alike, or no database can be read.
pub(super) async fn order(args: OrderArgs, catalogue: &Catalogue) -> Result<ExitCode> {
    let OrderArgs { id, scan, view } = args;
    let stores = view.open(catalogue).await?;
    let report = order_report(&stores, &id, scan, &view).await;
    stores.close().await;
    view.print(report?)
}

async fn order_report(stores: &Stores, id: &str, must_scan: bool, view: &View) -> Result<Report> {
    let search = Search { entries_max: view.limit as usize, since: None, must_scan };
    let mut walk = Walk::new(stores, search.entries_max);
    let (id, outline) = seek::order(stores, id, &search, &mut walk).await?;
    let query = Query { order_id: Some(id.to_string()), ..Query::default() };
    let redaction = view.redaction();
    Ok(Report::new(query, outline, walk.run().await?, search.entries_max, redaction.as_ref()).of_stores(stores))
}

/// Prints what happened within a trace.
///
/// # Errors
/// When nothing is found, several traces begin alike, or no database can be read.
pub(super) async fn trace(args: TraceArgs, catalogue: &Catalogue) -> Result<ExitCode> {
    let TraceArgs { id, since, view } = args;
    let target = trace_target(&id)?;
    let stores = view.open(catalogue).await?;
    let report = trace_report(&stores, target, since, &view).await;
    stores.close().await;
    view.print(report?)
}

async fn trace_report(stores: &Stores, target: TraceTarget, since: Option<Timestamp>, view: &View) -> Result<Report> {
    let search = Search { entries_max: view.limit as usize, since, must_scan: false };
    let mut walk = Walk::new(stores, search.entries_max);
    let trace_id = seek::trace(stores, &target, &search, &mut walk).await?;
    let input_id = match target {
        TraceTarget::Input(id) => Some(id),
        TraceTarget::Trace(_) => None,
    };
    let query = Query { order_id: None, trace_id, input_id };
    let redaction = view.redaction();
    Ok(Report::new(query, None, walk.run().await?, search.entries_max, redaction.as_ref()).of_stores(stores))
}

// === impl View ===

impl View {
    async fn open(&self, catalogue: &Catalogue) -> Result<Stores> {
        let stores = Stores::open(&self.config.load()?.config, catalogue).await?;
        for missing in stores.missing() {
            eprintln!("warning: {} is not read: {}", missing.module, missing.reason);
        }
        Ok(stores)
    }

    fn redaction(&self) -> Option<Redaction> {
        self.payloads.then(Redaction::of_contracts)
    }

    fn print(&self, report: Report) -> Result<ExitCode> {
        let mut out = std::io::stdout().lock();
        if self.json {
            writeln!(out, "{:#}", serde_json::to_value(&report)?)?;
        } else {
            let style = Style::of_stdout(self.width.map(usize::from), self.ascii);
            write!(out, "{}", text::text(&report, style, SystemClock.now()))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
