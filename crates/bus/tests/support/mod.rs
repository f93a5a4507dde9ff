//! What the tests of the bus share: a log in memory, real nats-servers, and the places a bus can be in.
#![allow(dead_code)]

mod log;
mod server;

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream;
use pangaea_bus::{Bus, BusError, Cursor, LogReader, LogSource, MemoryBus, NatsBus, NatsConfig, Relay};
use pangaea_contracts::Envelope;
use tokio::task::JoinHandle;

pub(crate) use self::log::TestLog;
pub(crate) use self::server::{NatsServer, server_binaries};

/// A place on each server.
pub(crate) async fn servers() -> Vec<Place> {
    let mut places = Vec::new();
    for binary in server_binaries() {
        places.push(Place::on(NatsServer::start(&binary)).await);
    }
    places
}

pub(crate) const WAIT: Duration = Duration::from_secs(20);

/// A bus under test, and the relays that a host would drive.
pub(crate) struct Place {
    pub(crate) name: String,
    pub(crate) bus: Arc<dyn Bus>,
    relays: Vec<JoinHandle<()>>,
    pub(crate) server: Option<NatsServer>,
}

/// Every implementation: in memory, on the current nats-server, and on the oldest supported one when it is there.
pub(crate) async fn places() -> Vec<Place> {
    let mut places =
        vec![Place { name: "memory".into(), bus: Arc::new(MemoryBus::new("test")), relays: Vec::new(), server: None }];
    places.extend(servers().await);
    places
}

pub(crate) async fn nats_bus(server: &NatsServer) -> NatsBus {
    let bus = NatsBus::connect(NatsConfig::new(server.url(), "test")).await.unwrap();
    eventually("the bus connects", || bus.healthy()).await;
    bus
}

pub(crate) async fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    until(what, async || done()).await;
}

/// [`eventually`] for what has to be asked for.
pub(crate) async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + WAIT;
    while !done().await {
        assert!(tokio::time::Instant::now() < deadline, "waited too long until {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A client of its own, as the `nats` tool is one.
pub(crate) async fn raw(place: &Place) -> (async_nats::Client, jetstream::Context) {
    let client = async_nats::connect(place.server.as_ref().unwrap().url()).await.unwrap();
    (client.clone(), jetstream::new(client))
}

/// Reads until `count` messages have come, committing each batch, and checks that they are dense.
pub(crate) async fn read_committing(reader: &mut dyn LogReader, count: usize, max: usize) -> Vec<Arc<Envelope>> {
    let mut all: Vec<Arc<Envelope>> = Vec::new();
    while all.len() < count {
        let batch = next(reader, max).await;
        let last = batch.last();
        all.extend(batch.messages);
        // A broker that is away is told by the next commit.
        let told = reader.committed(last).await;
        assert!(told.as_ref().err().is_none_or(BusError::is_transient), "{told:?}");
    }
    all
}

/// The next batch, through transient errors, as a host reads it.
pub(crate) async fn next(reader: &mut dyn LogReader, max: usize) -> pangaea_bus::LogBatch {
    let deadline = tokio::time::Instant::now() + 2 * WAIT;
    loop {
        let answer = tokio::time::timeout_at(deadline, reader.next(max)).await.expect("nothing arrived");
        match answer {
            Ok(batch) => {
                assert!(
                    !batch.messages.is_empty() && batch.messages.len() <= max,
                    "a batch of {}",
                    batch.messages.len()
                );
                for (position, message) in (batch.first..).zip(&batch.messages) {
                    assert_eq!((message.position, &message.log_id), (position, &batch.log_id), "a batch is dense");
                }
                return batch;
            }
            Err(error) if error.is_transient() => tokio::time::sleep(Duration::from_millis(50)).await,
            Err(error) => panic!("the reader failed for good: {error}"),
        }
    }
}

/// Opens a reader, through transient errors, as a host does: a stream is made a moment after its log is attached.
pub(crate) async fn open(bus: &dyn Bus, reader: &str, source: &str, after: Cursor) -> Box<dyn LogReader> {
    let deadline = tokio::time::Instant::now() + WAIT;
    loop {
        match bus.open_reader(reader, source, after.clone()).await {
            Ok(opened) => return opened,
            Err(error) if error.is_transient() && tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(error) => panic!("{reader} cannot read {source}: {error}"),
        }
    }
}

pub(crate) fn positions(messages: &[Arc<Envelope>]) -> Vec<u64> {
    messages.iter().map(|message| message.position).collect()
}

/// Drives a relay as a host does.
pub(crate) fn drive(bus: &dyn Bus, log: Arc<dyn LogSource>) -> Option<JoinHandle<()>> {
    let mut relay = bus.relay(log)?;
    Some(tokio::spawn(async move {
        loop {
            match relay.step().await {
                Ok(_) => {}
                Err(error) if error.is_transient() => tokio::time::sleep(Duration::from_millis(50)).await,
                Err(_) => return,
            }
        }
    }))
}

// === impl Place ===

impl Place {
    pub(crate) async fn on(server: NatsServer) -> Self {
        let bus = nats_bus(&server).await;
        Self {
            name: format!("nats {}", server.version()),
            bus: Arc::new(bus),
            relays: Vec::new(),
            server: Some(server),
        }
    }

    /// Attaches the log and drives its relay, if the bus has one.
    pub(crate) async fn host(&mut self, log: &Arc<TestLog>) {
        self.bus.attach(log.clone()).await.unwrap();
        self.relays.extend(drive(self.bus.as_ref(), log.clone()));
    }

    /// The relay of a log whose stream is there, to be driven step by step.
    pub(crate) async fn relay(&self, log: &Arc<TestLog>) -> Box<dyn Relay> {
        self.bus.attach(log.clone()).await.unwrap();
        let (_, jetstream) = raw(self).await;
        let name = format!("TEST_{}", log.source().to_uppercase());
        until("the stream is there", async || jetstream.get_stream(&name).await.is_ok()).await;
        self.bus.relay(log.clone()).expect("NATS needs a relay")
    }

    pub(crate) fn stop_relays(&mut self) {
        for relay in self.relays.drain(..) {
            relay.abort();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.stop_relays();
    }
}
