//! Istio's own programs, built of its module.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::deploy::cluster::programs::Programs;
use crate::deploy::gotool::{self, GO, Recipe};
use crate::deploy::{Context, versions};
use crate::workspace;

const MODULE: &str = "istio.io/istio";
/// In its source, what needs a module that is in no registry.
const UNAVAILABLE: &str = "github.com/agentgateway/agentgateway/api";
const REPLACED: &str = "pilot/pkg/config/kube/agentgateway";
/// What the release names lies between releases of its own and is not kept anywhere; these are the nearest that are.
const NEAREST: [(&str, &str); 4] = [
    ("github.com/envoyproxy/go-control-plane/contrib", "v1.36.1-0.20260713214202-ca8ce173c36f"),
    ("github.com/envoyproxy/go-control-plane/envoy", "v1.39.0"),
    ("istio.io/api", "v1.30.8"),
    ("istio.io/client-go", "v1.30.8"),
];

#[derive(Debug)]
pub(super) struct Istio {
    pub(super) cluster: Programs,
    /// The unpacked module, in which the charts are.
    pub(super) source: PathBuf,
    /// istiod.
    pub(super) discovery: PathBuf,
    /// Starts Envoy beside a pod, and fetches its certificates.
    pub(super) agent: PathBuf,
    /// Puts the next one on a node.
    pub(super) installer: PathBuf,
    /// Leads a new pod's connections through its sidecar.
    pub(super) plugin: PathBuf,
}

// === impl Istio ===

impl Istio {
    /// Finds all, or builds them.
    ///
    /// # Errors
    /// With the name of the first that cannot be had.
    pub(super) fn find(ctx: &Context) -> Result<Self> {
        let cluster = Programs::find(ctx)?;
        let source = source(ctx)?;
        let recipe = Recipe { folder: format!("istio-{}", versions::ISTIO), go_mod: go_mod(&source), main_go: None };
        let build = |package: &str| {
            let name = package.rsplit('/').next().unwrap_or(package);
            recipe.build(ctx, name, &format!("{MODULE}/{package}"), &["-ldflags", "-s -w"])
        };
        Ok(Self {
            cluster,
            discovery: build("pilot/cmd/pilot-discovery")?,
            agent: build("pilot/cmd/pilot-agent")?,
            installer: build("cni/cmd/install-cni")?,
            plugin: build("cni/cmd/istio-cni")?,
            source,
        })
    }
}

/// A copy of the module without what cannot be built. Go allows no change of a module where it keeps it.
fn source(ctx: &Context) -> Result<PathBuf> {
    let folder = ctx.tools.join(format!("istio-source-{}", versions::ISTIO));
    if folder.is_dir() {
        return Ok(folder);
    }
    let made = folder.with_extension("part");
    if made.exists() {
        fs::remove_dir_all(&made)?;
    }
    let module = gotool::module(ctx, MODULE, versions::ISTIO)?;
    workspace::run(Command::new("cp").arg("--recursive").arg(module).arg(&made))?;
    let replaced = made.join(REPLACED);
    fs::remove_dir_all(&replaced).with_context(|| format!("{MODULE} has no {REPLACED}"))?;
    fs::create_dir(&replaced)?;
    fs::write(replaced.join("absent.go"), include_str!("agentgateway.go"))?;
    let go_mod = fs::read_to_string(made.join("go.mod"))?;
    let rest: Vec<_> = go_mod.lines().filter(|line| !line.contains(UNAVAILABLE)).collect();
    fs::write(made.join("go.mod"), rest.join("\n"))?;
    fs::rename(&made, &folder)?;
    Ok(folder)
}

fn go_mod(source: &Path) -> String {
    let replace: String =
        NEAREST.iter().map(|(module, version)| format!("replace {module} => {module} {version}\n")).collect();
    format!(
        "module pangaea.example/istio\n\ngo {GO}\n\nrequire {MODULE} v0.0.0\n\nreplace {MODULE} => {}\n{replace}",
        source.display()
    )
}
