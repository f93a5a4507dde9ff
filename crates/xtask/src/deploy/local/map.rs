//! What has to differ on one machine, in texts: hosts of Services, listening addresses, mounted paths.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Replacements for one pod.
#[derive(Debug, Clone)]
pub(super) struct Map {
    /// Host and port of a Service → local port.
    pub(super) services: BTreeMap<(String, u64), u16>,
    /// Port of the container → local port.
    pub(super) ports: BTreeMap<u64, u16>,
    /// Mounted paths, the longest first, which lie under `root`.
    pub(super) mounts: Vec<String>,
    pub(super) root: PathBuf,
    /// Where nothing listens: in place of hosts that this machine does not have.
    pub(super) nowhere: u16,
}

// === impl Map ===

impl Map {
    /// One argument, or one variable's value.
    pub(super) fn value(&self, text: &str) -> String {
        self.with_paths(&self.with_listen(&self.with_hosts(text)))
    }

    /// `nats://nats:4222,nats://nats` → `nats://127.0.0.1:41001,nats://127.0.0.1:41001`.
    fn with_hosts(&self, text: &str) -> String {
        text.split(',').map(|url| self.with_host(url)).collect::<Vec<_>>().join(",")
    }

    fn with_host(&self, url: &str) -> String {
        let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
        let usual = match scheme.rsplit('=').next() {
            Some("http") => 80,
            Some("https") => 443,
            Some("nats") => 4222,
            Some("postgres" | "postgresql") => 5432,
            // `sqlite://` and the like name no host.
            _ => return url.to_owned(),
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
        let (host, port) = host.rsplit_once(':').unwrap_or((host, ""));
        let port = port.parse().unwrap_or(usual);
        // `nats.pangaea.svc` and `nats-0.nats` are found by what is before, or after, the first dot.
        let mut names = host.split('.').take(2);
        let found = names.find_map(|name| self.services.get(&(name.to_owned(), port)));
        let user = user.map(|user| format!("{user}@")).unwrap_or_default();
        format!("{scheme}://{user}127.0.0.1:{}{path}", found.copied().unwrap_or(self.nowhere))
    }

    /// `0.0.0.0:8080` → `127.0.0.1:41002`, also as `--listen=0.0.0.0:8080`.
    fn with_listen(&self, text: &str) -> String {
        for open in ["0.0.0.0:", "[::]:"] {
            if let Some((before, port)) = text.split_once(open)
                && let Some(local) = port.parse().ok().and_then(|port: u64| self.ports.get(&port))
            {
                return format!("{before}127.0.0.1:{local}");
            }
        }
        text.to_owned()
    }

    /// Mounted paths wherever they stand in a text, as in `sqlite:///data/{module}.db` or a server's configuration.
    pub(super) fn with_paths(&self, text: &str) -> String {
        let mut done = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('/') {
            done.push_str(&rest[..at]);
            rest = &rest[at..];
            let is_start = !done.ends_with(|c: char| c.is_ascii_alphanumeric() || ['.', '-', '_', '}'].contains(&c));
            let mount = self.mounts.iter().find(|mount| is_start && is_prefix(mount, rest));
            match mount {
                Some(mount) => {
                    done.push_str(&self.local(mount).display().to_string());
                    rest = &rest[mount.len()..];
                }
                None => {
                    done.push('/');
                    rest = &rest[1..];
                }
            }
        }
        done + rest
    }

    fn local(&self, mounted: &str) -> PathBuf {
        self.root.join(Path::new(mounted.trim_start_matches('/')))
    }
}

fn is_prefix(mount: &str, text: &str) -> bool {
    let rest = text.strip_prefix(mount);
    rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || ['-', '_', '.'].contains(&c)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_hosts_ports_and_paths_and_nothing_else() {
        let map = Map {
            services: [("nats", 4222, 1), ("provider", 80, 2), ("postgres", 5432, 3)]
                .map(|(host, port, local)| ((host.to_owned(), port), local))
                .into(),
            ports: BTreeMap::from([(8080, 4)]),
            mounts: ["/etc/pangaea/nats", "/data", "/tmp"].map(str::to_owned).to_vec(),
            root: PathBuf::from("/r"),
            nowhere: 9,
        };
        for (given, expected) in [
            ("nats://nats:4222", "nats://127.0.0.1:1"),
            ("nats://nats-0.nats:4222,nats://nats.pangaea.svc", "nats://127.0.0.1:1,nats://127.0.0.1:1"),
            ("http://provider", "http://127.0.0.1:2"),
            ("--to=http://provider/v1", "--to=http://127.0.0.1:2/v1"),
            ("postgres://product:s3/cr@postgres:5432/pangaea", "postgres://127.0.0.1:9/cr@postgres:5432/pangaea"),
            ("postgres://product:s3@postgres/pangaea?a=b", "postgres://product:s3@127.0.0.1:3/pangaea?a=b"),
            ("http://otel-collector.observability:4318", "http://127.0.0.1:9"),
            ("0.0.0.0:8080", "127.0.0.1:4"),
            ("--listen=0.0.0.0:8080", "--listen=127.0.0.1:4"),
            ("0.0.0.0:9999", "0.0.0.0:9999"),
            ("sqlite:///data", "sqlite:///r/data"),
            ("sqlite:/data/{module}.db", "sqlite:/r/data/{module}.db"),
            ("/database", "/database"),
            ("/v1/data", "/v1/data"),
            ("/etc/pangaea/nats/seed", "/r/etc/pangaea/nats/seed"),
            ("[\"product\"]", "[\"product\"]"),
            ("a,b", "a,b"),
        ] {
            assert_eq!(map.value(given), expected, "{given}");
        }
    }
}
