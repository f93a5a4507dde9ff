use std::sync::Arc;
use std::time::Duration;

use pangaea_bus::{Bus, BusError, Cursor, LogBatch, LogReader};
use pangaea_contracts::Timestamp;
use pangaea_faults::{Failpoint, Injected, Plant, deliveries, planted, reach};
use pangaea_kernel::{Clock, Done, Input, Reading, Start, Work};
use tokio_util::sync::CancellationToken;

use crate::queue::{Queue, QueueError};

const MESSAGES_PER_BATCH: usize = 256;
/// Messages that are not for this reader move its cursor only this often, because moving it costs a commit.
const SKIPPED_MAX: u64 = 1_024;
const IDLE_FLUSH: Duration = Duration::from_secs(1);
/// A reader that waits for room says so often that it lives.
const SIGN_OF_LIFE: Duration = Duration::from_secs(1);
const BACKOFF_FIRST: Duration = Duration::from_millis(50);
/// Short, because what a broker that is back has to give should find its reader there.
const BACKOFF_MAX: Duration = Duration::from_millis(250);

/// Reads one source's log for one reader of a module and hands it to the module's writer, one batch at a time.
pub(crate) struct ReaderTask {
    pub(crate) module: &'static str,
    pub(crate) reading: Reading,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) queue: Queue,
    /// Whether the module performs effects: then it takes no more than it has room for.
    pub(crate) performs: bool,
    /// What the reader has committed of this source.
    pub(crate) cursor: Cursor,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) shutdown: CancellationToken,
}

/// Why a reader has to begin again.
enum Interrupted {
    Bus(BusError),
    /// The writer expects another place: its cursor is at this position.
    Gap(u64),
    Reset(String),
    Stopped,
}

// === impl ReaderTask ===

