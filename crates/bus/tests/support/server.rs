use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

static SERVERS: AtomicU32 = AtomicU32::new(0);

/// A real nats-server with JetStream on a port and a store of its own. Killed, and its store removed, on drop.
pub(crate) struct NatsServer {
    binary: PathBuf,
    port: u16,
    folder: PathBuf,
    child: Option<Child>,
}

/// The current nats-server, and the oldest supported one when `PANGAEA_NATS_SERVER_OLD` names it.
#[expect(clippy::disallowed_methods, reason = "tests are told by the environment which servers to run")]
pub(crate) fn server_binaries() -> Vec<PathBuf> {
    let old = std::env::var_os("PANGAEA_NATS_SERVER_OLD").map(PathBuf::from);
    std::iter::once(current_server()).chain(old).collect()
}

#[expect(clippy::disallowed_methods, reason = "tests are told by the environment which servers to run")]
pub(crate) fn current_server() -> PathBuf {
    if let Some(named) = std::env::var_os("PANGAEA_NATS_SERVER") {
        return named.into();
    }
    let on_path = std::env::var_os("PATH").and_then(|path| {
        std::env::split_paths(&path).map(|folder| folder.join("nats-server")).find(|file| file.is_file())
    });
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/bin/nats-server");
    on_path.or_else(|| tools.is_file().then_some(tools)).expect(
        "these tests need a nats-server: run `cargo xtask test`, which fetches one, or name one in PANGAEA_NATS_SERVER",
    )
}

/// Below the range that the system gives to outgoing connections: one of those, a client's try to reconnect among them,
/// could else take the port while its server is down.
fn free_port(number: u32) -> u16 {
    let mut candidates = (0..12_000).map(|step| {
        let offset = std::process::id().wrapping_mul(31).wrapping_add(number * 17 + step) % 12_000;
        20_000 + u16::try_from(offset).unwrap()
    });
    candidates
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a port between 20000 and 31999 is free")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

// === impl NatsServer ===

impl NatsServer {
    pub(crate) fn start(binary: &Path) -> Self {
        let mut server = Self::stopped(binary);
        server.restart();
        server
    }

    /// A server that has a port and is not running yet.
    pub(crate) fn stopped(binary: &Path) -> Self {
        let number = SERVERS.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("pangaea-bus-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let port = free_port(number);
        Self { binary: binary.to_owned(), port, folder, child: None }
    }

    /// Starts the process (again), on the same port and store, and waits until it takes connections.
    pub(crate) fn restart(&mut self) {
        self.kill();
        let log = fs::OpenOptions::new().create(true).append(true).open(self.folder.join("log")).unwrap();
        let child = Command::new(&self.binary)
            .args(["--addr", "127.0.0.1", "--port", &self.port.to_string(), "--jetstream", "--store_dir"])
            .arg(self.folder.join("store"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask test`", self.binary.display()));
        self.child = Some(child);
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let exited = self.child.as_mut().is_some_and(|child| child.try_wait().unwrap().is_some());
            let log = || fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            assert!(!exited && Instant::now() < deadline, "nats-server does not listen: {}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// SIGKILL: the server gets no chance to put anything in order.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Keeps a copy of the store as it is. The server must not run.
    pub(crate) fn keep_copy(&self) {
        assert!(self.child.is_none(), "a running server writes");
        copy(&self.folder.join("store"), &self.folder.join("copy"));
    }

    /// Puts the copy in the store's place; without one, an empty store. The server must not run.
    pub(crate) fn swap_store(&self) {
        assert!(self.child.is_none(), "a running server writes");
        let (store, kept) = (self.folder.join("store"), self.folder.join("copy"));
        fs::remove_dir_all(&store).unwrap();
        if kept.is_dir() {
            copy(&kept, &store);
        }
    }

    /// Sends a signal by its name without `SIG`, e.g. `STOP`.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.as_ref().expect("it runs").id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub(crate) fn version(&self) -> String {
        let output = Command::new(&self.binary).arg("--version").output().unwrap();
        String::from_utf8_lossy(&output.stdout).trim().trim_start_matches("nats-server: ").to_owned()
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.kill();
        let _ = fs::remove_dir_all(&self.folder);
    }
}
