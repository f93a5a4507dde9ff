//! compose.yaml in one of its profiles.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::container::Container;
use super::host::Host;
use super::programs::Programs;
use crate::deploy::Context;
use crate::deploy::compose::Services;
use crate::deploy::load::Load;
use crate::deploy::objects::{list, text};
use crate::deploy::running::Running;

/// Where the head of compose.yaml says that the store is.
const STORE: &str = "http://127.0.0.1:8080";
const FILE: &str = "deploy/compose.yaml";
/// How the profile is called in which secrets are needed.
pub(super) const APART: &str = "apart";
const QUICK: Duration = Duration::from_secs(30);
/// More than the longest grace that a service has.
pub(super) const LONG: Duration = Duration::from_secs(300);
const ENDED: &str = "service_completed_successfully";

pub(super) struct Project<'a> {
    pub(super) ctx: &'a Context,
    pub(super) host: &'a Host,
    programs: &'a Programs,
    pub(super) profile: &'static str,
    /// Those of the profile that can be started.
    pub(super) services: BTreeMap<&'a str, &'a Value>,
    /// Those of the profile that cannot.
    pub(super) absent: Vec<&'a str>,
    folder: &'a Path,
    /// The file of secrets.
    pub(super) secrets: Option<PathBuf>,
}

// === impl Project ===

