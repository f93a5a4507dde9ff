//! The image: what the Dockerfile makes is small, static, and runs as nobody on a read-only root; it is stopped in the middle of a
//! load and loses nothing.
//!
//! Where no Docker engine can be had, the last stage's folder is assembled by hand and run by `chroot`, with the same user and
//! mounts; the engine is then named as missing.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use self::way::Way;
pub(crate) use self::way::{assemble, build};
use super::facts::{Facts, Module};
use super::running::{Folder, Running};
use super::store::local;
use super::{Context, Outcome};
use crate::process::{Signal, tied_to_us};
use crate::{tools, workspace};

mod elf;
mod way;

const BYTES_MAX: u64 = 25_000_000;
/// Long enough that the signal comes in its middle.
const LOAD: [&str; 7] = ["--orders", "400", "--rate", "100", "--seed", "7", "--json"];
const SIGNAL_AFTER: Duration = Duration::from_millis(1_500);
/// What SQLite and the system say where nothing can be written.
const REFUSALS: [&str; 3] = ["unable to open database file", "readonly database", "Read-only file system"];

/// # Errors
/// When the program cannot be built, or something that is there cannot be started.
pub(crate) fn check(ctx: &Context) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let dockerfile = fs::read_to_string(ctx.root.join("deploy/Dockerfile")).context("deploy/Dockerfile")?;
    let folder = Folder::make("image")?;
    let program = program(&dockerfile)?;
    is_small_and_static(&program, &mut outcome)?;
    let way = Way::find(ctx, &dockerfile, &program, folder.path(), &mut outcome)?;
    together(&way, &program, folder.path(), &mut outcome)?;
    is_root_read_only(&way, folder.path(), &mut outcome)?;
    match tools::nats_server() {
        Ok(nats) => apart(&way, &nats, &Facts::read(ctx)?.modules, &program, folder.path(), &mut outcome)?,
        Err(error) => outcome.missing.push(("nats-server".to_owned(), format!("the image apart: {error:#}"))),
    }
    Ok(outcome)
}

/// The static program: the one that `PANGAEA_STATIC_PROGRAM` names, else one that is built by the Dockerfile's own command.
pub(crate) fn program(dockerfile: &str) -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("PANGAEA_STATIC_PROGRAM") {
        return Ok(std::path::absolute(named)?);
    }
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let line = dockerfile.lines().map(str::trim).find(|line| line.starts_with("cargo build "));
    let words = line
        .context("deploy/Dockerfile has no line `cargo build …`")?
        .trim_end_matches('\\')
        .replace("\"$TARGET\"", &target);
    ensure!(dockerfile.contains("RUSTFLAGS=\"-C target-feature=+crt-static\""), "deploy/Dockerfile: not static");
    let mut command = workspace::cargo();
    command.args(words.split_whitespace().skip(1)).env("RUSTFLAGS", "-C target-feature=+crt-static");
    workspace::run(&mut command)?;
    let profile = words.split_whitespace().skip_while(|word| *word != "--profile").nth(1).unwrap_or("release");
    Ok(workspace::target().join(target).join(profile).join("pangaea"))
}

fn is_small_and_static(program: &Path, outcome: &mut Outcome) -> Result<()> {
    let bytes = fs::metadata(program).with_context(|| program.display().to_string())?.len();
    let size = format!("the image's one file has {:.1} MB", bytes as f64 / 1e6);
    match bytes <= BYTES_MAX {
        true => outcome.passed.push(size),
        false => outcome.failed.push(format!("{size}, and may have {:.0}", BYTES_MAX as f64 / 1e6)),
    }
    match elf::interpreter(&fs::read(program)?)? {
        None => outcome.passed.push("it is static: it names no loader".to_owned()),
        Some(loader) => outcome.failed.push(format!("it is not static: it wants {loader}, which the image lacks")),
    }
    Ok(())
}

/// Started, served, stopped in mid-load, started again: what was accepted is there, and nothing twice.
fn together(way: &Way, program: &Path, folder: &Path, outcome: &mut Outcome) -> Result<()> {
    let data = way.data("together", folder)?;
    let (http, operations) = (local()?, local()?);
    let env = [("PANGAEA__HTTP__LISTEN", http.to_string()), ("PANGAEA__OPERATIONS__LISTEN", operations.to_string())];
    let began = Instant::now();
    let mut store = way.start("together", &["run"], &env, Some(&data), folder)?;
    store.wait_ready(operations, "/readyz")?;
    let started_ms = began.elapsed().as_millis();
    let url = format!("http://{http}");
    let (status, took) = thread::scope(|scope| {
        // Cut short; whether anything was lost is asked below.
        scope.spawn(|| Command::new(program).args(["load", "--url", &url, "--settle-s", "1"]).args(LOAD).output());
        thread::sleep(SIGNAL_AFTER);
        let began = Instant::now();
        (store.stop(), began.elapsed())
    });
    match status {
        Some(status) if status.success() => outcome.passed.push(format!(
            "{}: ready after {started_ms} ms, drained by SIGTERM in mid-load in {} ms",
            way.name(),
            took.as_millis()
        )),
        other => outcome.failed.push(format!("{}: SIGTERM in mid-load: {other:?}: {}", way.name(), store.log())),
    }
    let mut again = way.start("together", &["run"], &env, Some(&data), folder)?;
    again.wait_ready(operations, "/readyz")?;
    // The same seed names the same orders: those that were accepted before are answered, and not placed again.
    let output = Command::new(program).args(["load", "--url", &url]).args(LOAD).output()?;
    match output.status.success() {
        true => outcome.passed.push(format!("{}: the same load again: every order accepted and settled", way.name())),
        false => {
            outcome.failed.push(format!("{}: after the stop: {}", way.name(), String::from_utf8_lossy(&output.stdout)))
        }
    }
    Ok(())
}

