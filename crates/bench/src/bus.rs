//! `ring` and `nats`: messages through the memory bus, and how much of the broker's speed the NATS bus keeps, beside bare
//! async-nats with the same payloads, headers, batch sizes and acks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use async_nats::HeaderMap;
use async_nats::jetstream::{self, consumer::AckPolicy, consumer::pull, message::PublishMessage, stream};
use bytes::Bytes;
use clap::Args;
use futures_util::StreamExt;
use pangaea_bus::{BoxFuture, Bus, BusError, Cursor, LogRing, LogSource, MemoryBus, NatsBus, NatsConfig};
use pangaea_contracts::{Actor, Envelope, Timestamp, cloud_event_headers};
use pangaea_testkit::Broker;
use tokio::sync::watch;

use crate::Common;
use crate::place::prepare;
use crate::sheet::{Bound, Sheet};

const MESSAGES: u64 = 100_000;
const BATCH: usize = 256;
/// As a writer's batch ends.
const WRITTEN: usize = 64;
const RING_ROWS: usize = 16_384;

/// A log whose rows are made before the clock starts.
struct Log {
    rows: Vec<Arc<Envelope>>,
    ring: LogRing,
    end: watch::Sender<u64>,
    /// Reads that found the ring without their rows: in a store they would go to the database.
    missed: AtomicU64,
}

// === impl Log ===

impl Log {
    fn new() -> Arc<Self> {
        let rows = (1..=MESSAGES).map(|position| Arc::new(envelope(position))).collect();
        Arc::new(Self { rows, ring: LogRing::new(RING_ROWS), end: watch::Sender::new(0), missed: AtomicU64::new(0) })
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
            self.missed.fetch_add(1, Ordering::Relaxed);
            let first = after as usize;
            self.rows[first..self.rows.len().min(first + limit)].to_vec()
        });
        Box::pin(std::future::ready(Ok(rows)))
    }
}

#[derive(Args)]
pub(crate) struct BusArgs {
    #[command(flatten)]
    pub(crate) common: Common,
}

/// Rows from the ring to a reader: they are there already, so no commit is in the figure.
pub(crate) async fn ring(args: BusArgs) -> Result<Sheet> {
    let (_, machine) = prepare(&args.common.dir).await?;
    let mut sheet = Sheet::new("ring", machine);
    let mut runs = Vec::new();
    for _ in 0..args.common.runs {
        runs.push(memory().await?);
    }
    sheet.setting(
        "messages",
        format!(
            "{MESSAGES} with {} bytes of payload a run, written {WRITTEN} and read {BATCH} at a time",
            envelope(1).payload.len()
        ),
    );
    let figure = sheet.figure("rows from the ring to a reader", "/s", &runs);
    figure.must(Bound::AtLeast(300_000.0), Bound::AtLeast(1_000_000.0));
    Ok(sheet)
}

/// A nats-server of its own; the two take turns on it.
pub(crate) async fn nats(args: BusArgs) -> Result<Sheet> {
    let (dir, machine) = prepare(&args.common.dir).await?;
    let mut sheet = Sheet::new("nats", machine);
    let folder = dir.join("run-nats");
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let mut server = Broker::new(&folder)?;
    server.start().await?;
    let url = format!("nats://{}", server.address());
    let (mut appends, mut reads, mut paths) = (Vec::new(), Vec::new(), Vec::new());
    let (mut raw_path, mut bus_path) = (Vec::new(), Vec::new());
    for round in 1..=args.common.runs {
        // They take turns at being first: the first finds the server's disk quiet.
        let (raw, bus) = match round % 2 {
            1 => {
                let raw = raw(&url).await?;
                (raw, bus(&url).await?)
            }
            _ => {
                let bus = bus(&url).await?;
                (raw(&url).await?, bus)
            }
        };
        eprintln!("bench: round {round}: by hand {raw:?}, bus {bus:?}");
        appends.push(raw.append_s / bus.append_s);
        reads.push(raw.read_s / bus.read_s);
        paths.push((raw.append_s + raw.read_s) / (bus.append_s + bus.read_s));
        raw_path.push(raw.per_second());
        bus_path.push(bus.per_second());
    }
    sheet.setting(
        "messages",
        format!(
            "{MESSAGES} with {} bytes of payload a run, file storage, {BATCH} in a batch, one ack a batch",
            envelope(1).payload.len()
        ),
    );
    sheet.figure("append, pull, ack: by hand with async-nats", "/s", &raw_path);
    sheet.figure("append, pull, ack: the bus", "/s", &bus_path);
    sheet.figure("append, bus ÷ by hand", "", &appends);
    sheet.figure("pull and ack, bus ÷ by hand", "", &reads);
    let figure = sheet.figure("append, pull and ack, bus ÷ by hand", "", &paths);
    figure.must(Bound::AtLeast(0.85), Bound::AtLeast(0.95));
    server.kill()?;
    Ok(sheet)
}

