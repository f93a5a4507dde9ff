//! How logs travel: a stream per source that a relay fills and readers read, or the source's own table where all modules
//! share a process.

use std::collections::BTreeMap;
use std::sync::Arc;

use pangaea_contracts::Envelope;
use pangaea_faults::{Failpoint, reach};
use pangaea_kernel::{Input, Work};

use crate::Sabotage;
use crate::host::{Job, Origin};
use crate::world::World;

/// Rows of a log read at once, at most.
const ROWS_MAX: usize = 64;

/// The streams as the broker holds them. It may lose any end of them: outboxes refill it.
#[derive(Default)]
pub(crate) struct Broker {
    pub(crate) streams: BTreeMap<String, Vec<Arc<Envelope>>>,
    pub(crate) away_until_ms: i64,
}

// === impl World: the relay ===

impl World {
    /// Sources whose outbox has rows that the broker has not.
    pub(crate) fn relays_behind(&self) -> Vec<usize> {
        if self.together || self.now_ms < self.broker.away_until_ms {
            return Vec::new();
        }
        let behind = |(index, host): (usize, &crate::host::Host)| {
            let end = host.up.as_ref()?.executor.writer().head().outbox_end;
            let held =
                self.broker.streams.get(host.name).and_then(|stream| stream.last()).map_or(0, |last| last.position);
            (end != held).then_some(index)
        };
        self.hosts.iter().enumerate().filter_map(behind).collect()
    }

    /// Appends up to `rows` rows to the source's stream, after what the broker holds.
    ///
    /// # Errors
    /// When the stream is ahead of its outbox, or the outbox cannot be read.
    pub(crate) async fn relay(&mut self, index: usize, rows: usize) -> Result<(), String> {
        let host = &self.hosts[index];
        let (name, Some(up)) = (host.name, &host.up) else { return Ok(()) };
        let (end, log_id) = (up.executor.writer().head().outbox_end, up.executor.writer().head().log_id.clone());
        let stream = self.broker.streams.entry(name.to_owned()).or_default();
        let held = stream.last().map_or(0, |last| last.position);
        if held > end {
            return Err(format!("the stream of {name} holds {held} messages, its outbox ends at {end}"));
        }
        let read = up.database.outbox_after(&log_id, held, rows.min(ROWS_MAX)).await;
        let mut rows = read.map_err(|error| format!("{name}: {error}"))?;
        if self.sabotage == Some(Sabotage::RelaySkipsARow) && rows.len() > 1 && self.random.chance(20) {
            rows.remove(0);
        }
        if reach(Failpoint::AppendBefore).await.is_ok() {
            let (first, count) = (rows.first().map_or(0, |row| row.position), rows.len());
            stream.append(&mut rows);
            self.step(&format!("relay of {name} appends {count} from {first}"));
            // Nothing hangs on what the relay hears: it looks at the stream's end before the next append.
            for point in [Failpoint::AppendAfter, Failpoint::AppendAckBefore, Failpoint::AppendAckAfter] {
                let _ = reach(point).await;
            }
        }
        self.bury_the_dead(index, false);
        Ok(())
    }
}

// === impl World: readers ===

impl World {
    /// Readers with something to read and nothing under way: the reader's host and the source.
    pub(crate) fn readers_behind(&self) -> Vec<(usize, String)> {
        let mut behind = Vec::new();
        for (index, host) in self.hosts.iter().enumerate() {
            let Some(up) = &host.up else { continue };
            let waits = |(source, reader): &(&String, &crate::host::Reader)| {
                !reader.busy && self.readable_end(source).is_some_and(|end| end > reader.cursor)
            };
            behind.extend(up.readers.iter().filter(waits).map(|(source, _)| (index, source.clone())));
        }
        behind
    }

    /// Where the part of a log ends that readers can reach now.
    fn readable_end(&self, source: &str) -> Option<u64> {
        if self.together {
            let host = self.hosts.iter().find(|host| host.name == source)?;
            return host.up.as_ref().map(|up| up.executor.writer().head().outbox_end);
        }
        if self.now_ms < self.broker.away_until_ms {
            return None;
        }
        self.broker.streams.get(source)?.last().map(|last| last.position)
    }

    async fn read(&self, source: &str, after: u64, rows: usize) -> Result<Vec<Arc<Envelope>>, String> {
        if self.together {
            let Some(host) = self.hosts.iter().find(|host| host.name == source) else { return Ok(Vec::new()) };
            let Some(up) = &host.up else { return Ok(Vec::new()) };
            let log_id = &up.executor.writer().head().log_id;
            return up.database.outbox_after(log_id, after, rows).await.map_err(|error| format!("{source}: {error}"));
        }
        let stream = self.broker.streams.get(source).into_iter().flatten();
        Ok(stream.filter(|message| message.position > after).take(rows).cloned().collect())
    }

    /// Hands `rows` messages to the module's writer: the next ones, or, with `from`, those behind another position, as a
    /// broker does that repeats itself or has lost something.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub(crate) async fn deliver(
        &mut self,
        index: usize,
        source: &str,
        rows: usize,
        from: Option<u64>,
    ) -> Result<(), String> {
        let Some(reader) = self.hosts[index].up.as_ref().and_then(|up| up.readers.get(source)).copied() else {
            return Ok(());
        };
        let start = from.unwrap_or(reader.seen);
        let messages = self.read(source, start, rows.clamp(1, ROWS_MAX)).await?;
        let Some(last) = messages.last() else {
            // What was looked at lies behind the end: the broker has lost it, or nothing has come since.
            let end = self.readable_end(source).unwrap_or(0);
            if let Some(up) = &mut self.hosts[index].up
                && let Some(reader) = up.readers.get_mut(source)
                && end > reader.cursor
            {
                reader.seen = reader.cursor;
            }
            return Ok(());
        };
        let (position, message_id, log_id) = (last.position, last.id.clone(), last.log_id.clone());
        // Only a contiguous batch may claim to follow the cursor.
        let contiguous = messages.first().is_some_and(|first| first.position <= reader.seen + 1);
        let mut after = if contiguous || self.sabotage.is_some() { reader.cursor } else { start };
        let subjects = &self.hosts[index].consumed[source];
        let mut work = Vec::new();
        for message in &messages {
            if subjects.contains(message.subject.as_str()) {
                work.push(Work::Input(Input::from_envelope(message, after)));
                after = message.position;
            }
        }
        let skipped = position > after;
        // Moving the cursor over what is for others costs a commit, so that it is put off.
        if skipped && (!work.is_empty() || self.calm || self.random.chance(50)) {
            let (reader, source) = (self.hosts[index].name.to_owned(), source.to_owned());
            work.push(Work::Advance { reader, source, log_id, after, position, message_id });
        }
        let name = self.hosts[index].name;
        self.step(&format!(
            "{name} is delivered {} of {source}, from {} to {position}, {} for it",
            messages.len(),
            start + 1,
            work.len()
        ));
        let Some(up) = &mut self.hosts[index].up else { return Ok(()) };
        let Some(reader) = up.readers.get_mut(source) else { return Ok(()) };
        if work.is_empty() {
            if contiguous {
                reader.seen = reader.seen.max(position);
            }
            return Ok(());
        }
        reader.busy = true;
        up.deliveries.push_back(Job { from: Origin::Reader { source: source.to_owned(), seen: position }, work });
        Ok(())
    }
}
