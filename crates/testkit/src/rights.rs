//! A store whose modules have the least rights: users of their own on the broker and roles of their own on PostgreSQL, and a
//! provisioner that makes streams and tables for them.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::broker::Broker;
use crate::builder::config_file;
use crate::folder::Folder;
use crate::placement::{Guest, Placement};
use crate::postgres::Database;
use crate::program::{RUN_MAX, run_within};

/// Who makes streams and tables.
const PROVISIONER: &str = "provisioner";

/// The test's own eye on the broker, with every right: its name and its password.
pub(crate) const OBSERVER: &str = "observer";

/// What `pangaea secrets` has made for one store, and where its parts are.
#[derive(Debug)]
pub(crate) struct Rights {
    secrets: BTreeMap<String, String>,
    modules: Vec<&'static str>,
    /// Each user's own variables.
    own: BTreeMap<String, Vec<(String, String)>>,
}

// === impl Rights ===

impl Rights {
    /// Makes secrets, and has the broker let in nobody else. It must not run yet.
    ///
    /// # Errors
    /// When modules share a process, or a command of the program fails.
    pub(crate) async fn prepare(
        program: &Path,
        folder: &Folder,
        placement: Placement,
        guests: &[Guest],
        env: &[(String, String)],
        broker: &mut Broker,
    ) -> Result<Self> {
        let parts = placement.parts(guests);
        let modules: Vec<_> = parts.iter().flat_map(|part| part.modules()).collect();
        ensure!(placement.has_broker() && modules.len() == parts.len(), "least rights are one module's, placed apart");
        let run = async |args: &[&str]| {
            let ended = run_within(program, folder.path(), args, env, RUN_MAX).await?.success();
            anyhow::Ok(ended.with_context(|| args.join(" "))?.stdout)
        };
        let secrets: BTreeMap<String, String> = run(&["secrets", "--format", "compose"])
            .await?
            .lines()
            .filter_map(|line| line.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned())))
            .collect();
        let keys = secrets.iter().filter(|(name, _)| name.starts_with("NATS_NKEY_"));
        let keys: Vec<_> = keys.map(|(name, value)| (name.clone(), value.clone())).collect();
        let accounts = run(&["topology", "--format", "nats"]).await?;
        let users = format!("users: [\n      {{ user: {OBSERVER:?}, password: {OBSERVER:?} }}");
        broker.authorize(&accounts.replacen("users: [", &users, 1), &keys)?;
        let mut rights = Self { secrets, modules, own: BTreeMap::new() };
        for user in rights.modules.clone().into_iter().chain([PROVISIONER]) {
            let seed = folder.path().join(format!("nats-{user}"));
            std::fs::write(&seed, rights.secret("NATS_SEED", user)?)?;
            let own = [
                ("BUS__CREDENTIALS_FILE", seed.display().to_string()),
                ("BUS__INBOX_PREFIX", format!("_INBOX_{user}")),
                ("BUS__PROVISION", (user == PROVISIONER).to_string()),
                ("DATABASE__MIGRATE", (user == PROVISIONER).to_string()),
            ];
            let own = own.map(|(name, value)| (format!("PANGAEA__{name}"), value));
            rights.own.insert(user.to_owned(), own.to_vec());
        }
        Ok(rights)
    }

    /// Makes each user's role.
    ///
    /// # Errors
    /// When the server refuses.
    pub(crate) async fn make_roles(&mut self, database: &Database) -> Result<()> {
        for user in self.modules.iter().copied().chain([PROVISIONER]) {
            database.make_role(user).await?;
            let url = ("PANGAEA__DATABASE__URL".to_owned(), database.url_of(user));
            self.own.entry(user.to_owned()).or_default().push(url);
        }
        database.let_create(PROVISIONER).await
    }

    /// Makes tables and streams, those that are not there; the broker runs.
    ///
    /// # Errors
    /// When a server refuses.
    pub(crate) async fn provision(
        &self,
        program: &Path,
        folder: &Folder,
        env: &[(String, String)],
        placement: Placement,
    ) -> Result<()> {
        let config = config_file(placement);
        let env = [env, self.of(PROVISIONER)].concat();
        let provisioned =
            run_within(program, folder.path(), &["provision", "--config", &config], &env, RUN_MAX).await?;
        provisioned.success().context("pangaea provision").map(drop)
    }

    /// The variables of a module's processes, or of the provisioner.
    pub(crate) fn of(&self, user: &str) -> &[(String, String)] {
        self.own.get(user).map(Vec::as_slice).unwrap_or_default()
    }

    fn secret(&self, what: &str, user: &str) -> Result<&str> {
        let name = format!("{what}_{}", user.to_uppercase());
        self.secrets.get(&name).map(String::as_str).with_context(|| format!("pangaea secrets names no {name}"))
    }
}
