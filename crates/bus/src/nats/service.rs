use std::sync::Arc;

use async_nats::service::endpoint::Endpoint;
use async_nats::service::{Request, ServiceExt, error::Error};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{SelectAll, select_all};
use tokio::sync::{Semaphore, oneshot};

use super::link::{Link, TRACEPARENT, broker};
use crate::service::{REQUESTS_MAX, STOP_WAIT, run_handler};
use crate::{BusError, IncomingRequest, RequestHandler, ServiceHandle, ServiceSpec};

/// Starts a NATS micro service: `$SRV.PING`, `INFO` and `STATS` show it, and instances of one name share the requests
/// through a queue group of that name.
pub(super) async fn serve(
    link: &Arc<Link>,
    spec: ServiceSpec,
    handler: RequestHandler,
) -> Result<ServiceHandle, BusError> {
    spec.check()?;
    let name = format!("{}-{}", link.config.namespace, spec.name);
    let builder = link.client.service_builder().description(&spec.description).queue_group(&name);
    let service = builder.start(&name, &spec.version).await.map_err(|error| broker("start service", error))?;
    let mut endpoints = Vec::with_capacity(spec.subjects.len());
    for subject in &spec.subjects {
        let endpoint = service.endpoint_builder().name(subject.replace('.', "-")).add(link.subject(subject)).await;
        endpoints.push(endpoint.map_err(|error| broker("start service", error))?);
    }
    link.settle().await;
    let (stop, stopped) = oneshot::channel();
    let server = Server { link: link.clone(), handler, slots: Arc::new(Semaphore::new(REQUESTS_MAX)) };
    let task = tokio::spawn(server.run(service, select_all(endpoints), stopped));
    Ok(ServiceHandle::new(stop, task))
}

struct Server {
    link: Arc<Link>,
    handler: RequestHandler,
    slots: Arc<Semaphore>,
}

// === impl Server ===

impl Server {
    async fn run(
        self,
        service: async_nats::service::Service,
        mut requests: SelectAll<Endpoint>,
        mut stopped: oneshot::Receiver<()>,
    ) {
        loop {
            tokio::select! {
                _ = &mut stopped => break,
                request = requests.next() => match request {
                    Some(request) => self.start(request).await,
                    None => break,
                },
            }
        }
        // The endpoints unsubscribe and then end, once they have given what had already arrived.
        let _ = service.stop().await;
        let rest = async {
            while let Some(request) = requests.next().await {
                self.start(request).await;
            }
            let _ = self.slots.acquire_many(REQUESTS_MAX as u32).await;
        };
        let _ = tokio::time::timeout(STOP_WAIT, rest).await;
    }

    async fn start(&self, request: Request) {
        let Ok(slot) = self.slots.clone().try_acquire_owned() else {
            metrics::counter!("pangaea_bus_busy_total").increment(1);
            respond(&request, Err(Error { status: "busy".to_owned(), code: 503 })).await;
            return;
        };
        let (handler, incoming) = (self.handler.clone(), self.incoming(&request));
        tokio::spawn(async move {
            let answer = run_handler(&handler, incoming).await;
            respond(&request, answer.map_err(|message| Error { status: one_line(&message), code: 500 })).await;
            drop(slot);
        });
    }

    fn incoming(&self, request: &Request) -> IncomingRequest {
        let message = &request.message;
        let traceparent = message.headers.as_ref().and_then(|headers| headers.get(TRACEPARENT));
        IncomingRequest {
            subject: self.link.without_namespace(&message.subject).to_owned(),
            payload: message.payload.clone(),
            traceparent: traceparent.map(|value| value.as_str().to_owned()),
        }
    }
}

async fn respond(request: &Request, answer: Result<Bytes, Error>) {
    if request.message.reply.is_none() {
        return;
    }
    if let Err(error) = request.respond(answer).await {
        tracing::warn!(subject = %request.message.subject, %error, "a reply could not be sent");
    }
}

/// An error reply is a header, which ends at a line break.
fn one_line(message: &str) -> String {
    message.chars().map(|character| if character.is_control() { ' ' } else { character }).take(1024).collect()
}
