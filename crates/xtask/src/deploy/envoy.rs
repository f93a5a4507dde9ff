//! A real Envoy with the manifests' own routes, before stubs that count and before the real store.
//!
//! The routes are read from the rendered overlays and translated by code, so that a change of a manifest is tried and not a
//! copy of it. What Istio, Envoy Gateway and Linkerd make of the same objects is their own; this shows that the objects say
//! what they should.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use self::manifests::Manifests;
use self::model::Traffic;
use self::processes::Store;
use self::trials::Bench;
use super::facts::Facts;
use super::running::Folder;
use super::{Context, Outcome};
use crate::tools;

mod bootstrap;
mod gateway_api;
mod http;
mod install;
mod istio;
mod manifests;
mod model;
mod policies;
mod processes;
mod store_trials;
mod trials;

/// What the check needs and has found.
struct Programs {
    envoy: PathBuf,
    pangaea: PathBuf,
    nats: PathBuf,
    /// The names of all modules.
    modules: Vec<String>,
}

/// What the overlays say.
struct Overlays {
    gateway_api: Traffic,
    istio: Traffic,
    istio_canary: Traffic,
    linkerd_canary: Traffic,
}

/// The program.
///
/// # Errors
/// When there is none and none can be installed.
pub(crate) fn program(ctx: &Context) -> Result<PathBuf> {
    Ok(install::find_or_install(&ctx.tools)?.0)
}

/// Runs every trial; one that fails does not keep the others from running.
///
/// # Errors
/// When not even a folder can be made for them.
pub(crate) fn check(ctx: &Context) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let modules = Facts::read(ctx)?.modules.into_iter().map(|module| module.name).collect();
    let Some(programs) = find(ctx, modules, &mut outcome) else { return Ok(outcome) };
    let folder = Folder::make("envoy")?;
    match Overlays::read(ctx) {
        Ok(overlays) => try_all(&programs, &overlays, folder.path(), &mut outcome),
        Err(error) => outcome.failed.push(format!("the overlays cannot be tried: {error:#}")),
    }
    Ok(outcome)
}

fn find(ctx: &Context, modules: Vec<String>, outcome: &mut Outcome) -> Option<Programs> {
    let mut keep = |name: &str, found: Result<PathBuf>| {
        found.inspect_err(|error| outcome.missing.push((name.to_owned(), format!("{error:#}")))).ok()
    };
    let envoy = install::find_or_install(&ctx.tools).map(|(path, version)| {
        println!("envoy: {} ({version})", path.display());
        path
    });
    let envoy = keep("envoy", envoy);
    let nats = keep("nats-server", tools::nats_server());
    Some(Programs { envoy: envoy?, pangaea: ctx.program.clone(), nats: nats?, modules })
}

fn try_all(programs: &Programs, overlays: &Overlays, folder: &Path, outcome: &mut Outcome) {
    let bench = Bench { envoy: &programs.envoy, folder, modules: &programs.modules };
    let mut note = |place: &str, result: Result<Vec<String>>| match result {
        Ok(said) => outcome.passed.extend(said.into_iter().map(|line| format!("{place}: {line}"))),
        Err(error) => outcome.failed.push(format!("{place}: {error:#}")),
    };
    note("minikube-apart, minikube-istio", overlays.same_paths(&programs.modules));
    let plain = overlays.istio.clone().without_tokens();
    let mut signed = None;
    let store = Store::start(&programs.pangaea, &programs.nats, &programs.modules, folder);
    match &store {
        Ok(store) => {
            // First, because the token has to end before the last trial.
            let tried = store_trials::tokens(bench, &overlays.istio, store);
            note("minikube-istio", tried.map(|(token, said)| (signed = Some(token), said).1));
            let one = |result: Result<String>| result.map(|line| vec![line]);
            note("minikube-apart", one(store_trials::routing(bench, "routing", &overlays.gateway_api, store)));
            note("minikube-istio", one(store_trials::routing(bench, "routing-istio", &plain, store)));
        }
        Err(error) => note("the store", Err(anyhow::anyhow!("{error:#}"))),
    }
    let one = |result: Result<String>| result.map(|line| vec![line]);
    let canary = overlays.istio_canary.clone().without_tokens();
    note("minikube-istio-canary", one(trials::canary(bench, "canary-istio", &canary)));
    note("minikube-linkerd-canary", one(trials::canary(bench, "canary-linkerd", &overlays.linkerd_canary)));
    note("minikube-istio", trials::tries(bench, "tries", &plain));
    note("minikube-istio-canary", trials::tries(bench, "tries-canary", &canary));
    note("minikube-istio", one(trials::ejection(bench, "ejection", &plain)));
    if let Some(signed) = &signed {
        note("minikube-istio", one(store_trials::expiry(signed)));
        note("minikube-istio", one(store_trials::connections_kept(signed)));
    }
}

// === impl Overlays ===

impl Overlays {
    fn read(ctx: &Context) -> Result<Self> {
        let read = |name: &str| Manifests::of(ctx, name);
        let gateway_api = |name: &str| gateway_api::traffic(&read(name)?).with_context(|| format!("overlay {name}"));
        let istio = |name: &str| istio::traffic(&read(name)?).with_context(|| format!("overlay {name}"));
        Ok(Self {
            gateway_api: gateway_api("minikube-apart")?,
            istio: istio("minikube-istio")?,
            istio_canary: istio("minikube-istio-canary")?,
            linkerd_canary: gateway_api("minikube-linkerd-canary")?,
        })
    }

    /// The way in that is written by hand for Istio has the paths that the modules declare.
    fn same_paths(&self, modules: &[String]) -> Result<Vec<String>> {
        let (declared, by_hand) = (self.gateway_api.prefixes(), self.istio.prefixes());
        let lost = modules.iter().find(|module| !declared.contains_key(module.as_str()));
        ensure!(lost.is_none(), "deploy/generated/routes has none of the module {}", lost.map_or("", String::as_str));
        ensure!(
            declared == by_hand,
            "components/mesh-istio/gateway.yaml leads {by_hand:?}, deploy/generated/routes leads {declared:?}: make them equal"
        );
        Ok(vec!["the same paths lead to the same modules".to_owned()])
    }
}
