//! The durable consumer of one reader on one stream.

use std::time::Duration;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::consumer::{AckPolicy, Consumer, DeliverPolicy, ReplayPolicy, pull};
use async_nats::jetstream::stream::{ConsumerErrorKind, Info, Stream};
use pangaea_faults::{Plant, planted, unguarded};

use super::link::broker;
use super::{stream, wire};
use crate::{BusError, Cursor};

/// Deliveries without an ack before the server stalls. Well above what a pull and a reader hold together.
pub(super) const ACKS_PENDING_MAX: usize = 4096;
const ACK_WAIT: Duration = Duration::from_secs(30);
/// Lookups to find a sequence; a stream that was never cut needs one.
const LOOKUPS_MAX: usize = 8;

/// From where a reader reads a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Start {
    /// The sequence from which a consumer delivers everything after the cursor.
    pub(super) sequence: u64,
    /// The stream ends before the cursor: it is being refilled, and what the reader waits for comes last.
    pub(super) lags: bool,
}

/// Looks up where the cursor is in the stream.
///
/// The sequence may be too early, and then the reader drops duplicates; or the stream may not hold the next position, and
/// then the reader sees a gap and asks the owner. So a guess that does not converge costs time and nothing else.
///
/// # Errors
/// [`BusError::LogReset`] and [`BusError::CursorMismatch`] when the stream is not the one the cursor was taken from.
pub(super) async fn start_after(stream: &Stream<Info>, source: &str, cursor: &Cursor) -> Result<Start, BusError> {
    let state = &stream.cached_info().state;
    let (first, last) = (state.first_sequence.max(1), state.last_sequence);
    let at = |sequence| Start { sequence, lags: false };
    if state.messages == 0 {
        return Ok(Start { sequence: last + 1, lags: cursor.position > 0 });
    }
    let Some(message) = stream::message_at(stream, last).await? else {
        return Ok(at(first));
    };
    let Some(place) = wire::place(&message.headers) else {
        return Ok(at(first));
    };
    check(source, cursor, &place)?;
    if cursor.position >= place.position {
        return Ok(Start { sequence: last + 1, lags: cursor.position > place.position });
    }
    let wanted = cursor.position + 1;
    let mut guess = last.saturating_sub(place.position - wanted).clamp(first, last);
    for _ in 0..LOOKUPS_MAX {
        let Some(found) = stream::position_at(stream, guess).await? else {
            return Ok(at(first));
        };
        if found == wanted || (found > wanted && guess == first) {
            check_before(stream, source, cursor, guess).await?;
            return Ok(at(guess));
        }
        guess = if found > wanted { guess.saturating_sub(found - wanted) } else { guess + (wanted - found) }
            .clamp(first, last);
    }
    Ok(at(first))
}

/// A planted bug: what the broker has an acknowledgement of is taken to be done. The guard is that the cursor alone counts.
pub(super) async fn believing_the_broker(stream: &Stream<Info>, reader: &str, start: u64) -> u64 {
    if !planted(Plant::AckBeforeCommit) {
        return start;
    }
    let info = stream.consumer_info(reader).await;
    let believed = info.map_or(start, |info| info.ack_floor.stream_sequence + 1);
    if believed > start && !unguarded(Plant::AckBeforeCommit) {
        tracing::warn!(reader, believed, start, "acknowledged, and never committed: the cursor holds");
        return start;
    }
    believed
}

/// The reader's consumer, made anew from `start` on.
///
/// One that is there is never kept: a leader that is paused or dead may have pulls waiting on it, which would swallow
/// messages until they expire; so may a pull of this reader's own that an old connection has left behind.
pub(super) async fn place(stream: &Stream<Info>, reader: &str, start: u64) -> Result<Consumer<pull::Config>, BusError> {
    delete(stream, reader).await?;
    let wanted = wanted(reader, start);
    let consumer = stream.create_consumer(wanted.clone()).await.map_err(|error| broker("create consumer", error))?;
    let differences = match pull_config(&consumer.cached_info().config) {
        Some(found) => differences(&wanted, &found),
        None => vec!["it is not a pull consumer".to_owned()],
    };
    if differences.is_empty() {
        return Ok(consumer);
    }
    Err(BusError::Configuration { what: format!("consumer {reader}"), differences })
}