/// The negative: beside /data nothing can be written. /tmp is a mount, and the image's own folders are not.
fn is_root_read_only(way: &Way, folder: &Path, outcome: &mut Outcome) -> Result<()> {
    let (http, operations) = (local()?, local()?);
    let env = [
        ("PANGAEA__HTTP__LISTEN", http.to_string()),
        ("PANGAEA__OPERATIONS__LISTEN", operations.to_string()),
        ("PANGAEA__DATABASE__URL", "sqlite:///{module}.db".to_owned()),
    ];
    let mut store = way.start("elsewhere", &["run"], &env, None, folder)?;
    let is_ready = store.wait_ready(operations, "/readyz").is_ok();
    match refusal(is_ready, store.is_running(), &store.log()) {
        Ok(line) => outcome.passed.push(format!("{}: the root is read-only: {line}", way.name())),
        Err(fault) => outcome.failed.push(format!("{}: {fault}", way.name())),
    }
    Ok(())
}

/// The line that says that the database could not be written. That it ended is not enough: a wrong key or a port that is taken
/// ends it too.
fn refusal(is_ready: bool, is_running: bool, log: &str) -> Result<&str, String> {
    if is_ready {
        return Err("it could write a database into /".to_owned());
    }
    let said = log.lines().find(|line| REFUSALS.iter().any(|words| line.contains(words)));
    match said {
        Some(line) if !is_running => Ok(line.trim()),
        _ => Err(format!("with a database in / it ended for another reason, or hangs: {log}")),
    }
}

/// A container for each module, over a broker, and the edge.
fn apart(
    way: &Way,
    nats: &Path,
    modules: &[Module],
    program: &Path,
    folder: &Path,
    outcome: &mut Outcome,
) -> Result<()> {
    let (broker, edge) = (local()?, local()?);
    let store_dir = folder.join("nats");
    let mut command = tied_to_us(nats, Signal::Term);
    command.args(["-a", "127.0.0.1", "-p", &broker.port().to_string(), "-js", "-sd"]).arg(&store_dir);
    let mut broker_runs = Running::start("nats", &mut command, folder)?;
    broker_runs.wait_ready(broker, "")?;
    let mut parts: Vec<(Running, SocketAddr)> = Vec::new();
    let mut routes = vec!["edge".to_owned(), "--listen".to_owned(), edge.to_string()];
    for Module { name: module, prefixes, .. } in modules {
        let (http, operations) = (local()?, local()?);
        let env = [
            ("PANGAEA__RUNTIME__MODULES", format!("[\"{module}\"]")),
            ("PANGAEA__HTTP__LISTEN", http.to_string()),
            ("PANGAEA__OPERATIONS__LISTEN", operations.to_string()),
            ("PANGAEA__BUS__KIND", "nats".to_owned()),
            ("PANGAEA__BUS__URL", format!("nats://{broker}")),
        ];
        let data = way.data(module, folder)?;
        parts.push((way.start(module, &["run"], &env, Some(&data), folder)?, operations));
        for prefix in prefixes {
            routes.extend(["--route".to_owned(), format!("{prefix}=http://{http}")]);
        }
    }
    for (part, operations) in &mut parts {
        part.wait_ready(*operations, "/readyz")?;
    }
    let routes: Vec<_> = routes.iter().map(String::as_str).collect();
    let mut front = way.start("edge", &routes, &[], None, folder)?;
    front.wait_ready(edge, "")?;
    let url = format!("http://{edge}");
    let output = Command::new(program).args(["load", "--url", &url]).args(LOAD).output()?;
    let is_loaded = output.status.success();
    let stopped = [front.stop()].into_iter().chain(parts.iter_mut().map(|(part, _)| part.stop())).collect::<Vec<_>>();
    let are_well = stopped.iter().all(|status| status.is_some_and(|status| status.success()));
    match is_loaded && are_well {
        true => outcome.passed.push(format!("{}: apart: every order settled, every process drained", way.name())),
        false => outcome.failed.push(format!(
            "{}: apart: ended with {stopped:?}: {}",
            way.name(),
            String::from_utf8_lossy(&output.stdout)
        )),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_refused_write_shows_a_read_only_root() {
        let refused = "starting\nError: opening product: unable to open database file\n";
        assert_eq!(refusal(false, false, refused), Ok("Error: opening product: unable to open database file"));
        let taken = "Error: http.listen 127.0.0.1:8080: Address already in use (os error 98)";
        for (is_ready, is_running, log) in [(true, true, ""), (false, false, taken), (false, true, refused)] {
            assert!(refusal(is_ready, is_running, log).is_err(), "{log}");
        }
    }
}
