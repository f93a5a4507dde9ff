//! What is said between buses apart from the messages themselves: names, and the `log_read` request.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use pangaea_contracts::{Envelope, PAYLOAD_BYTES_MAX, cloud_event_headers, from_cloud_event_headers};
use serde::{Deserialize, Serialize};

use crate::{BusError, Cursor, LogSource};

/// Messages in one answer to `log_read`.
pub(crate) const LOG_READ_MESSAGES_MAX: usize = 256;
/// The payloads of one answer together, in bytes, unless the first alone is larger. An answer must fit into one NATS
/// message (1 MiB unless the server says otherwise), and JSON within JSON can double its quotes.
const LOG_READ_PAYLOAD_BYTES_MAX: usize = PAYLOAD_BYTES_MAX;

/// The request that any reader may make of a log's owner.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct LogReadRequest {
    /// Who reads, so that the owner can keep what this reader has yet to see; empty for one that only looks.
    pub(crate) reader: String,
    /// What this reader has committed, which may be less than what it has received.
    pub(crate) committed: u64,
    pub(crate) log_id: String,
    /// Read from the position after this one.
    pub(crate) position: u64,
    /// The message at `position`; empty when the reader does not know it, and then it is not checked.
    pub(crate) message_id: String,
    pub(crate) limit: usize,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub(crate) enum LogReadReply {
    Messages { log_id: String, end: u64, messages: Vec<WireMessage> },
    LogReset { log_id: String },
    CursorMismatch { detail: String },
    Pruned { first: u64 },
    Failed { detail: String },
}

/// An envelope as JSON: its CloudEvents attributes, and the payload byte for byte.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct WireMessage {
    attributes: BTreeMap<String, String>,
    payload: String,
}

/// What an owner says every second.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct EndAnnouncement {
    pub(crate) log_id: String,
    pub(crate) end: u64,
}

/// What a reader says of itself, every second and whenever it has moved, so that the owner knows how far behind it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ReaderPlace {
    pub(crate) reader: String,
    /// Empty while nothing has been read.
    pub(crate) log_id: String,
    pub(crate) committed: u64,
}

/// Where the owner of a log answers questions about it.
pub fn log_read_subject(source: &str) -> String {
    format!("{source}.rpc.log_read.v1")
}

pub(crate) fn end_subject(source: &str) -> String {
    format!("{source}.end")
}

pub(crate) fn reader_subject(source: &str) -> String {
    format!("{source}.reader")
}

/// Names of sources, readers and namespaces are parts of subjects, streams and durable consumers.
pub(crate) fn check_name(what: &'static str, name: &str) -> Result<(), BusError> {
    let sound = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-';
    if !name.is_empty() && name.len() <= 64 && name.bytes().all(sound) {
        return Ok(());
    }
    Err(BusError::InvalidName {
        what,
        name: name.to_owned(),
        expected: "use at most 64 lower-case letters, digits, _ and -",
    })
}

/// A subject that something can be sent to.
pub(crate) fn check_subject(subject: &str) -> Result<(), BusError> {
    let sound = |token: &str| {
        !token.is_empty() && !token.contains(['*', '>']) && token.bytes().all(|byte| byte.is_ascii_graphic())
    };
    if subject.split('.').all(sound) {
        return Ok(());
    }
    Err(BusError::InvalidName {
        what: "subject",
        name: subject.to_owned(),
        expected: "use tokens of printable characters, parted by dots, without * and >",
    })
}

/// A subject in which `*` and a final `>` stand for others.
pub(crate) fn check_pattern(pattern: &str) -> Result<(), BusError> {
    let tokens: Vec<&str> = pattern.split('.').collect();
    let last = tokens.len() - 1;
    let sound = tokens.iter().enumerate().all(|(index, token)| match *token {
        "*" => true,
        ">" => index == last,
        token => check_subject(token).is_ok(),
    });
    if sound {
        return Ok(());
    }
    Err(BusError::InvalidName {
        what: "pattern",
        name: pattern.to_owned(),
        expected: "* stands for one whole token, > only at the end",
    })
}

/// Checks a cursor against the log it is said to be from.
pub(crate) async fn check_cursor(log: &dyn LogSource, cursor: &Cursor) -> Result<(), BusError> {
    let source_name = || log.source().to_owned();
    let found = log.log_id();
    if !cursor.log_id.is_empty() && cursor.log_id != found {
        return Err(BusError::LogReset { source_name: source_name(), expected: cursor.log_id.clone(), found });
    }
    if cursor.position == 0 || cursor.message_id.is_empty() {
        return Ok(());
    }
    let mismatch = |detail| BusError::CursorMismatch { source_name: source_name(), position: cursor.position, detail };
    match log.read(cursor.position - 1, 1).await?.first() {
        Some(row) if row.position == cursor.position && row.id != cursor.message_id => {
            Err(mismatch(format!("expected {}, found {}", cursor.message_id, row.id)))
        }
        // A later row means that the cursor's own has been pruned, which a committed cursor allows.
        Some(_) => Ok(()),
        None => Err(mismatch("the log ends before it".to_owned())),
    }
}

