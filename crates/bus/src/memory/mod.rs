mod hub;
mod reader;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use self::hub::Hub;
pub(crate) use self::hub::{EPHEMERAL_MAX, lossy_stream};
use self::reader::MemoryReader;
use crate::protocol::{check_cursor, check_name, check_pattern, check_subject, end_of_log};
use crate::{
    BoxFuture, BoxStream, Bus, BusError, Cursor, LogReader, LogSource, Relay, RequestHandler, ServiceHandle,
    ServiceSpec,
};

/// The bus of one process: readers read the co-hosted logs themselves, requests are calls. It holds nothing of its own.
/// Cheap to clone; one per process and namespace.
#[derive(Clone)]
pub struct MemoryBus {
    namespace: Arc<str>,
    logs: Logs,
    hub: Arc<Hub>,
}

/// The attached logs by source, shared with the readers, which are woken when one is attached or detached.
#[derive(Clone, Default)]
struct Logs(Arc<watch::Sender<HashMap<String, Arc<dyn LogSource>>>>);

// === impl MemoryBus ===

impl MemoryBus {
    /// Buses do not see each other; the namespace only names this one in logs.
    pub fn new(namespace: impl Into<Arc<str>>) -> Self {
        Self { namespace: namespace.into(), logs: Logs::default(), hub: Arc::new(Hub::default()) }
    }
}

impl Bus for MemoryBus {
    fn attach(&self, log: Arc<dyn LogSource>) -> BoxFuture<'_, Result<(), BusError>> {
        Box::pin(async move {
            check_name("source", log.source())?;
            tracing::debug!(namespace = &*self.namespace, source = log.source(), "log attached");
            self.logs.insert(log);
            Ok(())
        })
    }

    fn detach(&self, source: &str) {
        self.logs.remove(source);
    }

    fn relay(&self, _log: Arc<dyn LogSource>) -> Option<Box<dyn Relay>> {
        None
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
            let log = self.logs.get(&source)?;
            check_cursor(log.as_ref(), &after).await?;
            Ok(Box::new(MemoryReader::new(self.logs.clone(), reader, log, after)) as Box<dyn LogReader>)
        })
    }

    fn end_of<'a>(&'a self, source: &'a str) -> BoxFuture<'a, Result<Cursor, BusError>> {
        Box::pin(async move {
            check_name("source", source)?;
            end_of_log(self.logs.get(source)?.as_ref()).await
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
            self.hub.request(subject, payload, traceparent, timeout).await
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
            Ok(self.hub.request_many(subject, payload, timeout, max).await)
        })
    }

    fn serve(&self, service: ServiceSpec, handler: RequestHandler) -> BoxFuture<'_, Result<ServiceHandle, BusError>> {
        Box::pin(async move {
            service.check()?;
            Ok(Hub::serve(&self.hub, service, handler))
        })
    }

    fn publish<'a>(&'a self, subject: &'a str, payload: Bytes) -> BoxFuture<'a, Result<(), BusError>> {
        Box::pin(async move {
            check_subject(subject)?;
            self.hub.publish(subject, &payload);
            Ok(())
        })
    }

    fn subscribe<'a>(&'a self, pattern: &'a str) -> BoxFuture<'a, Result<BoxStream<(String, Bytes)>, BusError>> {
        Box::pin(async move {
            check_pattern(pattern)?;
            Ok(self.hub.subscribe(pattern))
        })
    }

    fn healthy(&self) -> bool {
        true
    }

    fn kind(&self) -> &'static str {
        "memory"
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.logs.clear();
            self.hub.clear();
        })
    }
}

// === impl Logs ===

impl Logs {
    fn insert(&self, log: Arc<dyn LogSource>) {
        self.0.send_modify(|logs| {
            logs.insert(log.source().to_owned(), log);
        });
    }

    fn get(&self, source: &str) -> Result<Arc<dyn LogSource>, BusError> {
        self.0.borrow().get(source).cloned().ok_or_else(|| BusError::UnknownSource(source.to_owned()))
    }

    fn changes(&self) -> watch::Receiver<HashMap<String, Arc<dyn LogSource>>> {
        self.0.subscribe()
    }

    fn remove(&self, source: &str) {
        self.0.send_modify(|logs| {
            logs.remove(source);
        });
    }

    fn clear(&self) {
        self.0.send_modify(HashMap::clear);
    }
}
