//! Changes of behaviour planted on purpose: each shows when a recording is replayed, and is shrunk to a few inputs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pangaea_faults::{Change, VARIABLE};
use pangaea_testkit::{Output, Placement, Process};
use pangaea_tests::{Shop, trade};
use serde_json::Value;

const DIFFERS: i32 = 4;
/// What a colleague will read.
const INPUTS_MAX: u64 = 10;
/// Were it shown by every other process only, one run of this test in a million would miss it.
const BY_CHANCE_MAX: u32 = 20;
const REPLAYED_MAX: Duration = Duration::from_secs(300);

#[tokio::test(flavor = "multi_thread")]
async fn each_planted_change_is_found_and_shrunk() -> Result<()> {
    let shop = Shop::open(Placement::TogetherMemory).await?;
    trade(&shop).await?;
    let recording = shop.store.record("before.rec", &[]).await?;
    let report = shop.store.replays_clean(&recording, &[]).await?;
    ensure!(report["modules"].as_array().is_some_and(|modules| modules.len() == 4), "{report:#}");
    let lab =
        Lab { program: shop.store.program().to_owned(), folder: recording.parent().context("a folder")?.to_owned() };
    for change in Change::ALL {
        let found = lab.find(*change, &recording).await.with_context(|| format!("{change}"))?;
        println!("{change}: found by {found}");
    }
    shop.close().await
}

/// Replays with the program that the store ran, changed or not.
struct Lab {
    program: PathBuf,
    folder: PathBuf,
}

// === impl Lab ===

impl Lab {
    /// How it was found. What was shrunk shows the change, and replays clean without it.
    async fn find(&self, change: Change, recording: &Path) -> Result<&'static str> {
        let checked = self.replay(Some(change), recording, &[]).await?;
        let by_check = checked.status.code() == Some(DIFFERS);
        if !by_check {
            ensure!(checked.status.success(), "{}", checked.stderr);
            let again = self.replay(Some(change), recording, &["--determinism"]).await?;
            ensure!(again.status.code() == Some(DIFFERS), "not found: {}", again.stdout);
        }
        let output = self.folder.join(change.as_str());
        let baseline = self.program.display().to_string();
        let output_text = output.display().to_string();
        let shrink = ["--shrink", "--baseline", &baseline, "--output", &output_text];
        let shrunk = self.replay(Some(change), recording, &shrink).await?;
        ensure!(shrunk.status.code() == Some(DIFFERS), "{}{}", shrunk.stdout, shrunk.stderr);
        let facts: Value = serde_json::from_str(&shrunk.stdout).context("what was shrunk is JSON")?;
        let inputs = facts["inputs"].as_u64().context("a number of inputs")?;
        println!("{change}: {inputs} of {} inputs after {} tries", facts["of"], facts["tries"]);
        ensure!((1..=INPUTS_MAX).contains(&inputs), "{facts:#}");
        let small = PathBuf::from(facts["recording"].as_str().context("a file")?);
        // The order of a map is each process' own chance, and of a few entries it is the recorded one now and then.
        let tries = if change == Change::UnorderedMap { BY_CHANCE_MAX } else { 1 };
        let mut with = self.replay(Some(change), &small, &[]).await?;
        for _ in 1..tries {
            if with.status.code() == Some(DIFFERS) {
                break;
            }
            with = self.replay(Some(change), &small, &[]).await?;
        }
        ensure!(with.status.code() == Some(DIFFERS), "the small recording does not show it: {}", with.stdout);
        let without = self.replay(None, &small, &[]).await?;
        ensure!(without.status.success(), "{}", without.stdout);
        let test = std::fs::read_to_string(facts["test"].as_str().context("a test")?)?;
        ensure!(test.contains("assert_replays_clean") && test.contains("#[tokio::test"), "{test}");
        Ok(if by_check { "a check" } else { "determinism" })
    }

    async fn replay(&self, change: Option<Change>, recording: &Path, more: &[&str]) -> Result<Output> {
        let mut process = Process::new("replay", &self.program, &self.folder);
        process.args(&["replay", &recording.display().to_string(), "--json"]).args(more);
        if let Some(change) = change {
            process.envs(&[(VARIABLE.to_owned(), format!("change:{change}"))]);
        }
        process.run(REPLAYED_MAX).await
    }
}
