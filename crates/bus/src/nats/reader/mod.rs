mod gaps;
mod progress;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::pull;
use async_nats::{Subject, Subscriber};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use pangaea_contracts::Envelope;
use pangaea_faults::{Plant, unguarded};
use tokio::time::Instant;

pub(super) use self::gaps::end_of;
use self::progress::Progress;
use super::link::{Link, broker};
use super::{consumer, stream, wire};
use crate::protocol::end_subject;
use crate::{BoxFuture, BusError, Cursor, LogBatch, LogReader};

/// Messages asked for at once; the next request goes out when half of them have come.
const PULL_MESSAGES: usize = 512;
const PULL_EXPIRES: Duration = Duration::from_secs(30);
/// Two of these missed, and the pull is made anew.
const PULL_HEARTBEAT: Duration = Duration::from_secs(2);
/// How long the stream may lag behind the announced end, nothing arriving, before the owner is asked.
const BEHIND_WAIT: Duration = Duration::from_secs(2);
/// How often the owner is asked for what is new while a stream is refilled: what is new comes last there, and a saga of many
/// steps must not wait for that at each of them.
const REFILL_ASK: Duration = Duration::from_millis(100);
/// Duplicates dropped in a row before they are acknowledged without a commit.
const DUPLICATES_MAX: usize = 256;

/// Reads a log through a durable pull consumer. Header positions alone decide what comes next: a lower one is a
/// duplicate, a higher one shows a gap, which the owner fills by `log_read`.
pub(super) struct NatsReader {
    link: Arc<Link>,
    reader: String,
    source: String,
    /// What has been handed out.
    cursor: Cursor,
    progress: Progress,
    /// Dense after the cursor, not handed out yet.
    ready: VecDeque<Arc<Envelope>>,
    /// A message beyond a gap; nothing is pulled until the gap is filled.
    held: Option<Arc<Envelope>>,
    /// Every delivery not acknowledged yet, in the stream's order, duplicates included.
    unacked: VecDeque<(u64, Subject)>,
    pull: Option<pull::Stream>,
    /// The turn of the connection that the pull belongs to.
    turn: u64,
    /// Pulls that failed since the last message.
    pull_failures: usize,
    ends: Option<Subscriber>,
    announced: u64,
    /// The stream is being refilled and has not come to this reader's place yet.
    lags: bool,
    /// When the owner is asked for what the stream lacks.
    ask_at: Option<Instant>,
}

// === impl NatsReader ===

impl NatsReader {
    pub(super) async fn open(link: Arc<Link>, reader: String, source: String, after: Cursor) -> Result<Self, BusError> {
        let progress = Progress::start(&link, &reader, &source, &after);
        let mut opened = Self {
            link,
            reader,
            source,
            cursor: after,
            progress,
            ready: VecDeque::new(),
            held: None,
            unacked: VecDeque::new(),
            pull: None,
            turn: 0,
            pull_failures: 0,
            ends: None,
            announced: 0,
            lags: false,
            ask_at: None,
        };
        let link = opened.link.clone();
        link.in_one_turn(opened.reopen()).await?;
        Ok(opened)
    }

    async fn read_next(&mut self, max: usize) -> Result<LogBatch, BusError> {
        let max = max.max(1);
        loop {
            if self.turn != self.link.turn() {
                // The consumer may be gone with the store it was in, or be an older one.
                self.pull = None;
            }
            if self.ready.is_empty() && self.pull.is_none() {
                let link = self.link.clone();
                link.in_one_turn(self.reopen()).await?;
            }
            self.take_arrived(max)?;
            if self.held.is_some()
                && let Err(error) = self.fill_gap(max).await
                && self.ready.is_empty()
            {
                return Err(error);
            }
            if !self.ready.is_empty() {
                return Ok(self.hand_out(max));
            }
            if self.unacked.len() >= DUPLICATES_MAX {
                self.acknowledge().await?;
            }
            self.wait().await?;
        }
    }

