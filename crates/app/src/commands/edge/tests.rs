use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// What a process does with a request that it has read.
#[derive(Clone, Copy)]
enum Does {
    Answers(&'static str),
    /// It goes away, so that nobody knows what it has done.
    Dies,
}

/// A process that does the same with every request, and closes each connection.
async fn process(does: Does) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            if let Does::Answers(text) = does {
                let length = text.len();
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{text}");
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        }
    });
    url
}

/// One that nobody listens for.
async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

async fn edge(urls: &[String]) -> Arc<Edge> {
    let route = parse_route(&format!("/v1={}", urls.join(","))).unwrap();
    Arc::new(Edge { routes: vec![route], client: upstreams::client() })
}

async fn ask(edge: &Arc<Edge>, method: &str, key: Option<&str>) -> (u16, String) {
    let mut request = Request::builder().method(method).uri("/v1/things");
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    if method == "POST" {
        request = request.header("content-length", 2);
    }
    let body = if method == "POST" { Body::from("{}") } else { Body::empty() };
    let answer = forward(State(edge.clone()), request.body(body).unwrap()).await.unwrap();
    let status = answer.status().as_u16();
    let bytes = axum::body::to_bytes(answer.into_body(), 1_000_000).await.unwrap();
    (status, String::from_utf8_lossy(&bytes).into_owned())
}

#[tokio::test]
async fn processes_of_a_route_are_taken_in_turn() {
    let edge = edge(&[process(Does::Answers("a")).await, process(Does::Answers("b")).await]).await;
    let mut heard = Vec::new();
    for _ in 0..4 {
        heard.push(ask(&edge, "GET", None).await.1);
    }
    assert_eq!(heard, ["a", "b", "a", "b"]);
}

#[tokio::test]
async fn one_that_cannot_be_reached_is_passed_over_for_any_request() {
    let edge = edge(&[nobody().await, process(Does::Answers("b")).await]).await;
    for _ in 0..4 {
        assert_eq!(ask(&edge, "POST", None).await, (200, "b".to_owned()));
        assert_eq!(ask(&edge, "GET", None).await, (200, "b".to_owned()));
    }
}

#[tokio::test]
async fn one_that_dies_before_it_answers_is_passed_over_only_where_a_repeat_is_safe() {
    let urls = [process(Does::Dies).await, process(Does::Answers("b")).await];
    for (method, key) in [("GET", None), ("POST", Some("key"))] {
        let edge = edge(&urls).await;
        for _ in 0..4 {
            assert_eq!(ask(&edge, method, key).await, (200, "b".to_owned()), "{method}");
        }
    }
    let edge = edge(&urls).await;
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(ask(&edge, "POST", None).await.0);
    }
    assert_eq!(statuses, [503, 200, 503, 200]);
}

#[tokio::test]
async fn tries_are_bounded() {
    let (dies, gone) = (process(Does::Dies).await, nobody().await);
    for urls in [vec![dies.clone(), dies.clone()], vec![gone.clone(), gone], vec![dies]] {
        let (status, text) = ask(&edge(&urls).await, "GET", None).await;
        assert_eq!(status, 503, "{text}");
        assert!(text.contains("outcome-unknown"), "{text}");
    }
}

#[test]
fn a_route_names_a_prefix_and_urls() {
    let route = parse_route("/v1/orders=http://a:1/, http://b:2").unwrap();
    assert_eq!(route.upstreams.urls(), ["http://a:1", "http://b:2"]);
    for bad in ["/v1/orders", "v1=http://a:1", "/v1=a:1", "/v1=http://a:1,", "/v1=https://a:1"] {
        assert!(parse_route(bad).is_err(), "{bad}");
    }
}
