//! A reader that a later release adds to a module, over the real buses: from the beginning of history, or from now.

#[path = "../../bus/tests/support/server.rs"]
#[allow(dead_code, reason = "the bus's own tests do more with a server")]
mod server;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::routing::get;
use pangaea_contracts::user::KeyPublished;
use pangaea_contracts::{Actor, Message};
use pangaea_journal::{Migration, Statement, record};
use pangaea_kernel::http::Edge;
use pangaea_kernel::{Answer, Cx, Definition, Failure, Input, InputKind, Module, Reader, Start, SystemClock};
use pangaea_runtime::config::{Config, Overrides, Sources};
use pangaea_runtime::telemetry::Telemetry;
use pangaea_runtime::{Host, HostError, ModuleHandle};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;

const WAIT: Duration = Duration::from_secs(30);

record! {
    pub struct Count in "count_of" {
        key { subject: String }
        messages: i64,
    }
}

const MIGRATION: Migration =
    Migration { name: "0001", sql: "CREATE TABLE count_of (subject TEXT PRIMARY KEY, messages BIGINT NOT NULL);" };

macro_rules! message {
    ($name:ident, $subject:literal) => {
        #[derive(Serialize, Deserialize, JsonSchema)]
        struct $name {}

        impl Message for $name {
            const SUBJECT: &'static str = $subject;

            fn key(&self) -> String {
                "oven".to_owned()
            }
        }
    };
}

message!(Bake, "oven.rpc.bake.v1");
message!(Baked, "oven.evt.baked.v1");
message!(Tasted, "oven.evt.tasted.v1");
message!(Burnt, "oven.evt.burnt.v1");

async fn bake(cx: &mut Cx, _: Bake) -> Result<Answer, Failure> {
    cx.emit(&Baked {});
    cx.emit(&Tasted {});
    cx.emit(&Burnt {});
    Ok(Answer::empty(200))
}

async fn count<M: Message>(cx: &mut Cx, _: M) -> Result<(), Failure> {
    let subject = M::SUBJECT.to_owned();
    let before = cx.get::<Count>(&subject).await?.map_or(0, |count| count.messages);
    cx.put(Count { subject, messages: before + 1 });
    Ok(())
}

/// A module that is its definition.
struct Small(fn() -> Definition);

impl Module for Small {
    fn define(&self) -> Definition {
        (self.0)()
    }

    fn routes(&self) -> OpenApiRouter<Edge> {
        let path = format!("/{}", self.define().name());
        OpenApiRouter::new().route(&path, get(|| async {}))
    }
}

fn user() -> Definition {
    Definition::new("user").emits::<KeyPublished>()
}

fn oven() -> Definition {
    Definition::new("oven").command::<Bake>(bake).emits::<Baked>().emits::<Tasted>().emits::<Burnt>()
}

fn older_van() -> Definition {
    Definition::new("van").migrations(&[MIGRATION]).on(count::<Baked>)
}

fn newer_van() -> Definition {
    older_van()
        .on_from(Reader::named("tasting", Start::History), count::<Tasted>)
        .on_from(Reader::named("burns", Start::Now), count::<Burnt>)
}

/// A running host of the three.
struct Running {
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), HostError>>,
    modules: Vec<ModuleHandle>,
}

// === impl Running ===

impl Running {
    async fn start(settings: &[(&str, &str)], van: fn() -> Definition) -> Self {
        let set = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let sources = Sources { overrides: Overrides { set, ..Overrides::default() }, ..Sources::default() };
        let mut config = Config::load(&sources).unwrap().config;
        // The compiled-in defaults are the store's.
        config.modules.clear();
        let catalogue: Vec<Arc<dyn Module>> =
            [user, oven, van].into_iter().map(|define| Arc::new(Small(define)) as Arc<dyn Module>).collect();
        let host = Host::build(config, catalogue, Arc::new(SystemClock), Telemetry::off()).await.unwrap();
        let (shutdown, (tell, started)) = (CancellationToken::new(), tokio::sync::oneshot::channel());
        let task = tokio::spawn(host.run(shutdown.clone(), |started| {
            let _ = tell.send(started);
        }));
        let started = tokio::time::timeout(WAIT, started).await.expect("it starts").expect("it runs");
        Self { shutdown, task, modules: started.modules }
    }

