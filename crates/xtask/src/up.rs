//! `cargo xtask up`: the store as several processes over NATS, behind one address.

use std::fmt::Write;
use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::{Args, ValueEnum};

use crate::process::{Interrupt, Signal, free_port, http_status, stop, tied_to_us};
use crate::{binary, tools, workspace};

const READY_MAX: Duration = Duration::from_secs(60);
/// Longer than the store's own drain, so that it is never killed in the middle of one.
const STOP_MAX: Duration = Duration::from_secs(40);
const POLL: Duration = Duration::from_millis(100);

#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    /// Which modules share a process.
    placement: Placement,
    /// The port of the one address that clients use.
    #[arg(long, default_value_t = 8080)]
    port: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Placement {
    /// Four processes, one module each.
    Apart,
    /// Two processes, two modules each.
    Mixed,
}

/// A process of the store and where it listens.
#[derive(Debug)]
struct Host {
    modules: &'static [&'static str],
    http: SocketAddr,
    operations: SocketAddr,
}

/// Children in the order of their start; they are stopped in the reverse order, also when this is dropped.
#[derive(Debug, Default)]
struct Group {
    started: Vec<(String, Child)>,
}

/// When a child has started.
enum Ready {
    /// It accepts a connection here.
    Accepts(SocketAddr),
    /// `GET /readyz` here answers 200.
    Answers(SocketAddr),
}

/// Builds the program, starts all parts and waits for Ctrl-C.
///
/// # Errors
/// When a part cannot be built or started, is not ready in time, or ends by itself.
pub(crate) fn run(args: &UpArgs) -> Result<ExitCode> {
    let interrupt = Interrupt::listen()?;
    let edge = SocketAddr::from(([127, 0, 0, 1], args.port));
    TcpListener::bind(edge).with_context(|| format!("{edge} is in use: stop what listens there, or give --port"))?;
    let program = binary::release()?;
    let nats = tools::nats_server()?;
    let mut group = Group::default();
    let result = start(args.placement, edge, &program, &nats, &mut group, &interrupt);
    let result = result.and_then(|()| {
        println!("{}", hint(edge));
        group.wait(&interrupt)
    });
    group.stop();
    match result {
        Err(_) if interrupt.is_set() => Ok(ExitCode::SUCCESS),
        other => other.map(|()| ExitCode::SUCCESS),
    }
}

fn start(
    placement: Placement,
    edge: SocketAddr,
    program: &Path,
    nats: &Path,
    group: &mut Group,
    interrupt: &Interrupt,
) -> Result<()> {
    let name = placement.name();
    let broker = local(free_port()?);
    let store = workspace::root().join("data").join(name).join("nats");
    fs::create_dir_all(&store).with_context(|| format!("could not create {}", store.display()))?;
    let mut command = tied_to_us(nats, Signal::Term);
    command.args(["-a", "127.0.0.1", "-p", &broker.port().to_string(), "-js", "-sd"]).arg(&store);
    group.start("nats", command)?;
    group.wait_ready(&[Ready::Accepts(broker)], interrupt)?;

    let hosts = placement.hosts()?;
    for host in &hosts {
        let mut command = tied_to_us(program, Signal::Term);
        command.args(["run", "--modules", &host.modules.join(",")]);
        command.args(["--config", &format!("config/{name}.toml")]);
        command.env("PANGAEA__HTTP__LISTEN", host.http.to_string());
        command.env("PANGAEA__OPERATIONS__LISTEN", host.operations.to_string());
        command.env("PANGAEA__BUS__URL", format!("nats://{broker}"));
        group.start(&host.modules.join("+"), command)?;
    }
    let ready: Vec<_> = hosts.iter().map(|host| Ready::Answers(host.operations)).collect();
    group.wait_ready(&ready, interrupt)?;

    let mut command = tied_to_us(program, Signal::Term);
    command.args(["edge", "--listen", &edge.to_string()]);
    for (prefix, address) in routes(&hosts) {
        command.args(["--route", &format!("{prefix}=http://{address}")]);
    }
    group.start("edge", command)?;
    group.wait_ready(&[Ready::Accepts(edge)], interrupt)
}

