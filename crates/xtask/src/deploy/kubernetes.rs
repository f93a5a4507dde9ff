//! Kubernetes out of Go modules: a control plane, and where a check wants one, a node that runs pods.

mod build;
mod control;
mod crds;
mod kubectl;
mod place;

pub(crate) use self::build::{Programs, own as program, programs};
pub(crate) use self::control::{ControlPlane, SERVICES};
pub(crate) use self::crds::{install as install_definitions, install_of as install_definitions_of};
pub(crate) use self::kubectl::Kubectl;
pub(crate) use self::place::{Namespaces, Place};
