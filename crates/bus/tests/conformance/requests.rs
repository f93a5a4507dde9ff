//! Requests, services and ephemeral messages.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::join_all;
use pangaea_bus::{BoxStream, BusError, Cursor, IncomingRequest, RequestHandler, ServiceSpec};
use tokio::sync::Semaphore;

use crate::SECOND;
use crate::support::{self, TestLog, WAIT, places};

fn service(name: &str, subjects: &[&str]) -> ServiceSpec {
    ServiceSpec {
        name: name.into(),
        version: "0.1.0".into(),
        description: "A service under test".into(),
        subjects: subjects.iter().map(|subject| (*subject).to_owned()).collect(),
    }
}

fn handler<F>(answer: impl Fn(IncomingRequest) -> F + Send + Sync + 'static) -> RequestHandler
where
    F: Future<Output = Result<Bytes, String>> + Send + 'static,
{
    Arc::new(move |request| Box::pin(answer(request)))
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_answered() {
    for place in places().await {
        let subject = "order.rpc.echo.v1";
        let error = place.bus.request(subject, Bytes::new(), None, SECOND).await.unwrap_err();
        assert_eq!(error, BusError::NoResponders(subject.into()), "{}", place.name);
        let echo = handler(|request| async move {
            let text = std::str::from_utf8(&request.payload).unwrap();
            match text {
                "refuse" => Err("not\nthis one".to_owned()),
                "panic" => panic!("as asked"),
                "slow" => {
                    tokio::time::sleep(WAIT).await;
                    Ok(Bytes::new())
                }
                text => Ok(format!("{} {} {text}", request.subject, request.traceparent.unwrap_or_default()).into()),
            }
        });
        let served = place.bus.serve(service("order", &[subject, "order.rpc.other.v1"]), echo).await.unwrap();
        let ask = async |text: &'static str, timeout| {
            place.bus.request(subject, text.into(), Some("00-1-2-01"), timeout).await
        };
        let reply = ask("hello", 5 * SECOND).await.unwrap();
        assert_eq!(reply, "order.rpc.echo.v1 00-1-2-01 hello", "{}", place.name);
        let other = place.bus.request("order.rpc.other.v1", "x".into(), None, 5 * SECOND).await.unwrap();
        assert_eq!(other, "order.rpc.other.v1  x", "{}", place.name);
        let refused = ask("refuse", 5 * SECOND).await.unwrap_err();
        assert!(
            matches!(&refused, BusError::Remote { status: 500, message, .. } if message.contains("this one")),
            "{refused}"
        );
        let panicked = ask("panic", 5 * SECOND).await.unwrap_err();
        assert!(matches!(panicked, BusError::Remote { status: 500, .. }), "{}: {panicked}", place.name);
        let late = ask("slow", Duration::from_millis(200)).await.unwrap_err();
        assert_eq!(late, BusError::Timeout { subject: subject.into(), timeout_ms: 200 }, "{}", place.name);
        drop(served);
        let deadline = tokio::time::Instant::now() + WAIT;
        while ask("hello", SECOND).await != Err(BusError::NoResponders(subject.into())) {
            assert!(tokio::time::Instant::now() < deadline, "{}: a dropped service still answers", place.name);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_service_says_busy_and_a_stopping_one_finishes() {
    for place in places().await {
        let subject = "order.rpc.slow.v1";
        let gate = Arc::new(Semaphore::new(0));
        let running = Arc::new(AtomicUsize::new(0));
        let slow = handler({
            let (gate, running) = (gate.clone(), running.clone());
            move |_| {
                let (gate, running) = (gate.clone(), running.clone());
                async move {
                    running.fetch_add(1, Ordering::SeqCst);
                    let _permit = gate.acquire().await;
                    Ok(Bytes::from_static(b"done"))
                }
            }
        });
        let served = place.bus.serve(service("order", &[subject]), slow).await.unwrap();
        let asks: Vec<_> = (0..300)
            .map(|_| {
                let bus = place.bus.clone();
                tokio::spawn(async move { bus.request(subject, Bytes::new(), None, WAIT).await })
            })
            .collect();
        support::eventually("256 are running", || running.load(Ordering::SeqCst) == 256).await;
        support::eventually("the rest is refused", || asks.iter().filter(|ask| ask.is_finished()).count() == 44).await;
        let stopping = tokio::spawn(served.stop());
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!stopping.is_finished(), "{}: stop must wait for requests in flight", place.name);
        gate.add_permits(1000);
        let answers: Vec<_> = join_all(asks).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(answers.iter().filter(|answer| answer.as_deref() == Ok(b"done")).count(), 256, "{}", place.name);
        let busy = BusError::Busy(subject.into());
        assert_eq!(answers.iter().filter(|answer| answer.as_ref() == Err(&busy)).count(), 44, "{}", place.name);
        tokio::time::timeout(SECOND, stopping).await.expect(&place.name).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn request_many_hears_one_instance_of_each_service() {
    for place in places().await {
        let subject = "all.rpc.describe.v1";
        let none = place.bus.request_many(subject, Bytes::new(), SECOND, 10).await.unwrap();
        assert!(none.is_empty(), "{}", place.name);
        let answer = |name: &'static str| handler(move |_| async move { Ok(Bytes::from_static(name.as_bytes())) });
        let mut served = Vec::new();
        for name in ["order", "order", "payment", "user"] {
            served.push(place.bus.serve(service(name, &[subject]), answer(name)).await.unwrap());
        }
        let refusing = handler(|_| async { Err("not now".to_owned()) });
        served.push(place.bus.serve(service("product", &[subject]), refusing).await.unwrap());
        let replies = place.bus.request_many(subject, Bytes::new(), SECOND, 10).await.unwrap();
        assert_eq!(replies.len(), 3, "{}: {replies:?}", place.name);
        let names: HashSet<Bytes> = replies.into_iter().collect();
        assert_eq!(names, HashSet::from(["order".into(), "payment".into(), "user".into()]), "{}", place.name);
        let one = place.bus.request_many(subject, Bytes::new(), WAIT, 1).await.unwrap();
        assert_eq!(one.len(), 1, "{}", place.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_of_a_service_share_its_requests() {
    for place in places().await {
        let subject = "order.rpc.who.v1";
        let mut served = Vec::new();
        for name in ["first", "second"] {
            let answer = handler(move |_| async move { Ok(Bytes::from_static(name.as_bytes())) });
            served.push(place.bus.serve(service("order", &[subject]), answer).await.unwrap());
        }
        let mut seen = HashSet::new();
        for _ in 0..50 {
            seen.insert(place.bus.request(subject, Bytes::new(), None, 5 * SECOND).await.unwrap());
        }
        assert_eq!(seen.len(), 2, "{}: {seen:?}", place.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ephemeral_messages_follow_wildcards() {
    for place in places().await {
        let mut stars = place.bus.subscribe("*.status.*").await.unwrap();
        let mut all = place.bus.subscribe("order.>").await.unwrap();
        for subject in ["order.status.up", "order.status.a.b", "payment.status.up", "payment.other"] {
            place.bus.publish(subject, Bytes::from(subject)).await.unwrap();
        }
        let take = async |stream: &mut BoxStream<(String, Bytes)>| {
            let mut got = Vec::new();
            while let Ok(Some((subject, payload))) =
                tokio::time::timeout(Duration::from_millis(300), stream.next()).await
            {
                assert_eq!(payload, subject, "{}", place.name);
                got.push(subject);
            }
            got
        };
        assert_eq!(take(&mut stars).await, ["order.status.up", "payment.status.up"], "{}", place.name);
        assert_eq!(take(&mut all).await, ["order.status.up", "order.status.a.b"], "{}", place.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_lags_loses_the_oldest() {
    for place in places().await {
        let mut messages = place.bus.subscribe("order.tick").await.unwrap();
        for number in 0..5000u32 {
            place.bus.publish("order.tick", number.to_string().into()).await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        let mut last = None;
        let mut count = 0;
        while let Ok(Some((_, payload))) = tokio::time::timeout(Duration::from_millis(300), messages.next()).await {
            last = Some(payload);
            count += 1;
        }
        assert_eq!(last, Some("4999".into()), "{}: the newest is kept", place.name);
        assert!(count <= 1024, "{}: {count} were kept", place.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_cannot_be_subjects_are_refused() {
    for place in places().await {
        let bus = &place.bus;
        let mut errors = vec![
            bus.open_reader("a.b", "order", Cursor::default()).await.err(),
            bus.open_reader("payment", "Order", Cursor::default()).await.err(),
            bus.open_reader("payment", "", Cursor::default()).await.err(),
            bus.publish("order..x", Bytes::new()).await.err(),
            bus.publish("order.*", Bytes::new()).await.err(),
            bus.subscribe("order.>.x").await.err(),
            bus.request("order rpc", Bytes::new(), None, SECOND).await.err(),
            bus.attach(TestLog::new("a b", "log_1")).await.err(),
        ];
        let silent = handler(|_| async { Ok(Bytes::new()) });
        errors.push(bus.serve(service("a.b", &["order.rpc.x.v1"]), silent.clone()).await.err());
        errors.push(bus.serve(service("order", &["order.>"]), silent).await.err());
        for (index, error) in errors.into_iter().enumerate() {
            assert_eq!(error.map(|error| error.code()), Some("bus.invalid_name"), "{} case {index}", place.name);
        }
    }
}
