//! Images for a node that reaches no registry.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use serde_json::{Value, json};

use super::node::Node;
use super::programs::Programs;
use crate::deploy::image;
use crate::deploy::objects::{text, workloads};
use crate::deploy::versions::ENVOY_GATEWAY;
use crate::workspace;

/// What containerd starts for each pod, to hold its network.
pub(super) const PAUSE: &str = "registry.k8s.io/pause:3.10.1";
/// A shell and a few programs, from which something can be tried.
pub(super) const TOOLS: &str = "docker.io/library/tools:check";
pub(super) const COREDNS: &str = "docker.io/library/coredns:check";
/// Envoy Gateway names a digest otherwise, which no stand-in can have.
pub(super) const ENVOY: &str = "docker.io/envoyproxy/envoy:check";
pub(super) const METRICS_SERVER: &str = "docker.io/library/metrics-server";
const TRAEFIK: &str = "docker.io/library/traefik:check";
pub(super) const TAG: &str = "check";
/// Long enough for a check.
const SLEEP: [&str; 3] = ["/bin/busybox", "sleep", "2147483647"];

/// Makes images of programs of this machine, and gives them to the node.
#[derive(Debug)]
pub(super) struct Images<'a> {
    pub(super) programs: &'a Programs,
    pub(super) folder: &'a Path,
}

// === impl Images ===