impl ReaderTask {
    /// Runs until shutdown. A broker that is away is waited for.
    ///
    /// # Errors
    /// When the source's log is another history than the one this module has read: an operator has to decide.
    pub(crate) async fn run(mut self) -> Result<(), BusError> {
        let mut backoff = BACKOFF_FIRST;
        let mut told = None;
        loop {
            let shutdown = self.shutdown.clone();
            let mut progressed = false;
            let interrupted = tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                interrupted = self.read(&mut progressed) => interrupted,
            };
            if progressed {
                backoff = BACKOFF_FIRST;
                told = None;
            }
            match interrupted {
                Interrupted::Stopped => return Ok(()),
                Interrupted::Reset(expected) => {
                    let found = self.cursor.log_id.clone();
                    return Err(BusError::LogReset { source_name: self.reading.source, expected, found });
                }
                Interrupted::Bus(error) if !error.is_transient() && !matches!(error, BusError::UnknownSource(_)) => {
                    return Err(error);
                }
                Interrupted::Bus(error) => {
                    // Said once for an outage, however often it is tried again.
                    if told.replace(error.code()) != Some(error.code()) {
                        tracing::warn!(module = self.module, reader = %self.reading.reader, source = %self.reading.source, %error, "a log cannot be read now; trying again");
                    }
                }
                Interrupted::Gap(position) => {
                    tracing::warn!(module = self.module, reader = %self.reading.reader, source = %self.reading.source, position, "reading again from the cursor");
                    self.cursor = Cursor { position, message_id: String::new(), ..self.cursor };
                }
            }
            metrics::counter!("pangaea_reader_restarts_total", "module" => self.module).increment(1);
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    /// Reads on until something interrupts it, and notes whether anything was committed.
    async fn read(&mut self, progressed: &mut bool) -> Interrupted {
        if let Err(interrupted) = self.begin().await {
            return interrupted;
        }
        let opened = self.bus.open_reader(&self.reading.reader, &self.reading.source, self.cursor.clone()).await;
        let mut reader = match opened {
            Ok(reader) => reader,
            Err(error) => return Interrupted::Bus(error),
        };
        let mut seen = self.cursor.clone();
        loop {
            let next = reader.next(MESSAGES_PER_BATCH);
            // Only what was skipped has to be flushed; without it the wait is not cut, because the reader may be in the
            // middle of opening its stream again.
            let batch = if seen.position > self.cursor.position {
                tokio::time::timeout(IDLE_FLUSH, next).await.ok()
            } else {
                Some(next.await)
            };
            let batch = match batch.transpose() {
                Ok(batch) => batch,
                Err(error) => return Interrupted::Bus(error),
            };
            self.observe_lag(batch.as_ref().and_then(|batch| batch.messages.first()).map(|first| first.time));
            let work = self.work(batch.as_ref(), &mut seen);
            self.queue.admission().has_read(&self.place(), self.cursor.position, reader.end());
            if work.is_empty() {
                continue;
            }
            self.wait_for_room(&mut *reader).await;
            if let Err(interrupted) = self.commit(work, &seen, &mut *reader).await {
                return interrupted;
            }
            *progressed = true;
            if self.cursor.position >= reader.end() {
                self.observe_lag(None);
            }
        }
    }

    /// How old the oldest message is that waits for this reader; none waits when it is at the end.
    fn observe_lag(&self, oldest: Option<Timestamp>) {
        let lag_ms = oldest.map_or(0, |time| self.clock.now().millis_since(time).max(0));
        let (module, reader, source) = (self.module, self.reading.reader.clone(), self.reading.source.clone());
        metrics::gauge!("pangaea_reader_lag_seconds", "module" => module, "reader" => reader, "source" => source)
            .set(lag_ms as f64 / 1e3);
    }

    /// A reader that begins now and has never been opened takes the log's end for its cursor, in a commit of its own.
    async fn begin(&mut self) -> Result<(), Interrupted> {
        if self.reading.start == Start::History || !self.cursor.log_id.is_empty() {
            return Ok(());
        }
        let end = self.bus.end_of(&self.reading.source).await.map_err(Interrupted::Bus)?;
        let work = Work::Advance {
            reader: self.reading.reader.clone(),
            source: self.reading.source.clone(),
            log_id: end.log_id.clone(),
            after: 0,
            position: end.position,
            message_id: end.message_id.clone(),
        };
        self.hand_over(vec![work]).await?;
        tracing::info!(reader = %self.reading.reader, source = %self.reading.source, position = end.position, "begins now");
        self.cursor = end;
        Ok(())
    }

    /// What the writer has to do for a batch, or, without one, to catch up over what was skipped.
    fn work(&self, batch: Option<&LogBatch>, seen: &mut Cursor) -> Vec<Work> {
        let mut work = Vec::new();
        let mut after = self.cursor.position;
        for envelope in batch.into_iter().flat_map(|batch| &batch.messages) {
            if self.reading.subjects.contains(envelope.subject.as_str()) {
                work.push(Work::Input(Input::from_envelope(envelope, after)));
                after = envelope.position;
            }
            *seen = Cursor::at(envelope);
        }
        let skipped = seen.position.saturating_sub(after);
        let worth_it = skipped > 0 && (!work.is_empty() || batch.is_none() || skipped > SKIPPED_MAX);
        if worth_it {
            work.push(Work::Advance {
                reader: self.reading.reader.clone(),
                source: self.reading.source.clone(),
                log_id: seen.log_id.clone(),
                after,
                position: seen.position,
                message_id: seen.message_id.clone(),
            });
        }
        work
    }

    /// Gives work to the writer and waits for its commit.
    async fn hand_over(&self, work: Vec<Work>) -> Result<(), Interrupted> {
        let done = match self.queue.delivery(work).await {
            Ok(done) => done,
            Err(QueueError::Stopped | QueueError::Shed(_)) => return Err(Interrupted::Stopped),
        };
        for one in done {
            match one {
                Done::Gap { expected_after } => return Err(Interrupted::Gap(expected_after)),
                Done::LogReset { expected } => return Err(Interrupted::Reset(expected)),
                _ => {}
            }
        }
        Ok(())
    }

    async fn commit(&mut self, work: Vec<Work>, seen: &Cursor, reader: &mut dyn LogReader) -> Result<(), Interrupted> {
        if planted(Plant::AckBeforeCommit) {
            let _ = reader.committed(seen.position).await;
        }
        let again = deliveries() - 1;
        if again > 0 {
            // A fault: each message several times in one batch, and once more in the next.
            let repeated = work.iter().flat_map(|one| std::iter::repeat_n(one.clone(), again));
            self.hand_over(repeated.collect()).await?;
        }
        self.hand_over(work).await?;
        self.cursor = seen.clone();
        self.queue.admission().has_read(&self.place(), self.cursor.position, reader.end());
        self.acknowledge(reader).await;
        Ok(())
    }

    /// Holds a batch back while the module has as many effects under way as it may: the log keeps what follows. Results do
    /// not come this way, so there will be room.
    async fn wait_for_room(&self, reader: &mut dyn LogReader) {
        let admission = self.queue.admission();
        while self.performs && !admission.has_room_for_effects() {
            metrics::counter!("pangaea_reader_waits_total", "module" => self.module, "source" => self.reading.source.clone())
                .increment(1);
            if tokio::time::timeout(SIGN_OF_LIFE, admission.room_for_effects()).await.is_err() {
                admission.has_read(&self.place(), self.cursor.position, reader.end());
                self.acknowledge(reader).await;
            }
        }
    }

    /// Names this reader among those of its module: a source may have several.
    fn place(&self) -> String {
        format!("{} as {}", self.reading.source, self.reading.reader)
    }

    async fn acknowledge(&self, reader: &mut dyn LogReader) {
        let acknowledged = async {
            reach(Failpoint::AckBefore).await.map_err(injected)?;
            reader.committed(self.cursor.position).await?;
            reach(Failpoint::AckAfter).await.map_err(injected)
        };
        // The broker's state is a convenience: the next acknowledgement makes up for a lost one.
        if let Err(error) = acknowledged.await {
            tracing::debug!(module = self.module, reader = %self.reading.reader, source = %self.reading.source, %error, "an acknowledgement was not sent");
        }
    }
}

fn injected(injected: Injected) -> BusError {
    BusError::Unavailable(injected.to_string())
}
