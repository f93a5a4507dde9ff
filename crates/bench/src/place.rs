//! A store together, in a process of the release program, made of nothing but environment variables.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use pangaea_testkit::program;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use pangaea::load::StoreArgs;

use crate::machine::Machine;

const READY_PATIENCE: Duration = Duration::from_secs(30);
const STOP_PATIENCE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(2);
/// One answer of `/readyz`.
const ANSWER_BYTES_MAX: u64 = 4_096;

/// The folder of a bench, without the stores of one before, and the machine that it is on.
///
/// # Errors
/// When it cannot be made, or is in memory.
pub(crate) async fn prepare(dir: &Path) -> Result<(PathBuf, Machine)> {
    std::fs::create_dir_all(dir).with_context(|| format!("{} (--dir)", dir.display()))?;
    let dir = dir.canonicalize().with_context(|| dir.display().to_string())?;
    for entry in std::fs::read_dir(&dir).with_context(|| dir.display().to_string())? {
        let path = entry?.path();
        if path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("run-")) {
            std::fs::remove_dir_all(&path).with_context(|| path.display().to_string())?;
        }
    }
    let folder = dir.clone();
    let machine = tokio::task::spawn_blocking(move || Machine::look(&folder)).await;
    Ok((dir, machine.context("looking at the machine failed")??))
}

/// Where a store is and how it is configured: everything that `config/together.toml` says, and ports and paths of its own.
pub(crate) struct Place {
    folder: PathBuf,
    api: SocketAddr,
    operations: SocketAddr,
    /// Configuration over that of every place.
    own: Vec<(String, String)>,
}

/// A running store. It is killed when this is dropped.
pub(crate) struct Store {
    process: Child,
    /// From the start of the process to the first answer that says it is ready.
    pub(crate) ready_after: Duration,
}

// === impl Place ===

impl Place {
    /// # Errors
    /// When the folder cannot be made or no port is free.
    pub(crate) fn new(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        // Both are held until both are chosen, so that they differ. The store takes them a moment later; if somebody was
        // faster, it says so and ends.
        let listeners = [free_port()?, free_port()?];
        let [api, operations] = [listeners[0].local_addr()?, listeners[1].local_addr()?];
        Ok(Self { folder: folder.to_owned(), api, operations, own: Vec::new() })
    }

    /// Sets a configuration key, by the name of its environment variable without `PANGAEA__`.
    #[must_use]
    pub(crate) fn set(mut self, key: &str, value: &str) -> Self {
        self.own.push((key.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Of the API.
    pub(crate) fn address(&self) -> SocketAddr {
        self.api
    }

    pub(crate) fn store_args(&self) -> StoreArgs {
        let staff = pangaea_user::DEMO_STAFF;
        StoreArgs {
            url: format!("http://{}", self.api),
            email: staff.email.to_owned(),
            password: staff.password.to_owned(),
        }
    }

    pub(crate) fn database(&self, module: &str) -> PathBuf {
        self.folder.join(format!("{module}.db"))
    }

    /// The executable, with this place's configuration and nothing of the environment that would change it.
    fn command(&self) -> Result<Command> {
        let mut command = Command::new(program()?);
        command.env_clear();
        let text = |path: PathBuf| path.display().to_string();
        for (key, value) in [
            ("RUNTIME__MODULES", "product,order,payment,user".to_owned()),
            ("BUS__KIND", "memory".to_owned()),
            ("DATABASE__URL", format!("sqlite:{}/{{module}}.db", self.folder.display())),
            ("DATABASE__SYNCHRONOUS_FULL", "true".to_owned()),
            ("HTTP__LISTEN", self.api.to_string()),
            ("OPERATIONS__LISTEN", self.operations.to_string()),
            ("TELEMETRY__LOG_FILTER", "warn".to_owned()),
            ("TELEMETRY__LOG_FORMAT", "json".to_owned()),
            ("MODULES__PRODUCT__OPTIONS__DEMO_CATALOGUE", "false".to_owned()),
            ("MODULES__USER__OPTIONS__DEMO_ACCOUNTS", "true".to_owned()),
            ("MODULES__USER__OPTIONS__SEALING_KEY_FILE", text(self.folder.join("sealing.key"))),
            ("MODULES__PAYMENT__OPTIONS__PROVIDER__LEDGER", text(self.folder.join("provider-ledger.jsonl"))),
        ] {
            command.env(format!("PANGAEA__{key}"), value);
        }
        command.envs(self.own.iter().map(|(key, value)| (format!("PANGAEA__{key}"), value)));
        Ok(command)
    }

    /// Starts the store and waits until it is ready.
    ///
    /// # Errors
    /// When it ends, or is not ready in time; its log is in the folder.
    pub(crate) async fn start(&self) -> Result<Store> {
        let log_path = self.folder.join("store.log");
        let log = File::options().create(true).append(true).open(&log_path);
        let log = log.with_context(|| log_path.display().to_string())?;
        let begun = Instant::now();
        let mut process = self
            .command()?
            .arg("run")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .context("the store's process")?;
        while !is_ready(self.operations).await {
            if let Some(status) = process.try_wait()? {
                bail!("the store has ended with {status}; its log is {}", log_path.display());
            }
            if begun.elapsed() > READY_PATIENCE {
                bail!("the store is not ready after {} s; its log is {}", READY_PATIENCE.as_secs(), log_path.display());
            }
            sleep(POLL).await;
        }
        Ok(Store { process, ready_after: begun.elapsed() })
    }

    /// Runs `pangaea verify` on the store.
    ///
    /// # Errors
    /// When an invariant is broken or the check cannot be made.
    pub(crate) async fn verify(&self) -> Result<()> {
        let output = self.command()?.args(["verify"]).stdin(Stdio::null()).output().await.context("pangaea verify")?;
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            bail!("pangaea verify is not green:\n{printed}{}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }
}

/// Checks the store, stops it, and checks it again: a stopped one hides nothing behind what is under way.
///
/// # Errors
/// When an invariant is broken, or the store does not stop.
pub(crate) async fn stopped_and_sound(place: &Place, store: Store) -> Result<()> {
    place.verify().await?;
    store.stop().await?;
    place.verify().await
}

// === impl Store ===

impl Store {
    /// # Errors
    /// When the process has ended by itself.
    pub(crate) fn process_id(&self) -> Result<u32> {
        self.process.id().context("the store has ended by itself")
    }

    /// Asks it to finish what it has taken and waits until it has.
    ///
    /// # Errors
    /// When it does not end in time, or ends with an error.
    pub(crate) async fn stop(mut self) -> Result<()> {
        // The standard library can only send SIGKILL, and calling libc is `unsafe`: `kill` is on every Unix.
        let kill =
            Command::new("kill").args(["-TERM", &self.process_id()?.to_string()]).status().await.context("kill")?;
        if !kill.success() {
            bail!("the store could not be asked to stop");
        }
        let status = timeout(STOP_PATIENCE, self.process.wait()).await.context("the store does not stop")??;
        if status.success() { Ok(()) } else { bail!("the store has stopped with {status}") }
    }
}

/// A plain request by hand: a client with a pool would add its own time to the first answer.
async fn is_ready(operations: SocketAddr) -> bool {
    let asked = async {
        let mut stream = tokio::net::TcpStream::connect(operations).await?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer).await?;
        Ok::<bool, std::io::Error>(answer.starts_with("HTTP/1.1 200"))
    };
    matches!(timeout(Duration::from_secs(2), asked).await, Ok(Ok(true)))
}

fn free_port() -> Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port is free on the loopback")
}
