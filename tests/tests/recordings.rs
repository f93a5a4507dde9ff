//! Recordings of releases are read for ever, and replay clean or as was reviewed.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use pangaea_replay::Recording;
use pangaea_testkit::{Placement, Release, Store, program, run_program, workspace};
use pangaea_tests::{Shop, trade};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, SqliteConnection};

/// What v0.1.0 said is reviewed once, for every journal that it leaves.
const BY_V0_1_0: &str = "v0.1.0";

#[tokio::test(flavor = "multi_thread")]
async fn every_kept_recording_replays_as_reviewed() -> Result<()> {
    let folder = workspace().join("tests/recordings");
    let mut files: Vec<PathBuf> = Vec::new();
    for file in std::fs::read_dir(&folder)? {
        let path = file?.path();
        if path.extension().is_some_and(|extension| extension == "rec") {
            files.push(path);
        }
    }
    files.sort();
    ensure!(files.len() >= 2, "{files:?}");
    for file in files {
        let recording = Recording::open(&file)?;
        ensure!(recording.header().redacted, "{} may hold what is personal", file.display());
        ensure!(recording.modules().iter().all(|module| module.end.inputs > 0), "{}", file.display());
        replays_as_reviewed(&file, &file.with_extension("expected"))
            .await
            .with_context(|| file.display().to_string())?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_of_v0_1_0_is_recorded_by_this_version() -> Result<()> {
    let old = Release::v0_1_0()?;
    let shop = Shop::open_with(Store::builder(Placement::TogetherMemory).release(&old)).await?;
    trade(&shop).await?;
    let file = shop.store.record_by(program()?, "old.rec", &["--ignore", "@traceparent"]).await?;
    keep(&file, BY_V0_1_0)?;
    let recording = Recording::open(&file)?;
    for module in recording.modules() {
        ensure!(module.end.handled_by.keys().eq([&old.version()?]), "{:?}", module.end.handled_by);
        ensure!(module.end.asked_unknown == module.end.inputs, "v0.1.0 did not write down what was asked for");
    }
    replays_as_reviewed(&file, &workspace().join("tests/recordings/v0.1.0.expected")).await?;
    shop.store.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_of_this_version_replays_clean_and_is_deterministic() -> Result<()> {
    let shop = Shop::open(Placement::TogetherMemory).await?;
    trade(&shop).await?;
    let file = shop.store.record("new.rec", &[]).await?;
    keep(&file, "v0.2.0")?;
    shop.store.replays_clean(&file, &[]).await?;
    shop.store.replays_clean(&file, &["--determinism"]).await?;
    shop.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_on_postgres_has_the_same_digests_in_a_replay() -> Result<()> {
    let shop = Shop::open(Placement::ApartPostgres).await?;
    trade(&shop).await?;
    let file = shop.store.record("postgres.rec", &[]).await?;
    shop.store.replays_clean(&file, &[]).await?;
    // The replay's own schemas are those of the modules, so it needs another database.
    let url = shop.store.env("DATABASE__URL").context("the store is on PostgreSQL")?.to_owned();
    let (server, _) = url.rsplit_once('/').context("the URL names a database")?;
    let name = format!("replay_{}", std::process::id());
    let mut connection = PgConnection::connect(&url).await?;
    connection.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await?;
    let replayed = shop.store.replays_clean(&file, &["--determinism", "--postgres", &format!("{server}/{name}")]).await;
    connection.execute(AssertSqlSafe(format!("DROP DATABASE {name} WITH (FORCE)"))).await?;
    let report = replayed?;
    let runs = report["modules"].as_array().context("modules")?.iter();
    let on_postgres = runs.filter(|run| run["module"].as_str().is_some_and(|name| name.contains("PostgreSQL"))).count();
    ensure!(on_postgres == 4, "{report:#}");
    shop.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_finds_what_no_input_made() -> Result<()> {
    let shop = Shop::open(Placement::TogetherMemory).await?;
    trade(&shop).await?;
    shop.store.verify().await?;
    for (module, damage, check) in [
        ("order", "UPDATE outbox SET payload = replace(payload, '\"quantity\":1', '\"quantity\":7')", "say again"),
        ("product", "UPDATE stock SET on_hand = on_hand + 1 WHERE reserved = 0", "its tables are"),
    ] {
        let file = shop.store.folder().join(&format!("{module}.db"));
        let mut connection = SqliteConnection::connect(&format!("sqlite:{file}")).await?;
        let changed = connection.execute(damage).await?.rows_affected();
        ensure!(changed > 0, "{damage} changes nothing");
        connection.close().await?;
        let error = shop.store.verify().await.err().context("nothing is found")?;
        let told = format!("{error:#}");
        ensure!(told.contains(&format!("{module}: its")) && told.contains(check), "{told}");
        shop.store.verify_with(&["--no-replay"]).await.err().map_or(Ok(()), |error| {
            let told = format!("{error:#}");
            ensure!(!told.contains(check), "{told}");
            Ok(())
        })?;
    }
    shop.store.stop().await
}

async fn replays_as_reviewed(file: &Path, expected: &Path) -> Result<()> {
    let (file, folder) = (file.display().to_string(), std::env::temp_dir());
    let expected_text = expected.display().to_string();
    let mut args = vec!["replay", &file];
    if expected.is_file() {
        args.extend(["--expected", &expected_text]);
    }
    run_program(&folder, &args, &[]).await?.success().context("pangaea replay")?;
    Ok(())
}

/// Where somebody asks for it, a new recording takes the place of the one that is kept.
fn keep(file: &Path, name: &str) -> Result<()> {
    #[expect(clippy::disallowed_methods, reason = "a test is told by the environment that its recording is to be kept")]
    let is_asked = std::env::var_os("PANGAEA_KEEP_RECORDINGS").is_some();
    if is_asked {
        std::fs::copy(file, workspace().join(format!("tests/recordings/{name}.rec")))?;
    }
    Ok(())
}
