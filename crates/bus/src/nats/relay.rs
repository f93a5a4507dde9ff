use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::context::{PublishAckFuture, PublishError, PublishErrorKind};
use async_nats::jetstream::message::{PublishMessage, StreamMessage};
use async_nats::jetstream::stream::{Info, Stream};
use bytes::Bytes;
use pangaea_contracts::Envelope;
use pangaea_faults::{Failpoint, Plant, planted, reach, relay_restart, unguarded};

use super::link::{Link, broker};
use super::{stream, wire};
use crate::protocol::read_dense;
use crate::{BoxFuture, BusError, LogSource, Relay, RelayProgress};

/// Appends in flight.
const WINDOW_MESSAGES: usize = 256;
/// Payload bytes in flight, one message aside.
const WINDOW_BYTES: usize = 4 * 1024 * 1024;
/// Appends of one step: while rows are there the window stays full, but the caller hears of progress.
const STEP_MESSAGES_MAX: u64 = 2048;
/// Messages of others that are passed at the end of a stream.
const FOREIGN_MESSAGES_MAX: u64 = 1_000;
/// How long an idle relay leaves its stream unobserved.
const IDLE_CHECK: Duration = Duration::from_secs(1);

/// Appends one log to its stream, in outbox order.
///
/// Every append carries the last sequence it expects, so the stream takes each row once and in its place, whatever
/// became of an earlier pipeline. `Nats-Msg-Id` is left out on purpose: the server acknowledges a known id as a success
/// before it looks at the expected sequence, even when the message itself has been deleted.
pub(super) struct NatsRelay {
    link: Arc<Link>,
    log: Arc<dyn LogSource>,
    stream: String,
    /// Where the stream ends and what it ends with; none when that must be looked up.
    anchor: Option<Anchor>,
    /// The turn of the connection in which the anchor was found: behind another there may be another store.
    turn: u64,
    /// The fault [`relay_restart`]: the row before which this relay started again, and how many rows it goes back.
    restarted: (u64, u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Anchor {
    position: u64,
    sequence: u64,
}

// === impl NatsRelay ===

impl NatsRelay {
    pub(super) fn new(link: Arc<Link>, log: Arc<dyn LogSource>) -> Self {
        let stream = stream::name(&link.config.namespace, log.source());
        Self { link, log, stream, anchor: None, turn: 0, restarted: (0, 0) }
    }

    async fn run_step(&mut self) -> Result<RelayProgress, BusError> {
        let turn = self.link.turn();
        self.link.available()?;
        let anchor = match self.anchor.take().filter(|_| self.turn == turn) {
            Some(anchor) => anchor,
            None => self.go_back(self.link.in_one_turn(self.find_anchor()).await?),
        };
        self.turn = turn;
        self.anchor = Some(anchor);
        let mut end = self.log.end();
        let grown = async { end.wait_for(|end| *end > anchor.position).await.is_ok() };
        tokio::select! {
            grown = tokio::time::timeout(IDLE_CHECK, grown) => match grown {
                Err(_) => return self.check_idle(anchor).await,
                Ok(false) => return Err(BusError::Closed),
                Ok(true) => {}
            },
            // The next step anchors again, and finds out what an older store lacks.
            () = self.link.turned(turn) => return Ok(anchor.progress()),
        }
        // Until every ack is there nobody knows where the stream ends.
        self.anchor = None;
        let link = self.link.clone();
        let anchor = link.in_one_turn(self.append(anchor)).await.inspect_err(|error| {
            metrics::counter!("pangaea_bus_relay_dropped_pipelines_total", "stream" => self.stream.clone())
                .increment(1);
            tracing::warn!(stream = self.stream, %error, "the relay drops its pipeline");
        })?;
        self.anchor = Some(anchor);
        Ok(anchor.progress())
    }

    async fn append(&mut self, anchor: Anchor) -> Result<Anchor, BusError> {
        let mut window = VecDeque::with_capacity(WINDOW_MESSAGES);
        let (mut sent, mut acknowledged, mut bytes) = (anchor, anchor, 0);
        while sent.position - anchor.position < STEP_MESSAGES_MAX {
            let rows = read_dense(self.log.as_ref(), sent.position, WINDOW_MESSAGES).await?;
            if rows.is_empty() {
                break;
            }
            for row in &rows {
                while window.len() == WINDOW_MESSAGES || (bytes > WINDOW_BYTES && !window.is_empty()) {
                    acknowledged = self.await_first(&mut window, &mut bytes, acknowledged).await?;
                }
                self.may_restart(row.position)?;
                if !skips(row, anchor) {
                    match self.publish(row, sent.sequence).await {
                        Err(_) if planted(Plant::RelayPassesAFailedAppend) => {}
                        sending => {
                            window.push_back((sending?, row.payload.len()));
                            bytes += row.payload.len();
                        }
                    }
                }
                sent = sent.next();
            }
        }
        while !window.is_empty() {
            acknowledged = self.await_first(&mut window, &mut bytes, acknowledged).await?;
        }
        metrics::counter!("pangaea_bus_relayed_total", "stream" => self.stream.clone())
            .increment(acknowledged.position - anchor.position);
        // Where rows may be missing, only what was sent tells how far the relay has come.
        Ok(if expects_sequences() { acknowledged } else { Anchor { position: sent.position, ..acknowledged } })
    }

    /// Awaits the ack of the oldest append in flight, which must be stored just after `acknowledged`.
    async fn await_first(
        &self,
        window: &mut VecDeque<(PublishAckFuture, usize)>,
        bytes: &mut usize,
        acknowledged: Anchor,
    ) -> Result<Anchor, BusError> {
        let Some((ack, ack_bytes)) = window.pop_front() else {
            return Ok(acknowledged);
        };
        *bytes -= ack_bytes;
        reach(Failpoint::AppendAckBefore).await.map_err(|injected| broker("append", injected))?;
        let ack = ack.await.map_err(|error| self.refused(&error))?;
        reach(Failpoint::AppendAckAfter).await.map_err(|injected| broker("append", injected))?;
        let stored = acknowledged.next();
        if ack.sequence == stored.sequence && ack.stream == self.stream {
            return Ok(stored);
        }
        if !expects_sequences() {
            return Ok(Anchor { sequence: ack.sequence, ..stored });
        }
        let detail = format!("expected sequence {}, stored at {} of {}", stored.sequence, ack.sequence, ack.stream);
        Err(BusError::AppendRefused { stream: self.stream.clone(), detail })
    }

    /// The fault: what is known and what is in flight is dropped, once before a row.
    fn may_restart(&mut self, position: u64) -> Result<(), BusError> {
        let back = relay_restart(position).filter(|_| position > self.restarted.0);
        back.map_or(Ok(()), |back| {
            self.restarted = (position, back);
            Err(broker("append", format!("started again before {position}, as the faults of this process say")))
        })
    }

    /// The fault: after such a start the relay goes on from earlier, and the stream gets rows again.
    fn go_back(&mut self, anchor: Anchor) -> Anchor {
        let back = std::mem::take(&mut self.restarted.1);
        Anchor { position: anchor.position.saturating_sub(back), ..anchor }
    }

    async fn publish(&self, row: &Envelope, expected_sequence: u64) -> Result<PublishAckFuture, BusError> {
        let headers = wire::headers(row)
            .map_err(|detail| BusError::Malformed { source_name: self.log.source().to_owned(), detail })?;
        let message = PublishMessage::build().headers(headers).payload(Bytes::copy_from_slice(row.payload.as_bytes()));
        let message = if expects_sequences() { message.expected_last_sequence(expected_sequence) } else { message };
        reach(Failpoint::AppendBefore).await.map_err(|injected| broker("append", injected))?;
        let sent = self.link.jetstream.send_publish(self.link.subject(&row.subject), message).await;
        reach(Failpoint::AppendAfter).await.map_err(|injected| broker("append", injected))?;
        sent.map_err(|error| self.refused(&error))
    }

    fn refused(&self, error: &PublishError) -> BusError {
        match error.kind() {
            PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe => broker("append", error),
            PublishErrorKind::StreamNotFound => BusError::StreamMissing { stream: self.stream.clone() },
            _ => BusError::AppendRefused { stream: self.stream.clone(), detail: error.to_string() },
        }
    }

    /// Finds the last stored message and checks that it is one of this outbox.
    async fn find_anchor(&self) -> Result<Anchor, BusError> {
        let stream = stream::find(&self.link, self.log.source()).await?;
        let state = &stream.cached_info().state;
        if state.messages == 0 {
            // New, or purged to the last message: all of the log is appended (again); readers drop what they have.
            return Ok(Anchor { position: 0, sequence: state.last_sequence });
        }
        let sequence = state.last_sequence;
        let Some(last) = self.last_of_ours(&stream).await? else {
            return Ok(Anchor { position: 0, sequence });
        };
        let Some(place) = wire::place(&last.headers) else {
            return Err(self.ahead("its last message has lost its headers".to_owned()));
        };
        let log_id = self.log.log_id();
        if place.log_id != log_id {
            return Err(self.ahead(format!("it belongs to log {:?}, the outbox is {log_id:?}", place.log_id)));
        }
        let end = *self.log.end().borrow();
        if place.position > end {
            return Err(self.ahead(format!("it ends at position {}, the outbox at {end}", place.position)));
        }
        let row = self.log.read(place.position.saturating_sub(1), 1).await?;
        if let Some(row) = row.first().filter(|row| row.position == place.position && row.id != place.id) {
            let detail =
                format!("position {} is message {} there and {} in the outbox", row.position, place.id, row.id);
            return Err(self.ahead(detail));
        }
        tracing::debug!(stream = self.stream, position = place.position, sequence, "the relay is anchored");
        Ok(Anchor { position: place.position, sequence })
    }

    /// The last message that a relay has written; none when there is none. What others have put behind it has no place in
    /// the log: readers skip it, and so does the relay, or anybody who may publish could stop the module.
    async fn last_of_ours(&self, stream: &Stream<Info>) -> Result<Option<StreamMessage>, BusError> {
        let state = &stream.cached_info().state;
        let oldest = state.first_sequence.max(state.last_sequence.saturating_sub(FOREIGN_MESSAGES_MAX));
        for sequence in (oldest..=state.last_sequence).rev() {
            match stream::message_at(stream, sequence).await? {
                Some(message) if wire::place(&message.headers).is_some() => {
                    return Ok(Some(message));
                }
                Some(message) => {
                    let subject = message.subject.as_str();
                    tracing::error!(
                        stream = self.stream,
                        sequence,
                        subject,
                        "passed a message that is not from a relay"
                    );
                }
                None => {
                    let detail = format!("its message of sequence {sequence} has been deleted");
                    return Err(self.ahead(detail));
                }
            }
        }
        if oldest == state.first_sequence {
            return Ok(None);
        }
        Err(self.ahead(format!("none of its last {FOREIGN_MESSAGES_MAX} messages was written by a relay")))
    }

    fn ahead(&self, detail: String) -> BusError {
        BusError::StreamAhead { stream: self.stream.clone(), detail }
    }

    /// With nothing to append, a stream that has been lost or cut would go unnoticed.
    async fn check_idle(&mut self, anchor: Anchor) -> Result<RelayProgress, BusError> {
        self.anchor = None;
        let stream = self.link.in_one_turn(stream::find(&self.link, self.log.source())).await?;
        if stream.cached_info().state.last_sequence == anchor.sequence {
            self.anchor = Some(anchor);
        }
        Ok(anchor.progress())
    }
}

impl Relay for NatsRelay {
    fn step(&mut self) -> BoxFuture<'_, Result<RelayProgress, BusError>> {
        Box::pin(self.run_step())
    }
}

/// A planted bug: one row in many is left out, unless the pipeline begins with it.
fn skips(row: &Envelope, anchor: Anchor) -> bool {
    planted(Plant::RelaySkipsARow) && row.position.is_multiple_of(16) && row.position > anchor.position + 1
}

/// Whether every append says after which sequence it belongs, which a relay that leaves rows out must not.
fn expects_sequences() -> bool {
    !unguarded(Plant::RelaySkipsARow) && !unguarded(Plant::RelayPassesAFailedAppend)
}

// === impl Anchor ===

impl Anchor {
    fn next(self) -> Self {
        Self { position: self.position + 1, sequence: self.sequence + 1 }
    }

    fn progress(self) -> RelayProgress {
        RelayProgress { position: self.position, stream_end: self.sequence }
    }
}
