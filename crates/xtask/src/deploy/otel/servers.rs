//! The collector, Jaeger and Prometheus as they run during the check; all end with the value that started them.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::build::Programs;
use super::here::{Here, config_of};
use crate::deploy::Context;
use crate::deploy::compose::{self, Services};
use crate::deploy::objects::{container_port, list, number, of_kind, text};
use crate::deploy::promtool::yaml;
use crate::deploy::render;
use crate::deploy::running::Running;
use crate::process::{Signal, tied_to_us};

/// Where a collector tells how it fares; by default to its own machine only, which all of them share here.
pub(super) const OWN_METRICS: u16 = 8888;
/// A key that no program knows.
const UNKNOWN: &str = "no_such_key";
const PROMETHEUS: &str = "prometheus";
const REFUSED_WITHIN: Duration = Duration::from_secs(30);

/// A loopback address for each, so that all keep the ports that they have in a cluster.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hosts {
    pub(super) collector: Ipv4Addr,
    pub(super) jaeger: Ipv4Addr,
    pub(super) prometheus: Ipv4Addr,
}

/// One of them, as it is started here.
#[derive(Debug)]
pub(super) struct Server {
    name: &'static str,
    program: PathBuf,
    words: Vec<String>,
    environment: Vec<(&'static str, String)>,
    /// What shows that it is ready.
    ready: (SocketAddr, String),
    /// Where it listens, too.
    ports: Vec<u16>,
    folder: PathBuf,
}

// === impl Hosts ===

impl Hosts {
    /// Of this process alone: two checks may run at once.
    pub(super) fn of_process(process: u32) -> Self {
        let [.., high, low] = process.to_be_bytes();
        // Neither the first addresses of the loopback, which others use, nor a last part that is 0 or 255.
        let host = |last: u8| Ipv4Addr::new(127, 64 + high % 64, low, last);
        Self { collector: host(2), jaeger: host(3), prometheus: host(4) }
    }
}

// === impl Server ===

impl Server {
    /// All three, with the words of compose.yaml, in the order in which they are to be started.
    ///
    /// # Errors
    /// When a file cannot be read, or lacks what is needed.
    pub(super) fn all(ctx: &Context, programs: &Programs, hosts: Hosts, folder: &Path) -> Result<[Self; 3]> {
        let services = compose::services(ctx)?;
        let plan = Plan { ctx, services, folder };
        let (path, port, ports) = jaegers_manifest(ctx)?;
        let mut jaeger = plan.collector("jaeger", &programs.jaeger, hosts.jaeger, (port, &path))?;
        jaeger.ports = ports;
        // Its pod's own address, and soon, if it should trace itself.
        jaeger.environment = vec![
            ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{}:4317", hosts.jaeger)),
            ("OTEL_BSP_SCHEDULE_DELAY", "100".to_owned()),
        ];
        // The chart's own probe, and those of its ports that platform/otel-collector.yaml leaves open.
        let mut collector = plan.collector("otel-collector", &programs.collector, hosts.collector, (13133, "/"))?;
        collector.ports = vec![4317, 4318];
        collector.environment =
            vec![("JAEGER_HOST", hosts.jaeger.to_string()), ("PROMETHEUS_HOST", hosts.prometheus.to_string())];
        Ok([plan.prometheus(&programs.prometheus, hosts.prometheus)?, jaeger, collector])
    }

    /// # Errors
    /// With its last lines when it does not get ready, or does not listen where it should.
    pub(super) fn start(&self) -> Result<Running> {
        let mut running = self.run(self.name, &self.words)?;
        let (address, path) = &self.ready;
        running.wait_ready(*address, path)?;
        for port in &self.ports {
            running.wait_ready(SocketAddr::from((address.ip(), *port)), "")?;
        }
        Ok(running)
    }

    /// The configuration as it lies in deploy/ is taken, and refused with one key more. Prometheus can only be asked by starting it:
    /// whether it takes its own is seen then.
    ///
    /// # Errors
    /// When it is the other way round.
    pub(super) fn judges(&self) -> Result<String> {
        let file = config_of(&self.words)?.to_owned();
        let mut said = format!("{}: its own program refuses an unknown key", self.name);
        if self.name != PROMETHEUS {
            let (is_taken, complaint) = self.end_of(&["validate".to_owned(), format!("--config={file}")])?;
            ensure!(is_taken, "{}: its own program refuses {file}: {complaint}", self.name);
            said += ", and takes the configuration as it lies there";
        }
        let mut config = yaml(Path::new(&file))?;
        config[UNKNOWN] = 1.into();
        let bad = self.folder.join(format!("{}-bad.yaml", self.name));
        fs::write(&bad, serde_yaml_ng::to_string(&config)?)?;
        let words: Vec<_> = self.words.iter().map(|word| word.replace(&file, &bad.display().to_string())).collect();
        let (is_taken, complaint) = self.end_of(&words)?;
        ensure!(!is_taken && complaint.contains(UNKNOWN), "{}: an unknown key is not refused: {complaint}", self.name);
        Ok(said)
    }

