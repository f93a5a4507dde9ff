//! One workload in every placement comes to one digest and to the same counts; `cargo xtask equivalence` is the long form.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use pangaea_testkit::{Folder, Placement, Process};
use pangaea_tests::equivalence::{Case, Run, Workload, run};
use serde_json::Value;
use tokio::sync::OnceCell;

const SHORT: Workload = Workload { rounds: 1, buyers: 40 };
/// The program runs two stores, one after the other.
const PROGRAM_MAX: Duration = Duration::from_secs(300);

#[tokio::test(flavor = "multi_thread")]
async fn together_on_postgres() -> Result<()> {
    does_the_same(Case::postgres(Placement::TogetherMemory)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn together_on_nats() -> Result<()> {
    does_the_same(Case::sqlite(Placement::TogetherNats)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn together_on_nats_and_postgres() -> Result<()> {
    does_the_same(Case::postgres(Placement::TogetherNats)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn mixed() -> Result<()> {
    does_the_same(Case::sqlite(Placement::Mixed)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn mixed_on_postgres() -> Result<()> {
    does_the_same(Case::postgres(Placement::Mixed)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn apart() -> Result<()> {
    does_the_same(Case::sqlite(Placement::Apart)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn apart_on_postgres() -> Result<()> {
    does_the_same(Case::postgres(Placement::ApartPostgres)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_of_each_module() -> Result<()> {
    does_the_same(Case::postgres(Placement::ApartReplicas(2))).await
}

/// With the money taken before the stock is sold, orders end as ever: only who looks at what was said finds it.
#[tokio::test(flavor = "multi_thread")]
async fn a_planted_difference_is_found_and_the_first_line_told() -> Result<()> {
    let report = compare(&["--faults", "plant:stock_committed_after_capture"], 1).await?;
    ensure!(report["result"] == "failed", "{report}");
    ensure!(report["placements"].as_array().map(Vec::len) == Some(2), "both ran to their ends: {report}");
    let [fault] = report["faults"].as_array().map(Vec::as_slice).unwrap_or_default() else {
        bail!("one difference, and nothing else: {report}");
    };
    let told = fault.as_str().context("a fault is text")?;
    let lines: Vec<&str> = told.lines().collect();
    ensure!(lines.len() == 3 && lines[0].contains("the first difference"), "{told}");
    // The same order, one step of its saga longer.
    ensure!(lines[1..].iter().all(|line| line.contains("order holds orders") && line.contains("total=2550")), "{told}");
    ensure!(lines[1].contains("version=5") && lines[2].contains("version=6"), "{told}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_placement_twice_is_equal_and_other_counts_are_not() -> Result<()> {
    let report = compare(&[], 0).await?;
    ensure!(report["result"] == "equal" && report["faults"] == serde_json::json!([]), "{report}");
    let first = first().await?;
    let outcomes = BTreeMap::from([("confirmed".to_owned(), 40)]);
    let told = first.difference(&Run { outcomes, ..first.clone() }).context("other counts are a difference")?;
    ensure!(told.contains("\"confirmed\": 40") && told.contains("out_of_stock"), "{told}");
    Ok(())
}

async fn does_the_same(case: Case) -> Result<()> {
    let first = first().await?;
    let other = run(case, SHORT, None).await?;
    println!("{case}: {} in {:.1} s", other.canonical.digest(), other.seconds);
    match first.difference(&other) {
        None => Ok(()),
        Some(difference) => bail!("{difference}"),
    }
}

/// What all others are compared with, run once for all tests of this file.
async fn first() -> Result<&'static Run> {
    static FIRST: OnceCell<Run> = OnceCell::const_new();
    FIRST.get_or_try_init(|| run(Case::FIRST, SHORT, None)).await
}

/// The program's report on one placement twice, when it ends with this code.
async fn compare(more: &[&str], code: i32) -> Result<Value> {
    let folder = Folder::new("equivalence")?;
    let mut process = Process::new("equivalence", Path::new(env!("CARGO_BIN_EXE_equivalence")), folder.path());
    process.args(&["--placement", "together-memory", "--rounds", "1", "--buyers", "8", "--json"]).args(more);
    let ended = process.run(PROGRAM_MAX).await?;
    ensure!(ended.status.code() == Some(code), "{}: {}\n{}", ended.status, ended.stdout, ended.stderr);
    folder.set_clean();
    serde_json::from_str(&ended.stdout).with_context(|| format!("a report: {}", ended.stdout))
}
