use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use pangaea_contracts::Envelope;
use tokio::sync::watch;

use crate::{BusError, RequestHandler, ServiceHandle, ServiceSpec};

pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
pub type BoxStream<T> = Pin<Box<dyn Stream<Item = T> + Send>>;

/// How logs, requests and ephemeral messages travel between modules.
pub trait Bus: Send + Sync {
    /// Makes a co-hosted log readable by every reader on the bus. Attaching a source again replaces it.
    ///
    /// Memory registers it. NATS answers `<source>.rpc.log_read.v1` for it, announces its end every second on
    /// `<source>.end`, hears its readers on `<source>.reader`, and makes the source's stream wherever it is missing; all
    /// begin as soon as the broker is there, so this does not wait for it. Only the replica that leads may do this.
    fn attach(&self, log: Arc<dyn LogSource>) -> BoxFuture<'_, Result<(), BusError>>;

    /// Takes back [`attach`](Bus::attach): a replica that no longer leads stops speaking for its log.
    fn detach(&self, source: &str);

    /// The relay that appends `log` to the broker, to be driven by the caller; none where readers read the log itself.
    fn relay(&self, log: Arc<dyn LogSource>) -> Option<Box<dyn Relay>>;

    /// Opens `source`'s log for `reader` after its committed cursor.
    ///
    /// # Errors
    /// [`BusError::UnknownSource`] when the bus is in memory and the source is not attached (yet);
    /// [`BusError::StreamMissing`] when the source's owner has not made its stream (yet);
    /// [`BusError::LogReset`] or [`BusError::CursorMismatch`] when the log is not the one the cursor was taken from;
    /// [`BusError::InvalidName`] when a name cannot be part of a subject.
    fn open_reader(
        &self,
        reader: &str,
        source: &str,
        after: Cursor,
    ) -> BoxFuture<'_, Result<Box<dyn LogReader>, BusError>>;

    /// The end of `source`'s log as its owner has it now: where a reader begins that wants nothing of what has been.
    ///
    /// # Errors
    /// [`BusError::UnknownSource`], or those of a [`request`](Bus::request) to the owner.
    fn end_of<'a>(&'a self, source: &'a str) -> BoxFuture<'a, Result<Cursor, BusError>>;

    /// Asks one server of `subject` and waits for its reply. `traceparent` travels as a header.
    ///
    /// # Errors
    /// [`BusError::NoResponders`], [`BusError::Timeout`] (the outcome is unknown), [`BusError::Busy`],
    /// [`BusError::Remote`] when the server answered with an error, [`BusError::Unavailable`].
    fn request<'a>(
        &'a self,
        subject: &'a str,
        payload: Bytes,
        traceparent: Option<&'a str>,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<Bytes, BusError>>;

    /// Asks every service of `subject` (one instance of each name) and returns what has arrived after `timeout`, or as
    /// soon as there are `max` replies. Error replies are left out; nobody there is an empty answer.
    fn request_many<'a>(
        &'a self,
        subject: &'a str,
        payload: Bytes,
        timeout: Duration,
        max: usize,
    ) -> BoxFuture<'a, Result<Vec<Bytes>, BusError>>;

    /// Serves requests, at most 256 of a service at once; more are answered with "busy". Instances of one service share
    /// the requests.
    ///
    /// # Errors
    /// [`BusError::InvalidName`] for a name or version the micro-service protocol does not take.
    fn serve(&self, service: ServiceSpec, handler: RequestHandler) -> BoxFuture<'_, Result<ServiceHandle, BusError>>;

    /// Sends an ephemeral message: nobody stores it, whoever listens now gets it, and a slow listener may miss it.
    fn publish<'a>(&'a self, subject: &'a str, payload: Bytes) -> BoxFuture<'a, Result<(), BusError>>;

    /// Listens to ephemeral messages. `*` stands for one token, a final `>` for one or more. The buffer holds 1024
    /// messages; one that lags loses the oldest, which is counted (`pangaea_bus_ephemeral_lost_total`).
    fn subscribe<'a>(&'a self, pattern: &'a str) -> BoxFuture<'a, Result<BoxStream<(String, Bytes)>, BusError>>;

    /// Whether messages can travel now. A bus that is down degrades a module, it does not stop it.
    fn healthy(&self) -> bool;

    /// `"memory"` or `"nats"`.
    fn kind(&self) -> &'static str;

    /// Stops what the bus runs of its own and hands everything accepted, acks included, to the broker. Close readers,
    /// relays and services before.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// A module's outbox as its owner shows it: dense positions from 1, position order is commit order.
