//! PostgreSQL with the manifests' roles: what the official image does at its first start, done here.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use super::pods::Pod;
use crate::deploy::program::said;
use crate::process::on_path;
use crate::tools::Postgres;

const SCRIPTS: &str = "/docker-entrypoint-initdb.d";

/// Makes of a fresh server what the pod's image makes of its first start.
///
/// # Errors
/// When a script fails.
pub(super) fn set_up(pod: &Pod<'_>, port: u16, programs: &Postgres) -> Result<()> {
    let environment = pod.environment();
    let of = |key: &str, usual: &str| environment.get(key).cloned().unwrap_or_else(|| usual.to_owned());
    let user = of("POSTGRES_USER", "postgres");
    let name = of("POSTGRES_DB", &user);
    let usual = "postgres".to_owned();
    let psql = Psql { programs, port, environment: &environment, user: usual.clone(), database: usual };
    let password = password(&environment)?.replace('\'', "''");
    match user == "postgres" {
        true => psql.say(&format!("ALTER ROLE postgres PASSWORD '{password}'"))?,
        false => psql.say(&format!("CREATE ROLE \"{user}\" SUPERUSER LOGIN PASSWORD '{password}'"))?,
    };
    if name != "postgres" {
        psql.say(&format!("CREATE DATABASE \"{name}\" OWNER \"{user}\""))?;
    }
    if !pod.given.args.is_empty() {
        println!("mapped: {}: the server keeps its own settings in place of {:?}", pod.title(), pod.given.args);
    }
    let rules = psql.say("SHOW hba_file")?;
    let psql = Psql { user, database: name, ..psql };
    run_scripts(pod, &psql)?;
    // As the image has it: from outside of the pod nobody comes in without a password.
    fs::write(rules.trim(), "host all all 127.0.0.1/32 scram-sha-256\n").context("pg_hba.conf")?;
    psql.say("SELECT pg_reload_conf()").map(drop)
}

/// The image takes the password from the environment, or from a file.
fn password(environment: &BTreeMap<String, String>) -> Result<String> {
    match (environment.get("POSTGRES_PASSWORD"), environment.get("POSTGRES_PASSWORD_FILE")) {
        (Some(password), _) => Ok(password.clone()),
        (None, Some(file)) => Ok(fs::read_to_string(file).with_context(|| file.clone())?.trim_end().to_owned()),
        (None, None) => {
            anyhow::bail!("neither POSTGRES_PASSWORD nor POSTGRES_PASSWORD_FILE is given, so the image would not start")
        }
    }
}

fn run_scripts(pod: &Pod<'_>, psql: &Psql<'_>) -> Result<()> {
    let folder = pod.root.join(SCRIPTS.trim_start_matches('/'));
    let mut scripts: Vec<PathBuf> = fs::read_dir(&folder)
        .with_context(|| format!("{}: nothing is mounted at {SCRIPTS}", pod.title()))?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    scripts.sort_unstable();
    for script in scripts {
        let output = match script.extension().and_then(|extension| extension.to_str()) {
            Some("sql") => psql.command().arg("-f").arg(&script).output(),
            Some("sh") => psql.with_environment(Command::new("sh")).arg(&script).output(),
            _ => {
                println!("{}: not run, as the image would not: {}", pod.title(), script.display());
                continue;
            }
        };
        let output = output.with_context(|| format!("{} does not start", script.display()))?;
        ensure!(output.status.success(), "{}: {}: {}", pod.title(), script.display(), said(&output));
        println!("{}: {} was run", pod.title(), script.display());
    }
    Ok(())
}

#[derive(Debug, Clone)]
struct Psql<'a> {
    programs: &'a Postgres,
    port: u16,
    environment: &'a BTreeMap<String, String>,
    user: String,
    database: String,
}

// === impl Psql ===

impl Psql<'_> {
    fn say(&self, statement: &str) -> Result<String> {
        let output = self.command().args(["-At", "-c", statement]).output().context("psql does not start")?;
        ensure!(output.status.success(), "PostgreSQL: {}", said(&output));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn command(&self) -> Command {
        let beside = self.programs.bin().join("psql");
        let program = if beside.is_file() { beside } else { on_path("psql").unwrap_or(beside) };
        let mut command = self.with_environment(Command::new(program));
        command.args(["--no-psqlrc", "-v", "ON_ERROR_STOP=1", "-d", &self.database]);
        command
    }

    /// The pod's environment, and what leads a script's `psql` to this server.
    fn with_environment(&self, command: Command) -> Command {
        let mut command = self.programs.with_libraries(command);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(self.programs.bin().to_owned()).chain(std::env::split_paths(&path));
        command.envs(self.environment).env("PATH", std::env::join_paths(folders).unwrap_or(path.clone()));
        command.envs([("PGHOST", "127.0.0.1"), ("PGUSER", &self.user)]);
        command.env("POSTGRES_USER", &self.user).env("POSTGRES_DB", &self.database);
        if let Ok(password) = password(self.environment) {
            command.env("PGPASSWORD", password);
        }
        command.env("PGPORT", self.port.to_string()).stdin(Stdio::null());
        command
    }
}