/// Which process answers which paths.
fn routes(hosts: &[Host]) -> Vec<(&'static str, SocketAddr)> {
    let of_host = |host: &Host| {
        let address = host.http;
        let prefixes = host.modules.iter().flat_map(|module| prefixes(module));
        prefixes.map(move |prefix| (*prefix, address)).collect::<Vec<_>>()
    };
    hosts.iter().flat_map(of_host).collect()
}

fn prefixes(module: &str) -> &'static [&'static str] {
    match module {
        "product" => &["/v1/products", "/v1/skus"],
        "order" => &["/v1/orders"],
        "payment" => &["/v1/payments"],
        "user" => &["/v1/users", "/v1/sessions", "/.well-known"],
        _ => &[],
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// Lines that work as pasted and end in an order.
fn hint(edge: SocketAddr) -> String {
    let json = "-H 'content-type: application/json'";
    let mut text = format!("\nThe store answers on http://{edge}; Ctrl-C stops it. Try this:\n\n");
    let lines = [
        format!("S=http://{edge}"),
        format!(
            "curl -s $S/v1/users {json} -H \"Idempotency-Key: me-$$\" \
             -d '{{\"email\":\"me@example.com\",\"password\":\"a long enough password\",\"name\":\"Me\"}}'"
        ),
        format!(
            "TOKEN=$(curl -s $S/v1/sessions {json} -H \"Idempotency-Key: in-$$-$RANDOM\" \
             -d '{{\"email\":\"me@example.com\",\"password\":\"a long enough password\"}}' \
             | sed 's/.*\"access_token\":\"\\([^\"]*\\)\".*/\\1/')"
        ),
        "SKU=$(curl -s \"$S/v1/products?limit=1&available=true\" | grep -o 'sku_[0-9A-Za-z]*' | head -1)".to_owned(),
        format!(
            "curl -s $S/v1/orders {json} -H \"Authorization: Bearer $TOKEN\" -H \"Idempotency-Key: o-$$-$RANDOM\" \
             -H 'Prefer: wait=5' -d '{{\"lines\":[{{\"sku\":\"'$SKU'\",\"quantity\":1}}],\"payment_token\":\"tok_ok\"}}'"
        ),
    ];
    for line in lines {
        let _ = writeln!(text, "  {line}");
    }
    text
}

// === impl Placement ===

impl Placement {
    fn name(self) -> &'static str {
        match self {
            Self::Apart => "apart",
            Self::Mixed => "mixed",
        }
    }

    fn processes(self) -> &'static [&'static [&'static str]] {
        match self {
            Self::Apart => &[&["product"], &["order"], &["payment"], &["user"]],
            Self::Mixed => &[&["product", "order"], &["payment", "user"]],
        }
    }

    fn hosts(self) -> Result<Vec<Host>> {
        let host = |modules: &&'static [&'static str]| {
            Ok(Host { modules, http: local(free_port()?), operations: local(free_port()?) })
        };
        self.processes().iter().map(host).collect()
    }
}

// === impl Group ===

impl Group {
    /// Starts a child whose output is shown line by line behind its name.
    fn start(&mut self, name: &str, mut command: Command) -> Result<()> {
        println!("{name}: $ {}", workspace::shown(&command));
        // A process group of its own: the terminal's Ctrl-C would else reach all at once, in no order.
        command.process_group(0).current_dir(workspace::root());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("could not start {name}"))?;
        for output in [child.stdout.take().map(boxed), child.stderr.take().map(boxed)].into_iter().flatten() {
            let name = name.to_owned();
            // Ends with the child's output; nobody waits for it.
            thread::spawn(move || show(&name, output));
        }
        self.started.push((name.to_owned(), child));
        Ok(())
    }

    fn wait_ready(&mut self, parts: &[Ready], interrupt: &Interrupt) -> Result<()> {
        let until = Instant::now() + READY_MAX;
        for part in parts {
            while !part.is_reached() {
                ensure!(!interrupt.is_set(), "interrupted");
                self.check()?;
                ensure!(Instant::now() < until, "{} within {} s", part.complaint(), READY_MAX.as_secs());
                sleep(POLL);
            }
        }
        Ok(())
    }

    /// Returns at Ctrl-C, or with an error when a child ends by itself.
    fn wait(&mut self, interrupt: &Interrupt) -> Result<()> {
        while !interrupt.is_set() {
            self.check()?;
            sleep(POLL);
        }
        Ok(())
    }

    fn check(&mut self) -> Result<()> {
        for (name, child) in &mut self.started {
            if let Some(status) = child.try_wait()? {
                bail!("{name} has ended by itself ({status}); its last lines above say why. The others are stopped");
            }
        }
        Ok(())
    }

    fn stop(&mut self) {
        while let Some((name, mut child)) = self.started.pop() {
            match stop(&mut child, Signal::Term, STOP_MAX) {
                Some(status) => println!("{name}: stopped ({status})"),
                None => println!("{name}: process {} could not be stopped", child.id()),
            }
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.stop();
    }
}

