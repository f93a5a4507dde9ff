//! Logs are pretty where a person reads them, and JSON where a program does.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use pangaea_testkit::{Folder, Process, eventually, free_port, program};
use serde_json::Value;

const RUN_MAX: Duration = Duration::from_secs(90);
const READY: &str = "is ready.";

/// Runs a command on a terminal of its own until it is ready, stops it, and prints what the terminal showed.
const ON_A_TERMINAL: &str = "
import os, pty, select, signal, sys, time

process, terminal = pty.fork()
if process == 0:
    os.execv(sys.argv[1], sys.argv[1:])
shown, is_told, until = b'', False, time.monotonic() + 75
while time.monotonic() < until:
    if not select.select([terminal], [], [], 1)[0]:
        continue
    try:
        some = os.read(terminal, 65536)
    except OSError:
        break
    if not some:
        break
    shown += some
    if b'is ready.' in shown and not is_told:
        os.kill(process, signal.SIGTERM)
        is_told = True
else:
    os.kill(process, signal.SIGKILL)
sys.stdout.buffer.write(shown)
sys.stdout.flush()
sys.exit(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) & 255)
";

#[tokio::test(flavor = "multi_thread")]
async fn on_a_terminal_logs_are_pretty() -> Result<()> {
    let folder = Folder::new("terminal")?;
    let script = folder.join("terminal.py");
    std::fs::write(&script, ON_A_TERMINAL)?;
    let mut python = Process::new("python3", Path::new("python3"), folder.path());
    python.args(&[&script, &program()?.display().to_string(), "run"]).envs(&addresses());
    let shown = python.run(RUN_MAX).await?.success()?.stdout;
    ensure!(shown.contains(READY), "{shown}");
    ensure!(shown.contains("\u{1b}[") && shown.contains("INFO") && shown.contains("draining"), "{shown}");
    ensure!(records(&shown).is_empty(), "JSON on a terminal: {shown}");
    folder.set_clean();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn elsewhere_logs_are_json() -> Result<()> {
    let folder = Folder::new("terminal")?;
    let log = log_of(&folder, &[]).await?;
    let records = records(&log);
    let drains = |record: &Value| record.to_string().contains("draining");
    ensure!(records.iter().any(drains), "{log}");
    ensure!(records.iter().all(|record| record["level"].is_string()), "{log}");
    ensure!(!log.contains('\u{1b}') && !log.contains(" INFO "), "{log}");
    folder.set_clean();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn pretty_logs_in_a_file_have_no_colours() -> Result<()> {
    let folder = Folder::new("terminal")?;
    let log = log_of(&folder, &[("PANGAEA__TELEMETRY__LOG_FORMAT".to_owned(), "pretty".to_owned())]).await?;
    ensure!(log.contains(" INFO ") && log.contains("draining"), "{log}");
    ensure!(!log.contains('\u{1b}') && records(&log).is_empty(), "{log}");
    folder.set_clean();
    Ok(())
}

/// What a run without a terminal has written, from its start to its end.
async fn log_of(folder: &Folder, env: &[(String, String)]) -> Result<String> {
    let mut process = Process::new("pangaea", program()?, folder.path());
    process.args(&["run"]).envs(&addresses()).envs(env);
    process.start()?;
    eventually("the store to be ready", RUN_MAX, async || {
        process.must_run()?;
        Ok(process.log().contains(READY).then_some(()))
    })
    .await?;
    let status = process.terminate(RUN_MAX).await?;
    ensure!(status.success(), "{status}: {}", process.log_tail());
    Ok(process.log())
}

fn addresses() -> [(String, String); 2] {
    ["PANGAEA__HTTP__LISTEN", "PANGAEA__OPERATIONS__LISTEN"]
        .map(|name| (name.to_owned(), format!("127.0.0.1:{}", free_port())))
}

/// The lines that are JSON objects.
fn records(text: &str) -> Vec<Value> {
    text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).filter(Value::is_object).collect()
}