impl Images<'_> {
    /// Those of the platform.
    ///
    /// # Errors
    /// When one cannot be made or loaded.
    pub(super) fn of_platform(&self, node: &mut Node) -> Result<()> {
        let Programs { busybox, coredns, envoy, envoy_gateway, .. } = self.programs;
        for name in [PAUSE, TOOLS] {
            let root = self.root(name, &[("bin/busybox", busybox)])?;
            self.load(node, name, &root, &json!({ "Entrypoint": SLEEP, "Env": ["PATH=/bin"] }))?;
        }
        let root = self.root(COREDNS, &[("coredns", coredns)])?;
        self.load(node, COREDNS, &root, &json!({ "Entrypoint": ["/coredns"] }))?;
        for (name, at, program) in [
            (format!("{METRICS_SERVER}:{TAG}"), "metrics-server", &self.programs.metrics_server),
            (TRAEFIK.to_owned(), "traefik", &self.programs.traefik),
        ] {
            let root = self.root(&name, &[(at, program)])?;
            self.load(node, &name, &root, &json!({ "Entrypoint": [format!("/{at}")] }))?;
        }
        let gateway = gateway_image();
        let root = self.root(&gateway, &[("usr/local/bin/envoy-gateway", envoy_gateway)])?;
        let config = json!({ "Entrypoint": ["/usr/local/bin/envoy-gateway"], "User": "65532:65532" });
        self.load(node, &gateway, &root, &config)?;
        let root = self.root(ENVOY, &[("usr/local/bin/envoy", envoy)])?;
        self.load(
            node,
            ENVOY,
            &root,
            &json!({ "Entrypoint": ["/usr/local/bin/envoy"], "Env": ["PATH=/usr/local/bin"] }),
        )
    }

    /// All that these manifests name.
    ///
    /// # Errors
    /// When they name one that nothing here stands in for.
    pub(super) fn of_store(&self, dockerfile: &str, documents: &[Value], node: &mut Node) -> Result<()> {
        let workloads = workloads(documents);
        let names = workloads.iter().flat_map(|workload| workload.all_containers());
        let names: BTreeSet<_> = names.map(|container| text(container, "/image")).collect();
        for name in names {
            let full = format!("docker.io/library/{name}");
            match name.split(':').next().unwrap_or(name) {
                "pangaea" => {
                    let root = self.folder.join("pangaea");
                    image::assemble(&self.programs.store, &root)?;
                    self.load(node, &full, &root, &config_of(dockerfile)?)?;
                }
                "nats" => {
                    let root = self.root(name, &[("usr/local/bin/nats-server", &self.programs.nats)])?;
                    self.load(node, &full, &root, &json!({ "Entrypoint": ["/usr/local/bin/nats-server"] }))?;
                }
                "postgres" => self.load(node, &full, &self.postgres()?, &postgres_config(&self.programs.postgres))?,
                _ => bail!("nothing stands in for the image {name}"),
            }
        }
        Ok(())
    }

    /// A root with these programs, each with the libraries that it is linked to.
    pub(super) fn root(&self, name: &str, programs: &[(&str, &PathBuf)]) -> Result<PathBuf> {
        let root = self.folder.join(name.replace(['/', ':'], "-"));
        let temporary = root.join("tmp");
        fs::create_dir_all(&temporary)?;
        fs::set_permissions(&temporary, fs::Permissions::from_mode(0o1777))?;
        for (at, program) in programs {
            copy(program, &root.join(at))?;
            copy_libraries(program, None, &root)?;
        }
        Ok(root)
    }

    /// The server that the tests use, as Debian lays it out, behind a start like that of the image whose name it bears.
    fn postgres(&self) -> Result<PathBuf> {
        let root = self.root("postgres", &[("bin/busybox", &self.programs.busybox)])?;
        for name in ["sh", "rm", "cat"] {
            symlink("busybox", root.join("bin").join(name))?;
        }
        let postgres = &self.programs.postgres;
        let (version, prefix) = debian_layout(postgres.bin())?;
        for part in ["lib", "share"] {
            let place = root.join("usr").join(part).join("postgresql");
            fs::create_dir_all(&place)?;
            let from = prefix.join(part).join("postgresql").join(version);
            workspace::run(Command::new("cp").arg("--recursive").arg("--dereference").arg(from).arg(&place))?;
        }
        for name in ["postgres", "initdb", "psql", "pg_ctl", "pg_isready"] {
            copy_libraries(&postgres.bin().join(name), postgres.libraries(), &root)?;
        }
        // Debian's PostgreSQL reads the system's time zones.
        let zones = root.join("usr/share/zoneinfo");
        fs::create_dir_all(&zones)?;
        let from = ["/usr/share/zoneinfo/UTC", "/usr/share/zoneinfo/Etc"];
        workspace::run(Command::new("cp").arg("--recursive").arg("--dereference").args(from).arg(&zones))?;
        for (name, line) in [("passwd", "postgres:x:70:70::/:/bin/sh\n"), ("group", "postgres:x:70:\n")] {
            fs::create_dir_all(root.join("etc"))?;
            fs::write(root.join("etc").join(name), line)?;
        }
        let entrypoint = root.join("bin/entrypoint");
        fs::write(&entrypoint, include_str!("postgres-entrypoint.sh"))?;
        fs::set_permissions(&entrypoint, fs::Permissions::from_mode(0o755))?;
        Ok(root)
    }

    /// As `docker save` writes it: one layer, its configuration, and a list of both.
    pub(super) fn load(&self, node: &mut Node, name: &str, root: &Path, config: &Value) -> Result<()> {
        let place = self.folder.join("archive");
        fs::create_dir_all(&place)?;
        let tar = |archive: &str, from: &Path, what: &[&str]| {
            workspace::run(
                Command::new("tar")
                    .arg("--create")
                    .arg("--file")
                    .arg(place.join(archive))
                    .arg("-C")
                    .arg(from)
                    .args(what),
            )
        };
        tar("layer.tar", root, &["."])?;
        let sum = Command::new("sha256sum").arg(place.join("layer.tar")).output()?;
        let sum = String::from_utf8_lossy(&sum.stdout).split_whitespace().next().map(str::to_owned);
        let layer = format!("sha256:{}", sum.context("sha256sum says nothing")?);
        let about = json!({
            "architecture": architecture(), "os": "linux", "config": config,
            "rootfs": { "type": "layers", "diff_ids": [layer] },
        });
        fs::write(place.join("config.json"), about.to_string())?;
        let manifest = json!([{ "Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"] }]);
        fs::write(place.join("manifest.json"), manifest.to_string())?;
        tar("image.tar", &place, &["manifest.json", "config.json", "layer.tar"])?;
        node.load(&place.join("image.tar")).with_context(|| name.to_owned())?;
        fs::remove_dir_all(&place)?;
        // The node has its own copy.
        Ok(fs::remove_dir_all(root)?)
    }
}

/// This machine's, as images name it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

pub(super) fn gateway_image() -> String {
    format!("docker.io/envoyproxy/gateway:{ENVOY_GATEWAY}")
}

