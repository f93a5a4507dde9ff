use std::sync::Arc;

use tokio::sync::watch;

use super::Logs;
use crate::protocol::{check_cursor, read_dense};
use crate::{BoxFuture, BusError, Cursor, LogBatch, LogReader, LogSource};

/// Reads a co-hosted log, woken by its end.
pub(super) struct MemoryReader {
    logs: Logs,
    reader: String,
    log: Arc<dyn LogSource>,
    end: watch::Receiver<u64>,
    /// What has been handed out, which may be ahead of what is committed.
    cursor: Cursor,
}

// === impl MemoryReader ===

impl MemoryReader {
    pub(super) fn new(logs: Logs, reader: String, log: Arc<dyn LogSource>, cursor: Cursor) -> Self {
        let end = log.end();
        log.reader_at(&reader, cursor.position);
        Self { logs, reader, log, end, cursor }
    }

    async fn read_next(&mut self, max: usize) -> Result<LogBatch, BusError> {
        let mut changes = self.logs.changes();
        loop {
            self.follow_attached().await?;
            self.check_log()?;
            let after = self.cursor.position;
            // The reader's own handle keeps a replaced log alive, so its end alone would never say that it is gone.
            let grown = tokio::select! {
                grown = self.end.wait_for(|end| *end > after) => grown.is_ok(),
                _ = changes.changed() => continue,
            };
            if !grown {
                return Err(BusError::UnknownSource(self.log.source().to_owned()));
            }
            let messages = read_dense(self.log.as_ref(), after, max.max(1)).await?;
            let (Some(first), Some(last)) = (messages.first(), messages.last()) else {
                let detail = format!("its end was announced beyond {after}, but no row follows");
                return Err(BusError::Source { source_name: self.log.source().to_owned(), detail });
            };
            let (first, log_id) = (first.position, last.log_id.clone());
            self.cursor = Cursor::at(last);
            return Ok(LogBatch { log_id, first, messages });
        }
    }

    fn check_log(&self) -> Result<(), BusError> {
        let found = self.log.log_id();
        if self.cursor.log_id.is_empty() || self.cursor.log_id == found {
            return Ok(());
        }
        let source_name = self.log.source().to_owned();
        Err(BusError::LogReset { source_name, expected: self.cursor.log_id.clone(), found })
    }

    /// A module that stopped and started again has attached its log again.
    async fn follow_attached(&mut self) -> Result<(), BusError> {
        let log = self.logs.get(self.log.source())?;
        if !Arc::ptr_eq(&log, &self.log) {
            check_cursor(log.as_ref(), &self.cursor).await?;
            self.end = log.end();
            self.log = log;
        }
        Ok(())
    }
}

impl LogReader for MemoryReader {
    fn next(&mut self, max: usize) -> BoxFuture<'_, Result<LogBatch, BusError>> {
        Box::pin(self.read_next(max))
    }

    fn end(&self) -> u64 {
        *self.end.borrow()
    }

    fn committed(&mut self, position: u64) -> BoxFuture<'_, Result<(), BusError>> {
        self.log.reader_at(&self.reader, position);
        Box::pin(std::future::ready(Ok(())))
    }
}
