//! What the NATS bus survives: a broker that is late, killed, or loses what it stored.

mod support;

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::{self, consumer::PullConsumer};
use bytes::Bytes;
use pangaea_bus::{Bus, BusError, Cursor, NatsBus, NatsConfig, RequestHandler, ServiceSpec};
use support::{NatsServer, TestLog, drive, next, open, positions, raw, read_committing, server_binaries, servers};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_after_a_purge_is_read_from_the_owner() {
    for mut place in servers().await {
        let log = TestLog::new("order", "log_1");
        log.append(600);
        place.host(&log).await;
        let mut reader = open(place.bus.as_ref(), "payment", "order", Cursor::default()).await;
        let got = read_committing(reader.as_mut(), 10, 10).await;
        drop(reader);
        let stream = raw(&place).await.1.get_stream("TEST_ORDER").await.unwrap();
        let filled = async || stream.get_info().await.unwrap().state.last_sequence == 600;
        while !filled().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        stream.purge().sequence(551).await.unwrap();
        let mut reader = open(place.bus.as_ref(), "payment", "order", Cursor::at(&got[9])).await;
        let rest = read_committing(reader.as_mut(), 590, 100).await;
        assert!(rest[..] == log.rows()[10..], "{}: {:?}", place.name, positions(&rest));
        let asked = log.readers.lock().unwrap().clone();
        assert!(asked.contains(&("payment".to_owned(), 10)), "{}: the owner learns the cursor: {asked:?}", place.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_whose_stream_gets_nothing_asks_the_owner() {
    for mut place in servers().await {
        let log = TestLog::new("order", "log_1");
        log.append(5);
        place.bus.attach(log.clone()).await.unwrap();
        let mut reader = open(place.bus.as_ref(), "payment", "order", Cursor::default()).await;
        assert_eq!(
            positions(&read_committing(reader.as_mut(), 5, 10).await),
            [1, 2, 3, 4, 5],
            "{}: no relay runs",
            place.name
        );
        log.append(3);
        place.host(&log).await;
        assert_eq!(positions(&read_committing(reader.as_mut(), 3, 10).await), [6, 7, 8], "{}", place.name);
        place.stop_relays();
        place.bus.attach(TestLog::new("order", "log_2")).await.unwrap();
        let error = tokio::time::timeout(10 * SECOND, reader.next(10)).await.expect("the reset shows").unwrap_err();
        assert_eq!((error.code(), error.is_transient()), ("bus.log_reset", false), "{}", place.name);
    }
}

/// A purge of everything makes the next relay append the whole log again. The reader must acknowledge the duplicates
/// it drops, or the server would stall at its bound for deliveries without an ack.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_duplicates_does_not_stall_a_reader() {
    for mut place in servers().await {
        let log = TestLog::new("order", "log_1");
        log.append(6000);
        place.host(&log).await;
        let mut reader = open(place.bus.as_ref(), "payment", "order", Cursor::default()).await;
        let got = read_committing(reader.as_mut(), 6000, 256).await;
        assert!(got == log.rows());
        place.stop_relays();
        raw(&place).await.1.get_stream("TEST_ORDER").await.unwrap().purge().await.unwrap();
        place.host(&log).await;
        log.append(1);
        let batch = next(reader.as_mut(), 256).await;
        assert_eq!((batch.first, batch.messages.len()), (6001, 1), "{}", place.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_consumer_is_made_again() {
    for mut place in servers().await {
        let log = TestLog::new("order", "log_1");
        log.append(100);
        place.host(&log).await;
        let mut reader = open(place.bus.as_ref(), "payment", "order", Cursor::default()).await;
        let mut got = read_committing(reader.as_mut(), 100, 50).await;
        let stream = raw(&place).await.1.get_stream("TEST_ORDER").await.unwrap();
        let waiting = tokio::spawn(async move { (next(reader.as_mut(), 50).await, reader) });
        tokio::time::sleep(Duration::from_millis(100)).await;
        delete_consumer(&stream, "payment").await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        log.append(100);
        let (batch, mut reader) = tokio::time::timeout(10 * SECOND, waiting).await.expect(&place.name).unwrap();
        got.extend(batch.messages);
        got.extend(read_committing(reader.as_mut(), 200 - got.len(), 50).await);
        assert!(got == log.rows(), "{}: {:?}", place.name, positions(&got));
        assert!(stream.get_consumer::<jetstream::consumer::pull::Config>("payment").await.is_ok());
    }
}

/// A server that is just writing the consumer's state cannot remove its folder, and says so: the deletion is asked for
/// again until the consumer is gone.
async fn delete_consumer(stream: &jetstream::stream::Stream, name: &str) {
    for _ in 0..50 {
        if stream.delete_consumer(name).await.is_ok() {
            return;
        }
        if stream.get_consumer::<jetstream::consumer::pull::Config>(name).await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the consumer {name} cannot be deleted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_killed_again_and_again_loses_and_doubles_nothing() {
    for mut place in servers().await {
        let log = TestLog::new("order", "log_1");
        place.host(&log).await;
        let mut reader = open(place.bus.as_ref(), "payment", "order", Cursor::default()).await;
        let writer = tokio::spawn({
            let log = log.clone();
            async move {
                for _ in 0..500 {
                    log.append(20);
                    tokio::time::sleep(Duration::from_millis(8)).await;
                }
            }
        });
        let reading = tokio::spawn(async move { read_committing(reader.as_mut(), 10_000, 100).await });
        let mut server = place.server.take().unwrap();
        let server = tokio::task::spawn_blocking(move || {
            for _ in 0..5 {
                std::thread::sleep(Duration::from_millis(500));
                server.kill();
                std::thread::sleep(Duration::from_millis(200));
                server.restart();
            }
            server
        });
        place.server = Some(server.await.unwrap());
        writer.await.unwrap();
        let got = tokio::time::timeout(60 * SECOND, reading).await.expect(&place.name).unwrap();
        assert!(got == log.rows(), "{}", place.name);
        let mut late = open(place.bus.as_ref(), "late", "order", Cursor::default()).await;
        assert!(read_committing(late.as_mut(), 10_000, 256).await == log.rows(), "{}: the stream is whole", place.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_not_there_yet_is_waited_for() {
    for binary in server_binaries() {
        let mut server = NatsServer::stopped(&binary);
        let bus = Arc::new(NatsBus::connect(NatsConfig::new(server.url(), "test")).await.unwrap());
        assert!(!bus.healthy());
        let log = TestLog::new("order", "log_1");
        log.append(10);
        bus.attach(log.clone()).await.unwrap();
        let relay = drive(bus.as_ref(), log.clone()).unwrap();
        let echo: RequestHandler = Arc::new(|request| Box::pin(async move { Ok(request.payload) }));
        let spec = ServiceSpec {
            name: "order".into(),
            version: "0.1.0".into(),
            description: String::new(),
            subjects: vec!["order.rpc.echo.v1".into()],
        };
        let _served = bus.serve(spec, echo).await.unwrap();
        let unavailable = [
            bus.request("order.rpc.echo.v1", Bytes::new(), None, SECOND).await.err(),
            bus.publish("order.status.up", Bytes::new()).await.err(),
            bus.open_reader("payment", "order", Cursor::default()).await.err(),
        ];
        for error in unavailable {
            assert!(
                matches!(&error, Some(BusError::Unavailable(_))) && error.is_some_and(|error| error.is_transient())
            );
        }
        server.restart();
        support::eventually("the bus connects", || bus.healthy()).await;
        let mut reader = open(bus.as_ref(), "payment", "order", Cursor::default()).await;
        assert!(read_committing(reader.as_mut(), 10, 10).await == log.rows());
        assert_eq!(bus.request("order.rpc.echo.v1", "x".into(), None, 5 * SECOND).await, Ok("x".into()));
        server.kill();
        support::eventually("the loss is seen", || !bus.healthy()).await;
        log.append(5);
        server.restart();
        assert_eq!(positions(&read_committing(reader.as_mut(), 5, 10).await), [11, 12, 13, 14, 15]);
        assert_eq!(bus.request("order.rpc.echo.v1", "y".into(), None, 5 * SECOND).await, Ok("y".into()));
        relay.abort();
    }
}

/// Deliveries that no cursor has reached stay unacknowledged, and a reader that commits late acknowledges them all.
#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_committed_is_acknowledged() {
    for mut place in servers().await {
        let log = TestLog::new("order", "log_1");
        log.append(100);
        place.host(&log).await;
        let mut reader = open(place.bus.as_ref(), "payment", "order", Cursor::default()).await;
        let mut received = 0;
        while received < 100 {
            received += next(reader.as_mut(), 30).await.messages.len();
        }
        let stream = raw(&place).await.1.get_stream("TEST_ORDER").await.unwrap();
        let floor = async || {
            let mut consumer: PullConsumer = stream.get_consumer("payment").await.unwrap();
            consumer.info().await.unwrap().ack_floor.stream_sequence
        };
        assert_eq!(floor().await, 0, "{}", place.name);
        for committed in [42, 100] {
            reader.committed(committed).await.unwrap();
            let deadline = tokio::time::Instant::now() + support::WAIT;
            while floor().await != committed {
                assert!(
                    tokio::time::Instant::now() < deadline,
                    "{}: {} instead of {committed}",
                    place.name,
                    floor().await
                );
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}
