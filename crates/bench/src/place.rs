//! A store together, in a process of the release program, made of nothing but environment variables.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pangaea::load::StoreArgs;
use pangaea_testkit::{Process, free_port, program};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep, timeout};

use crate::machine::Machine;

const READY_MAX: Duration = Duration::from_secs(30);
const STOP_MAX: Duration = Duration::from_secs(30);
/// Of a store with hundreds of thousands of orders.
const VERIFY_MAX: Duration = Duration::from_secs(600);
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
    is_large: bool,
}

/// A running store, or what runs beside one. It is killed when this is dropped.
pub(crate) struct Store {
    process: Process,
    /// From the start of the process to the first answer that says it is ready.
    pub(crate) ready_after: Duration,
}

// === impl Place ===

impl Place {
    /// # Errors
    /// When the folder cannot be made.
    pub(crate) fn new(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        let [api, operations] = [free_port(), free_port()].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        Ok(Self { folder: folder.to_owned(), api, operations, own: Vec::new(), is_large: false })
    }

    /// Sets a configuration key, by the name of its environment variable without `PANGAEA__`.
    #[must_use]
    pub(crate) fn set(mut self, key: &str, value: &str) -> Self {
        self.own.push((key.to_owned(), value.to_owned()));
        self
    }

    /// For a store so large that replaying its journals would take longer than the measuring: that is left out.
    #[must_use]
    pub(crate) fn large(mut self) -> Self {
        self.is_large = true;
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
        staff_at(&format!("http://{}", self.api))
    }

    pub(crate) fn database(&self, module: &str) -> PathBuf {
        self.folder.join(format!("{module}.db"))
    }

    /// The program with these arguments, this place's configuration, and nothing of the environment that would change it.
    fn process(&self, name: &str, args: &[&str]) -> Result<Process> {
        let text = |path: PathBuf| path.display().to_string();
        let all = [
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
        ];
        let all = all.into_iter().map(|(key, value)| (key.to_owned(), value)).chain(self.own.clone());
        let env: Vec<_> = all.map(|(key, value)| (format!("PANGAEA__{key}"), value)).collect();
        let mut process = Process::new(name, program()?, &self.folder);
        process.args(args).envs(&env);
        Ok(process)
    }

    /// Starts the store and waits until it is ready.
    ///
    /// # Errors
    /// When it ends, or is not ready in time; with the end of its log.
    pub(crate) async fn start(&self) -> Result<Store> {
        let mut process = self.process("store", &["run"])?;
        let begun = Instant::now();
        process.start()?;
        while !is_ready(self.operations).await {
            process.must_run()?;
            let log = process.log_tail();
            ensure!(begun.elapsed() < READY_MAX, "the store is not ready in {READY_MAX:?}; its log ends:\n{log}");
            sleep(POLL).await;
        }
        Ok(Store { process, ready_after: begun.elapsed() })
    }

    /// The program that this bench measures.
    ///
    /// # Errors
    /// When it is not there.
    pub(crate) fn program(&self) -> Result<&'static Path> {
        program()
    }

    /// Runs `pangaea record` on the store.
    ///
    /// # Errors
    /// When it fails.
    pub(crate) async fn record(&self, file: &Path) -> Result<()> {
        let file = file.display().to_string();
        let record = self.process("record", &["record", "--force", "--output", &file])?;
        record.run(VERIFY_MAX).await?.success().context("pangaea record")?;
        Ok(())
    }

    /// Starts the program with these arguments beside the store, and waits until it has said this.
    ///
    /// # Errors
    /// When it ends, or does not say it in time; with the end of its log.
    pub(crate) async fn beside(&self, name: &str, args: &[&str], says: &str) -> Result<Store> {
        let mut process = self.process(name, args)?;
        let (begun, from) = (Instant::now(), process.log_bytes());
        process.start()?;
        while !process.log_from(from).contains(says) {
            process.must_run()?;
            let log = process.log_tail();
            ensure!(begun.elapsed() < READY_MAX, "{name} is not ready in {READY_MAX:?}; its log ends:\n{log}");
            sleep(POLL).await;
        }
        Ok(Store { process, ready_after: begun.elapsed() })
    }

    /// Runs `pangaea verify` on the store.
    ///
    /// # Errors
    /// When an invariant is broken or the check cannot be made.
    pub(crate) async fn verify(&self) -> Result<()> {
        let args = if self.is_large { &["verify", "--no-replay"][..] } else { &["verify"] };
        self.process("verify", args)?.run(VERIFY_MAX).await?.success().context("pangaea verify")?;
        Ok(())
    }
}

/// The staff account of a store with demo accounts, at this URL.
pub(crate) fn staff_at(url: &str) -> StoreArgs {
    let staff = pangaea_user::DEMO_STAFF;
    StoreArgs { url: url.to_owned(), email: staff.email.to_owned(), password: staff.password.to_owned() }
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
    pub(crate) async fn stop(self) -> Result<()> {
        self.stop_and_read().await.map(drop)
    }

    /// The same, and gives what it has said.
    ///
    /// # Errors
    /// When it does not end in time, or ends with an error.
    pub(crate) async fn stop_and_read(mut self) -> Result<String> {
        let status = self.process.terminate(STOP_MAX).await?;
        let (name, tail) = (self.process.name(), self.process.log_tail());
        ensure!(status.success(), "{name} has stopped with {status}; its log ends:\n{tail}");
        Ok(self.process.log())
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
