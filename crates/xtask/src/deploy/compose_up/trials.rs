//! What must hold of the store that compose.yaml starts.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::project::{APART, LONG, Project};
use super::telemetry;
use crate::deploy::Outcome;
use crate::deploy::load::Load;
use crate::deploy::running::eventually;

const ORDERS: u32 = 200;
const RATE: u32 = 40;
/// Names the orders, so that they can be asked for again.
const SEED: u32 = 7;
const SERVED_WITHIN: Duration = Duration::from_secs(90);
const IN_THE_MIDDLE: Duration = Duration::from_secs(4);
/// A volume of the image, which is empty where a process keeps nothing.
const DATA: &str = "/data";
/// What compose/credentials.sh says.
const NO_SECRETS: &str = "there are no credentials: ";
const STORE_USER: u32 = 65_532;

/// What is found is added; a fault ends it, since the rest would be told of it as well.
///
/// # Errors
/// With the fault.
pub(super) fn all(project: &Project<'_>, outcome: &mut Outcome) -> Result<()> {
    let mut tell = |line: String| {
        let line = format!("{}: {line}", project.profile);
        println!("ok so far: {line}");
        outcome.passed.push(line);
    };
    if project.profile == APART {
        tell(asks_for_secrets(project)?);
    }
    tell(comes_up(project)?);
    let load = takes_orders(project)?;
    tell(format!("orders through 127.0.0.1:8080: {}", load.shown()));
    if project.profile == APART {
        tell(has_its_own_secrets_only(project)?);
    }
    tell(telemetry::is_scraped(project, load.number("confirmed").unwrap_or_default())?);
    tell(telemetry::is_traced(project)?);
    tell(survives(project)?);
    tell(stops(project)?);
    tell(goes_on(project)?);
    Ok(())
}

/// The negative: without the file of secrets nothing of it starts, and it says what to do.
fn asks_for_secrets(project: &Project<'_>) -> Result<String> {
    let names = ["up", "--detach", "--wait", "provision"];
    ensure!(project.compose_with(None, &names, LONG).is_err(), "`up` needs no secrets");
    let said = project.compose_with(None, &["logs", "--no-color", "credentials"], LONG)?;
    let said = said.lines().find(|line| line.contains(NO_SECRETS));
    let said = said.context("`up` without secrets does not say what to do")?;
    project.down()?;
    Ok(format!("`up` without secrets is refused: {}", said.split('|').next_back().unwrap_or(said).trim()))
}

fn comes_up(project: &Project<'_>) -> Result<String> {
    let began = Instant::now();
    project.up()?;
    eventually(SERVED_WITHIN, || project.is_served())?;
    let count = runs_well(project)?;
    let without = match project.absent.as_slice() {
        [] => String::new(),
        names => format!(", without {}", names.join(" and ")),
    };
    Ok(format!(
        "`up --wait`: {count} services{without}, all as they should be, {} s to the first answer",
        began.elapsed().as_secs()
    ))
}

/// Every service has its container, and none has a fault. Gives how many there are.
fn runs_well(project: &Project<'_>) -> Result<usize> {
    let containers = project.containers()?;
    let faults: Vec<_> = containers.iter().filter_map(|one| one.fault(project.is_a_job(one.service()))).collect();
    ensure!(faults.is_empty(), "{}", faults.join("; "));
    for name in project.services.keys() {
        ensure!(containers.iter().any(|one| one.service() == *name), "{name} has no container");
    }
    Ok(containers.len())
}

fn takes_orders(project: &Project<'_>) -> Result<Load> {
    let load = project.load(ORDERS, RATE, SEED)?;
    ensure!(load.is_flawless() && load.number("confirmed").is_some_and(|count| count > 0), "orders: {}", load.shown());
    runs_well(project)?;
    Ok(load)
}

/// Of all secrets, what a container of the store can read is its own module's.
fn has_its_own_secrets_only(project: &Project<'_>) -> Result<String> {
    let file = project.secrets.as_ref().context("there are no secrets")?;
    let text = fs::read_to_string(file)?;
    let secrets: BTreeMap<_, _> = text.lines().filter_map(|line| line.split_once('=')).collect();
    let mut seen = Vec::new();
    for container in project.containers()?.iter().filter(|container| container.is_of_the_store()) {
        let mut readable: String = container.environment().map(|line| format!("{line}\n")).collect();
        for (_, folder) in container.mounts().filter(|(target, _)| *target != DATA) {
            readable += &seed_in(Path::new(folder)).with_context(|| format!("the seed of {}", container.service()))?;
        }
        let found = readable_of(&secrets, &readable);
        let strange: Vec<_> = found.iter().filter(|name| !is_of(name, container.service())).collect();
        ensure!(strange.is_empty(), "{} can read {strange:?}", container.service());
        seen.push(format!("{} {}", container.service(), found.len()));
    }
    Ok(format!("of {} secrets each reads its own: {}", secrets.len(), seen.join(", ")))
}

