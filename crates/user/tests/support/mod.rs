//! The module on a real database, with a host so small that it fits here: one executor behind a lock, no queue.
#![allow(dead_code, unreachable_pub, reason = "every test file uses its own part")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use http_body_util::BodyExt;
use pangaea_contracts::{Envelope, Timestamp};
use pangaea_journal::{Database, DatabaseOptions};
use pangaea_kernel::auth::TokenVerifier;
use pangaea_kernel::http::{Caller, CommandFuture, Commands, Edge, EdgeParts};
use pangaea_kernel::{Done, Executor, Input, ManualClock, Module, Problem, ProblemKind, Work};
use pangaea_user::{User, UserConfig};
use serde_json::Value;
use tokio::sync::Mutex;
use tower::ServiceExt;

pub const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);

pub struct Host {
    pub user: User,
    pub edge: Edge,
    pub clock: ManualClock,
    pub leader: Arc<Leader>,
    router: Router,
    keys: AtomicU64,
}

/// Runs commands one at a time, as the runtime's writer does in batches.
pub struct Leader {
    pub executor: Mutex<Executor>,
    pub log: Mutex<Vec<Arc<Envelope>>>,
    clock: ManualClock,
}

struct Handle(Arc<Leader>);

/// A folder that goes when the test ends.
pub struct Folder(PathBuf);

pub struct Reply {
    pub status: StatusCode,
    pub headers: axum::http::HeaderMap,
    pub body: Value,
}

pub fn config() -> UserConfig {
    UserConfig { sealing_key: [7; 32], first_admin: None, demo_accounts: false }
}

pub async fn host() -> Host {
    Host::at("sqlite::memory:", config()).await
}

// === impl Host ===

impl Host {
    pub async fn at(url: &str, config: UserConfig) -> Self {
        Self::at_time(url, config, START).await
    }

    pub async fn at_time(url: &str, config: UserConfig, now: Timestamp) -> Self {
        let user = User::new(config);
        let options = DatabaseOptions { url: url.to_owned(), read_connections_max: 2, synchronous_full: false };
        let database = Database::open("user", &options).await.unwrap();
        let definition = user.define();
        assert_eq!(definition.faults(), &[] as &[String]);
        let writer = database.writer(definition.all_migrations(), "test").await.unwrap();
        let settings = definition.default_settings().clone();
        let executor = Executor::new(writer, Arc::new(definition), "test").await.unwrap();
        let clock = ManualClock::at(now);
        let leader = Arc::new(Leader { executor: Mutex::new(executor), log: Mutex::default(), clock: clock.clone() });
        let edge = Edge::new(EdgeParts {
            verifier: TokenVerifier::new(database.clone(), Arc::new(clock.clone())),
            database,
            clock: Arc::new(clock.clone()),
            commands: Arc::new(Handle(leader.clone())),
            settings,
            changes: tokio::sync::watch::channel(0).1,
        });
        let router = user.routes().with_state(edge.clone()).split_for_parts().0;
        Self { user, edge, clock, leader, router, keys: AtomicU64::new(0) }
    }

    pub async fn start(&self) -> Result<(), String> {
        self.user.start(self.edge.clone()).await
    }

    pub fn get(&self, path: &str) -> Call<'_> {
        Call { host: self, request: Request::get(path), token: None, body: None }
    }

    pub fn call(&self, method: &str, path: &str, body: Value) -> Call<'_> {
        let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
        Call { host: self, request, token: None, body: Some(body) }
    }

    pub fn delete(&self, path: &str) -> Call<'_> {
        Call { host: self, request: Request::delete(path), token: None, body: None }
    }

    /// Under a key of its own.
    pub async fn register(&self, email: &str, password: &str, name: &str) -> Reply {
        let key = self.keys.fetch_add(1, Ordering::SeqCst).to_string();
        let body = serde_json::json!({"email": email, "password": password, "name": name});
        self.call("POST", "/v1/users", body).header("idempotency-key", &key).send().await
    }

    pub async fn sign_in(&self, email: &str, password: &str) -> Reply {
        self.call("POST", "/v1/sessions", serde_json::json!({"email": email, "password": password})).send().await
    }

    pub async fn refresh(&self, token: &str) -> Reply {
        self.call("POST", "/v1/sessions/refresh", serde_json::json!({"refresh_token": token})).send().await
    }

    /// Lets timers that are due fire.
    pub async fn tick(&self) {
        self.leader.run(Vec::new()).await.unwrap();
    }

    pub async fn count(&self, table: &str) -> i64 {
        let count = pangaea_journal::Statement::new(format!("SELECT COUNT(*) FROM {table}"));
        self.edge.database().fetch(count).await.unwrap()[0].get(0).unwrap()
    }

    /// Lets go of the database.
    pub async fn stop(self) {
        let Self { leader, edge, router, user, .. } = self;
        let database = edge.database().clone();
        drop((edge, router, user));
        // A command's task may still hold the leader for a moment after its answer.
        let mut leader = leader;
        let leader = loop {
            match Arc::try_unwrap(leader) {
                Ok(leader) => break leader,
                Err(shared) => leader = shared,
            }
            tokio::task::yield_now().await;
        };
        leader.executor.into_inner().stop().await.unwrap();
        database.close().await;
    }
}

pub struct Call<'a> {
    host: &'a Host,
    request: axum::http::request::Builder,
    token: Option<String>,
    body: Option<Value>,
}

impl Call<'_> {
    pub fn token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    pub async fn send(self) -> Reply {
        let body = self.body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        let mut request = self.request.body(body).unwrap();
        if let Some(token) = self.token {
            let claims = self.host.edge.verifier().verify(&token).await.expect("the token is good");
            request.extensions_mut().insert(Caller { actor: claims.actor(), session_id: claims.sid });
        }
        let response = self.host.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() };
        Reply { status: parts.status, headers: parts.headers, body }
    }
}

// === impl Reply ===

impl Reply {
    pub fn text(&self, field: &str) -> String {
        self.body[field].as_str().unwrap_or_else(|| panic!("no {field} in {}", self.body)).to_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        self
    }
}

// === impl Leader ===

impl Leader {
    pub async fn run(&self, work: Vec<Work>) -> Result<Vec<Done>, String> {
        let mut executor = self.executor.lock().await;
        let now = pangaea_kernel::Clock::now(&self.clock);
        let result = executor.run(&work, now).await.map_err(|error| error.to_string())?;
        self.log.lock().await.extend(result.log);
        Ok(result.done)
    }

    pub async fn submit(&self, command: Input) -> Result<pangaea_kernel::Answer, Problem> {
        match self.run(vec![Work::Input(command)]).await.as_deref() {
            Ok([Done::Answered(answer)]) => Ok(answer.clone()),
            other => Err(Problem::new(ProblemKind::Unavailable, format!("{other:?}"))),
        }
    }
}

impl Commands for Handle {
    fn submit(&self, command: Input) -> CommandFuture {
        let leader = self.0.clone();
        Box::pin(async move { tokio::spawn(async move { leader.submit(command).await }).await.unwrap() })
    }
}

// === impl Folder ===

impl Folder {
    pub fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("pangaea-user-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn url(&self) -> String {
        format!("sqlite:{}/", self.0.display())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
