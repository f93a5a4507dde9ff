use std::io::ErrorKind;
use std::time::Instant;

use super::*;

const WAIT_MAX: Duration = Duration::from_secs(10);
/// Long enough that a byte that is let through would have come.
const SILENCE: Duration = Duration::from_millis(300);

/// A server that says everything back, behind a proxy.
async fn echo() -> Proxy {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                tokio::io::copy(&mut from, &mut to).await
            });
        }
    });
    Proxy::start(address).await.unwrap()
}

async fn connect(proxy: &Proxy) -> TcpStream {
    TcpStream::connect(proxy.address()).await.unwrap()
}

async fn says_back(stream: &mut TcpStream, text: &str) -> std::io::Result<()> {
    stream.write_all(text.as_bytes()).await?;
    hears(stream, text).await
}

async fn hears(stream: &mut TcpStream, text: &str) -> std::io::Result<()> {
    let mut heard = vec![0; text.len()];
    tokio::time::timeout(WAIT_MAX, stream.read_exact(&mut heard)).await??;
    assert_eq!(heard, text.as_bytes());
    Ok(())
}

async fn is_silent(stream: &mut TcpStream) {
    let heard = tokio::time::timeout(SILENCE, stream.read(&mut [0; 1])).await;
    assert!(heard.is_err(), "{heard:?}");
}

/// The end comes as an orderly one or as a reset.
async fn ends(stream: &mut TcpStream) {
    let heard = tokio::time::timeout(WAIT_MAX, stream.read(&mut [0; 1])).await.unwrap();
    assert!(matches!(&heard, Ok(0)) || heard.is_err(), "{heard:?}");
}

#[tokio::test]
async fn carries_bytes_and_counts_connections() {
    let proxy = echo().await;
    let (mut first, mut second) = (connect(&proxy).await, connect(&proxy).await);
    says_back(&mut first, "one").await.unwrap();
    says_back(&mut second, "two").await.unwrap();
    assert_eq!((proxy.accepted(), proxy.open()), (2, 2));
    drop(first);
    let until = Instant::now() + WAIT_MAX;
    while proxy.open() != 1 {
        assert!(Instant::now() < until, "a connection that its client has closed is still open");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    says_back(&mut second, "still").await.unwrap();
}

#[tokio::test]
async fn a_cut_ends_what_is_there_and_lets_the_next_through() {
    let proxy = echo().await;
    let mut stream = connect(&proxy).await;
    says_back(&mut stream, "before").await.unwrap();
    proxy.cut();
    ends(&mut stream).await;
    says_back(&mut connect(&proxy).await, "after").await.unwrap();
}

#[tokio::test]
async fn a_refusal_resets_new_connections_only_until_it_is_healed() {
    let proxy = echo().await;
    let mut stream = connect(&proxy).await;
    says_back(&mut stream, "before").await.unwrap();
    proxy.refuse();
    let mut refused = connect(&proxy).await;
    let error = says_back(&mut refused, "never").await.unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof),
        "{error}"
    );
    says_back(&mut stream, "meanwhile").await.unwrap();
    proxy.shut();
    ends(&mut stream).await;
    proxy.heal();
    says_back(&mut connect(&proxy).await, "after").await.unwrap();
}

#[tokio::test]
async fn held_bytes_come_when_it_is_healed() {
    let proxy = echo().await;
    let mut stream = connect(&proxy).await;
    proxy.set_flow(Flow::Held);
    stream.write_all(b"late").await.unwrap();
    is_silent(&mut stream).await;
    proxy.heal();
    hears(&mut stream, "late").await.unwrap();
    says_back(&mut stream, "then").await.unwrap();
}

#[tokio::test]
async fn swallowed_bytes_never_come_and_their_connection_ends_when_it_is_healed() {
    for (to_server, to_client) in
        [(Flow::Swallowed, Flow::Swallowed), (Flow::Swallowed, Flow::Free), (Flow::Free, Flow::Swallowed)]
    {
        let proxy = echo().await;
        let (mut speaks, mut waits) = (connect(&proxy).await, connect(&proxy).await);
        says_back(&mut waits, "before").await.unwrap();
        proxy.set_flows(to_server, to_client);
        speaks.write_all(b"lost").await.unwrap();
        is_silent(&mut speaks).await;
        assert_eq!(proxy.open(), 2, "both seem to be up");
        proxy.heal();
        ends(&mut speaks).await;
        // This one has lost nothing.
        says_back(&mut waits, "after").await.unwrap();
        says_back(&mut connect(&proxy).await, "anew").await.unwrap();
    }
}

#[tokio::test]
async fn delays_and_throttles() {
    let proxy = echo().await;
    let mut stream = connect(&proxy).await;
    proxy.set_flows(Flow::Delayed(SILENCE), Flow::Free);
    let started = Instant::now();
    says_back(&mut stream, "slow").await.unwrap();
    assert!(started.elapsed() >= SILENCE);
    proxy.set_flows(Flow::Free, Flow::Throttled(1_000));
    let started = Instant::now();
    says_back(&mut stream, &"x".repeat(500)).await.unwrap();
    assert!(started.elapsed() >= Duration::from_millis(500));
    proxy.heal();
    says_back(&mut stream, "fast").await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_not_there_is_a_reset_and_a_dropped_proxy_ends_everything() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let proxy = Proxy::start(nobody).await.unwrap();
    ends(&mut connect(&proxy).await).await;
    let proxy = echo().await;
    let mut stream = connect(&proxy).await;
    says_back(&mut stream, "before").await.unwrap();
    drop(proxy);
    ends(&mut stream).await;
}
