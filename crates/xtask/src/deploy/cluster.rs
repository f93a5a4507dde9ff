//! A whole cluster on this machine, and in it the store, by the commands of deploy/README.md for Minikube: a real control plane,
//! kubelet, containerd and kube-proxy, network policies that are enforced, and Envoy Gateway out of its own chart.
//!
//! Everything runs in namespaces of its own, which change nothing of this machine and end with the check. No registry of images
//! can be reached from there: the store's image is the Dockerfile's, and under the names of others stand the same programs, built
//! of Go modules or taken from Debian and PyPI. All of it is built once, which takes long, so this check is run by name.

use std::fs;

use anyhow::{Context as _, Result};

use self::images::Images;
use self::node::Node;
use self::programs::Programs;
use super::render::render;
use super::running::Folder;
use super::{Context, Outcome};

mod gateway;
mod images;
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
    let mut outcome = Outcome::default();
    let programs = match Programs::find(ctx) {
        Ok(programs) => programs,
        Err(error) => {
            outcome.missing.push(("cluster".to_owned(), format!("{error:#}")));
            return Ok(outcome);
        }
    };
    let dockerfile = fs::read_to_string(ctx.root.join("deploy/Dockerfile")).context("deploy/Dockerfile")?;
    let folder = Folder::make("cluster")?;
    let images = Images { programs: &programs, folder: folder.path() };
    let mut node = Node::start(&programs)?;
    images.of_platform(&mut node)?;
    images.of_store(&dockerfile, &[render(ctx, APART)?, render(ctx, TOGETHER)?].concat(), &mut node)?;
    platform::install(&mut node, &programs)?;
    gateway::install(ctx, &node, &programs, folder.path())?;
    if let Err(error) = trials::all(ctx, &node, &programs, &mut outcome) {
        println!("{}", node.told());
        outcome.failed.push(format!("{error:#}"));
    }
    Ok(outcome)
}