    /// Takes what is there without waiting. It is bounded by `max`, so it may pass over tokio's own budget.
    fn take_arrived(&mut self, max: usize) -> Result<(), BusError> {
        while self.held.is_none()
            && self.ready.len() < max
            && self.unacked.len() < consumer::ACKS_PENDING_MAX
            && let Some(pull) = &mut self.pull
            && let Some(message) = tokio::task::unconstrained(pull.next()).now_or_never()
        {
            self.take(message)?;
        }
        Ok(())
    }

    async fn wait(&mut self) -> Result<(), BusError> {
        let (Some(pull), Some(ends)) = (&mut self.pull, &mut self.ends) else {
            return Ok(());
        };
        tokio::select! {
            biased;
            () = self.link.turned(self.turn) => Ok(()),
            // Before the stream, which may hold nothing but duplicates for a while.
            () = sleep_until(self.ask_at) => self.catch_up().await,
            end = ends.next() => match end {
                Some(message) => self.hear_end(&message.payload),
                None => {
                    self.ends = None;
                    self.pull = None;
                    Ok(())
                }
            },
            message = pull.next() => self.take(message),
        }
    }

    fn take(
        &mut self,
        message: Option<Result<async_nats::jetstream::Message, pull::MessagesError>>,
    ) -> Result<(), BusError> {
        match message {
            Some(Ok(message)) => {
                for _ in 1..pangaea_faults::deliveries() {
                    self.accept(message.message.clone())?;
                }
                self.accept(message.message)
            }
            Some(Err(error)) => self.pull_failed(&error),
            None => self.pull_failed(&"it has ended"),
        }
    }

    /// The first failure since a message opens a new pull at once; the next ones leave the pause to the caller.
    fn pull_failed(&mut self, error: &dyn std::fmt::Display) -> Result<(), BusError> {
        tracing::debug!(reader = self.reader, source = self.source, %error, "the pull is made anew");
        metrics::counter!("pangaea_bus_pulls_renewed_total", "reader" => self.reader.clone()).increment(1);
        self.pull = None;
        self.pull_failures += 1;
        if self.pull_failures > 1 { Err(broker("pull", error)) } else { Ok(()) }
    }

    fn accept(&mut self, message: async_nats::Message) -> Result<(), BusError> {
        self.pull_failures = 0;
        let Some(headers) = &message.headers else {
            return self.skip(message, "it has no headers");
        };
        let attributes = wire::Attributes::of(headers);
        let Some(place) = attributes.place() else {
            return self.skip(message, "it has no position");
        };
        self.check_log(place.log_id)?;
        let (position, tip) = (place.position, self.tip());
        self.lags &= position < tip;
        if position <= tip {
            metrics::counter!("pangaea_bus_duplicates_total", "reader" => self.reader.clone()).increment(1);
            self.remember(position, message.reply);
            return Ok(());
        }
        let envelope = match attributes.envelope(&message.payload) {
            Ok(envelope) => Arc::new(envelope),
            Err(detail) => return self.skip(message, &detail),
        };
        self.remember(position, message.reply);
        if position == tip + 1 || unguarded(Plant::AckBeforeCommit) {
            self.push(envelope);
        } else {
            tracing::info!(
                reader = self.reader,
                source = self.source,
                after = tip,
                found = position,
                "a gap; asking the owner"
            );
            metrics::counter!("pangaea_bus_gaps_total", "reader" => self.reader.clone()).increment(1);
            self.held = Some(envelope);
        }
        Ok(())
    }

    /// What no relay has written is not part of the log. Were it in the place of a real message, a gap would show.
    fn skip(&mut self, message: async_nats::Message, detail: &str) -> Result<(), BusError> {
        metrics::counter!("pangaea_bus_foreign_total", "reader" => self.reader.clone()).increment(1);
        tracing::error!(reader = self.reader, subject = %message.subject, detail, "skipped a message that is not from a relay");
        self.remember(0, message.reply);
        Ok(())
    }

