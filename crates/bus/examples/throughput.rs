//! How much of the broker's speed the bus keeps: messages per second through memory, through the NATS bus, and through
//! bare async-nats with the same payloads, headers, batch sizes and acks.
//!
//! `cargo run --release -p pangaea-bus --example throughput -- nats://127.0.0.1:4222`

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use async_nats::jetstream::{self, consumer::AckPolicy, consumer::pull, message::PublishMessage, stream};
use bytes::Bytes;
use futures_util::StreamExt;
use pangaea_bus::{BoxFuture, Bus, BusError, Cursor, LogRing, LogSource, MemoryBus, NatsBus, NatsConfig};
use pangaea_contracts::{Actor, Envelope, Timestamp, cloud_event_headers};
use tokio::sync::watch;

const MESSAGES: u64 = 100_000;
const BATCH: usize = 256;
const ROUNDS: usize = 3;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A log whose rows are made before the clock starts.
struct Log {
    rows: Vec<Arc<Envelope>>,
    ring: LogRing,
    end: watch::Sender<u64>,
}

// === impl Log ===

impl Log {
    fn new() -> Arc<Self> {
        let rows = (1..=MESSAGES).map(|position| Arc::new(envelope(position))).collect();
        Arc::new(Self { rows, ring: LogRing::new(16_384), end: watch::Sender::new(0) })
    }

    fn commit_all(&self) {
        self.end.send_replace(MESSAGES);
    }
}

impl LogSource for Log {
    fn source(&self) -> &str {
        "order"
    }

    fn log_id(&self) -> String {
        "log_1".into()
    }

    fn end(&self) -> watch::Receiver<u64> {
        self.end.subscribe()
    }

    fn read(&self, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<Arc<Envelope>>, BusError>> {
        let rows = self.ring.read(after, limit).unwrap_or_else(|| {
            let first = after as usize;
            self.rows[first..self.rows.len().min(first + limit)].to_vec()
        });
        Box::pin(std::future::ready(Ok(rows)))
    }
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    println!("memory: {:>9.0} messages/s", memory().await?);
    let Some(url) = std::env::args().nth(1) else {
        println!("name a nats-server to measure it too");
        return Ok(());
    };
    for round in 1..=ROUNDS {
        let (raw_out, raw_in) = raw(&url).await?;
        let (bus_out, bus_in) = bus(&url).await?;
        println!(
            "round {round}: append raw {raw_out:.0}/s, bus {bus_out:.0}/s ({:.2}); read raw {raw_in:.0}/s, bus {bus_in:.0}/s ({:.2})",
            bus_out / raw_out,
            bus_in / raw_in
        );
    }
    Ok(())
}

async fn memory() -> Result<f64, Failure> {
    let bus = MemoryBus::new("bench");
    let log = Log::new();
    bus.attach(log.clone()).await?;
    let mut reader = bus.open_reader("payment", "order", Cursor::default()).await?;
    let start = Instant::now();
    let writer = tokio::spawn(async move {
        for chunk in log.rows.chunks(64) {
            log.ring.push(chunk.iter().cloned());
            log.end.send_modify(|end| *end += chunk.len() as u64);
            tokio::task::yield_now().await;
        }
    });
    let mut read = 0;
    while read < MESSAGES {
        read = reader.next(BATCH).await?.last();
        reader.committed(read).await?;
    }
    let rate = per_second(start);
    writer.await?;
    Ok(rate)
}

async fn bus(url: &str) -> Result<(f64, f64), Failure> {
    let namespace = format!("bench-bus-{}", std::process::id());
    let bus = NatsBus::connect(NatsConfig::new(url, namespace.clone())).await?;
    while !bus.healthy() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let log = Log::new();
    let mut relay = bus.relay(log.clone()).ok_or("NATS needs a relay")?;
    log.commit_all();
    let start = Instant::now();
    while relay.step().await?.position < MESSAGES {}
    let appended = per_second(start);
    let start = Instant::now();
    let mut reader = bus.open_reader("payment", "order", Cursor::default()).await?;
    let mut read = 0;
    while read < MESSAGES {
        read = reader.next(BATCH).await?.last();
        reader.committed(read).await?;
    }
    let rate = per_second(start);
    drop(reader);
    let client = async_nats::connect(url).await?;
    jetstream::new(client).delete_stream(format!("{namespace}_order").to_uppercase()).await?;
    bus.close().await;
    Ok((appended, rate))
}

/// The same work by hand: batches of appends awaited together, one ack for each batch read.
async fn raw(url: &str) -> Result<(f64, f64), Failure> {
    let client = async_nats::connect(url).await?;
    let jetstream = jetstream::new(client.clone());
    let name = format!("BENCH_RAW_{}", std::process::id());
    let subject = format!("bench-raw-{}.order.evt.placed.v1", std::process::id());
    let config = stream::Config { name: name.clone(), subjects: vec![subject.clone()], ..stream::Config::default() };
    let stream = jetstream.create_stream(config).await?;
    let messages: Vec<(HeaderMap, Bytes)> = (1..=MESSAGES).map(|position| raw_message(&envelope(position))).collect();
    let start = Instant::now();
    for chunk in messages.chunks(BATCH) {
        let mut acks = Vec::with_capacity(chunk.len());
        for (headers, payload) in chunk {
            let message = PublishMessage::build().headers(headers.clone()).payload(payload.clone());
            acks.push(jetstream.send_publish(subject.clone(), message).await?);
        }
        for ack in acks {
            ack.await?;
        }
    }
    let appended = per_second(start);
    let start = Instant::now();
    let config = pull::Config {
        durable_name: Some("payment".into()),
        ack_policy: AckPolicy::All,
        max_ack_pending: 4096,
        ..pull::Config::default()
    };
    let consumer = stream.create_consumer(config).await?;
    let mut incoming = consumer.stream().max_messages_per_batch(512).messages().await?;
    let mut held = Vec::with_capacity(BATCH);
    for number in 1..=MESSAGES {
        let message = incoming.next().await.ok_or("the pull has ended")??;
        held.push((message.headers.clone(), message.payload.clone()));
        if number.is_multiple_of(BATCH as u64) {
            held.clear();
            message.ack().await?;
        }
    }
    let rate = per_second(start);
    jetstream.delete_stream(&name).await?;
    Ok((appended, rate))
}

fn raw_message(envelope: &Envelope) -> (HeaderMap, Bytes) {
    let mut headers = HeaderMap::new();
    for (name, value) in cloud_event_headers(envelope) {
        headers.insert(name, value);
    }
    (headers, Bytes::from(envelope.payload.clone()))
}

fn per_second(start: Instant) -> f64 {
    MESSAGES as f64 / start.elapsed().as_secs_f64()
}

fn envelope(position: u64) -> Envelope {
    Envelope {
        id: format!("msg_{position:026}"),
        subject: "order.evt.placed.v1".into(),
        source: "order".into(),
        log_id: "log_1".into(),
        position,
        key: format!("ord_{position:026}"),
        causation_id: format!("cmd_{position:026}"),
        correlation_id: format!("cmd_{position:026}"),
        actor: Actor::system(),
        time: Timestamp::from_millis(1_700_000_000_000),
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
        payload: format!("{{\"order_id\":\"ord_{position:026}\",\"note\":\"{}\"}}", "x".repeat(190)),
    }
}