    fn edge(&self, module: &str) -> &Edge {
        self.modules.iter().find(|handle| handle.module() == module).unwrap().edge()
    }

    async fn bake(&self, ids: std::ops::Range<u32>) {
        for number in ids {
            let id = format!("bake_{number}");
            let command = Input {
                kind: InputKind::Command { fingerprint: id.clone() },
                subject: Bake::SUBJECT.to_owned(),
                key: "oven".into(),
                causation_id: id.clone(),
                correlation_id: id.clone(),
                actor: Actor::system(),
                traceparent: None,
                payload: "{}".into(),
                secrets: Vec::new(),
                id,
            };
            assert_eq!(self.edge("oven").submit(command).await.unwrap().status, 200);
        }
    }

    async fn counted<M: Message>(&self) -> i64 {
        let sql = Statement::new("SELECT messages FROM count_of WHERE subject = ?").bind(M::SUBJECT);
        self.edge("van").database().fetch(sql).await.unwrap().first().map_or(0, |row| row.get(0).unwrap())
    }

    /// Waits until van has handled so many of each.
    async fn handles(&self, baked: i64, tasted: i64, burnt: i64) {
        let (until, expected) = (Instant::now() + WAIT, (baked, tasted, burnt));
        loop {
            let found = (self.counted::<Baked>().await, self.counted::<Tasted>().await, self.counted::<Burnt>().await);
            if found == expected {
                break;
            }
            assert!(Instant::now() < until, "van has handled {found:?} instead of {expected:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until the reader's cursor is there, at its source's end or anywhere else.
    async fn begins(&self, reader: &str) {
        let until = Instant::now() + WAIT;
        let there =
            async || self.edge("van").database().cursors().await.unwrap().iter().any(|cursor| cursor.reader == reader);
        while !there().await {
            assert!(Instant::now() < until, "{reader} has not begun");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(WAIT, self.task).await.expect("it stops").unwrap().unwrap();
    }
}

/// Two releases, forward, back, and forward again.
async fn releases(settings: &[(&str, &str)]) {
    let older = Running::start(settings, older_van).await;
    older.bake(0..5).await;
    older.handles(5, 0, 0).await;
    older.stop().await;

    let newer = Running::start(settings, newer_van).await;
    newer.handles(5, 5, 0).await;
    newer.begins("van-burns").await;
    newer.bake(5..8).await;
    newer.handles(8, 8, 3).await;
    newer.stop().await;

    let older = Running::start(settings, older_van).await;
    older.bake(8..10).await;
    older.handles(10, 8, 3).await;
    older.stop().await;

    let newer = Running::start(settings, newer_van).await;
    newer.handles(10, 10, 5).await;
    newer.stop().await;
}

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("pangaea-readers-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn database_url(folder: &Path) -> String {
    format!("sqlite:{}", folder.join("{module}.db").display())
}

const ANY_PORT: [(&str, &str); 2] = [("http.listen", "127.0.0.1:0"), ("operations.listen", "127.0.0.1:0")];

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_added_later_begins_as_declared_in_memory() {
    let folder = folder("memory");
    let url = database_url(&folder);
    let settings = [ANY_PORT[0], ANY_PORT[1], ("bus.kind", "memory"), ("database.url", &url)];
    releases(&settings).await;
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_added_later_begins_as_declared_on_nats() {
    let folder = folder("nats");
    let url = database_url(&folder);
    let server = server::NatsServer::start(&server::current_server());
    let broker = server.url();
    let settings = [
        ANY_PORT[0],
        ANY_PORT[1],
        ("bus.kind", "nats"),
        ("bus.url", &broker),
        ("bus.namespace", "readers"),
        ("database.url", &url),
    ];
    releases(&settings).await;
    std::fs::remove_dir_all(folder).unwrap();
}