    fn remember(&mut self, position: u64, reply: Option<Subject>) {
        self.unacked.extend(reply.map(|reply| (position, reply)));
    }

    fn push(&mut self, envelope: Arc<Envelope>) {
        if self.cursor.log_id.is_empty() {
            self.cursor.log_id.clone_from(&envelope.log_id);
        }
        self.ready.push_back(envelope);
        if !self.lags {
            self.ask_at = None;
        }
    }

    /// The position of the last message received in order.
    fn tip(&self) -> u64 {
        self.ready.back().map_or(self.cursor.position, |last| last.position)
    }

    fn tip_cursor(&self) -> Cursor {
        self.ready.back().map_or_else(|| self.cursor.clone(), |last| Cursor::at(last))
    }

    fn hand_out(&mut self, max: usize) -> LogBatch {
        let messages: Vec<_> = if self.ready.len() <= max {
            std::mem::take(&mut self.ready).into()
        } else {
            self.ready.drain(..max).collect()
        };
        if let Some(last) = messages.last() {
            self.cursor = Cursor::at(last);
        }
        let first = self.cursor.position + 1 - messages.len() as u64;
        LogBatch { log_id: self.cursor.log_id.clone(), first, messages }
    }

    fn check_log(&self, found: &str) -> Result<(), BusError> {
        if self.cursor.log_id.is_empty() || self.cursor.log_id == found {
            return Ok(());
        }
        let source_name = self.source.clone();
        Err(BusError::LogReset { source_name, expected: self.cursor.log_id.clone(), found: found.to_owned() })
    }

    async fn reopen(&mut self) -> Result<(), BusError> {
        let turn = self.link.turn();
        let stream = stream::find(&self.link, &self.source).await?;
        let start = consumer::start_after(&stream, &self.source, &self.tip_cursor()).await?;
        let sequence = consumer::believing_the_broker(&stream, &self.reader, start.sequence).await;
        let consumer = consumer::place(&stream, &self.reader, sequence).await?;
        let ends = match self.ends.take() {
            Some(ends) => ends,
            None => {
                let subject = self.link.subject(&end_subject(&self.source));
                self.link.client.subscribe(subject).await.map_err(|error| broker("subscribe", error))?
            }
        };
        self.ends = Some(ends);
        let pull =
            consumer.stream().max_messages_per_batch(PULL_MESSAGES).expires(PULL_EXPIRES).heartbeat(PULL_HEARTBEAT);
        self.pull = Some(pull.messages().await.map_err(|error| broker("pull", error))?);
        self.turn = turn;
        self.lags = start.lags;
        if self.lags {
            self.ask_at = Some(Instant::now());
        }
        self.held = None;
        self.unacked.clear();
        Ok(())
    }

    /// Acknowledges, with the one ack that stands for all before it, the deliveries whose positions are committed.
    async fn acknowledge(&mut self) -> Result<(), BusError> {
        let done = self.unacked.iter().take_while(|(position, _)| *position <= self.progress.committed()).count();
        let Some((_, reply)) = done.checked_sub(1).and_then(|last| self.unacked.get(last)) else {
            return Ok(());
        };
        self.link.available()?;
        let published = self.link.client.publish(reply.clone(), Bytes::from_static(b"+ACK")).await;
        published.map_err(|error| broker("ack", error))?;
        self.unacked.drain(..done);
        Ok(())
    }
}

impl LogReader for NatsReader {
    fn next(&mut self, max: usize) -> BoxFuture<'_, Result<LogBatch, BusError>> {
        Box::pin(self.read_next(max))
    }

    fn committed(&mut self, position: u64) -> BoxFuture<'_, Result<(), BusError>> {
        self.progress.commit(&self.cursor.log_id, position);
        Box::pin(self.acknowledge())
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
