//! Dead letters on the operations listener: listed, shown, redriven, abandoned.

use axum::Json;
use axum::Router;
use axum::body::{Body as ResponseBody, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::stream;
use pangaea_contracts::Timestamp;
use pangaea_journal::{DeadLetterChoice, DeadLetterRow};
use pangaea_kernel::http::{Body, Page, PageParams, Params, PathParams, decode_cursor};
use pangaea_kernel::{Input, Problem, ProblemKind};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::operations::Health;
use crate::ModuleHandle;
use crate::letters::{Line, Runner, Verb, Which};

/// Lines that may wait for a slow client before the work waits too.
const LINES_AHEAD_MAX: usize = 64;

pub(super) fn routes() -> Router<Health> {
    Router::new()
        .route("/dead-letters", get(list))
        .route("/dead-letters/redrive", post(redrive))
        .route("/dead-letters/abandon", post(abandon))
        .route("/dead-letters/{module}/{id}", get(show))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListParams {
    module: Option<String>,
    id: Option<String>,
    fingerprint: Option<String>,
    key: Option<String>,
    cursor: Option<String>,
    limit: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ShowParams {
    #[serde(default)]
    payload: bool,
}

/// Which letters a request means: one of `id`, `fingerprint`, `key` and `all`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Selector {
    /// Every module of this process when not given.
    module: Option<String>,
    id: Option<String>,
    fingerprint: Option<String>,
    key: Option<String>,
    #[serde(default)]
    all: bool,
    #[serde(default)]
    dry_run: bool,
}

/// A letter without its payload, which may hold personal data.
#[derive(Serialize)]
struct LetterView {
    module: &'static str,
    id: String,
    state: &'static str,
    subject: String,
    key: String,
    error: String,
    fingerprint: String,
    attempts: u32,
    died_at: Timestamp,
    #[serde(skip)]
    position: u64,
}

async fn list(
    State(health): State<Health>,
    Params(params): Params<ListParams>,
) -> Result<Json<Page<LetterView>>, Problem> {
    let limit = PageParams { cursor: None, limit: params.limit }.limit()?;
    let mut modules = chosen(&health, params.module.as_deref())?;
    modules.sort_by_key(ModuleHandle::module);
    let mut choice = DeadLetterChoice { id: params.id, key: params.key, fingerprint: params.fingerprint, after: None };
    if let Some(cursor) = params.cursor {
        let [module, position, id]: [String; 3] = decode_cursor(&cursor, 3)?.try_into().unwrap_or_default();
        modules.retain(|one| one.module() >= module.as_str());
        choice.after = Some((position.parse().unwrap_or_default(), id))
            .filter(|_| modules.first().is_some_and(|first| first.module() == module));
    }
    let mut items: Vec<LetterView> = Vec::new();
    for module in &modules {
        let wanted = (limit as usize + 1).saturating_sub(items.len());
        if wanted > 0 {
            let letters = module.edge().database().dead_letters_of(&choice, wanted).await?;
            items.extend(letters.into_iter().map(|letter| LetterView::new(module.module(), letter)));
        }
        choice.after = None;
    }
    Ok(Json(Page::cut(items, limit, |last| vec![last.module.to_owned(), last.position.to_string(), last.id.clone()])))
}

async fn show(
    State(health): State<Health>,
    PathParams((module, id)): PathParams<(String, String)>,
    Params(params): Params<ShowParams>,
) -> Result<Json<Value>, Problem> {
    let module = one_module(&health, &module)?;
    let choice = DeadLetterChoice { id: Some(id), ..Default::default() };
    let letter = module.edge().database().dead_letters_of(&choice, 1).await?.pop();
    let letter = letter.ok_or_else(|| no_such_letter(module.module()))?;
    let input = input_view(&letter.input, params.payload);
    let mut view = serde_json::to_value(LetterView::new(module.module(), letter)).unwrap_or_default();
    view["input"] = input;
    Ok(Json(view))
}

async fn redrive(State(health): State<Health>, Body(selector): Body<Selector>) -> Result<Response, Problem> {
    run(&health, Verb::Redrive, selector).await
}

async fn abandon(State(health): State<Health>, Body(selector): Body<Selector>) -> Result<Response, Problem> {
    run(&health, Verb::Abandon, selector).await
}

/// Begins the work and answers with its progress, a line of JSON for each letter and one for the sum.
async fn run(health: &Health, verb: Verb, selector: Selector) -> Result<Response, Problem> {
    let which = selector.which()?;
    let mut modules = chosen(health, selector.module.as_deref())?;
    if matches!(which, Which::Id(_)) {
        modules = with_letters(modules, &which.choice()).await?;
        if modules.is_empty() {
            return Err(no_such_letter(selector.module.as_deref().unwrap_or("any module of this process")));
        }
    }
    for module in modules.iter().filter(|_| !selector.dry_run) {
        module.takes_letters()?;
    }
    let (lines, received) = mpsc::channel(LINES_AHEAD_MAX);
    let runner = Runner { verb, which, dry_run: selector.dry_run, lines };
    tokio::spawn(async move { runner.run(&modules).await });
    let body = ResponseBody::from_stream(stream::unfold(received, |mut received| async move {
        let line: Line = received.recv().await?;
        let mut text = serde_json::to_vec(&line).unwrap_or_default();
        text.push(b'\n');
        Some((Ok::<_, std::convert::Infallible>(Bytes::from(text)), received))
    }));
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

async fn with_letters(modules: Vec<ModuleHandle>, choice: &DeadLetterChoice) -> Result<Vec<ModuleHandle>, Problem> {
    let mut found = Vec::new();
    for module in modules {
        if !module.edge().database().dead_letters_of(choice, 1).await?.is_empty() {
            found.push(module);
        }
    }
    Ok(found)
}

/// The named module, or all that run here.
fn chosen(health: &Health, module: Option<&str>) -> Result<Vec<ModuleHandle>, Problem> {
    match module {
        Some(name) => Ok(vec![one_module(health, name)?]),
        None => started(health),
    }
}

pub(super) fn one_module(health: &Health, name: &str) -> Result<ModuleHandle, Problem> {
    let modules = started(health)?;
    let names: Vec<&str> = modules.iter().map(ModuleHandle::module).collect();
    let detail = format!("this process runs {}, not {name}; ask the one that does", names.join(", "));
    modules.into_iter().find(|one| one.module() == name).ok_or_else(|| Problem::new(ProblemKind::NotFound, detail))
}

fn started(health: &Health) -> Result<Vec<ModuleHandle>, Problem> {
    let starting = || Problem::new(ProblemKind::Unavailable, "this process is starting").with_retry_after(1);
    health.modules().ok_or_else(starting)
}

fn no_such_letter(module: &str) -> Problem {
    Problem::new(ProblemKind::NotFound, format!("no dead letter of {module} has this id; it may be dealt with already"))
}

/// All of an input but what it says, unless that is asked for.
fn input_view(text: &str, with_payload: bool) -> Value {
    let Ok(input) = serde_json::from_str::<Input>(text) else {
        return json!({ "unreadable": "this build cannot read the stored input; an older or newer one may" });
    };
    let payload = match with_payload {
        true => serde_json::from_str(&input.payload).unwrap_or_else(|_| Value::String(input.payload.clone())),
        false => {
            Value::String(format!("{} bytes; they may hold personal data, ask with payload=true", input.payload.len()))
        }
    };
    json!({
        "kind": input.kind,
        "actor": input.actor.to_string(),
        "causation_id": input.causation_id,
        "correlation_id": input.correlation_id,
        "traceparent": input.traceparent,
        "payload": payload,
    })
}

// === impl Selector ===

impl Selector {
    fn which(&self) -> Result<Which, Problem> {
        let named = [
            self.id.clone().map(Which::Id),
            self.fingerprint.clone().map(Which::Fingerprint),
            self.key.clone().map(Which::Key),
            self.all.then_some(Which::All),
        ];
        let mut named = named.into_iter().flatten();
        match (named.next(), named.next()) {
            (Some(which), None) => Ok(which),
            _ => Err(Problem::invalid("", "name the letters by exactly one of id, fingerprint, key and \"all\": true")),
        }
    }
}

// === impl LetterView ===

impl LetterView {
    fn new(module: &'static str, letter: DeadLetterRow) -> Self {
        Self {
            module,
            id: letter.id,
            state: letter.state.as_str(),
            subject: letter.subject,
            key: letter.key,
            error: letter.error,
            fingerprint: letter.fingerprint,
            attempts: letter.attempts,
            died_at: letter.died_at,
            position: letter.position,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_way_to_name_letters() {
        let which = |text: &str| serde_json::from_str::<Selector>(text).unwrap().which();
        assert_eq!(which(r#"{"id": "msg_1"}"#).unwrap(), Which::Id("msg_1".into()));
        assert_eq!(which(r#"{"all": true, "module": "order"}"#).unwrap(), Which::All);
        for bad in ["{}", r#"{"all": false}"#, r#"{"id": "a", "key": "b"}"#, r#"{"key": "b", "all": true}"#] {
            assert_eq!(which(bad).unwrap_err().status, 422, "{bad}");
        }
    }

    #[test]
    fn a_payload_is_shown_only_when_asked_for() {
        let input = Input {
            id: "msg_1".into(),
            kind: pangaea_kernel::InputKind::Timer,
            subject: "order.tmr.late.v1".into(),
            key: "ord_1".into(),
            causation_id: "cmd_1".into(),
            correlation_id: "cmd_1".into(),
            actor: pangaea_contracts::Actor::system(),
            traceparent: None,
            payload: "{\"email\":\"ada@example.com\"}".into(),
            secrets: Vec::new(),
        };
        let text = serde_json::to_string(&input).unwrap();
        assert!(!input_view(&text, false).to_string().contains("ada@"));
        assert_eq!(input_view(&text, true)["payload"]["email"], "ada@example.com");
        assert!(!input_view("{\"email\":\"ada@example.com\"}", true).to_string().contains("ada@"));
    }
}
