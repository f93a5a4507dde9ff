//! What the stream lacks is asked from the log's owner.

use bytes::Bytes;
use tokio::time::Instant;

use super::NatsReader;
use crate::nats::link::broker;
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
            self.behind_since.get_or_insert_with(Instant::now);
        }
        Ok(())
    }

    /// The stream may have been lost or cut, or its relay may be down: the owner has what it lacks.
    pub(super) async fn catch_up(&mut self) -> Result<(), BusError> {
        self.behind_since = Some(Instant::now());
        match self.ask_owner().await {
            Ok(rows) => {
                tracing::debug!(reader = self.reader, source = self.source, rows, "read past the stream");
                if self.announced <= self.tip() {
                    self.behind_since = None;
                }
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
        let payload = serde_json::to_vec(&request).map_err(|error| broker("log_read", error))?;
        let subject = log_read_subject(&self.source);
        let reply = self.link.request(&subject, payload.into(), None, self.link.config.operation_timeout).await?;
        let reply: LogReadReply = serde_json::from_slice(&reply).map_err(|error| broker("log_read", error))?;
        let (log_id, end, rows) = reply.into_rows(&request, &self.source)?;
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
