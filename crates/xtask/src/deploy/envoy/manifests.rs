//! Rendered overlays, read.

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::deploy::{Context, render};

/// The objects of one overlay.
#[derive(Debug)]
pub(crate) struct Manifests {
    objects: Vec<Value>,
}

// === impl Manifests ===

impl Manifests {
    /// # Errors
    /// When the overlay does not render.
    pub(crate) fn of(ctx: &Context, overlay: &str) -> Result<Self> {
        Ok(Self { objects: render::render(ctx, overlay)? })
    }

    /// # Errors
    /// When a document is no YAML.
    #[cfg(test)]
    pub(crate) fn parse(text: &str) -> Result<Self> {
        Ok(Self { objects: render::documents(text)? })
    }

    /// Objects of a kind, in the order of the rendering. The group of what is Kubernetes' own is empty.
    pub(crate) fn of_kind(&self, group: &str, kind: &str) -> std::vec::IntoIter<&Value> {
        let found = self.objects.iter().filter(|object| group_of(object) == group && object["kind"] == kind);
        found.collect::<Vec<_>>().into_iter()
    }

    /// # Errors
    /// When there is none of that name.
    pub(crate) fn named(&self, group: &str, kind: &str, name: &str) -> Result<&Value> {
        let found = self.of_kind(group, kind).find(|object| name_of(object) == name);
        found.with_context(|| format!("there is no {kind} {name}"))
    }
}

pub(crate) fn name_of(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

fn group_of(object: &Value) -> &str {
    object["apiVersion"].as_str().and_then(|version| version.split_once('/')).map_or("", |(group, _)| group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_objects_by_group_kind_and_name() {
        let text = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n---\n---\n\
            apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: b}\n---\n\
            apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: c}\n";
        let manifests = Manifests::parse(text).unwrap();
        assert_eq!(name_of(manifests.named("", "Service", "a").unwrap()), "a");
        let gateways: Vec<_> = manifests.of_kind("networking.istio.io", "Gateway").map(name_of).collect();
        assert_eq!(gateways, ["b"]);
        assert!(manifests.named("", "Service", "b").unwrap_err().to_string().contains("no Service b"));
        assert!(Manifests::parse("a: [").is_err());
    }
}
