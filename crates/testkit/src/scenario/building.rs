use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use axum::Router;
use pangaea_journal::DatabaseOptions;
use pangaea_kernel::auth::TokenVerifier;
use pangaea_kernel::http::{Edge, EdgeParts};
use pangaea_kernel::{ManualClock, Module};
use serde_json::Value;
use tokio::sync::Mutex;

use super::Scenario;
use super::hosted::Hosted;
use super::http::{AccessTable, Writer};
use super::world::World;
use crate::postgres;

/// Where the modules of a scenario keep their tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Files that are gone with the scenario.
    Sqlite,
    /// A new database on the server that this URL leads to.
    Postgres(String),
}

/// What a scenario is to be, before it begins.
#[derive(Default)]
pub struct ScenarioBuilder {
    modules: Vec<Arc<dyn Module>>,
    settings: BTreeMap<String, Value>,
    place: Option<Place>,
}

// === impl Place ===

impl Place {
    /// SQLite, and PostgreSQL where `PANGAEA_TEST_POSTGRES_URL` names a server, as `cargo xtask test` does: for a test that
    /// is to hold on both.
    pub fn all() -> Vec<Self> {
        #[expect(clippy::disallowed_methods, reason = "tests are told by the environment where servers are")]
        let server = std::env::var("PANGAEA_TEST_POSTGRES_URL").ok();
        if server.is_none() {
            eprintln!("PANGAEA_TEST_POSTGRES_URL is not set: on SQLite only; `cargo xtask test` starts a PostgreSQL");
        }
        [Self::Sqlite].into_iter().chain(server.map(Self::Postgres)).collect()
    }
}

// === impl ScenarioBuilder ===

impl ScenarioBuilder {
    /// Hosts this module.
    #[must_use]
    pub fn module(mut self, module: impl Module) -> Self {
        self.modules.push(Arc::new(module));
        self
    }

    /// Settings of one module, as `[modules.<name>.settings]` would have them.
    #[must_use]
    pub fn settings(mut self, module: &str, settings: Value) -> Self {
        self.settings.insert(module.to_owned(), settings);
        self
    }

    /// On this kind of database; on SQLite when not given.
    #[must_use]
    pub fn on(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
    }

    /// Opens the databases, admits settings and seeds, and lets every module do its work at the start.
    ///
    /// # Errors
    /// When a declaration has faults, a module's tables cannot be made, or settings are given for one that is not here.
    pub async fn start(self) -> Result<Scenario> {
        let Self { modules, mut settings, place } = self;
        let database = match place.unwrap_or(Place::Sqlite) {
            Place::Sqlite => None,
            Place::Postgres(server) => Some(postgres::Database::create(&server).await?),
        };
        let url = database.as_ref().map_or_else(|| "sqlite::memory:".to_owned(), postgres::Database::url);
        let options = DatabaseOptions { url, read_connections_max: 2, synchronous_full: false };
        let clock = ManualClock::at(Scenario::START);
        let (mut hosted, mut configured) = (Vec::new(), Vec::new());
        for module in &modules {
            let definition = module.define();
            let is_new = hosted.iter().all(|one: &Hosted| one.name != definition.name());
            ensure!(is_new, "two modules are named {}", definition.name());
            let one = Hosted::open(definition, &options).await?;
            configured.push(settings.remove(one.name).unwrap_or(Value::Null));
            hosted.push(one);
        }
        ensure!(settings.is_empty(), "settings of modules that are not here: {:?}", settings.keys());
        let world = Arc::new(Mutex::new(World::new(clock.clone(), hosted)));
        let (mut router, mut access, mut edges) = (Router::new(), AccessTable::default(), Vec::new());
        // All settings first: what a module says as it starts is handled by others under theirs.
        for (index, settings) in configured.iter().enumerate() {
            world.lock().await.admit_settings(index, settings.clone()).await?;
        }
        for (index, (module, settings)) in modules.iter().zip(configured).enumerate() {
            let edge = edge(&world, &clock, index, settings).await;
            let (routes, document) = module.routes().with_state(edge.clone()).split_for_parts();
            access.add(&serde_json::to_value(document)?)?;
            router = router.merge(routes);
            let mut world = world.lock().await;
            for input in module.seed() {
                world.admit(index, input).await?;
            }
            drop(world);
            let started = module.start(edge.clone()).await;
            started.map_err(anyhow::Error::msg).context("the module's work at the start")?;
            edges.push(edge);
        }
        Ok(Scenario { world, clock, edges, router, access, database, seen: 0 })
    }
}

async fn edge(world: &Arc<Mutex<World>>, clock: &ManualClock, index: usize, settings: Value) -> Edge {
    let (database, changes) = world.lock().await.parts_of(index);
    let clock = Arc::new(clock.clone());
    Edge::new(EdgeParts {
        verifier: TokenVerifier::new(database.clone(), clock.clone()),
        database,
        clock,
        commands: Arc::new(Writer::new(world.clone(), index)),
        settings,
        changes,
    })
}
