//! Rebuilds on the operations listener: begun and followed, asked about, cancelled.

use std::time::Duration;

use axum::body::{Body as ResponseBody, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use futures_util::stream;
use pangaea_kernel::http::{Body, Params};
use pangaea_kernel::{Problem, ProblemKind, RebuildFacts, RebuildOptions, RebuildReport};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::letters::one_module;
use super::operations::Health;
use crate::ModuleHandle;
use crate::rebuilds::{RebuildEnd, RebuildReply, RebuildRequest, RebuildState};

const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Looks in vain, one after the other, until the leader is given up.
const MISSES_MAX: u32 = 20;

pub(super) fn routes() -> Router<Health> {
    Router::new().route("/rebuild", post(start).get(ask)).route("/rebuild/cancel", post(cancel))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    module: String,
    projection: Option<String>,
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    force: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    module: String,
}

/// A line of progress.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Progress(RebuildFacts),
    /// The last line, when all went its way.
    Done(RebuildReport),
    /// The last line, when there was no end.
    Problem(Problem),
}

/// Begins a rebuild and answers with its progress, a line of JSON for each look and one for the end. A client that goes away
/// cancels it.
async fn start(State(health): State<Health>, Body(wanted): Body<Wanted>) -> Result<Response, Problem> {
    let module = one_module(&health, &wanted.module)?;
    let Wanted { projection, dry_run, force, .. } = wanted;
    let options = RebuildOptions { projection, dry_run, force };
    let state = known(&module, module.rebuild(RebuildRequest::Start(options)).await?)?;
    let (lines, received) = mpsc::channel(1);
    tokio::spawn(follow(module, state.id, lines));
    let body = ResponseBody::from_stream(stream::unfold(received, |mut received| async move {
        let line: Line = received.recv().await?;
        let mut text = serde_json::to_vec(&line).unwrap_or_default();
        text.push(b'\n');
        Some((Ok::<_, std::convert::Infallible>(Bytes::from(text)), received))
    }));
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

/// How the newest rebuild of a module goes, or how it ended.
async fn ask(State(health): State<Health>, Params(which): Params<Which>) -> Result<Json<RebuildState>, Problem> {
    let module = one_module(&health, &which.module)?;
    Ok(Json(known(&module, module.rebuild(RebuildRequest::Ask { id: None }).await?)?))
}

async fn cancel(State(health): State<Health>, Body(which): Body<Which>) -> Result<Json<RebuildState>, Problem> {
    let module = one_module(&health, &which.module)?;
    Ok(Json(known(&module, module.rebuild(RebuildRequest::Cancel { id: None }).await?)?))
}

fn known(module: &ModuleHandle, reply: RebuildReply) -> Result<RebuildState, Problem> {
    match reply {
        RebuildReply::State(state) => Ok(state),
        RebuildReply::Problem(problem) => Err(problem),
        RebuildReply::Unknown => {
            let detail = format!("the leader of {} has rebuilt nothing", module.module());
            Err(Problem::new(ProblemKind::NotFound, detail))
        }
    }
}

async fn follow(module: ModuleHandle, id: String, lines: mpsc::Sender<Line>) {
    let ask = || RebuildRequest::Ask { id: Some(id.clone()) };
    let mut misses = 0;
    loop {
        let line = match module.rebuild(ask()).await {
            Ok(RebuildReply::State(RebuildState { end: Some(RebuildEnd::Done(report)), .. })) => Line::Done(report),
            Ok(RebuildReply::State(RebuildState { end: Some(RebuildEnd::Problem(problem)), .. })) => {
                Line::Problem(problem)
            }
            Ok(RebuildReply::State(state)) => {
                misses = 0;
                Line::Progress(state.progress)
            }
            Ok(RebuildReply::Problem(problem)) => Line::Problem(problem),
            Ok(RebuildReply::Unknown) => Line::Problem(leader_is_gone()),
            Err(_) if misses < MISSES_MAX => {
                misses += 1;
                tokio::time::sleep(LOOK_EVERY).await;
                continue;
            }
            Err(problem) => Line::Problem(problem),
        };
        let is_last = !matches!(line, Line::Progress(_));
        let nobody_listens = lines.send(line).await.is_err();
        if is_last {
            return;
        }
        let goes_on = async {
            tokio::select! {
                () = lines.closed() => false,
                () = tokio::time::sleep(LOOK_EVERY) => true,
            }
        };
        if nobody_listens || !goes_on.await {
            // Where the leader does not hear of it, it notices that nobody asks.
            let _ = module.rebuild(RebuildRequest::Cancel { id: Some(id.clone()) }).await;
            return;
        }
    }
}

fn leader_is_gone() -> Problem {
    let detail =
        "the leader that rebuilt leads no longer. Unless it was swapping then, nothing has changed: rebuild again";
    Problem::new(ProblemKind::OutcomeUnknown, detail)
}