/// Whether a secret is a service's own: it is named after it, or after its role.
fn is_of(secret: &str, service: &str) -> bool {
    let owner = if service == "provision" { "PROVISIONER".to_owned() } else { service.to_uppercase() };
    secret.split('_').any(|word| word == owner)
}

/// The only file there, which only the store's user may read.
fn seed_in(folder: &Path) -> Result<String> {
    let files = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    let [file] = files.as_slice() else { anyhow::bail!("{files:?}, and not one file") };
    let about = fs::metadata(file)?;
    ensure!(
        about.uid() == STORE_USER && about.mode() & 0o777 == 0o400,
        "is of {} with {:o}",
        about.uid(),
        about.mode()
    );
    Ok(fs::read_to_string(file)?)
}

/// The names of those whose value is in a text.
fn readable_of<'a>(secrets: &BTreeMap<&'a str, &str>, text: &str) -> Vec<&'a str> {
    secrets.iter().filter(|(_, value)| text.contains(**value)).map(|(name, _)| *name).collect()
}

/// What keeps the data is started again in the middle of a load. Clients may see errors then; what was accepted is kept.
fn survives(project: &Project<'_>) -> Result<String> {
    let servers: &[&str] = if project.profile == APART { &["nats", "postgres"] } else { &["together"] };
    let load = project.start_load(600, 30, SEED + 1)?;
    sleep(IN_THE_MIDDLE);
    project.compose(&[&["restart"], servers].concat(), LONG)?;
    let load = Load::of(load)?;
    let what = format!("`restart {}` in the middle of a load", servers.join(" "));
    ensure!(load.kept_all() && load.number("accepted").is_some_and(|count| count > 0), "{what}: {}", load.shown());
    eventually(SERVED_WITHIN, || project.is_served())?;
    let after = project.load(100, RATE, SEED + 2)?;
    ensure!(after.is_flawless(), "after {what}: {}", after.shown());
    runs_well(project)?;
    Ok(format!("{what}: {}; afterwards: {}", load.shown(), after.shown()))
}

/// Every process of the store drains.
fn stops(project: &Project<'_>) -> Result<String> {
    let began = Instant::now();
    project.compose(&["stop"], LONG)?;
    let took = began.elapsed().as_secs();
    let containers = project.containers()?;
    let (store, others): (Vec<_>, Vec<_>) = containers.iter().partition(|container| container.is_of_the_store());
    let code = |container: &&super::container::Container| (container.service().to_owned(), container.exit_code());
    let hurt: Vec<_> = store.iter().map(code).filter(|(_, code)| *code != Some(0)).collect();
    ensure!(hurt.is_empty(), "`stop`: these have not drained, by their exit codes: {hurt:?}");
    let others: Vec<_> =
        others.iter().map(|one| format!("{} {}", one.service(), one.exit_code().unwrap_or(-1))).collect();
    Ok(format!(
        "`stop` takes {took} s, and the store drains: {} of its image end with 0; of the others {}",
        store.len(),
        others.join(", ")
    ))
}

/// Started again, it has the orders of before: the same ones are answered, and none is placed.
fn goes_on(project: &Project<'_>) -> Result<String> {
    project.up()?;
    eventually(SERVED_WITHIN, || project.is_served())?;
    let load = project.load(ORDERS, RATE, SEED)?;
    let replayed = load.number("replayed").unwrap_or_default();
    ensure!(
        load.is_flawless() && replayed == u64::from(ORDERS),
        "after `stop` and `up` only {replayed} of {ORDERS} orders are known: {}",
        load.shown()
    );
    runs_well(project)?;
    Ok(format!("`up` once more: all {replayed} orders of before are there, and settled"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_named_after_its_owner() {
        for (secret, service) in [("USER_SEALING_KEY", "user"), ("NATS_SEED_PROVISIONER", "provision")] {
            assert!(is_of(secret, service), "{secret}");
        }
        for (secret, service) in [("POSTGRES_PASSWORD", "order"), ("NATS_SEED_USER", "order"), ("X_ORDER", "edge")] {
            assert!(!is_of(secret, service), "{secret}");
        }
    }

    #[test]
    fn a_secret_is_found_by_its_value() {
        let secrets = BTreeMap::from([("SEED_ORDER", "SUAO"), ("SEED_USER", "SUAU")]);
        assert_eq!(readable_of(&secrets, "URL=nats://x\nSUAO\n"), ["SEED_ORDER"]);
        assert_eq!(readable_of(&secrets, "nothing"), [""; 0]);
    }
}
