use std::sync::{Arc, Mutex};

use pangaea_bus::{BoxFuture, BusError, LogSource};
use pangaea_contracts::{Actor, Envelope, Timestamp};
use tokio::sync::watch;

/// An outbox in memory, with the guarantees of a real one: dense positions, an end that moves after the rows are there.
pub(crate) struct TestLog {
    source: String,
    log_id: String,
    rows: Mutex<Vec<Arc<Envelope>>>,
    end: watch::Sender<u64>,
    pub(crate) readers: Mutex<Vec<(String, u64)>>,
}

fn row(source: &str, log_id: &str, position: u64, payload: &str) -> Arc<Envelope> {
    let subject = if position.is_multiple_of(3) {
        format!("{source}.cmd.payment.authorize.v1")
    } else {
        format!("{source}.evt.placed.v1")
    };
    Arc::new(Envelope {
        id: format!("{log_id}_msg_{position}"),
        subject,
        source: source.into(),
        log_id: log_id.into(),
        position,
        key: format!("ord_{}", position % 7),
        causation_id: format!("cmd_{position}"),
        correlation_id: "cmd_0".into(),
        actor: Actor::system(),
        time: Timestamp::from_millis(1_700_000_000_000 + position as i64),
        traceparent: position
            .is_multiple_of(2)
            .then(|| "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
        payload: payload.into(),
    })
}

// === impl TestLog ===

impl TestLog {
    pub(crate) fn new(source: &str, log_id: &str) -> Arc<Self> {
        Arc::new(Self {
            source: source.into(),
            log_id: log_id.into(),
            rows: Mutex::default(),
            end: watch::Sender::new(0),
            readers: Mutex::default(),
        })
    }

    /// Commits `count` more rows.
    pub(crate) fn append(&self, count: u64) {
        self.append_with(count, |position| format!("{{\"n\":{position}}}"));
    }

    pub(crate) fn append_with(&self, count: u64, payload: impl Fn(u64) -> String) {
        let mut rows = self.rows.lock().unwrap();
        for position in rows.len() as u64 + 1..=rows.len() as u64 + count {
            rows.push(row(&self.source, &self.log_id, position, &payload(position)));
        }
        let end = rows.len() as u64;
        drop(rows);
        self.end.send_replace(end);
    }

    pub(crate) fn rows(&self) -> Vec<Arc<Envelope>> {
        self.rows.lock().unwrap().clone()
    }
}

impl LogSource for TestLog {
    fn source(&self) -> &str {
        &self.source
    }

    fn log_id(&self) -> String {
        self.log_id.clone()
    }

    fn end(&self) -> watch::Receiver<u64> {
        self.end.subscribe()
    }

    fn read(&self, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<Arc<Envelope>>, BusError>> {
        let rows = self.rows.lock().unwrap().iter().skip(after as usize).take(limit).cloned().collect();
        Box::pin(std::future::ready(Ok(rows)))
    }

    fn reader_at(&self, reader: &str, committed: u64) {
        self.readers.lock().unwrap().push((reader.to_owned(), committed));
    }
}
