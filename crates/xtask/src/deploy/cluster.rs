//! A whole cluster on this machine, and in it the store, by the commands of deploy/README.md for Minikube: a real control plane,
//! kubelet, containerd and kube-proxy, network policies that are enforced, and Envoy Gateway out of its own chart.
//!
//! Everything runs in namespaces of its own, which change nothing of this machine and end with the check. No registry of images
//! can be reached from there: the store's image is the Dockerfile's, and under the names of others stand the same programs, built
//! of Go modules or taken from Debian and PyPI. All of it is built once, which takes long, so this check is run by name.

use std::fs;

use anyhow::{Context as _, Result};

pub(crate) use self::istio::check as check_istio;

use self::images::Images;
use self::node::Node;
use self::programs::Programs;
use super::render::render;
use super::running::Folder;
use super::{Context, Outcome};

mod gateway;
mod images;
mod istio;
mod node;
mod platform;
mod programs;
mod store;
mod trials;

/// Every module apart, behind a gateway; and all of it in one process.
const APART: &str = "minikube-apart";
const TOGETHER: &str = "minikube-together";

/// # Errors
/// When something that is there does not start.
pub(crate) fn check(ctx: &Context) -> Result<Outcome> {
    checked("cluster", Programs::find(ctx), |programs, outcome| {
        let folder = Folder::make("cluster")?;
        let images = Images { programs, folder: folder.path() };
        let mut node = open(ctx, &images, &[APART, TOGETHER], &[])?;
        gateway::install(ctx, &node, programs, folder.path())?;
        platform::install_metrics(&node, programs)?;
        tried(&mut node, outcome, |node, outcome| trials::all(ctx, node, programs, outcome))
    })
}

/// What cannot be had is told as missing, which is no error.
fn checked<P>(name: &str, programs: Result<P>, check: impl FnOnce(&P, &mut Outcome) -> Result<()>) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    match programs {
        Ok(programs) => check(&programs, &mut outcome)?,
        Err(error) => outcome.missing.push((name.to_owned(), format!("{error:#}"))),
    }
    Ok(outcome)
}

/// A node with the platform on it, and with the images of these overlays and more of them.
fn open(ctx: &Context, images: &Images<'_>, overlays: &[&str], more: &[&str]) -> Result<Node> {
    let dockerfile = fs::read_to_string(ctx.root.join("deploy/Dockerfile")).context("deploy/Dockerfile")?;
    let documents = overlays.iter().map(|overlay| render(ctx, overlay)).collect::<Result<Vec<_>>>()?.concat();
    let mut node = Node::start(images.programs)?;
    images.of_platform(&mut node)?;
    images.of_store(&dockerfile, &documents, more, &mut node)?;
    platform::install(&mut node, images.programs)?;
    Ok(node)
}

/// Runs trials. Where one fails, what the node said last is printed.
fn tried(node: &mut Node, outcome: &mut Outcome, trials: impl FnOnce(&Node, &mut Outcome) -> Result<()>) -> Result<()> {
    if let Err(error) = trials(node, outcome) {
        println!("{}", node.told());
        outcome.failed.push(format!("{error:#}"));
    }
    Ok(())
}
