use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use crate::free_port;
use crate::process::{Process, User};
use crate::wait::eventually;

const CREATE_MAX: Duration = Duration::from_secs(60);
/// Recovery after a kill, and the wait for what the killed one has left, included.
const READY_MAX: Duration = Duration::from_secs(60);
const CONNECT_MAX: Duration = Duration::from_secs(20);

/// A PostgreSQL server with a port and a cluster of its own, so that it can be killed.
#[derive(Debug)]
pub struct Postgres {
    process: Process,
    port: u16,
    data: PathBuf,
}

/// A database on a server, with trust for the user `postgres`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Database {
    pub(crate) server: SocketAddr,
    pub(crate) name: String,
}

// === impl Postgres ===

impl Postgres {
    /// Makes a cluster. The server has an address, but does not run yet.
    ///
    /// # Errors
    /// When this machine has no PostgreSQL, or `initdb` fails.
    pub async fn new(folder: &Path) -> Result<Self> {
        let (programs, home) = (Programs::find()?, folder.join("postgres"));
        std::fs::create_dir_all(&home)?;
        std::fs::set_permissions(&home, std::fs::Permissions::from_mode(0o700))?;
        let (user, data) = (user_for(&home)?, home.join("data"));
        let shown = data.display().to_string();
        let mut initdb = programs.process("initdb", folder);
        // Only the creation skips fsync: the server itself runs with it.
        initdb.args(&["-D", &shown, "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]);
        initdb.work_in(&home).run_as(user);
        initdb.run(CREATE_MAX).await?.success().context("initdb")?;
        let port = free_port();
        let mut process = programs.process("postgres", folder);
        process.args(&["-D", &shown, "-h", "127.0.0.1", "-p", &port.to_string()]);
        for setting in ["unix_socket_directories=", "fsync=on", "max_connections=300", "jit=off", "timezone=UTC"] {
            process.args(&["-c", setting]);
        }
        process.work_in(&home).run_as(user);
        Ok(Self { process, port, data })
    }

    /// Another program of the same installation, or of another one where that is left out, such as `pgbench`, to be run in
    /// `folder`.
    ///
    /// # Errors
    /// When this machine has no PostgreSQL with such a program.
    pub fn program(name: &str, folder: &Path) -> Result<Process> {
        let mut programs = Programs::find()?;
        if !programs.bin.join(name).is_file() {
            let elsewhere = versions().into_iter().find(|bin| bin.join(name).is_file());
            programs.bin = elsewhere.with_context(|| format!("PostgreSQL is here without {name}: install it too"))?;
        }
        Ok(programs.process(name, folder))
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Starts it, for the first time or again, and waits until it accepts connections.
    ///
    /// # Errors
    /// When it is not there in time; the end of its log is in the error.
    pub async fn start(&mut self) -> Result<()> {
        self.process.start()?;
        let (process, file) = (&mut self.process, self.data.join("postmaster.pid"));
        let ready = eventually("PostgreSQL to be ready", READY_MAX, async || {
            if process.ended()?.is_some() {
                // The children of one that was killed may hold its memory for a moment.
                process.start()?;
            }
            let (text, id) = (std::fs::read_to_string(&file).unwrap_or_default(), process.id());
            // The file of one that was killed names that one.
            let is_this = text.lines().next().is_some_and(|line| line.parse().ok() == id);
            Ok((is_this && text.lines().nth(7).is_some_and(|state| state.trim() == "ready")).then_some(()))
        });
        ready.await.with_context(|| self.process.log_tail())
    }

    /// SIGKILL for the server and for its children: the machine is gone, its disk is not.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self) -> Result<()> {
        let id = self.process.id().context("PostgreSQL does not run")?;
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        self.process.kill()?;
        for child in children.split_whitespace() {
            // It may have ended with its parent.
            let _ = std::process::Command::new("kill").args(["-s", "KILL", child]).output();
        }
        Ok(())
    }

    /// A new, empty database.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses.
    pub(crate) async fn database(&self) -> Result<Database> {
        Database::create(&url(self.address(), "postgres")).await
    }
}

/// The user that the server runs as, whose the folder is then: nobody else when this is not root, which PostgreSQL
/// refuses, else `postgres` or `nobody`.
fn user_for(folder: &Path) -> Result<Option<User>> {
    if std::fs::metadata(folder)?.uid() != 0 {
        return Ok(None);
    }
    let users = std::fs::read_to_string("/etc/passwd").context("could not read /etc/passwd")?;
    let user = ["postgres", "nobody"].iter().find_map(|name| user_named(name, &users));
    let user = user.context("root may not run PostgreSQL, and there is no user `postgres` or `nobody`")?;
    chown(folder, Some(user.uid), Some(user.gid))?;
    Ok(Some(user))
}

fn user_named(name: &str, users: &str) -> Option<User> {
    let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut numbers = line.split(':').skip(2).map(str::parse);
    Some(User { uid: numbers.next()?.ok()?, gid: numbers.next()?.ok()? })
}

// === impl Database ===

impl Database {
    /// A database of this call's own on the server that this URL leads to.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses.
    pub(crate) async fn create(server_url: &str) -> Result<Self> {
        let authority = server_url.split('@').nth(1).and_then(|rest| rest.split('/').next());
        let server = authority.context("no host in the URL of PostgreSQL")?;
        let server = server.parse().with_context(|| format!("{server} is no address and port"))?;
        // The server may be shared by several test processes, and each gives a port once.
        let name = format!("store_{}_{}", std::process::id(), free_port());
        let created = execute(server_url, format!("CREATE DATABASE {name}"));
        created.await.with_context(|| format!("a database on {server}"))?;
        Ok(Self { server, name })
    }

    pub(crate) fn url(&self) -> String {
        self.url_by(self.server)
    }

    /// The same database by another way.
    pub(crate) fn url_by(&self, address: SocketAddr) -> String {
        url(address, &self.name)
    }

    /// The same database as another role.
    pub(crate) fn url_of(&self, role: &str) -> String {
        format!("postgres://{role}@{}/{}", self.server, self.name)
    }

    /// A role of the server that may sign in and nothing else; other stores on the server share it.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses.
    pub(crate) async fn make_role(&self, role: &str) -> Result<()> {
        // Two stores at once: CREATE ROLE knows no IF NOT EXISTS.
        let sql = format!(
            "DO $$ BEGIN CREATE ROLE \"{role}\" LOGIN; \
             EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
        );
        execute(&self.url(), sql).await
    }

    /// Lets a role make schemas in this database.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses.
    pub(crate) async fn let_create(&self, role: &str) -> Result<()> {
        execute(&self.url(), format!("GRANT CREATE ON DATABASE {} TO \"{role}\"", self.name)).await
    }

    /// Removes it.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses.
    pub(crate) async fn delete(&self) -> Result<()> {
        execute(&url(self.server, "postgres"), format!("DROP DATABASE {} WITH (FORCE)", self.name)).await
    }
}

fn url(address: SocketAddr, database: &str) -> String {
    format!("postgres://postgres@{address}/{database}")
}

async fn execute(server_url: &str, sql: String) -> Result<()> {
    let executed = tokio::time::timeout(CONNECT_MAX, async {
        let mut connection = PgConnection::connect(server_url).await?;
        connection.execute(AssertSqlSafe(sql)).await?;
        connection.close().await
    });
    executed.await.context("PostgreSQL does not answer")??;
    Ok(())
}

/// The programs of one installation.
struct Programs {
    bin: PathBuf,
    /// `LD_LIBRARY_PATH` for programs that were unpacked and not installed.
    libraries: Option<String>,
}

// === impl Programs ===

impl Programs {
    /// In the folder that `PANGAEA_POSTGRES_BIN` names, on `PATH`, or where Debian keeps them, the newest first.
    fn find() -> Result<Self> {
        #[expect(clippy::disallowed_methods, reason = "tests are told by the environment which server to run")]
        let (named, libraries, path) = (
            std::env::var_os("PANGAEA_POSTGRES_BIN").map(PathBuf::from),
            std::env::var("PANGAEA_POSTGRES_LIBRARIES").ok().filter(|folders| !folders.is_empty()),
            std::env::var_os("PATH"),
        );
        if let Some(bin) = named {
            ensure!(bin.join("initdb").is_file(), "PANGAEA_POSTGRES_BIN: there is no initdb in {}", bin.display());
            return Ok(Self { bin, libraries });
        }
        let on_path = path.iter().flat_map(std::env::split_paths);
        let mut candidates = on_path.chain(versions()).filter(|bin| bin.join("postgres").is_file());
        let bin = candidates.find(|bin| bin.join("initdb").is_file()).context(
            "this test needs PostgreSQL: run it by `cargo xtask test`, which finds or fetches it, or name the folder of its programs in PANGAEA_POSTGRES_BIN",
        )?;
        Ok(Self { bin, libraries: None })
    }

    fn process(&self, name: &str, folder: &Path) -> Process {
        let mut process = Process::new(name, &self.bin.join(name), folder);
        process.set_variable("LD_LIBRARY_PATH", self.libraries.as_deref());
        process
    }
}

fn versions() -> Vec<PathBuf> {
    let entries = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let version = |entry: std::fs::DirEntry| Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path()));
    let mut versions: Vec<_> = entries.filter_map(version).collect();
    versions.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    versions.into_iter().map(|(_, folder)| folder.join("bin")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Folder;

    #[tokio::test]
    async fn a_server_is_killed_with_all_of_it_and_comes_back_with_its_databases() {
        let folder = Folder::new("postgres").unwrap();
        let mut server = Postgres::new(folder.path()).await.unwrap();
        server.start().await.unwrap();
        let database = server.database().await.unwrap();
        execute(&database.url(), "CREATE TABLE kept (id BIGINT)".to_owned()).await.unwrap();
        let mut held = PgConnection::connect(&database.url()).await.unwrap();
        server.kill().unwrap();
        assert!(held.execute("SELECT 1").await.is_err(), "its child is gone too");
        assert!(server.kill().is_err());
        server.start().await.unwrap();
        execute(&database.url(), "INSERT INTO kept VALUES (1)".to_owned()).await.unwrap();
        database.delete().await.unwrap();
        assert!(PgConnection::connect(&database.url()).await.is_err());
        folder.set_clean();
    }
}
