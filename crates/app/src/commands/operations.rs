//! The operations listener of a process, as the commands that ask it for something use it.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::{Method, Request, Response};
use pangaea_runtime::config::Config;
use serde_json::Value;
use tokio::time::timeout;

use crate::retail::{HttpClient, connection};

/// Longer than the store gives one letter.
const ANSWER_MAX: Duration = Duration::from_secs(45);
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
const LINE_BYTES_MAX: usize = 1024 * 1024;

/// The operations listener of a process.
pub(super) struct Operations {
    http: HttpClient,
    base: String,
}

// === impl Operations ===

impl Operations {
    /// # Errors
    /// When it is not an `http://` URL.
    pub(super) fn at(url: &str) -> Result<Self> {
        let (base, http) = connection("--operations", url, 1)?;
        Ok(Self { http, base })
    }

    /// The process that the configuration describes.
    ///
    /// # Errors
    /// Never in practice: the address is one.
    pub(super) fn configured(config: &Config) -> Result<Self> {
        Self::at(&format!("http://{}", address(config)))
    }

    /// # Errors
    /// When there is no answer, or it is not a success: what the problem says.
    pub(super) async fn get(&self, path: &str) -> Result<Value> {
        let response = self.send(Method::GET, path, Bytes::new()).await?;
        json(response).await
    }

    /// Posts, and hands over each line of the answer as it comes.
    ///
    /// # Errors
    /// When there is no answer, it is not a success, or it breaks off.
    pub(super) async fn post_for_lines(
        &self,
        path: &str,
        body: &Value,
        mut each: impl FnMut(Value) -> std::io::Result<()>,
    ) -> Result<()> {
        let mut response = self.send(Method::POST, path, body.to_string().into()).await?;
        let mut pending: Vec<u8> = Vec::new();
        loop {
            let frame = timeout(ANSWER_MAX, response.body_mut().frame()).await;
            let frame = frame.with_context(|| format!("{self} says nothing any more"))?;
            let Some(frame) = frame else { break };
            let frame = frame.with_context(|| format!("{self} broke off"))?;
            pending.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
            while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = pending.drain(..=end).collect();
                each(serde_json::from_slice(&line).with_context(|| format!("{self} sent a line that is not JSON"))?)?;
            }
            if pending.len() > LINE_BYTES_MAX {
                bail!("{self} sent a line without an end");
            }
        }
        Ok(())
    }

    async fn send(&self, method: Method, path: &str, body: Bytes) -> Result<Response<Incoming>> {
        let request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        let request = request.header(CONTENT_TYPE, "application/json").body(Full::new(body))?;
        let hint = || {
            format!(
                "{self} does not answer: is the store running, and is this the operations address (operations.listen) \
                 of the process? Name it with --operations URL"
            )
        };
        let response = timeout(ANSWER_MAX, self.http.request(request)).await.with_context(hint)?.with_context(hint)?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let problem = json(response).await.unwrap_or_default();
        let text = |key: &str| problem[key].as_str().unwrap_or_default().to_owned();
        match (text("title"), text("detail")) {
            (title, detail) if !title.is_empty() => Err(anyhow!("{title}: {detail}")),
            _ => Err(anyhow!("{self} answered {status}; is it the operations address of a store of this version?")),
        }
    }
}

/// Where this machine finds the operations listener that the configuration describes.
pub(super) fn address(config: &Config) -> SocketAddr {
    let mut address = config.operations.listen;
    if address.ip().is_unspecified() {
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    address
}

async fn json(response: Response<Incoming>) -> Result<Value> {
    let body = timeout(ANSWER_MAX, Limited::new(response.into_body(), BODY_BYTES_MAX).collect()).await;
    let body = body.context("the answer did not end in time")?.map_err(|error| anyhow!("the answer: {error}"))?;
    serde_json::from_slice(&body.to_bytes()).context("the answer is not JSON")
}

impl fmt::Display for Operations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.base)
    }
}
