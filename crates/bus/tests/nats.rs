//! What the NATS bus keeps on the broker, and what it refuses there.

mod support;

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::{self, consumer::PullConsumer, stream};
use bytes::Bytes;
use futures_util::StreamExt;
use pangaea_bus::{Bus, BusError, Cursor, RelayProgress, RequestHandler, ServiceSpec};
use pangaea_contracts::{cloud_event_headers, from_cloud_event_headers};
use support::{TestLog, nats_bus, open, raw, read_committing, servers};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_message_is_a_cloud_event_and_only_the_log_is_stored() {
    for mut place in servers().await {
        let log = TestLog::new("order", "log_1");
        log.append(6);
        place.host(&log).await;
        let mut reader = open(place.bus.as_ref(), "payment", "order", Cursor::default()).await;
        read_committing(reader.as_mut(), 6, 10).await;
        let _ = place.bus.request("order.rpc.nothing.v1", Bytes::new(), None, SECOND).await;
        place.bus.publish("order.status.up", Bytes::new()).await.unwrap();
        let (_, jetstream) = raw(&place).await;
        let mut stream = jetstream.get_stream("TEST_ORDER").await.unwrap();
        for row in log.rows() {
            let stored = stream.get_raw_message(row.position).await.unwrap();
            assert_eq!(stored.subject.as_str(), format!("test.{}", row.subject), "{}", place.name);
            assert!(stored.headers.get("Nats-Msg-Id").is_none(), "a known id hides a wrong sequence");
            assert!(
                cloud_event_headers(&row)
                    .iter()
                    .all(|(name, value)| stored.headers.get(*name).unwrap().as_str() == value)
            );
            let header = |name| stored.headers.get(name).map(|value| value.as_str());
            let payload = String::from_utf8(stored.payload.to_vec()).unwrap();
            assert_eq!(from_cloud_event_headers(header, payload).unwrap(), *row);
        }
        tokio::time::sleep(1500 * Duration::from_millis(1)).await;
        let info = stream.info().await.unwrap();
        assert_eq!(info.state.messages, 6, "{}: requests, announcements and status are not part of a log", place.name);
        assert_eq!(info.config.storage, stream::StorageType::File);
        assert_eq!(info.config.discard, stream::DiscardPolicy::New);
        let mut subjects = info.config.subjects.clone();
        subjects.sort();
        assert_eq!(subjects, ["test.order.cmd.>", "test.order.evt.>"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lag_is_visible_on_the_broker_and_closing_finishes_acks() {
    for mut place in servers().await {
        let log = TestLog::new("order", "log_1");
        log.append(500);
        place.host(&log).await;
        let mut reader = open(place.bus.as_ref(), "payment", "order", Cursor::default()).await;
        read_committing(reader.as_mut(), 500, 64).await;
        place.stop_relays();
        place.bus.close().await;
        assert!(!place.bus.healthy());
        assert_eq!(place.bus.publish("order.status.up", Bytes::new()).await, Err(BusError::Closed));
        let (_, jetstream) = raw(&place).await;
        let mut consumer: PullConsumer =
            jetstream.get_stream("TEST_ORDER").await.unwrap().get_consumer("payment").await.unwrap();
        let info = consumer.info().await.unwrap();
        assert_eq!(
            (info.ack_floor.stream_sequence, info.num_ack_pending, info.num_pending),
            (500, 0, 0),
            "{}",
            place.name
        );
        assert_eq!(info.config.ack_policy, jetstream::consumer::AckPolicy::All);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_with_a_wrong_sequence_is_refused_and_the_relay_anchors_again() {
    for place in servers().await {
        let log = TestLog::new("order", "log_1");
        log.append(10);
        let (mut one, mut other) = (place.relay(&log).await, place.relay(&log).await);
        let all = RelayProgress { position: 10, stream_end: 10 };
        assert_eq!(one.step().await, Ok(all), "{}", place.name);
        log.append(300);
        assert_eq!(other.step().await, Ok(RelayProgress { position: 310, stream_end: 310 }));
        let refused = one.step().await.unwrap_err();
        assert!(
            matches!(refused, BusError::AppendRefused { .. }) && refused.is_transient(),
            "{}: {refused}",
            place.name
        );
        log.append(1);
        let all = RelayProgress { position: 311, stream_end: 311 };
        assert_eq!(one.step().await, Ok(all), "{}: nothing twice, nothing missing", place.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ahead_of_its_outbox_stops_the_relay() {
    for place in servers().await {
        let log = TestLog::new("order", "log_1");
        log.append(10);
        place.relay(&log).await.step().await.unwrap();
        let restored = TestLog::new("order", "log_1");
        restored.append(4);
        let reset = TestLog::new("order", "log_2");
        reset.append(20);
        for (log, because) in [(restored, "ends at position 10"), (reset, "log_1")] {
            let error = place.relay(&log).await.step().await.unwrap_err();
            assert!(
                matches!(&error, BusError::StreamAhead { detail, .. } if detail.contains(because)),
                "{}: {error}",
                place.name
            );
            assert!(!error.is_transient());
        }
        let (_, jetstream) = raw(&place).await;
        jetstream.publish("test.order.evt.placed.v1", "{}".into()).await.unwrap().await.unwrap();
        log.append(1);
        let passed = RelayProgress { position: 11, stream_end: 12 };
        assert_eq!(
            place.relay(&log).await.step().await,
            Ok(passed),
            "{}: what no relay has written is passed",
            place.name
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_differs_is_refused() {
    for place in servers().await {
        let (_, jetstream) = raw(&place).await;
        let config = stream::Config {
            name: "TEST_ORDER".into(),
            subjects: vec!["test.order.>".into()],
            max_age: Duration::from_secs(60),
            ..stream::Config::default()
        };
        jetstream.create_stream(config).await.unwrap();
        let log = TestLog::new("order", "log_1");
        log.append(1);
        let error = place.relay(&log).await.step().await.unwrap_err();
        assert_eq!((error.code(), error.is_transient()), ("bus.configuration", false), "{}", place.name);
        for part in ["stream TEST_ORDER", "subjects is test.order.>", "max_age is 60s", "discard is Old"] {
            assert!(error.to_string().contains(part), "{}: {error}", place.name);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_a_micro_service() {
    for mut place in servers().await {
        place.host(&TestLog::new("order", "log_1")).await;
        let handler: RequestHandler = Arc::new(|request| Box::pin(async move { Ok(request.payload) }));
        let spec = ServiceSpec {
            name: "order".into(),
            version: "1.2.3".into(),
            description: "Takes orders".into(),
            subjects: vec!["order.rpc.place.v1".into(), "order.rpc.cancel.v1".into()],
        };
        let served = place.bus.serve(spec, handler).await.unwrap();
        place.bus.request("order.rpc.place.v1", "x".into(), None, SECOND).await.unwrap();
        let (client, _) = raw(&place).await;
        let ask = async |subject: &str| -> serde_json::Value {
            let reply = client.request(subject.to_owned(), Bytes::new()).await.unwrap();
            serde_json::from_slice(&reply.payload).unwrap()
        };
        let info = ask("$SRV.INFO.test-order").await;
        assert_eq!((&info["version"], &info["description"]), (&"1.2.3".into(), &"Takes orders".into()), "{info}");
        let subjects: Vec<&str> = info["endpoints"]
            .as_array()
            .unwrap()
            .iter()
            .map(|endpoint| endpoint["subject"].as_str().unwrap())
            .collect();
        assert!(
            subjects.contains(&"test.order.rpc.place.v1") && subjects.contains(&"test.order.rpc.cancel.v1"),
            "{info}"
        );
        let stats = ask("$SRV.STATS.test-order").await;
        let requests: u64 = stats["endpoints"]
            .as_array()
            .unwrap()
            .iter()
            .map(|endpoint| endpoint["num_requests"].as_u64().unwrap())
            .sum();
        assert_eq!(requests, 1, "{stats}");
        assert_eq!(ask("$SRV.INFO.test-order-log").await["endpoints"][0]["subject"], "test.order.rpc.log_read.v1");
        let names = pings(&client).await;
        assert_eq!(names, ["test-order", "test-order-log"], "{}", place.name);
        served.stop().await;
        place.bus.detach("order");
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(pings(&client).await.is_empty(), "{}: stopped services still answer", place.name);
    }
}

async fn pings(client: &async_nats::Client) -> Vec<String> {
    let inbox = client.new_inbox();
    let mut replies = client.subscribe(inbox.clone()).await.unwrap();
    client.publish_with_reply("$SRV.PING", inbox, Bytes::new()).await.unwrap();
    let mut names = Vec::new();
    while let Ok(Some(reply)) = tokio::time::timeout(Duration::from_millis(300), replies.next()).await {
        if let Ok(pong) = serde_json::from_slice::<serde_json::Value>(&reply.payload) {
            names.push(pong["name"].as_str().unwrap().to_owned());
        }
    }
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn namespaces_on_one_server_do_not_meet() {
    for mut place in servers().await {
        let config = pangaea_bus::NatsConfig::new(place.server.as_ref().unwrap().url(), "stage-2");
        let other = pangaea_bus::NatsBus::connect(config).await.unwrap();
        support::eventually("the bus connects", || other.healthy()).await;
        let (here, there) = (TestLog::new("order", "log_here"), TestLog::new("order", "log_there"));
        here.append(3);
        there.append(5);
        place.host(&here).await;
        other.attach(there.clone()).await.unwrap();
        let relay = support::drive(&other, there.clone()).unwrap();
        let mut reader = open(&other, "payment", "order", Cursor::default()).await;
        assert_eq!(read_committing(reader.as_mut(), 5, 10).await, there.rows(), "{}", place.name);
        let mut reader =
            open(&nats_bus(place.server.as_ref().unwrap()).await, "payment", "order", Cursor::default()).await;
        assert_eq!(read_committing(reader.as_mut(), 3, 10).await, here.rows(), "{}", place.name);
        relay.abort();
    }
}

#[tokio::test]
async fn configurations_that_cannot_work_are_refused() {
    for (url, namespace, code) in [
        ("nats://a b", "test", "bus.invalid_config"),
        ("nats://127.0.0.1:1", "Te.st", "bus.invalid_name"),
        ("nats://127.0.0.1:1", "", "bus.invalid_name"),
    ] {
        let Err(error) = pangaea_bus::NatsBus::connect(pangaea_bus::NatsConfig::new(url, namespace)).await else {
            panic!("{url} in {namespace:?} was accepted");
        };
        assert_eq!(error.code(), code, "{error}");
    }
    let mut config = pangaea_bus::NatsConfig::new("nats://127.0.0.1:1", "test");
    config.credentials = pangaea_bus::NatsCredentials::File("/nonexistent/pangaea.creds".into());
    assert_eq!(pangaea_bus::NatsBus::connect(config).await.err().map(|error| error.code()), Some("bus.invalid_config"));
}
