//! Requests that are malformed, too large, too slow or too many: refused, while good ones go on.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use pangaea_testkit::{Placement, Store};
use pangaea_tests::{Shop, ask_to_place};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const TIMEOUT_MS: u64 = 1_000;
/// How long a cut may take on a busy machine, timeout included.
const CUT_MAX: Duration = Duration::from_secs(15);
const SLOW_CLIENTS: usize = 50;

#[tokio::test(flavor = "multi_thread")]
async fn malformed_bodies_are_named_by_their_field() -> Result<()> {
    let shop = Shop::open(Placement::TogetherMemory).await?;
    for (body, status, pointer) in [
        ("{\"lines\": [", 400, None),
        ("", 400, None),
        ("{} {}", 422, None),
        ("[]", 422, None),
        (r#"{"lines":[{"sku":"A","quantity":"two"}],"payment_token":"tok_ok"}"#, 422, Some("/lines/0/quantity")),
        (
            r#"{"lines":[{"sku":"A","quantity":1},{"sku":7,"quantity":1}],"payment_token":"tok_ok"}"#,
            422,
            Some("/lines/1/sku"),
        ),
        (r#"{"lines":[{"sku":"A","quantity":1.5}],"payment_token":"tok_ok"}"#, 422, Some("/lines/0/quantity")),
        (r#"{"lines":[{"sku":"A","quantity":0}],"payment_token":"tok_ok"}"#, 422, Some("/lines/0/quantity")),
        (
            r#"{"lines":[{"sku":"A","quantity":9223372036854775808}],"payment_token":"tok_ok"}"#,
            422,
            Some("/lines/0/quantity"),
        ),
        (r#"{"lines":[{"sku":"A","quantity":1}],"payment_token":"tok_ok","coupon":"x"}"#, 422, None),
        (r#"{"lines":[],"payment_token":"tok_ok"}"#, 422, Some("/lines")),
    ] {
        let answer = send_raw(&shop, "application/json", body.as_bytes()).await?;
        ensure!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{body}: {answer}");
        ensure!(answer.contains("application/problem+json"), "{body}: {answer}");
        ensure!(
            pointer.is_none_or(|pointer| answer.contains(&format!("\"pointer\":\"{pointer}\""))),
            "{body}: {answer}"
        );
    }
    let text = send_raw(&shop, "text/plain", b"{}").await?;
    ensure!(text.starts_with("HTTP/1.1 415 "), "{text}");
    let not_utf8 = send_raw(&shop, "application/json", b"{\"payment_token\":\"\xff\"}").await?;
    ensure!(not_utf8.starts_with("HTTP/1.1 4"), "{not_utf8}");
    let deep = "[".repeat(100_000);
    let deep = send_raw(&shop, "application/json", deep.as_bytes()).await?;
    ensure!(deep.starts_with("HTTP/1.1 4"), "{deep}");
    good_requests_go_on(&shop).await?;
    shop.close().await
}

/// One request on a connection of its own, byte for byte.
async fn send_raw(shop: &Shop, content_type: &str, body: &[u8]) -> Result<String> {
    let head = format!(
        "{}Content-Type: {content_type}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        head(shop)?,
        body.len()
    );
    let mut stream = TcpStream::connect(address(shop)).await?;
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body).await?;
    read_to_end(&mut stream).await
}

/// The beginning of a request that places an order, with everything but the body's own headers.
fn head(shop: &Shop) -> Result<String> {
    let token = shop.customer.token().context("not signed in")?;
    let key = format!("raw-{:?}", Instant::now()).replace(|c: char| !c.is_ascii_alphanumeric(), "");
    let host = address(shop);
    Ok(format!(
        "POST /v1/orders HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\nIdempotency-Key: {key}\r\n"
    ))
}

fn address(shop: &Shop) -> &str {
    shop.store.api().base().trim_start_matches("http://")
}

async fn read_to_end(stream: &mut TcpStream) -> Result<String> {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(CUT_MAX, stream.read_to_end(&mut bytes)).await;
    // A connection that is reset was cut too.
    let _ = read.context("the connection was not closed")?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

async fn good_requests_go_on(shop: &Shop) -> Result<()> {
    let sku = shop.new_sku(1, 100).await?;
    shop.confirmed(&sku, 1).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn oversized_bodies_are_refused() -> Result<()> {
    let shop = Shop::open_with(Store::builder(Placement::TogetherMemory).set("HTTP__BODY_BYTES_MAX", "20000")).await?;
    let mut body = pangaea_tests::order_body(&[("A", 1)], "tok_ok");
    body["payment_token"] = json!("t".repeat(30_000));
    shop.customer.post("/v1/orders", body).send().await?.expect_problem(413, "body-too-large")?;
    // Without a length, too.
    let head = format!("{}Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n", head(&shop)?);
    let mut stream = TcpStream::connect(address(&shop)).await?;
    stream.write_all(head.as_bytes()).await?;
    let chunk = format!("2710\r\n{}\r\n", " ".repeat(10_000));
    for _ in 0..5 {
        // It may have hung up already.
        if stream.write_all(chunk.as_bytes()).await.is_err() {
            break;
        }
    }
    let mut answer = [0; 12];
    tokio::time::timeout(CUT_MAX, stream.read_exact(&mut answer)).await.context("no answer")??;
    ensure!(&answer == b"HTTP/1.1 413", "{}", String::from_utf8_lossy(&answer));
    good_requests_go_on(&shop).await?;
    shop.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_heads_and_slow_bodies_are_cut() -> Result<()> {
    let timeout = TIMEOUT_MS.to_string();
    let builder = Store::builder(Placement::TogetherMemory)
        .set("HTTP__HEADER_TIMEOUT_MS", &timeout)
        .set("HTTP__BODY_TIMEOUT_MS", &timeout);
    let shop = Shop::open_with(builder).await?;
    let head = format!("{}Content-Type: application/json\r\nContent-Length: 1000\r\n", head(&shop)?);
    let slow_head = head.clone();
    let slow_body = format!("{head}\r\n{{\"lines\":");
    let mut slow = Vec::new();
    for number in 0..SLOW_CLIENTS {
        let start = if number % 2 == 0 { &slow_head } else { &slow_body };
        let mut stream = TcpStream::connect(address(&shop)).await?;
        stream.write_all(start.as_bytes()).await?;
        slow.push(tokio::spawn(async move {
            let started = Instant::now();
            let answer = read_to_end(&mut stream).await?;
            anyhow::Ok((answer, started.elapsed()))
        }));
    }
    let started = Instant::now();
    good_requests_go_on(&shop).await?;
    println!("a good order beside {SLOW_CLIENTS} slow clients took {} ms", started.elapsed().as_millis());
    for slow in slow {
        let (answer, elapsed) = slow.await??;
        ensure!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
        ensure!(elapsed < CUT_MAX, "cut after {elapsed:?}");
    }
    shop.close().await
}

/// Proxies keep connections for later. One that is closed just when they use it makes them answer 503.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_kept_for_its_next_request_far_longer_than_for_the_rest_of_a_head() -> Result<()> {
    const SILENT: Duration = Duration::from_secs(2);
    let builder = Store::builder(Placement::TogetherMemory)
        .set("HTTP__HEADER_TIMEOUT_MS", "500")
        .set("HTTP__IDLE_TIMEOUT_MS", "6000");
    let shop = Shop::open_with(builder).await?;
    let mut stream = TcpStream::connect(address(&shop)).await?;
    for _ in 0..2 {
        tokio::time::sleep(SILENT).await;
        stream.write_all(b"GET /livez HTTP/1.1\r\nHost: shop\r\n\r\n").await?;
        let mut answer = [0; 1_024];
        let read = tokio::time::timeout(CUT_MAX, stream.read(&mut answer)).await.context("no answer")??;
        let answer = String::from_utf8_lossy(&answer[..read]);
        ensure!(answer.starts_with("HTTP/1.1 404 ") && answer.contains("/problems/not-found"), "{answer:?}");
    }
    let idle = Instant::now();
    ensure!(read_to_end(&mut stream).await?.is_empty(), "closed without a word");
    ensure!(idle.elapsed() > SILENT, "closed after {:?}", idle.elapsed());
    shop.close().await
}

/// A body whose bytes keep coming, one now and then, must end too.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_trickles_is_cut() -> Result<()> {
    let builder = Store::builder(Placement::TogetherMemory).set("HTTP__BODY_TIMEOUT_MS", "1000");
    let shop = Shop::open_with(builder).await?;
    let head = format!("{}Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n", head(&shop)?);
    let stream = TcpStream::connect(address(&shop)).await?;
    let (mut reading, mut writing) = stream.into_split();
    writing.write_all(head.as_bytes()).await?;
    let started = Instant::now();
    let trickle = async {
        while writing.write_all(b" ").await.is_ok() && started.elapsed() < CUT_MAX {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let mut answer = [0; 1];
    let ended = async {
        // An answer or an end: both are a cut.
        let _ = reading.read(&mut answer).await;
    };
    tokio::select! {
        () = trickle => {}
        () = ended => {}
    }
    ensure!(started.elapsed() < CUT_MAX, "a body that trickles was read for {:?}", started.elapsed());
    shop.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_requests_are_told_when_to_come_again() -> Result<()> {
    // Signing in takes a request without a token for each of the four people.
    let builder = Store::builder(Placement::TogetherMemory).set("HTTP__RATE_LIMIT_PER_MINUTE__ANONYMOUS", "20");
    let shop = Shop::open_with(builder).await?;
    let nobody = shop.store.api();
    let mut refused = None;
    for number in 0..40 {
        // Whatever the client claims to be: this peer is no proxy that is trusted.
        let call = nobody.get("/v1/products?limit=1").header("x-forwarded-for", &format!("203.0.113.{number}"));
        let answer = call.send().await?.expect_any(&[200, 429])?;
        if answer.status == 429 {
            refused = Some(answer);
            break;
        }
    }
    let refused =
        refused.context("40 requests of a client that may send 20")?.expect_problem(429, "too-many-requests")?;
    let seconds: u32 = refused.required("retry-after")?.parse()?;
    ensure!((1..=60).contains(&seconds), "{seconds}");
    ensure!(refused.required("ratelimit")?.contains("r=0"), "{:?}", refused.headers);
    // Those with a token have limits of their own.
    ask_to_place(&shop.customer, &[("NEVER-SOLD", 1)], "tok_ok").send().await?.expect(422)?;
    shop.close().await
}