/// Reads the rows after `after` and checks that they follow it without a gap.
pub(crate) async fn read_dense(log: &dyn LogSource, after: u64, limit: usize) -> Result<Vec<Arc<Envelope>>, BusError> {
    let rows = log.read(after, limit).await?;
    if let Some(first) = rows.first().filter(|first| first.position > after + 1) {
        return Err(BusError::Pruned {
            source_name: log.source().to_owned(),
            position: after + 1,
            first: first.position,
        });
    }
    if let Some((index, row)) = rows.iter().enumerate().find(|(index, row)| row.position != after + 1 + *index as u64) {
        let detail = format!("position {} follows {}", row.position, after + index as u64);
        return Err(BusError::Malformed { source_name: log.source().to_owned(), detail });
    }
    Ok(rows)
}

pub(crate) async fn end_of_log(log: &dyn LogSource) -> Result<Cursor, BusError> {
    let end = *log.end().borrow();
    if end == 0 {
        return Ok(Cursor { log_id: log.log_id(), ..Cursor::default() });
    }
    let last = log.read(end - 1, 1).await?;
    last.first().map(|last| Cursor::at(last)).ok_or_else(|| BusError::Source {
        source_name: log.source().to_owned(),
        detail: format!("it has no row at its end, {end}"),
    })
}

/// Answers a `log_read` request: the owner's side of it.
pub(crate) async fn answer_log_read(log: &dyn LogSource, payload: &[u8]) -> Result<Bytes, String> {
    let request: LogReadRequest =
        serde_json::from_slice(payload).map_err(|error| format!("the log_read request cannot be read: {error}"))?;
    let reply = match read_for(log, &request).await {
        Ok(messages) => LogReadReply::Messages { log_id: log.log_id(), end: *log.end().borrow(), messages },
        Err(BusError::LogReset { found, .. }) => LogReadReply::LogReset { log_id: found },
        Err(BusError::CursorMismatch { detail, .. }) => LogReadReply::CursorMismatch { detail },
        Err(BusError::Pruned { first, .. }) => LogReadReply::Pruned { first },
        Err(error) => LogReadReply::Failed { detail: error.to_string() },
    };
    serde_json::to_vec(&reply).map(Bytes::from).map_err(|error| error.to_string())
}

async fn read_for(log: &dyn LogSource, request: &LogReadRequest) -> Result<Vec<WireMessage>, BusError> {
    let cursor =
        Cursor { log_id: request.log_id.clone(), position: request.position, message_id: request.message_id.clone() };
    check_cursor(log, &cursor).await?;
    if !request.reader.is_empty() {
        log.reader_at(&request.reader, request.committed);
    }
    let rows = read_dense(log, request.position, request.limit.clamp(1, LOG_READ_MESSAGES_MAX)).await?;
    let mut bytes = 0;
    Ok(rows
        .iter()
        .enumerate()
        .take_while(|(index, row)| {
            bytes += row.payload.len() + 1024;
            *index == 0 || bytes <= LOG_READ_PAYLOAD_BYTES_MAX
        })
        .map(|(_, row)| WireMessage::from(row.as_ref()))
        .collect())
}

// === impl LogReadReply ===

impl LogReadReply {
    /// The rows of the answer with the log's id and end, or the error it stands for.
    pub(crate) fn into_rows(
        self,
        request: &LogReadRequest,
        source: &str,
    ) -> Result<(String, u64, Vec<Arc<Envelope>>), BusError> {
        let source_name = source.to_owned();
        match self {
            Self::Messages { log_id, end, messages } => {
                let rows: Result<Vec<_>, String> = messages.into_iter().map(WireMessage::into_envelope).collect();
                let rows = rows.map_err(|detail| BusError::Malformed { source_name, detail })?;
                Ok((log_id, end, rows.into_iter().map(Arc::new).collect()))
            }
            Self::LogReset { log_id } => {
                Err(BusError::LogReset { source_name, expected: request.log_id.clone(), found: log_id })
            }
            Self::CursorMismatch { detail } => {
                Err(BusError::CursorMismatch { source_name, position: request.position, detail })
            }
            Self::Pruned { first } => Err(BusError::Pruned { source_name, position: request.position + 1, first }),
            Self::Failed { detail } => Err(BusError::Source { source_name, detail }),
        }
    }
}

// === impl WireMessage ===

impl From<&Envelope> for WireMessage {
    fn from(envelope: &Envelope) -> Self {
        let attributes =
            cloud_event_headers(envelope).into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Self { attributes, payload: envelope.payload.clone() }
    }
}

impl WireMessage {
    fn into_envelope(self) -> Result<Envelope, String> {
        from_cloud_event_headers(|name| self.attributes.get(name).map(String::as_str), self.payload)
    }
}