impl<'a> Project<'a> {
    /// Makes the secrets, if the profile needs them, by the command of compose.yaml.
    ///
    /// # Errors
    /// When the image prints none.
    pub(super) fn new(
        ctx: &'a Context,
        host: &'a Host,
        programs: &'a Programs,
        profile: &'static str,
        (services, absent): (&'a Services, &BTreeSet<String>),
        folder: &'a Path,
    ) -> Result<Self> {
        let of_profile = |service: &Value| list(service, "/profiles").iter().any(|one| one.as_str() == Some(profile));
        let (absent, present): (Vec<_>, Vec<_>) =
            services.iter().filter(|(_, service)| of_profile(service)).partition(|(name, _)| absent.contains(*name));
        let services = present.into_iter().map(|(name, service)| (name.as_str(), service)).collect();
        let absent = absent.into_iter().map(|(name, _)| name.as_str()).collect();
        let plugins = folder.join("docker/cli-plugins");
        if !plugins.exists() {
            fs::create_dir_all(&plugins)?;
            symlink(&programs.compose, plugins.join("docker-compose"))?;
        }
        let mut project = Self { ctx, host, programs, profile, services, absent, folder, secrets: None };
        if profile == APART {
            let made = project.ask(
                "secrets",
                project.docker().args(["run", "--rm", "pangaea:local", "secrets", "--format", "compose"]),
                QUICK,
            )?;
            let file = folder.join("secrets.env");
            fs::write(&file, made)?;
            project.secrets = Some(file);
        }
        Ok(project)
    }

    /// `docker compose` on the file, in the profile.
    ///
    /// # Errors
    /// When it fails, or does not end in time.
    pub(super) fn compose(&self, words: &[&str], patience: Duration) -> Result<String> {
        self.compose_with(self.secrets.as_deref(), words, patience)
    }

    /// The same with other secrets, or with none.
    ///
    /// # Errors
    /// When it fails, or does not end in time.
    pub(super) fn compose_with(&self, secrets: Option<&Path>, words: &[&str], patience: Duration) -> Result<String> {
        let mut command = self.docker();
        command.args(["compose", "-f", FILE]);
        if let Some(file) = secrets {
            command.arg("--env-file").arg(file);
        }
        command.args(["--profile", self.profile]).args(words);
        println!("$ {}", crate::workspace::shown(&command));
        self.ask("compose", &mut command, patience)
    }

    /// Starts all that can be started.
    ///
    /// # Errors
    /// With what compose says when one of them fails.
    pub(super) fn up(&self) -> Result<()> {
        let names: Vec<_> = self.services.keys().copied().collect();
        let wait = ["up", "--detach", "--wait", "--wait-timeout", "240"];
        self.compose(&[&wait[..], &names].concat(), LONG)?;
        Ok(())
    }

    /// Takes all of it away.
    ///
    /// # Errors
    /// When something is left.
    pub(super) fn down(&self) -> Result<String> {
        self.compose(&["down", "--volumes", "--timeout", "20"], LONG)?;
        // The engine has no other project: what is there is what is left.
        for (kind, words) in [
            ("containers", &["ps", "--all"][..]),
            ("volumes", &["volume", "ls"]),
            ("networks", &["network", "ls", "--filter", "type=custom"]),
        ] {
            let left = self.listed(words)?;
            ensure!(left.is_empty(), "`down --volumes` leaves {kind}: {left:?}");
        }
        Ok("`down --volumes` leaves no container, volume or network".to_owned())
    }

    /// Its containers, those that have ended too.
    pub(super) fn containers(&self) -> Result<Vec<Container>> {
        let ids = self.listed(&["ps", "--all"])?;
        ensure!(!ids.is_empty(), "the project has no containers");
        let said = self.ask("inspect", self.docker().arg("inspect").args(&ids), QUICK)?;
        let about: Vec<Value> = serde_json::from_str(&said).context("`docker inspect` printed no JSON")?;
        Ok(about.into_iter().map(Container::new).collect())
    }

    /// Whether others wait for its end.
    pub(super) fn is_a_job(&self, name: &str) -> bool {
        let condition = format!("/depends_on/{name}/condition");
        self.services.values().any(|service| text(service, &condition) == ENDED)
    }

    /// Starts `pangaea load` on the machine of the engine.
    pub(super) fn start_load(&self, orders: u32, rate: u32, seed: u32) -> Result<Child> {
        let numbers = [orders, rate, seed].map(|number| number.to_string());
        let mut command = self.host.command(&self.programs.store);
        command.args(["load", "--url", STORE, "--json"]).env_clear();
        command.args(["--orders", &numbers[0], "--rate", &numbers[1], "--seed", &numbers[2]]);
        Ok(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?)
    }

    /// A load from its start to its end.
    pub(super) fn load(&self, orders: u32, rate: u32, seed: u32) -> Result<Load> {
        Load::of(self.start_load(orders, rate, seed)?)
    }

    /// Whether the catalogue is served.
    ///
    /// # Errors
    /// When it is not.
    pub(super) fn is_served(&self) -> Result<()> {
        self.host.get(&format!("{STORE}/v1/products?limit=1")).map(|_| ())
    }

    /// What the project's containers said last, for whom a trial failed.
    pub(super) fn told(&self) -> String {
        let listed = self.compose(&["ps", "--all"], QUICK).unwrap_or_else(|error| format!("{error:#}"));
        let logs = self.compose(&["logs", "--no-color", "--tail", "5"], QUICK);
        format!("{listed}\n{}", logs.unwrap_or_else(|error| format!("{error:#}")))
    }

    /// With a configuration of its own, in which compose is.
    fn docker(&self) -> Command {
        let mut command = self.host.engine().docker();
        // What whoever runs this has set for a project of their own.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("COMPOSE_")) {
            command.env_remove(name);
        }
        command.env("DOCKER_CONFIG", self.folder.join("docker")).current_dir(&self.ctx.root);
        command
    }

    /// What a command says.
    fn ask(&self, name: &str, command: &mut Command, patience: Duration) -> Result<String> {
        let mut running = Running::start(name, command, self.folder)?;
        let ended = running.wait_end(Instant::now() + patience)?;
        let status = ended.with_context(|| format!("{name} has not ended after {} s", patience.as_secs()))?;
        ensure!(status.success(), "{name}: {status}: {}", running.last_lines());
        Ok(running.log())
    }

    /// The identities of what the engine has.
    fn listed(&self, words: &[&str]) -> Result<Vec<String>> {
        let said = self.ask("list", self.docker().args(words).arg("--quiet"), QUICK)?;
        Ok(said.lines().map(str::to_owned).collect())
    }
}
