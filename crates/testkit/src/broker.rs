use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::net::TcpStream;

use crate::process::Process;
use crate::wait::eventually;
use crate::{free_port, program};

const READY_MAX: Duration = Duration::from_secs(20);

/// A nats-server with JetStream, on a port and with a store of its own.
#[derive(Debug)]
pub struct Broker {
    process: Process,
    port: u16,
    folder: PathBuf,
}

// === impl Broker ===

impl Broker {
    /// One that has an address, but does not run yet.
    ///
    /// # Errors
    /// When this machine has no nats-server.
    pub fn new(folder: &Path) -> Result<Self> {
        let port = free_port();
        let mut process = Process::new("nats-server", &find()?, folder);
        let store = folder.join("nats").display().to_string();
        process.args(&["-a", "127.0.0.1", "-p", &port.to_string(), "-js", "-sd", &store]);
        Ok(Self { process, port, folder: folder.to_owned() })
    }

    /// Lets in nobody but the users of these accounts (`pangaea topology --format nats`), whose keys are variables.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub(crate) fn authorize(&mut self, accounts: &str, variables: &[(String, String)]) -> Result<()> {
        let file = self.folder.join("nats-accounts.conf");
        std::fs::write(&file, accounts)?;
        self.process.args(&["-c", &file.display().to_string()]).envs(variables);
        Ok(())
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Starts it, for the first time or again, and waits until it accepts connections.
    ///
    /// # Errors
    /// When it does not start or is not there in time.
    pub async fn start(&mut self) -> Result<()> {
        self.process.start()?;
        let (process, port) = (&mut self.process, self.port);
        eventually("a connection to nats-server", READY_MAX, async || {
            process.must_run()?;
            Ok(TcpStream::connect(("127.0.0.1", port)).await.ok())
        })
        .await?;
        Ok(())
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }
}

/// `PANGAEA_NATS_SERVER`, else the one on `PATH`, else the one that `cargo xtask` has fetched.
fn find() -> Result<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "tests are told by the environment which server to run")]
    let (named, path) = (std::env::var_os("PANGAEA_NATS_SERVER"), std::env::var_os("PATH"));
    if let Some(named) = named {
        return Ok(named.into());
    }
    let folders = path.iter().flat_map(std::env::split_paths);
    let fetched = program::workspace().join("target/tools/bin");
    let mut candidates = folders.chain([fetched]).map(|folder| folder.join("nats-server"));
    candidates.find(|file| file.is_file()).context(
        "this test needs a nats-server: run it by `cargo xtask test`, which fetches one, or name one in PANGAEA_NATS_SERVER",
    )
}
