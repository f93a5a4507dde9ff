mod config;
mod consumer;
mod link;
mod owner;
mod permissions;
mod provision;
mod reader;
mod relay;
mod service;
mod stream;
mod wire;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;

pub use self::config::{NatsConfig, NatsCredentials};
use self::link::Link;
use self::owner::Owner;
pub use self::permissions::{BusUse, NatsPermissions, stream_config};
pub use self::provision::{ProvidedStream, provision};
use self::reader::NatsReader;
use self::relay::NatsRelay;
use crate::protocol::{check_name, check_pattern, check_subject};
use crate::{
    BoxFuture, BoxStream, Bus, BusError, Cursor, LogReader, LogSource, Relay, RequestHandler, ServiceHandle,
    ServiceSpec,
};

/// The bus over a NATS server with JetStream, 2.9 or newer. Cheap to clone.
///
/// One stream `<NS>_<SOURCE>` holds each log; the stream is a copy of the outbox, never the only one.
#[derive(Clone)]
pub struct NatsBus {
    link: Arc<Link>,
    owners: Arc<Mutex<HashMap<String, Owner>>>,
}

// === impl NatsBus ===

impl NatsBus {
    /// Begins to connect and returns at once when the broker is not there: it is tried again in the background, and
    /// until then operations answer [`BusError::Unavailable`].
    ///
    /// # Errors
    /// [`BusError::InvalidConfig`] or [`BusError::InvalidName`] when the configuration itself cannot work.
    pub async fn connect(config: NatsConfig) -> Result<Self, BusError> {
        Ok(Self { link: Arc::new(Link::connect(config).await?), owners: Arc::default() })
    }
}

impl Bus for NatsBus {
    fn attach(&self, log: Arc<dyn LogSource>) -> BoxFuture<'_, Result<(), BusError>> {
        Box::pin(async move {
            let source = log.source().to_owned();
            check_name("source", &source)?;
            let owner = Owner::start(&self.link, log).await?;
            self.owners.lock().unwrap_or_else(PoisonError::into_inner).insert(source, owner);
            Ok(())
        })
    }

    fn detach(&self, source: &str) {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner).remove(source);
    }

    fn relay(&self, log: Arc<dyn LogSource>) -> Option<Box<dyn Relay>> {
        Some(Box::new(NatsRelay::new(self.link.clone(), log)))
    }

    fn open_reader(
        &self,
        reader: &str,
        source: &str,
        after: Cursor,
    ) -> BoxFuture<'_, Result<Box<dyn LogReader>, BusError>> {
        let (reader, source) = (reader.to_owned(), source.to_owned());
        Box::pin(async move {
            check_name("reader", &reader)?;
            check_name("source", &source)?;
            let opened = NatsReader::open(self.link.clone(), reader, source, after).await?;
            Ok(Box::new(opened) as Box<dyn LogReader>)
        })
    }

    fn end_of<'a>(&'a self, source: &'a str) -> BoxFuture<'a, Result<Cursor, BusError>> {
        Box::pin(async move {
            check_name("source", source)?;
            reader::end_of(&self.link, source).await
        })
    }

    fn request<'a>(
        &'a self,
        subject: &'a str,
        payload: Bytes,
        traceparent: Option<&'a str>,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<Bytes, BusError>> {
        Box::pin(async move {
            check_subject(subject)?;
            self.link.request(subject, payload, traceparent, timeout).await
        })
    }

    fn request_many<'a>(
        &'a self,
        subject: &'a str,
        payload: Bytes,
        timeout: Duration,
        max: usize,
    ) -> BoxFuture<'a, Result<Vec<Bytes>, BusError>> {
        Box::pin(async move {
            check_subject(subject)?;
            self.link.request_many(subject, payload, timeout, max).await
        })
    }

    fn serve(&self, service: ServiceSpec, handler: RequestHandler) -> BoxFuture<'_, Result<ServiceHandle, BusError>> {
        Box::pin(async move { service::serve(&self.link, service, handler).await })
    }

    fn publish<'a>(&'a self, subject: &'a str, payload: Bytes) -> BoxFuture<'a, Result<(), BusError>> {
        Box::pin(async move {
            check_subject(subject)?;
            self.link.publish(subject, payload).await
        })
    }

    fn subscribe<'a>(&'a self, pattern: &'a str) -> BoxFuture<'a, Result<BoxStream<(String, Bytes)>, BusError>> {
        Box::pin(async move {
            check_pattern(pattern)?;
            self.link.subscribe(pattern).await
        })
    }

    fn healthy(&self) -> bool {
        self.link.connected()
    }

    fn kind(&self) -> &'static str {
        "nats"
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.owners.lock().unwrap_or_else(PoisonError::into_inner).clear();
            self.link.close().await;
        })
    }
}
