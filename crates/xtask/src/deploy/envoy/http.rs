//! A small HTTP/1.1 client, and stub upstreams that count.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

const PATIENCE: Duration = Duration::from_secs(15);
const BODY_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// What was answered.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    /// Names in lower case.
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: String,
}

/// One connection, kept open.
#[derive(Debug)]
pub(super) struct Client {
    address: SocketAddr,
    stream: Option<BufReader<TcpStream>>,
}

/// An upstream that answers everything with one status and counts by method.
#[derive(Debug)]
pub(super) struct Stub {
    pub(super) address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    name: String,
    status: u16,
    counts: Mutex<BTreeMap<String, u64>>,
    is_stopping: AtomicBool,
}

// === impl Client ===

impl Client {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self { address, stream: None }
    }

    pub(super) fn get(&mut self, path: &str, headers: &[(&str, &str)]) -> Result<Reply> {
        self.send("GET", path, headers, "")
    }

    /// Sends a request and waits for the answer.
    ///
    /// # Errors
    /// When nobody listens, the connection breaks, or the answer is no HTTP.
    pub(super) fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Result<Reply> {
        let reply = self.try_send(method, path, headers, body);
        if !reply.as_ref().is_ok_and(|reply| reply.headers.get("connection").is_none_or(|value| value != "close")) {
            self.stream = None;
        }
        reply.with_context(|| format!("{method} http://{}{path}", self.address))
    }

    fn try_send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Result<Reply> {
        let mut request =
            format!("{method} {path} HTTP/1.1\r\nhost: {}\r\ncontent-length: {}\r\n", self.address, body.len());
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        request += "\r\n";
        request += body;
        let stream = match &mut self.stream {
            Some(stream) => stream,
            None => self.stream.insert(connect(self.address)?),
        };
        stream.get_mut().write_all(request.as_bytes())?;
        read_reply(stream)
    }
}

fn connect(address: SocketAddr) -> Result<BufReader<TcpStream>> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(BufReader::new(stream))
}

fn read_reply(stream: &mut impl BufRead) -> Result<Reply> {
    let (line, headers) = read_head(stream)?.context("the connection was closed before an answer")?;
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.with_context(|| format!("no HTTP answer: {line:?}"))?;
    let body = if headers.get("transfer-encoding").is_some_and(|value| value == "chunked") {
        read_chunks(stream)?
    } else {
        read_body(stream, &headers)?
    };
    Ok(Reply { status, headers, body: String::from_utf8_lossy(&body).into_owned() })
}

type Head = (String, BTreeMap<String, String>);

/// The first line and the headers; None when the other side has closed instead.
fn read_head(stream: &mut impl BufRead) -> Result<Option<Head>> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut headers = BTreeMap::new();
    loop {
        let mut header = String::new();
        ensure!(stream.read_line(&mut header)? > 0, "the head was cut off");
        match header.trim_end().split_once(':') {
            Some((name, value)) => headers.insert(name.to_ascii_lowercase(), value.trim().to_owned()),
            None => return Ok(Some((line.trim_end().to_owned(), headers))),
        };
    }
}

fn read_body(stream: &mut impl BufRead, headers: &BTreeMap<String, String>) -> Result<Vec<u8>> {
    let length = headers.get("content-length").map_or(Ok(0), |length| length.parse::<u64>())?;
    ensure!(length <= BODY_BYTES_MAX, "a body of {length} bytes");
    let mut body = Vec::new();
    stream.take(length).read_to_end(&mut body)?;
    Ok(body)
}

fn read_chunks(stream: &mut impl BufRead) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let Ok(length) = u64::from_str_radix(line.trim(), 16) else { bail!("no chunk: {line:?}") };
        ensure!(length <= BODY_BYTES_MAX, "a chunk of {length} bytes");
        stream.by_ref().take(length).read_to_end(&mut body)?;
        stream.read_line(&mut line)?;
        if length == 0 {
            return Ok(body);
        }
    }
}

// === impl Stub ===

impl Stub {
    /// # Errors
    /// When there is no free port.
    pub(super) fn start(name: &str, status: u16) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).context("no free port on 127.0.0.1")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            status,
            counts: Mutex::default(),
            is_stopping: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || accepting.accept(&listener));
        Ok(Self { address, shared })
    }

    /// Requests so far with this method.
    pub(super) fn count(&self, method: &str) -> u64 {
        self.shared.counts().get(method).copied().unwrap_or(0)
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.shared.is_stopping.store(true, Ordering::Relaxed);
        // Wakes the accepting thread.
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
    }
}

// === impl Shared ===

impl Shared {
    fn counts(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, u64>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept(self: Arc<Self>, listener: &TcpListener) {
        for stream in listener.incoming() {
            if self.is_stopping.load(Ordering::Relaxed) {
                return;
            }
            let Ok(stream) = stream else { continue };
            let serving = Arc::clone(&self);
            // Ends when the other side closes, or when this process stops.
            thread::spawn(move || {
                if let Err(error) = serving.serve(stream) {
                    let is_closed = error.downcast_ref::<std::io::Error>().is_some_and(is_close);
                    if !is_closed {
                        eprintln!("stub {}: {error:#}", serving.name);
                    }
                }
            });
        }
    }

    fn serve(&self, stream: TcpStream) -> Result<()> {
        stream.set_nodelay(true)?;
        let mut stream = BufReader::new(stream);
        while let Some((line, headers)) = read_head(&mut stream)? {
            if headers.get("transfer-encoding").is_some_and(|value| value == "chunked") {
                read_chunks(&mut stream)?;
            } else {
                read_body(&mut stream, &headers)?;
            }
            let method = line.split(' ').next().unwrap_or_default().to_owned();
            *self.counts().entry(method).or_default() += 1;
            let (status, name) = (self.status, &self.name);
            let reply = format!("HTTP/1.1 {status} Stub\r\nx-stub: {name}\r\ncontent-length: 0\r\n\r\n");
            stream.get_mut().write_all(reply.as_bytes())?;
        }
        Ok(())
    }
}

fn is_close(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stub_answers_and_counts() {
        let stub = Stub::start("one", 503).unwrap();
        let mut client = Client::new(stub.address);
        for _ in 0..3 {
            let reply = client.send("POST", "/v1/orders", &[("x-a", "b")], "{}").unwrap();
            assert_eq!((reply.status, reply.headers["x-stub"].as_str()), (503, "one"));
        }
        assert_eq!(client.get("/", &[]).unwrap().body, "");
        assert_eq!((stub.count("POST"), stub.count("GET"), stub.count("PUT")), (3, 1, 0));
    }

    #[test]
    fn reads_bodies_of_both_kinds() {
        let plain = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
        let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n";
        for text in [plain, chunked] {
            assert_eq!(read_reply(&mut text.as_bytes()).unwrap().body, "hello", "{text}");
        }
        assert!(read_reply(&mut "".as_bytes()).is_err());
        assert!(read_reply(&mut "nonsense\r\n\r\n".as_bytes()).is_err());
    }
}
