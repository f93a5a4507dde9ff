use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result};
use axum::body::{Body, to_bytes};
use axum::http::{Request, Response};
use axum::response::IntoResponse;
use pangaea_contracts::Actor;
use pangaea_kernel::http::{Access, Caller, CommandFuture, Commands, access_table};
use pangaea_kernel::{Input, Problem, ProblemKind};
use serde_json::Value;
use tokio::sync::Mutex;
use tower::ServiceExt;

use super::Scenario;
use super::world::World;
use crate::Answer;

const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A client of a scenario's routes.
pub struct Client<'a> {
    scenario: &'a Scenario,
    actor: Option<Actor>,
}

/// Who may call what, from the modules' documents.
#[derive(Default)]
pub(super) struct AccessTable(BTreeMap<(String, String), Access>);

/// The way from an edge to its module, without a queue.
pub(super) struct Writer {
    world: Arc<Mutex<World>>,
    index: usize,
}

// === impl Client ===

impl<'a> Client<'a> {
    pub(super) fn new(scenario: &'a Scenario, actor: Option<Actor>) -> Self {
        Self { scenario, actor }
    }

    /// # Errors
    /// When the request is not well formed. A problem is an answer.
    pub async fn get(&self, path: &str) -> Result<Answer> {
        self.send("GET", path, &[], None).await
    }

    /// A POST under this `Idempotency-Key`, so that the command has the same id in every run.
    ///
    /// # Errors
    /// When the request is not well formed. A problem is an answer.
    pub async fn post(&self, path: &str, key: &str, body: Value) -> Result<Answer> {
        self.send("POST", path, &[("idempotency-key", key)], Some(body)).await
    }

    /// Any request.
    ///
    /// # Errors
    /// When it is not well formed. A problem is an answer.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Value>,
    ) -> Result<Answer> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let caller = self.actor.clone().map(|actor| Caller { actor, session_id: "ses_test".into() });
        let path_alone = path.split('?').next().unwrap_or(path);
        let shown = format!("{method} {path}");
        if let Err(problem) = self.scenario.access.check(method, path_alone, caller.as_ref()) {
            return read(problem.into_response(), shown).await;
        }
        if let Some(caller) = caller {
            request = request.extension(caller);
        }
        let request = request.body(body.map_or_else(Body::empty, |body| Body::from(body.to_string())))?;
        let Ok(response) = self.scenario.router.clone().oneshot(request).await;
        read(response, shown).await
    }
}

async fn read(response: Response<Body>, request: String) -> Result<Answer> {
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let bytes = to_bytes(response.into_body(), BODY_BYTES_MAX).await.with_context(|| request.clone())?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let body = serde_json::from_str(&text).unwrap_or_default();
    Ok(Answer { status, headers, body, text, request })
}

// === impl AccessTable ===

impl AccessTable {
    /// # Errors
    /// When an operation has no readable `x-access`: the host would not start.
    pub(super) fn add(&mut self, document: &Value) -> Result<()> {
        self.0.extend(access_table(document).map_err(anyhow::Error::msg)?);
        Ok(())
    }

    fn check(&self, method: &str, path: &str, caller: Option<&Caller>) -> Result<(), Problem> {
        let found = self.0.iter().find(|((known, template), _)| known == method && is_of(template, path));
        match found {
            Some((_, access)) => access.check(caller),
            None => Err(Problem::new(ProblemKind::NotFound, "no module here has this route")),
        }
    }
}

fn is_of(template: &str, path: &str) -> bool {
    let (mut template, mut path) = (template.split('/'), path.split('/'));
    loop {
        match (template.next(), path.next()) {
            (None, None) => return true,
            (Some(wanted), Some(part)) if wanted == part || (wanted.starts_with('{') && !part.is_empty()) => {}
            _ => return false,
        }
    }
}

// === impl Writer ===

impl Writer {
    pub(super) fn new(world: Arc<Mutex<World>>, index: usize) -> Self {
        Self { world, index }
    }
}

impl Commands for Writer {
    fn submit(&self, command: Input) -> CommandFuture {
        let (world, index) = (self.world.clone(), self.index);
        Box::pin(async move {
            let step = world.lock().await.admit(index, command).await;
            let answer = step.and_then(|step| step.answer().cloned());
            answer.map_err(|error| {
                // A client is not told internals; the test is.
                eprintln!("{error:#}");
                Problem::new(ProblemKind::Internal, "the command gave no answer")
            })
        })
    }
}