fn check(source: &str, cursor: &Cursor, place: &wire::Place<'_>) -> Result<(), BusError> {
    if !cursor.log_id.is_empty() && cursor.log_id != place.log_id {
        return Err(BusError::LogReset {
            source_name: source.to_owned(),
            expected: cursor.log_id.clone(),
            found: place.log_id.to_owned(),
        });
    }
    if place.position == cursor.position && !cursor.message_id.is_empty() && place.id != cursor.message_id {
        let detail = format!("expected {}, found {}", cursor.message_id, place.id);
        return Err(BusError::CursorMismatch { source_name: source.to_owned(), position: cursor.position, detail });
    }
    Ok(())
}

/// Compares the cursor's own message, when the stream still holds it.
async fn check_before(stream: &Stream<Info>, source: &str, cursor: &Cursor, start: u64) -> Result<(), BusError> {
    match stream::message_at(stream, start - 1).await? {
        Some(message) => wire::place(&message.headers).map_or(Ok(()), |place| check(source, cursor, &place)),
        None => Ok(()),
    }
}

async fn delete(stream: &Stream<Info>, reader: &str) -> Result<(), BusError> {
    match stream.delete_consumer(reader).await {
        Ok(_) => Ok(()),
        Err(error) => match error.kind() {
            ConsumerErrorKind::JetStream(error) if error.error_code() == ErrorCode::CONSUMER_NOT_FOUND => Ok(()),
            _ => Err(broker("delete consumer", error)),
        },
    }
}

fn wanted(reader: &str, start: u64) -> pull::Config {
    pull::Config {
        durable_name: Some(reader.to_owned()),
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: start },
        ack_policy: AckPolicy::All,
        ack_wait: ACK_WAIT,
        max_deliver: -1,
        max_ack_pending: ACKS_PENDING_MAX as i64,
        replay_policy: ReplayPolicy::Instant,
        ..pull::Config::default()
    }
}

fn pull_config(found: &async_nats::jetstream::consumer::Config) -> Option<pull::Config> {
    use async_nats::jetstream::consumer::FromConsumer;
    pull::Config::try_from_consumer_config(found.clone()).ok()
}

/// An old server ignores fields that it does not know, so what it returns is compared with what was meant.
fn differences(wanted: &pull::Config, found: &pull::Config) -> Vec<String> {
    let mut differences = Vec::new();
    let mut compare = |field: &str, wanted: String, found: String| {
        if wanted != found {
            differences.push(format!("{field} is {found} instead of {wanted}"));
        }
    };
    compare("deliver_policy", format!("{:?}", wanted.deliver_policy), format!("{:?}", found.deliver_policy));
    compare("ack_policy", format!("{:?}", wanted.ack_policy), format!("{:?}", found.ack_policy));
    compare("ack_wait", format!("{:?}", wanted.ack_wait), format!("{:?}", found.ack_wait));
    compare("max_deliver", wanted.max_deliver.to_string(), found.max_deliver.to_string());
    compare("max_ack_pending", wanted.max_ack_pending.to_string(), found.max_ack_pending.to_string());
    compare("replay_policy", format!("{:?}", wanted.replay_policy), format!("{:?}", found.replay_policy));
    compare("filter_subject", wanted.filter_subject.clone(), found.filter_subject.clone());
    compare("filter_subjects", wanted.filter_subjects.join(" "), found.filter_subjects.join(" "));
    compare("headers_only", wanted.headers_only.to_string(), found.headers_only.to_string());
    differences
}
