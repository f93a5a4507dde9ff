//! A broker whose stream is gone, or whose store was swapped for an older copy, is refilled without help.

mod support;

use std::time::Duration;

use async_nats::jetstream;
use bytes::Bytes;
use futures_util::StreamExt;
use pangaea_bus::{BusError, Cursor};
use support::{Place, TestLog, nats_bus, next, open, positions, raw, read_committing, servers, until};

/// Waits until the stream holds the log, message by message.
async fn is_refilled(place: &Place, log: &TestLog) {
    let (_, jetstream) = raw(place).await;
    let rows = log.rows();
    until(&format!("the stream on {} is refilled", place.name), async || {
        let Ok(stream) = jetstream.get_stream("TEST_ORDER").await else { return false };
        let state = &stream.cached_info().state;
        (state.messages, state.last_sequence) == (rows.len() as u64, rows.len() as u64)
    })
    .await;
    let stream = jetstream.get_stream("TEST_ORDER").await.unwrap();
    for row in rows {
        let stored = stream.get_raw_message(row.position).await.unwrap();
        assert_eq!(stored.headers.get("ce-id").map(|id| id.as_str()), Some(row.id.as_str()), "{}", place.name);
    }
}

/// Stops the server, lets something be done to its store, and starts it again.
async fn while_down(place: &mut Place, change: impl FnOnce(&support::NatsServer) + Send + 'static) {
    let mut server = place.server.take().unwrap();
    let server = tokio::task::spawn_blocking(move || {
        server.kill();
        change(&server);
        server.restart();
        server
    });
    place.server = Some(server.await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_owner_makes_a_stream() {
    for place in servers().await {
        let log = TestLog::new("order", "log_1");
        log.append(3);
        let missing = BusError::StreamMissing { stream: "TEST_ORDER".into() };
        let mut relay = place.bus.relay(log.clone()).unwrap();
        assert_eq!(relay.step().await, Err(missing.clone()), "{}", place.name);
        let opened = place.bus.open_reader("payment", "order", Cursor::default()).await.map(drop);
        assert_eq!(opened, Err(missing.clone()), "{}", place.name);
        assert!(missing.is_transient());
        let (_, jetstream) = raw(&place).await;
        assert!(jetstream.get_stream("TEST_ORDER").await.is_err(), "{}", place.name);
        place.bus.attach(log.clone()).await.unwrap();
        until("the relay finds it", async || relay.step().await.is_ok()).await;
        let mut reader = open(place.bus.as_ref(), "payment", "order", Cursor::default()).await;
        assert!(read_committing(reader.as_mut(), 3, 10).await == log.rows(), "{}", place.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_stream_is_refilled_and_its_readers_go_on() {
    for mut place in servers().await {
        let log = TestLog::new("order", "log_1");
        log.append(500);
        place.host(&log).await;
        let mut reader = open(place.bus.as_ref(), "payment", "order", Cursor::default()).await;
        let mut got = read_committing(reader.as_mut(), 200, 50).await;
        let (_, jetstream) = raw(&place).await;
        jetstream.delete_stream("TEST_ORDER").await.unwrap();
        log.append(400);
        got.extend(read_committing(reader.as_mut(), 900 - got.len(), 256).await);
        assert!(got == log.rows(), "{}: {:?}", place.name, positions(&got));
        let mut late = open(place.bus.as_ref(), "late", "order", Cursor::default()).await;
        assert!(
            read_committing(late.as_mut(), 900, 256).await == log.rows(),
            "{}: the refilled stream is whole",
            place.name
        );
        is_refilled(&place, &log).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_relay_notices_that_its_stream_is_gone() {
    for mut place in servers().await {
        let log = TestLog::new("order", "log_1");
        log.append(30);
        place.host(&log).await;
        let (_, jetstream) = raw(&place).await;
        let mut reader = open(place.bus.as_ref(), "payment", "order", Cursor::default()).await;
        read_committing(reader.as_mut(), 30, 50).await;
        drop(reader);
        jetstream.delete_stream("TEST_ORDER").await.unwrap();
        is_refilled(&place, &log).await;
    }
}

/// The relay is ahead of the older copy, the reader too; the late one must find all of it there.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_copy_of_the_store_is_brought_up_to_date() {
    for mut place in servers().await {
        let log = TestLog::new("order", "log_1");
        log.append(300);
        place.host(&log).await;
        let mut reader = open(place.bus.as_ref(), "payment", "order", Cursor::default()).await;
        let mut got = read_committing(reader.as_mut(), 300, 50).await;
        while_down(&mut place, support::NatsServer::keep_copy).await;
        log.append(300);
        got.extend(read_committing(reader.as_mut(), 300, 50).await);
        is_refilled(&place, &log).await;
        while_down(&mut place, support::NatsServer::swap_store).await;
        is_refilled(&place, &log).await;
        log.append(50);
        got.extend(read_committing(reader.as_mut(), 50, 50).await);
        assert!(got == log.rows(), "{}: {:?}", place.name, positions(&got));
        is_refilled(&place, &log).await;
        let mut late = open(place.bus.as_ref(), "late", "order", Cursor::default()).await;
        assert!(read_committing(late.as_mut(), 650, 256).await == log.rows(), "{}: it is whole", place.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_store_is_filled_while_rows_are_committed() {
    for mut place in servers().await {
        let log = TestLog::new("order", "log_1");
        log.append(100);
        place.host(&log).await;
        let mut reader = open(place.bus.as_ref(), "payment", "order", Cursor::default()).await;
        let reading = tokio::spawn(async move { read_committing(reader.as_mut(), 4_100, 100).await });
        let writing = tokio::spawn({
            let log = log.clone();
            async move {
                for _ in 0..200 {
                    log.append(20);
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        });
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_millis(400)).await;
            while_down(&mut place, support::NatsServer::swap_store).await;
        }
        writing.await.unwrap();
        let got = tokio::time::timeout(support::WAIT, reading).await.expect(&place.name).unwrap();
        assert!(got == log.rows(), "{}: {:?}", place.name, positions(&got));
        is_refilled(&place, &log).await;
    }
}

/// Without a relay the new stream stays empty, as a large one does for a while: ten steps of a saga get through all the same.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_new_does_not_wait_for_the_refill() {
    for mut place in servers().await {
        let log = TestLog::new("order", "log_1");
        log.append(50);
        place.host(&log).await;
        let mut reader = open(place.bus.as_ref(), "payment", "order", Cursor::default()).await;
        read_committing(reader.as_mut(), 50, 50).await;
        place.stop_relays();
        raw(&place).await.1.delete_stream("TEST_ORDER").await.unwrap();
        let steps = async {
            for position in 51..=60 {
                log.append(1);
                let got = read_committing(reader.as_mut(), 1, 10).await;
                assert_eq!(positions(&got), [position], "{}", place.name);
            }
        };
        tokio::time::timeout(support::WAIT, steps).await.expect(&place.name);
    }
}

/// A network that drops everything, and a server that hangs, close no connection.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_silent_is_left() {
    for mut place in servers().await {
        let log = TestLog::new("order", "log_1");
        log.append(10);
        place.host(&log).await;
        let mut reader = open(place.bus.as_ref(), "payment", "order", Cursor::default()).await;
        read_committing(reader.as_mut(), 10, 10).await;
        let server = place.server.as_ref().unwrap();
        server.signal("STOP");
        support::eventually("the silence is noticed", || !place.bus.healthy()).await;
        log.append(10);
        server.signal("CONT");
        let batch = tokio::time::timeout(support::WAIT, read_committing(reader.as_mut(), 10, 10)).await;
        assert_eq!(positions(&batch.expect(&place.name)), (11..=20).collect::<Vec<_>>(), "{}", place.name);
    }
}

/// A former leader that is paused holds a pull on the consumer, which would swallow messages for half a minute.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_another_process_left_open_takes_nothing_from_its_successor() {
    for mut place in servers().await {
        let log = TestLog::new("order", "log_1");
        log.append(10);
        place.host(&log).await;
        let former_bus = nats_bus(place.server.as_ref().unwrap()).await;
        let mut former = open(&former_bus, "payment", "order", Cursor::default()).await;
        let got = read_committing(former.as_mut(), 10, 10).await;
        // Its pull waits at the server while nobody polls it any more.
        assert!(tokio::time::timeout(Duration::from_millis(300), former.next(10)).await.is_err());
        let mut successor = open(place.bus.as_ref(), "payment", "order", Cursor::at(&got[9])).await;
        log.append(10);
        let batch = tokio::time::timeout(Duration::from_secs(10), next(successor.as_mut(), 10)).await;
        assert_eq!(batch.expect(&place.name).first, 11, "{}", place.name);
        drop(former);
    }
}

/// Leadership comes and goes: what is attached speaks and provides, what is detached does neither.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_attached_and_detached_again_and_again() {
    for mut place in servers().await {
        let log = TestLog::new("order", "log_1");
        let (client, jetstream) = raw(&place).await;
        let mut ends = client.subscribe("test.order.end").await.unwrap();
        let mut reader = None;
        for round in 1..=3_u64 {
            place.host(&log).await;
            log.append(5);
            if reader.is_none() {
                reader = Some(open(place.bus.as_ref(), "payment", "order", Cursor::default()).await);
            }
            let got = read_committing(reader.as_mut().unwrap().as_mut(), 5, 10).await;
            assert_eq!(got.last().unwrap().position, round * 5, "{}", place.name);
            assert_eq!(answers(&client).await, 1, "{}: round {round}", place.name);
            place.stop_relays();
            place.bus.detach("order");
            until("it is silent", async || answers(&client).await == 0).await;
        }
        while tokio::time::timeout(Duration::from_millis(1500), ends.next()).await.is_ok() {}
        jetstream.delete_stream("TEST_ORDER").await.unwrap();
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert!(missing(&jetstream).await, "{}: who does not own it makes it", place.name);
        place.host(&log).await;
        is_refilled(&place, &log).await;
    }
}

/// How many instances answer for the log.
async fn answers(client: &async_nats::Client) -> usize {
    let inbox = client.new_inbox();
    let mut replies = client.subscribe(inbox.clone()).await.unwrap();
    client.publish_with_reply("$SRV.PING.test-order-log", inbox, Bytes::new()).await.unwrap();
    let mut count = 0;
    while let Ok(Some(reply)) = tokio::time::timeout(Duration::from_millis(300), replies.next()).await {
        count += usize::from(reply.status != Some(async_nats::StatusCode::NO_RESPONDERS));
    }
    count
}

async fn missing(jetstream: &jetstream::Context) -> bool {
    jetstream.get_stream("TEST_ORDER").await.is_err()
}