fn postgres_config(postgres: &crate::tools::Postgres) -> Value {
    let version = debian_layout(postgres.bin()).map(|(version, _)| version).unwrap_or_default();
    let path = format!("PATH=/usr/lib/postgresql/{version}/bin:/bin");
    // Libraries lie where they lay on this machine.
    let libraries = postgres.libraries().map(|folders| format!("LD_LIBRARY_PATH={folders}"));
    let env: Vec<_> = [path].into_iter().chain(libraries).collect();
    // SIGTERM would have the server wait until the last client is gone.
    json!({ "Entrypoint": ["/bin/entrypoint"], "Env": env, "StopSignal": "SIGINT" })
}

/// `15` and `/usr` of `/usr/lib/postgresql/15/bin`.
fn debian_layout(bin: &Path) -> Result<(&str, &Path)> {
    let version = bin.parent().and_then(|folder| folder.file_name()?.to_str());
    let prefix = bin.ancestors().nth(4).filter(|prefix| bin.starts_with(prefix.join("lib/postgresql")));
    version.zip(prefix).ok_or_else(|| anyhow!("{} is not where Debian puts PostgreSQL", bin.display()))
}

fn copy(file: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to.parent().context("a file has a folder")?)?;
    fs::copy(file, to).with_context(|| file.display().to_string())?;
    Ok(())
}

/// Copies what `ldd` lists to where it is on this machine. A static program has nothing.
fn copy_libraries(program: &Path, libraries: Option<&str>, root: &Path) -> Result<()> {
    let mut ldd = Command::new("ldd");
    if let Some(libraries) = libraries {
        ldd.env("LD_LIBRARY_PATH", libraries);
    }
    let output = ldd.arg(program).output()?;
    for library in listed(&String::from_utf8_lossy(&output.stdout)) {
        copy(Path::new(library), &root.join(library.trim_start_matches('/')))?;
    }
    Ok(())
}

/// The paths of lines as `libm.so.6 => /lib/libm.so.6 (0x7f…)` and `/lib64/ld-linux-x86-64.so.2 (0x7f…)`.
fn listed(ldd: &str) -> impl Iterator<Item = &str> {
    ldd.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
}

/// What the Dockerfile's last stage says of how its image is run.
fn config_of(dockerfile: &str) -> Result<Value> {
    let at = dockerfile.rfind("\nFROM scratch\n").context("deploy/Dockerfile: the last stage is not FROM scratch")?;
    let stage = dockerfile[at..].replace("\\\n", " ");
    let mut config = json!({});
    for (word, rest) in stage.lines().filter_map(|line| line.split_once(' ')) {
        let list = || serde_json::from_str::<Value>(rest).with_context(|| format!("deploy/Dockerfile: {word} {rest}"));
        match word {
            "USER" => config["User"] = rest.trim().into(),
            "ENTRYPOINT" => config["Entrypoint"] = list()?,
            "CMD" => config["Cmd"] = list()?,
            "ENV" => config["Env"] = rest.split_whitespace().collect::<Vec<_>>().into(),
            "VOLUME" => config["Volumes"][rest.trim()] = json!({}),
            _ => {}
        }
    }
    ensure!(config["User"].is_string() && config["Entrypoint"].is_array(), "deploy/Dockerfile: no USER or ENTRYPOINT");
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dockerfile_says_how_its_image_is_run() {
        let file = fs::read_to_string(workspace::root().join("deploy/Dockerfile")).unwrap();
        let config = config_of(&file).unwrap();
        assert_eq!(config["Entrypoint"], json!(["/pangaea"]));
        assert_eq!(config["User"], "65532:65532");
        assert!(config["Env"].as_array().unwrap().contains(&json!("PANGAEA__HTTP__LISTEN=0.0.0.0:8080")), "{config}");
        assert!(config_of("FROM scratch\n").is_err());
    }

    #[test]
    fn libraries_are_read_from_what_ldd_says() {
        let said =
            "\tlinux-vdso.so.1 (0x00007f)\n\tlibm.so.6 => /lib/x/libm.so.6 (0x00007f)\n\t/lib64/ld.so.2 (0x00007f)\n";
        assert_eq!(listed(said).collect::<Vec<_>>(), ["/lib/x/libm.so.6", "/lib64/ld.so.2"]);
        assert_eq!(listed("\tnot a dynamic executable\n").count(), 0);
    }

    #[test]
    fn debians_layout_has_a_version_and_a_prefix() {
        let (version, prefix) = debian_layout(Path::new("/x/usr/lib/postgresql/15/bin")).unwrap();
        assert_eq!((version, prefix), ("15", Path::new("/x/usr")));
        assert!(debian_layout(Path::new("/usr/local/bin")).is_err());
    }
}