/// Seconds that the same messages took.
#[derive(Debug)]
struct Path {
    append_s: f64,
    read_s: f64,
}

impl Path {
    fn per_second(&self) -> f64 {
        MESSAGES as f64 / (self.append_s + self.read_s)
    }
}

async fn memory() -> Result<f64> {
    let bus = MemoryBus::new("bench");
    let log = Log::new();
    bus.attach(log.clone()).await?;
    let mut reader = bus.open_reader("payment", "order", Cursor::default()).await?;
    let (done, mut committed) = watch::channel(0_u64);
    let start = Instant::now();
    let writer = tokio::spawn({
        let log = log.clone();
        async move {
            for chunk in log.rows.chunks(WRITTEN) {
                let end = *log.end.borrow() + chunk.len() as u64;
                // Never so far ahead that the ring has lost what the reader has not had.
                committed.wait_for(|committed| end - committed < RING_ROWS as u64 / 2).await?;
                log.ring.push(chunk.iter().cloned());
                log.end.send_replace(end);
                tokio::task::yield_now().await;
            }
            Ok::<(), watch::error::RecvError>(())
        }
    });
    let mut read = 0;
    while read < MESSAGES {
        read = reader.next(BATCH).await?.last();
        reader.committed(read).await?;
        done.send_replace(read);
    }
    let rate = MESSAGES as f64 / start.elapsed().as_secs_f64();
    writer.await??;
    let missed = log.missed.load(Ordering::Relaxed);
    ensure!(missed == 0, "{missed} reads did not find their rows in the ring");
    Ok(rate)
}

async fn bus(url: &str) -> Result<Path> {
    let namespace = format!("bench-bus-{}", std::process::id());
    let bus = NatsBus::connect(NatsConfig::new(url, namespace.clone())).await?;
    while !bus.healthy() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let log = Log::new();
    bus.attach(log.clone()).await?;
    let client = async_nats::connect(url).await?;
    let (jetstream, stream) = (jetstream::new(client), format!("{namespace}_order").to_uppercase());
    // The bus makes it by itself, a moment after it knows the log.
    while jetstream.get_stream(&stream).await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut relay = bus.relay(log.clone()).context("NATS needs a relay")?;
    log.commit_all();
    let start = Instant::now();
    while relay.step().await?.position < MESSAGES {}
    let append_s = start.elapsed().as_secs_f64();
    let start = Instant::now();
    let mut reader = bus.open_reader("payment", "order", Cursor::default()).await?;
    let mut read = 0;
    while read < MESSAGES {
        read = reader.next(BATCH).await?.last();
        reader.committed(read).await?;
    }
    let read_s = start.elapsed().as_secs_f64();
    drop(reader);
    bus.close().await;
    jetstream.delete_stream(&stream).await?;
    Ok(Path { append_s, read_s })
}

/// The same work by hand: batches of appends awaited together, one ack for each batch read.
async fn raw(url: &str) -> Result<Path> {
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
    let append_s = start.elapsed().as_secs_f64();
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
        let message = incoming.next().await.context("the pull has ended")??;
        held.push((message.headers.clone(), message.payload.clone()));
        if number.is_multiple_of(BATCH as u64) {
            held.clear();
            message.ack().await.map_err(anyhow::Error::from_boxed)?;
        }
    }
    let read_s = start.elapsed().as_secs_f64();
    jetstream.delete_stream(&name).await?;
    Ok(Path { append_s, read_s })
}

fn raw_message(envelope: &Envelope) -> (HeaderMap, Bytes) {
    let mut headers = HeaderMap::new();
    for (name, value) in cloud_event_headers(envelope) {
        headers.insert(name, value);
    }
    (headers, Bytes::from(envelope.payload.clone()))
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
