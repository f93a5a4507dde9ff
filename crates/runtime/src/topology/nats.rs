//! What a NATS server has to know of the modules: who may do what, and the streams.

use std::fmt::Write as _;

use pangaea_bus::{BusUse, NatsPermissions, stream_config};
use pangaea_contracts::Message as _;
use pangaea_contracts::user::TokenKeyRequest;
use serde_json::{Value, json};

use super::Topology;

/// Who makes the streams and the tables, beside the modules: a user of the broker and a role of the database.
pub const PROVISIONER: &str = "provisioner";
/// Longer than the longest request waits (a dead letter, 30 s).
const RESPONSES_EXPIRE: &str = "1m";

// === impl Topology ===

impl Topology {
    /// A server's `accounts`, for its configuration to include: an account with a user for each module and one for the
    /// provisioner. The public halves of their nkeys are variables, `$NATS_NKEY_<MODULE>`.
    pub fn to_nats_authorization(&self, namespace: &str) -> String {
        let mut text = String::from(
            "# Who may do what on the broker, from what the modules declare: `pangaea topology --format nats`.\n\
             # A module publishes under its own name, reads with consumers of its own, and hears answers below an inbox of its\n\
             # own (bus.inbox_prefix). The public halves of the nkeys are variables of the server's environment.\n\
             accounts {\n  PANGAEA {\n    jetstream: enabled\n    users: [\n",
        );
        for (user, may) in self.nats_users(namespace) {
            let list = |subjects: &std::collections::BTreeSet<String>| {
                subjects.iter().map(|subject| format!("\n            {subject:?}")).collect::<Vec<_>>().join(",")
            };
            let _ = writeln!(
                text,
                "      {{\n        nkey: $NATS_NKEY_{}\n        permissions: {{\n          publish: {{ allow: [{}\n          ] }}\n          \
                 subscribe: {{ allow: [{}\n          ] }}\n          allow_responses: {{ max: 1, expires: {RESPONSES_EXPIRE:?} }}\n        \
                 }}\n      }}",
                user.to_uppercase(),
                list(&may.publish),
                list(&may.subscribe),
            );
        }
        text.push_str("    ]\n  }\n}\n");
        text
    }

    /// The same rights as JSON, with the streams and consumers: what tools read.
    pub fn to_nats_json(&self, namespace: &str, stream_replicas: usize) -> Value {
        let users: serde_json::Map<_, _> =
            self.nats_users(namespace).into_iter().map(|(user, may)| (user, json!(may))).collect();
        let streams: Vec<_> =
            self.modules.iter().map(|module| stream_config(namespace, &module.name, stream_replicas)).collect();
        let readers: Vec<_> = self
            .edges
            .iter()
            .map(|edge| json!({ "module": edge.module, "source": edge.source, "consumer": edge.reader }))
            .collect();
        json!({ "namespace": namespace, "users": users, "streams": streams, "consumers": readers })
    }

    /// Each user with its rights: the modules by name, then the provisioner.
    pub fn nats_users(&self, namespace: &str) -> Vec<(String, NatsPermissions)> {
        let mut users = Vec::new();
        for module in &self.modules {
            let own = self.edges.iter().filter(|edge| edge.module == module.name);
            let bus_use = BusUse {
                module: &module.name,
                readers: own.map(|edge| (edge.reader.as_str(), edge.source.as_str())).collect(),
                // Every edge that checks tokens asks for a key that it does not know yet.
                requests: vec![TokenKeyRequest::SUBJECT],
            };
            let may = NatsPermissions::of_modules(namespace, &[bus_use], &inbox_prefix(&module.name));
            users.push((module.name.clone(), may));
        }
        let sources: Vec<&str> = self.modules.iter().map(|module| module.name.as_str()).collect();
        let may = NatsPermissions::of_provisioner(namespace, &sources, &inbox_prefix(PROVISIONER));
        users.push((PROVISIONER.to_owned(), may));
        users
    }
}

/// What `bus.inbox_prefix` has to be for this user.
fn inbox_prefix(user: &str) -> String {
    format!("_INBOX_{user}")
}
