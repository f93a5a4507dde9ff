//! What a module has to be allowed on the broker, and nothing more.
//!
//! Rights go by names: a module publishes under its own, reads with consumers of its own, and hears answers below an inbox of
//! its own (NATS authorization; the JetStream API's subjects are those of its reference). Answers to requests of others are
//! not named, because their inboxes are not known: the server's `allow_responses` is for that.

use std::collections::BTreeSet;

use serde::Serialize;

use super::stream;
use crate::protocol::{end_subject, log_read_subject, reader_subject};

/// Subjects with their namespace; `*` and `>` as NATS has them. Sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NatsPermissions {
    pub publish: BTreeSet<String>,
    pub subscribe: BTreeSet<String>,
}

/// What a module does on the bus.
#[derive(Clone, Debug, Default)]
pub struct BusUse<'a> {
    pub module: &'a str,
    /// Its readers, each with the source that it reads.
    pub readers: Vec<(&'a str, &'a str)>,
    /// Requests to other modules, without the namespace.
    pub requests: Vec<&'a str>,
}

// === impl NatsPermissions ===

impl NatsPermissions {
    /// Of one user for these modules, which are one process.
    pub fn of_modules(namespace: &str, modules: &[BusUse<'_>], inbox_prefix: &str) -> Self {
        let mut permissions = Self::default();
        permissions.subscribe.insert(format!("{inbox_prefix}.>"));
        // Micro services answer who they are (ADR-32).
        permissions.subscribe.insert("$SRV.>".to_owned());
        for module in modules {
            permissions.add_module(namespace, module);
        }
        permissions
    }

    /// Of the job that makes streams.
    pub fn of_provisioner(namespace: &str, sources: &[&str], inbox_prefix: &str) -> Self {
        let mut permissions = Self::default();
        permissions.subscribe.insert(format!("{inbox_prefix}.>"));
        for source in sources {
            let stream = stream::name(namespace, source);
            permissions.publish.insert(format!("$JS.API.STREAM.INFO.{stream}"));
            permissions.publish.insert(format!("$JS.API.STREAM.CREATE.{stream}"));
        }
        permissions
    }

    fn add_module(&mut self, namespace: &str, module: &BusUse<'_>) {
        let named = |subject: &str| format!("{namespace}.{subject}");
        let name = module.module;
        let own = stream::name(namespace, name);
        self.publish.extend([
            named(&format!("{name}.evt.>")),
            named(&format!("{name}.cmd.>")),
            named(&end_subject(name)),
            // A replica asks the one that leads.
            named(&format!("{name}.rpc.>")),
            format!("$JS.API.STREAM.INFO.{own}"),
            // Where the relay goes on is looked up in the stream.
            format!("$JS.API.STREAM.MSG.GET.{own}"),
        ]);
        self.subscribe.extend([named(&format!("{name}.rpc.>")), named(&reader_subject(name))]);
        self.publish.extend(module.requests.iter().map(|subject| named(subject)));
        for (reader, source) in &module.readers {
            self.add_reader(namespace, reader, source);
        }
    }

    fn add_reader(&mut self, namespace: &str, reader: &str, source: &str) {
        let stream = stream::name(namespace, source);
        self.publish.extend([
            format!("{namespace}.{}", log_read_subject(source)),
            format!("{namespace}.{}", reader_subject(source)),
            format!("$JS.API.STREAM.INFO.{stream}"),
            format!("$JS.API.STREAM.MSG.GET.{stream}"),
            format!("$JS.API.CONSUMER.CREATE.{stream}.{reader}"),
            format!("$JS.API.CONSUMER.DELETE.{stream}.{reader}"),
            format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{reader}"),
            format!("$JS.ACK.{stream}.{reader}.>"),
        ]);
        self.subscribe.insert(format!("{namespace}.{}", end_subject(source)));
    }
}

/// The configuration of a source's stream, as the JetStream API takes it.
pub fn stream_config(namespace: &str, source: &str, replicas: usize) -> serde_json::Value {
    // Texts and numbers: nothing here can fail.
    serde_json::to_value(stream::config(namespace, source, replicas, None)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_publishes_under_its_own_name_only() {
        let order =
            BusUse { module: "order", readers: vec![("order", "product")], requests: vec!["user.rpc.token_key.v1"] };
        let may = NatsPermissions::of_modules("pangaea", &[order], "_INBOX_order");
        let own = may.publish.iter().filter(|subject| subject.starts_with("pangaea.order."));
        assert_eq!(own.count(), 4);
        let others: Vec<_> =
            may.publish.iter().filter(|one| one.starts_with("pangaea.") && !one.contains(".order.")).collect();
        assert_eq!(
            others,
            ["pangaea.product.reader", "pangaea.product.rpc.log_read.v1", "pangaea.user.rpc.token_key.v1"]
        );
        assert!(
            may.publish.iter().filter(|one| one.contains("CONSUMER")).all(|one| one.contains(".PANGAEA_PRODUCT.order"))
        );
        assert!(!may.publish.iter().any(|one| one.contains("STREAM.CREATE")));
        assert_eq!(may.subscribe.len(), 5, "{:?}", may.subscribe);
    }
}