    fn run(&self, name: &str, words: &[String]) -> Result<Running> {
        let mut command = tied_to_us(&self.program, Signal::Term);
        command.args(words).env_clear().envs(self.environment.iter().cloned()).current_dir(&self.folder);
        Running::start(name, &mut command, &self.folder)
    }

    /// Whether it ended well, and what it said.
    fn end_of(&self, words: &[String]) -> Result<(bool, String)> {
        let mut running = self.run(&format!("{}-judged", self.name), words)?;
        let ended = running.wait_end(Instant::now() + REFUSED_WITHIN)?;
        // Who goes on has taken what it was given.
        Ok((ended.is_none_or(|status| status.success()), running.last_lines()))
    }
}

/// What all three are made of.
struct Plan<'a> {
    ctx: &'a Context,
    services: Services,
    folder: &'a Path,
}

// === impl Plan ===

impl Plan<'_> {
    fn service(&self, name: &str, host: Ipv4Addr) -> Result<(&Value, Here)> {
        let service = self.services.get(name).with_context(|| format!("compose.yaml has no service {name}"))?;
        Ok((service, Here::of(service, &self.ctx.root.join("deploy"), self.folder, host)?))
    }

    /// A collector, which Jaeger is as well.
    fn collector(&self, name: &'static str, program: &Path, host: Ipv4Addr, ready: (u16, &str)) -> Result<Server> {
        let (service, here) = self.service(name, host)?;
        let mut words = here.command(service)?;
        let config = yaml(Path::new(config_of(&words)?))?;
        let reader = format!(r#"{{pull: {{exporter: {{prometheus: {{host: "{host}", port: {OWN_METRICS}}}}}}}}}"#);
        words.push(format!("--config=yaml:service::telemetry::metrics::readers: [{reader}]"));
        words.extend(here.options(&config)?);
        println!("mapped: {name}: {}", words.join(" "));
        let ready = (SocketAddr::from((host, ready.0)), ready.1.to_owned());
        Ok(self.server(name, program, words, ready))
    }

    fn prometheus(&self, program: &Path, host: Ipv4Addr) -> Result<Server> {
        let (service, here) = self.service(PROMETHEUS, host)?;
        let mut words = here.command(service)?;
        let file = config_of(&words)?.to_owned();
        // Its rules lie elsewhere, and there is no option for where.
        let copy = self.folder.join("prometheus.yaml");
        fs::write(&copy, serde_yaml_ng::to_string(&here.copy(&yaml(Path::new(&file))?))?)?;
        words.iter_mut().for_each(|word| *word = word.replace(&file, &copy.display().to_string()));
        words.push(format!("--web.listen-address={host}:9090"));
        println!("mapped: {PROMETHEUS}: {}", words.join(" "));
        Ok(self.server(PROMETHEUS, program, words, (SocketAddr::from((host, 9090)), "/-/ready".to_owned())))
    }

    fn server(&self, name: &'static str, program: &Path, words: Vec<String>, ready: (SocketAddr, String)) -> Server {
        let (program, folder) = (program.to_owned(), self.folder.to_owned());
        Server { name, program, words, environment: Vec::new(), ready, ports: Vec::new(), folder }
    }
}

/// Where the manifest's probes ask Jaeger, and all ports of its container.
fn jaegers_manifest(ctx: &Context) -> Result<(String, u16, Vec<u16>)> {
    let file = ctx.root.join("deploy/observability/jaeger/jaeger.yaml");
    let documents = render::documents(&fs::read_to_string(&file).with_context(|| file.display().to_string())?)?;
    let deployment = of_kind(&documents, "Deployment").next().context("jaeger.yaml has no Deployment")?;
    let container = list(deployment, "/spec/template/spec/containers").first().context("jaeger.yaml: no container")?;
    let probe = container.pointer("/readinessProbe/httpGet").context("jaeger.yaml: no readiness probe over HTTP")?;
    let port = container_port(container, &probe["port"]).and_then(|port| port.try_into().ok());
    let port = port.context("jaeger.yaml: the probe's port is none of the container's")?;
    let ports = list(container, "/ports").iter().filter_map(|port| number(port, "/containerPort")?.try_into().ok());
    Ok((text(probe, "/path").to_owned(), port, ports.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_loopback_address_of_its_own() {
        for process in [1, 255, 65_536, u32::MAX] {
            let Hosts { collector, jaeger, prometheus } = Hosts::of_process(process);
            assert!([collector, jaeger, prometheus].iter().all(Ipv4Addr::is_loopback));
            assert!(collector != jaeger && jaeger != prometheus && prometheus != collector);
        }
        assert_ne!(Hosts::of_process(7).jaeger, Hosts::of_process(8).jaeger);
    }
}