pub trait LogSource: Send + Sync {
    /// The module that speaks.
    fn source(&self) -> &str;

    /// Names the history of the log; a restored or reset source has a new one.
    fn log_id(&self) -> String;

    /// The last committed position; 0 when the log is empty.
    fn end(&self) -> watch::Receiver<u64>;

    /// At most `limit` messages with positions above `after`, in order.
    ///
    /// # Errors
    /// [`BusError::Source`] when the database does not answer.
    fn read(&self, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<Arc<Envelope>>, BusError>>;

    /// Tells the owner the position up to which a reader has committed: how far behind it is, and what pruning must not
    /// pass. In memory it is called when a reader opens and with each of its commits; on NATS every second for as long as
    /// the reader lives, within 250 ms of a commit, and when it asks by `log_read`. A reader of which nothing has been
    /// heard for some seconds is gone, or its broker is. The default forgets it.
    fn reader_at(&self, reader: &str, committed: u64) {
        let _ = (reader, committed);
    }
}

/// A place in a log that a reader has committed in its own database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// Empty while nothing has been read.
    pub log_id: String,
    /// The last committed position; 0 while nothing has been read.
    pub position: u64,
    /// The id of the message at `position`; empty while nothing has been read.
    pub message_id: String,
}

/// One reader's way through one source's log.
pub trait LogReader: Send {
    /// Waits for at least one message and returns at most `max`, dense and in order. Dropping the future loses nothing.
    ///
    /// # Errors
    /// A transient one ([`BusError::is_transient`]): call again after a pause. [`BusError::LogReset`] and the other
    /// lasting ones: stop, the log is not the one that the cursor was taken from.
    fn next(&mut self, max: usize) -> BoxFuture<'_, Result<LogBatch, BusError>>;

    /// Says that everything up to `position` is committed, once for a batch. The broker's state is a convenience: what
    /// is delivered again after a crash lies below the cursor and is dropped.
    ///
    /// # Errors
    /// [`BusError::Unavailable`] when the broker cannot be told now; the next call makes up for it.
    fn committed(&mut self, position: u64) -> BoxFuture<'_, Result<(), BusError>>;
}

/// Messages at the positions `first..first + messages.len()` of one log.
#[derive(Clone, Debug)]
pub struct LogBatch {
    pub log_id: String,
    pub first: u64,
    /// Never empty.
    pub messages: Vec<Arc<Envelope>>,
}

/// Appends a log to the broker's stream. One relay per log, in the replica that leads.
pub trait Relay: Send {
    /// Waits for rows that the stream lacks (a second at most, then it checks that the stream is still as it was),
    /// appends at most about 2,000 of them, 256 in flight, and awaits all acknowledgements. The caller loops, with
    /// backoff after an error; a step that is dropped halfway is anchored again by the next, and so is the first on
    /// every new connection. It never makes the stream: that is done for what is [attached](Bus::attach).
    ///
    /// # Errors
    /// [`BusError::StreamAhead`] is fatal: the stream holds what the outbox does not, and the module must stop. After
    /// any other the next step anchors again on the last stored message.
    fn step(&mut self) -> BoxFuture<'_, Result<RelayProgress, BusError>>;
}

/// What the stream held after a step of the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayProgress {
    /// The last position of the log that the stream holds.
    pub position: u64,
    /// The stream's last sequence.
    pub stream_end: u64,
}

// === impl LogBatch ===

impl LogBatch {
    /// The position of the last message.
    pub fn last(&self) -> u64 {
        self.first + self.messages.len() as u64 - 1
    }
}

// === impl Cursor ===

impl Cursor {
    /// The cursor of a reader that has committed `envelope`.
    pub fn at(envelope: &Envelope) -> Self {
        Self { log_id: envelope.log_id.clone(), position: envelope.position, message_id: envelope.id.clone() }
    }
}
