//! What the stream lacks is asked from the log's owner.

use std::sync::Arc;

use bytes::Bytes;
use pangaea_contracts::Envelope;
use tokio::time::Instant;

use super::{BEHIND_WAIT, NatsReader, REFILL_ASK};
use crate::nats::link::{Link, broker};
use crate::protocol::{EndAnnouncement, LOG_READ_MESSAGES_MAX, LogReadReply, LogReadRequest, log_read_subject};
use crate::{BusError, Cursor};

// === impl NatsReader ===

impl NatsReader {
    /// Reads up to the held message, or until `max` messages are ready.
    pub(super) async fn fill_gap(&mut self, max: usize) -> Result<(), BusError> {
        while let Some(held) = self.held.take() {
            let tip = self.tip();
            if held.position == tip + 1 {
                self.push(held);
            } else if held.position > tip {
                let beyond = held.position;
                self.held = Some(held);
                if self.ready.len() >= max {
                    return Ok(());
                }
                if self.ask_owner().await? == 0 {
                    let detail = format!("its owner ends at position {tip}, but position {beyond} has been published");
                    return Err(BusError::Source { source_name: self.source.clone(), detail });
                }
            }
        }
        Ok(())
    }

    pub(super) fn hear_end(&mut self, payload: &Bytes) -> Result<(), BusError> {
        let Ok(announcement) = serde_json::from_slice::<EndAnnouncement>(payload) else {
            return Ok(());
        };
        self.check_log(&announcement.log_id)?;
        self.announced = self.announced.max(announcement.end);
        if self.announced > self.tip() {
            self.ask_at.get_or_insert_with(|| Instant::now() + BEHIND_WAIT);
        }
        Ok(())
    }

    /// The stream may have been lost or cut, or its relay may be down: the owner has what it lacks.
    pub(super) async fn catch_up(&mut self) -> Result<(), BusError> {
        let pause = if self.lags { REFILL_ASK } else { BEHIND_WAIT };
        self.ask_at = Some(Instant::now() + pause);
        match self.ask_owner().await {
            Ok(rows) => {
                tracing::debug!(reader = self.reader, source = self.source, rows, "read past the stream");
                self.ask_at = (self.lags || self.announced > self.tip()).then(|| Instant::now() + pause);
                Ok(())
            }
            Err(error) if error.is_transient() => {
                tracing::debug!(reader = self.reader, source = self.source, %error, "the owner cannot be asked now");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Asks the owner for what follows the tip; returns how many messages were new.
    async fn ask_owner(&mut self) -> Result<usize, BusError> {
        let Cursor { log_id, position, message_id } = self.tip_cursor();
        let request = LogReadRequest {
            reader: self.reader.clone(),
            committed: self.progress.committed(),
            log_id,
            position,
            message_id,
            limit: LOG_READ_MESSAGES_MAX,
        };
        let (log_id, end, rows) = read_log(&self.link, &self.source, &request).await?;
        self.check_log(&log_id)?;
        self.announced = self.announced.max(end);
        metrics::counter!("pangaea_bus_log_read_rows_total", "reader" => self.reader.clone())
            .increment(rows.len() as u64);
        let before = self.ready.len();
        for row in rows {
            if row.position == self.tip() + 1 {
                self.push(row);
            }
        }
        Ok(self.ready.len() - before)
    }
}

/// The end of the log of `source`, asked of its owner.
pub(in crate::nats) async fn end_of(link: &Link, source: &str) -> Result<Cursor, BusError> {
    let mut request = LogReadRequest {
        reader: String::new(),
        committed: 0,
        log_id: String::new(),
        position: 0,
        message_id: String::new(),
        limit: 1,
    };
    let (log_id, end, _) = read_log(link, source, &request).await?;
    if end == 0 {
        return Ok(Cursor { log_id, ..Cursor::default() });
    }
    request.position = end - 1;
    let (_, _, rows) = read_log(link, source, &request).await?;
    let no_row = || BusError::Source {
        source_name: source.to_owned(),
        detail: format!("its owner has no row at its end, {end}"),
    };
    rows.first().map(|last| Cursor::at(last)).ok_or_else(no_row)
}

/// The log's id, its end, and the rows that were asked for.
async fn read_log(
    link: &Link,
    source: &str,
    request: &LogReadRequest,
) -> Result<(String, u64, Vec<Arc<Envelope>>), BusError> {
    let payload = serde_json::to_vec(request).map_err(|error| broker("log_read", error))?;
    let reply = link.request(&log_read_subject(source), payload.into(), None, link.config.operation_timeout).await?;
    let reply: LogReadReply = serde_json::from_slice(&reply).map_err(|error| broker("log_read", error))?;
    reply.into_rows(request, source)
}
