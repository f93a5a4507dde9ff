//! Messages that nobody can read, as a release with a bug writes them.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use pangaea_testkit::{Store, eventually};

/// Longer than the pauses between tries to reach a part that was away.
const BURIED_MAX: Duration = Duration::from_secs(90);

/// Cuts the newest message of a subject and key short in the outbox of `source`, on SQLite. The module must not run, and
/// nobody must have read the message yet.
///
/// # Errors
/// When there is no such message.
pub fn spoil_newest(store: &Store, source: &str, subject: &str, key: &str) -> Result<()> {
    let script = "import sqlite3, sys\n\
        database = sqlite3.connect(sys.argv[1])\n\
        newest = \"SELECT max(position) FROM outbox WHERE subject = ? AND key = ?\"\n\
        update = f\"UPDATE outbox SET payload = substr(payload, 1, 10) WHERE position = ({newest})\"\n\
        changed = database.execute(update, sys.argv[2:]).rowcount\n\
        database.commit()\n\
        sys.exit(0 if changed == 1 else f'{changed} rows changed')";
    let file = store.folder().join(&format!("{source}.db"));
    let output = Command::new("python3").args(["-c", script, &file, subject, key]).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Waits until `module` has a dead letter.
///
/// # Errors
/// When it has none in time.
pub async fn buries(store: &Store, module: &str) -> Result<()> {
    eventually(&format!("{module} to bury a message"), BURIED_MAX, async || {
        let metrics = store.metrics(module).await?;
        let is_buried = |line: &str| line.starts_with("pangaea_dead_letters{") && line.ends_with(" 1");
        Ok(metrics.lines().any(is_buried).then_some(()))
    })
    .await
}
