//! A real shop's invoices: the store's figures against those of a program that shares no code with it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use pangaea_testkit::{Account, Placement, Store, workspace};
use serde_json::Value;

#[tokio::test(flavor = "multi_thread")]
async fn the_sample_together() -> Result<()> {
    agrees(&sample(), Placement::TogetherMemory).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sample_apart() -> Result<()> {
    agrees(&sample(), Placement::Apart).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_recorded_month_together() -> Result<()> {
    match recorded_month() {
        Some(file) => agrees(&file, Placement::TogetherMemory).await,
        None => Ok(()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_recorded_month_apart() -> Result<()> {
    match recorded_month() {
        Some(file) => agrees(&file, Placement::Apart).await,
        None => Ok(()),
    }
}

fn sample() -> PathBuf {
    workspace().join("tests/retail/sample.csv")
}

#[expect(
    clippy::disallowed_methods,
    reason = "the file is too large to be part of the project; the environment names it"
)]
fn recorded_month() -> Option<PathBuf> {
    let named = std::env::var_os("PANGAEA_RETAIL_CSV").map(PathBuf::from);
    if named.is_none() {
        println!("PANGAEA_RETAIL_CSV is unset: no recorded month is sent");
    }
    named
}

async fn agrees(file: &Path, placement: Placement) -> Result<()> {
    let expected = reconcile(file)?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let lines = line_of(&expected, "all")?;
    println!("{placement:?}: {name}, {lines} rows");
    let store = Store::start(placement).await?;
    let file = file.to_str().context("the file's name is not text")?;
    let url = store.api().base().to_owned();
    let Account { email, password } = Account::STAFF;
    let account = ["--url", &url, "--email", email, "--password", password];
    store.run(&[&["import", "online-retail", file], &account[..]].concat()).await?.success().context("import")?;
    let placed = store.run(&[&["place-invoices", file, "--json"], &account[..]].concat()).await?;
    let placed = placed.success().context("place-invoices")?;
    let report: Value = serde_json::from_str(&placed.stdout).context("the report is JSON")?;
    ensure!(report["ok"] == true, "{report:#}");
    ensure!(report["refusals"].as_array().is_some_and(Vec::is_empty), "{:#}", report["refusals"]);
    for key in ["outcomes", "unreadable_lines"] {
        ensure!(
            report[key] == expected[key],
            "{key}: the store says\n{:#}\nthe file says\n{:#}",
            report[key],
            expected[key]
        );
    }
    let ledger = store.ledger()?;
    ensure!(
        ledger.double_captures.is_empty() && ledger.orphaned_authorizations.is_empty() && ledger.overdrawn.is_empty()
    );
    let totals = ledger.totals.get("GBP").context("the provider moved no pounds")?;
    let net = pence_of(&expected, "sales accepted")? + pence_of(&expected, "refunds accepted")?;
    ensure!(totals.captured - totals.refunded == net, "the provider kept {totals:?}, the file says {net}");
    store.verify().await?;
    replays_clean(&store).await?;
    store.stop().await
}

/// The journals of the month, recorded from the running store, through the same handlers again.
async fn replays_clean(store: &Store) -> Result<()> {
    let recording = store.record("month.rec", &[]).await?;
    let report = store.replays_clean(&recording, &[]).await?;
    let modules = report["modules"].as_array().context("modules")?;
    ensure!(modules.len() == 4, "{report:#}");
    for module in modules {
        ensure!(module["state"] == "equal" && module["differing"] == 0, "{module:#}");
        println!(
            "replayed {}: {} inputs, {} messages, {} s",
            module["module"], module["inputs"], module["outputs"], module["seconds"]
        );
    }
    Ok(())
}

/// The table of the independent program.
fn reconcile(file: &Path) -> Result<Value> {
    let program = workspace().join("tests/retail/reconcile.py");
    let output = Command::new("python3").arg(program).arg(file).arg("--json").output().context("python3")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn outcome<'a>(table: &'a Value, name: &str) -> Result<&'a Value> {
    let mut outcomes = table["outcomes"].as_array().into_iter().flatten();
    outcomes.find(|outcome| outcome["outcome"] == name).with_context(|| format!("no outcome {name}"))
}

fn line_of(table: &Value, name: &str) -> Result<u64> {
    outcome(table, name)?["lines"].as_u64().context("lines are a number")
}

fn pence_of(table: &Value, name: &str) -> Result<i128> {
    let sum = outcome(table, name)?["sum"].as_str().context("a sum is text")?;
    let (pounds, pence) = sum.split_once('.').context("a sum has pence")?;
    ensure!(pence.len() == 2, "{sum} is not in whole pence");
    Ok(format!("{pounds}{pence}").parse()?)
}
