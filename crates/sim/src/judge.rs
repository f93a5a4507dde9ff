//! What must be true of a store at rest, whatever happened to it: an auditor's look at the journals.

use std::collections::BTreeMap;
use std::sync::Arc;

use pangaea_contracts::Envelope;
use pangaea_journal::{JournalError, Statement};

use crate::host::{Host, Up};
use crate::world::World;

/// Rows of one log, at most: a run writes some hundreds.
const ROWS_MAX: usize = 100_000;
/// Breaches named of one run, at most.
const NAMED_MAX: usize = 8;

/// What the modules have said, by module.
pub(crate) type Logs = BTreeMap<&'static str, Vec<Arc<Envelope>>>;

// === impl World: judging ===

impl World {
    /// Whether the modules' own invariants hold now, in the middle of everything.
    ///
    /// # Errors
    /// Says what does not.
    pub(crate) async fn look(&mut self) -> Result<(), String> {
        self.step("look");
        self.counts.looks += 1;
        let mut breaches = Vec::new();
        for host in &self.hosts {
            if let Some(up) = &host.up {
                let found = host.definition.breaches(&up.database).await;
                breaches.extend(found.map_err(|error| error.to_string())?);
            }
        }
        verdict(breaches)
    }

    /// Judges the store at rest, and takes all it holds into the run's hash.
    ///
    /// # Errors
    /// Says what is wrong.
    pub(crate) async fn judge(&mut self) -> Result<(), String> {
        let logs = self.logs().await.map_err(|error| error.to_string())?;
        let mut breaches = Vec::new();
        for host in &self.hosts {
            let up = host.up.as_ref().ok_or_else(|| format!("{} is down", host.name))?;
            let found = self.judge_host(host, up, &logs).await;
            breaches.extend(found.map_err(|error| format!("{}: {error}", host.name))?);
        }
        breaches.extend(self.judge_streams(&logs));
        breaches.extend(self.judge_orders(&logs).await.map_err(|error| error.to_string())?);
        verdict(breaches)
    }

    async fn logs(&self) -> Result<Logs, JournalError> {
        let mut logs = Logs::new();
        for host in &self.hosts {
            if let Some(up) = &host.up {
                let log_id = &up.executor.writer().head().log_id;
                logs.insert(host.name, up.database.outbox_after(log_id, 0, ROWS_MAX).await?);
            }
        }
        Ok(logs)
    }

    async fn judge_host(&self, host: &Host, up: &Up, logs: &Logs) -> Result<Vec<String>, JournalError> {
        let (name, database) = (host.name, &up.database);
        let mut breaches = host.definition.breaches(database).await?;
        if let Some(extents) = database.extents().await? {
            for (log, extent, end) in
                [("outbox", extents.outbox, extents.head.outbox_end), ("inbox", extents.inbox, extents.head.inbox_end)]
            {
                if extent.rows != extent.last || extent.last != end || (extent.rows > 0 && extent.first != 1) {
                    breaches.push(format!("{name}: the {log} is not dense: {extent:?}, its head says {end}"));
                }
            }
        }
        let left = "SELECT (SELECT COUNT(*) FROM dead_letter), (SELECT COUNT(*) FROM effect WHERE state = 'pending'), \
                    (SELECT COUNT(*) FROM timer), \
                    (SELECT COUNT(*) FROM attempt a JOIN inbox i ON i.id = a.input_id)";
        for row in database.fetch(Statement::new(left)).await? {
            for (column, what) in
                ["dead letters", "effects", "timers", "attempts on handled inputs"].into_iter().enumerate()
            {
                let count: u64 = row.get(column)?;
                if count > 0 {
                    breaches.push(format!("{name}: {count} {what} are left"));
                }
            }
        }
        breaches.extend(judge_reading(host, up, logs).await?);
        Ok(breaches)
    }

    /// The broker's streams are the outboxes, message for message.
    fn judge_streams(&self, logs: &Logs) -> Vec<String> {
        let mut breaches = Vec::new();
        for (name, log) in logs.iter().filter(|_| !self.together) {
            let stream = self.broker.streams.get(*name).map(Vec::as_slice).unwrap_or_default();
            if stream != log.as_slice() {
                breaches.push(format!(
                    "the stream of {name} is not its outbox: {} and {} messages",
                    stream.len(),
                    log.len()
                ));
            }
        }
        breaches
    }

    /// Takes all that the store holds into the hash: every row of every table.
    ///
    /// # Errors
    /// When a database cannot be read.
    pub(crate) async fn take_in_everything(&mut self) -> Result<(), JournalError> {
        for index in 0..self.hosts.len() {
            let Some(up) = &self.hosts[index].up else { continue };
            let tables = Statement::new("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name");
            for table in up.database.fetch(tables).await? {
                let table: String = table.get(0)?;
                let rows = up.database.fetch(Statement::new(format!("SELECT * FROM {table}"))).await?;
                let mut rows: Vec<String> = rows.iter().map(|row| format!("{row:?}")).collect();
                rows.sort();
                self.trace.add(&format!("{} {table} {}", self.hosts[index].name, rows.len()));
                rows.iter().for_each(|row| self.trace.add(row));
            }
        }
        for entry in self.till.entries() {
            self.trace.add(&serde_json::to_string(&entry).unwrap_or_default());
        }
        Ok(())
    }
}

/// A module has read every source to its end, and has taken in each message that is for it exactly once.
async fn judge_reading(host: &Host, up: &Up, logs: &Logs) -> Result<Vec<String>, JournalError> {
    let name = host.name;
    let select = "SELECT source, source_position, id FROM inbox WHERE source IS NOT NULL ORDER BY position";
    let mut taken: BTreeMap<String, Vec<(u64, String)>> = BTreeMap::new();
    for row in up.database.fetch(Statement::new(select)).await? {
        taken.entry(row.get(0)?).or_default().push((row.get(1)?, row.get(2)?));
    }
    let cursors = up.database.cursors().await?;
    let mut breaches = Vec::new();
    for (source, subjects) in &host.consumed {
        let log = logs.get(source.as_str()).map(Vec::as_slice).unwrap_or_default();
        let for_it = log.iter().filter(|message| subjects.contains(message.subject.as_str()));
        let due: Vec<(u64, String)> = for_it.map(|message| (message.position, message.id.clone())).collect();
        let taken = taken.remove(source).unwrap_or_default();
        if due != taken {
            let missing: Vec<u64> = due.iter().filter(|one| !taken.contains(one)).map(|one| one.0).collect();
            breaches.push(format!(
                "{name} has taken in {} of {} messages of {source}; missing are {missing:?}",
                taken.len(),
                due.len()
            ));
        }
        let cursor = cursors.iter().find(|row| row.source == *source);
        let at_the_end = match (cursor, log.last()) {
            (Some(row), Some(last)) => {
                row.position == last.position && row.message_id == last.id && row.log_id == last.log_id
            }
            (None, None) => true,
            _ => false,
        };
        if !at_the_end {
            breaches
                .push(format!("{name} reading {source}: its cursor is {cursor:?}, the log has {} messages", log.len()));
        }
    }
    if !taken.is_empty() {
        breaches.push(format!("{name} has taken in messages of {:?}, which it does not read", taken.keys()));
    }
    Ok(breaches)
}

fn verdict(breaches: Vec<String>) -> Result<(), String> {
    if breaches.is_empty() {
        return Ok(());
    }
    let more = breaches.len().saturating_sub(NAMED_MAX);
    let mut named: Vec<String> = breaches.into_iter().take(NAMED_MAX).collect();
    if more > 0 {
        named.push(format!("and {more} more"));
    }
    Err(named.join("; "))
}
