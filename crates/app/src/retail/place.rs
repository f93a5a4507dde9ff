//! `pangaea place-invoices FILE`: the file's invoices through the HTTP API, and the reconciliation at the end.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::StoreArgs;
use super::api;
use super::client::Client;
use super::flight::{Accepted, Flight};
use super::plan::Plan;
use super::progress::Progress;
use super::report::{Ledger, Report};

/// Places the invoices of an Online Retail file as orders, refunds and stock adjustments
///
/// One order for each invoice with its accepted sale lines, in file order and at the file's prices; cancellations become
/// refunds by line and quantity of the newest earlier sales; lines without money become stock adjustments. Import the
/// same file first. At the end the outcome table is printed and compared with the store's own figures.
#[derive(clap::Args, Clone)]
#[command(after_help = "Examples:\n  \
    pangaea import online-retail online-retail-2010-12.csv\n  \
    pangaea place-invoices online-retail-2010-12.csv\n  \
    pangaea place-invoices online-retail-2010-12.csv --concurrency 4 --json\n\n\
    Exit code: 0 when nothing was refused and every figure agrees, 1 otherwise.\n\
    Running it again with the same file changes nothing, and goes on where a run was cut short.\n\
    Let nothing else take or give back money meanwhile: the ledger is compared before and after.")]
pub(crate) struct PlaceArgs {
    /// CSV file: InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
    /// Requests in flight at once
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) concurrency: u16,
    /// Print the table and the comparison as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Sends everything, prints the table and the comparison. The exit code is 1 when the store refused anything or a
/// figure differs.
///
/// # Errors
/// The file cannot be read, the sign-in is refused, or the store stays unreachable.
pub(crate) async fn run(args: PlaceArgs) -> Result<ExitCode> {
    let file = args.file.clone();
    let plan = tokio::task::spawn_blocking(move || Plan::of(&file)).await.context("reading the file failed")??;
    let in_flight_max = usize::from(args.concurrency);
    let client = Client::sign_in(&args.store, in_flight_max).await?;
    let flight = Arc::new(Flight::new(client, plan));
    let before_pence = net_captured_pence(&flight).await?;
    let accepted = send(&flight, in_flight_max).await?;
    let after_pence = net_captured_pence(&flight).await?;
    let report = Report::new(&flight.plan.table, &accepted, Ledger { before_pence, after_pence });
    if args.json {
        println!("{}", report.json()?);
    } else {
        print!("{}", report.text());
    }
    Ok(if report.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Starts the steps in file order, so many at once. A refund holds its place while it waits for its order; that order
/// stands earlier and has a place already, so this cannot lock up.
async fn send(flight: &Arc<Flight>, in_flight_max: usize) -> Result<Accepted> {
    let slots = Arc::new(Semaphore::new(in_flight_max));
    let mut progress = Progress::new("steps", flight.plan.steps.len() as u64);
    let mut accepted = Accepted::default();
    let mut tasks = JoinSet::new();
    for step in 0..flight.plan.steps.len() {
        let slot = slots.clone().acquire_owned().await.context("the slots were closed")?;
        let flight = flight.clone();
        tasks.spawn(async move {
            let outcome = flight.run_step(step).await;
            drop(slot);
            outcome
        });
        while let Some(done) = tasks.try_join_next() {
            take(&mut accepted, done.context("a request's task failed")?, &mut progress)?;
        }
    }
    while let Some(done) = tasks.join_next().await {
        take(&mut accepted, done.context("a request's task failed")?, &mut progress)?;
    }
    progress.finish();
    Ok(accepted)
}

fn take(accepted: &mut Accepted, outcome: Accepted, progress: &mut Progress) -> Result<()> {
    *accepted += outcome;
    progress.advance(1);
    if let Some(cause) = &accepted.unreachable {
        bail!(
            "the store cannot be reached any more ({cause}); start it and run the same command again, which goes on where this one stopped"
        );
    }
    Ok(())
}

async fn net_captured_pence(flight: &Flight) -> Result<i64> {
    let answer = flight.client.get("/v1/payments/ledger/balances").await;
    let answer = answer.context("the payment ledger could not be read; is the account one of staff?")?;
    Ok(api::net_captured_pence(answer.body)?)
}