fn boxed(output: impl Read + Send + 'static) -> Box<dyn Read + Send> {
    Box::new(output)
}

fn show(name: &str, output: impl Read) {
    for line in BufReader::new(output).split(b'\n').map_while(io::Result::ok) {
        println!("{name:>15} | {}", String::from_utf8_lossy(&line));
    }
}

// === impl Ready ===

impl Ready {
    fn is_reached(&self) -> bool {
        match self {
            Self::Accepts(address) => TcpStream::connect_timeout(address, POLL).is_ok(),
            Self::Answers(address) => http_status(*address, "/readyz").is_ok_and(|status| status == 200),
        }
    }

    fn complaint(&self) -> anyhow::Error {
        match self {
            Self::Accepts(address) => anyhow!("nothing accepted a connection on {address}"),
            Self::Answers(address) => {
                let last = match http_status(*address, "/readyz") {
                    Ok(status) => format!("status {status}"),
                    Err(error) => error.to_string(),
                };
                anyhow!("http://{address}/readyz did not answer 200 (last: {last})")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_module_is_placed_once_and_every_path_leads_to_its_process() {
        for placement in [Placement::Apart, Placement::Mixed] {
            let hosts = placement.hosts().unwrap();
            let mut modules: Vec<_> = hosts.iter().flat_map(|host| host.modules).copied().collect();
            modules.sort_unstable();
            assert_eq!(modules, ["order", "payment", "product", "user"]);
            let routes = routes(&hosts);
            assert_eq!(routes.len(), 7);
            let orders = routes.iter().find(|(prefix, _)| *prefix == "/v1/orders").unwrap().1;
            assert!(hosts.iter().any(|host| host.http == orders && host.modules.contains(&"order")));
        }
    }

    #[test]
    fn stops_in_reverse_order_and_names_the_child_that_ended() {
        let folder = std::env::temp_dir().join(format!("pangaea-up-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let log = folder.join("log");
        let mut group = Group::default();
        for name in ["first", "second"] {
            let script = format!(
                "trap 'echo {name} >> {0}; exit 0' TERM; : > {0}.{name}; while :; do sleep 0.02; done",
                log.display()
            );
            let mut command = Command::new("sh");
            command.args(["-c", &script]);
            group.start(name, command).unwrap();
            let until = Instant::now() + Duration::from_secs(10);
            while !Path::new(&format!("{}.{name}", log.display())).exists() {
                assert!(Instant::now() < until, "{name} did not start");
                sleep(Duration::from_millis(10));
            }
        }
        group.check().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "exit 3"]);
        group.start("third", command).unwrap();
        let until = Instant::now() + Duration::from_secs(10);
        let error = loop {
            match group.check() {
                Err(error) => break error.to_string(),
                Ok(()) => assert!(Instant::now() < until, "the end of the third was not seen"),
            }
            sleep(Duration::from_millis(10));
        };
        assert!(error.starts_with("third has ended"), "{error}");
        group.stop();
        assert_eq!(fs::read_to_string(&log).unwrap(), "second\nfirst\n");
        fs::remove_dir_all(&folder).unwrap();
    }
}
