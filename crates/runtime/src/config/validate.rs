//! What the types cannot say: bounds, and keys that do not go together.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::ops::RangeInclusive;

use super::error::Fault;
use super::redact::redacted_url;
use super::shape::edit_distance;
use super::{BusConfig, BusKind, Config, ConfigError, DatabaseConfig, HttpConfig, TelemetryConfig};
use crate::admission::LAG_MIN;

const DURATION_MS: RangeInclusive<u64> = 1..=600_000;
const BACKOFF_MS_MAX: u64 = 3_600_000;
const NAMESPACE_BYTES_MAX: usize = 32;
const MODULE_NAME_BYTES_MAX: usize = 40;
const TRUSTED_PROXIES_MAX: usize = 100;

/// Everything that is wrong, in the order of the file.
pub(super) fn faults(config: &Config, origins: &BTreeMap<String, String>) -> Vec<Fault> {
    let mut faults = Faults { origins, found: Vec::new() };
    faults.runtime(config);
    faults.http(&config.http);
    faults.listeners(config);
    faults.bus(&config.bus);
    faults.database(&config.database);
    faults.replicas(config);
    faults.work(config);
    faults.telemetry(&config.telemetry);
    faults.found
}

struct Faults<'a> {
    origins: &'a BTreeMap<String, String>,
    found: Vec<Fault>,
}

// === impl Faults ===

impl Faults<'_> {
    fn add(&mut self, key: &str, detail: impl Into<String>) {
        self.found.push(Fault { key: key.to_owned(), origin: self.origins.get(key).cloned(), detail: detail.into() });
    }

    fn within<T: PartialOrd + Display>(&mut self, key: &str, value: T, bounds: RangeInclusive<T>) {
        if !bounds.contains(&value) {
            self.add(key, format!("{value} is out of bounds: write {} to {}", bounds.start(), bounds.end()));
        }
    }

    fn runtime(&mut self, config: &Config) {
        let runtime = &config.runtime;
        self.within("runtime.drain_timeout_ms", runtime.drain_timeout_ms, 0..=*DURATION_MS.end());
        self.within("runtime.replicas", runtime.replicas, 1..=100);
        if runtime.modules.iter().any(|name| name == "*") && runtime.modules.len() > 1 {
            self.add("runtime.modules", "\"*\" means all modules: leave out the other names, or the star");
        }
        let mut seen = BTreeSet::new();
        for name in runtime.modules.iter().filter(|name| *name != "*") {
            if !is_name(name, MODULE_NAME_BYTES_MAX) {
                self.add(
                    "runtime.modules",
                    format!("{name:?} is not a module's name: lower-case letters, digits and _"),
                );
            } else if !seen.insert(name) {
                self.add("runtime.modules", format!("{name} is named twice"));
            }
        }
    }

    fn http(&mut self, http: &HttpConfig) {
        self.within("http.idle_timeout_ms", http.idle_timeout_ms, 1..=86_400_000);
        self.within("http.header_timeout_ms", http.header_timeout_ms, DURATION_MS);
        self.within("http.body_timeout_ms", http.body_timeout_ms, DURATION_MS);
        self.within("http.request_timeout_ms", http.request_timeout_ms, DURATION_MS);
        self.within("http.body_bytes_max", http.body_bytes_max, 1_024..=67_108_864);
        self.within("http.connections_max", http.connections_max, 1..=1_000_000);
        if http.trusted_proxies.len() > TRUSTED_PROXIES_MAX {
            self.add(
                "http.trusted_proxies",
                format!("more than {TRUSTED_PROXIES_MAX} entries: name networks, such as 10.0.0.0/8"),
            );
        }
        let limits = &http.rate_limit_per_minute;
        for (who, limit) in [("anonymous", limits.anonymous), ("customer", limits.customer), ("staff", limits.staff)] {
            self.within(&format!("http.rate_limit_per_minute.{who}"), limit, 1..=1_000_000_000);
        }
        let is_base = |url: &String| {
            let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
            host.is_some_and(|host| {
                !host.is_empty() && !host.contains(['/', '?', '#', '@']) && !host.contains(char::is_whitespace)
            })
        };
        if http.public_url.as_ref().is_some_and(|url| !is_base(url)) {
            self.add("http.public_url", "write scheme and host only, such as https://shop.example");
        }
    }

    fn listeners(&mut self, config: &Config) {
        let (http, operations) = (config.http.listen, config.operations.listen);
        let share = http.ip() == operations.ip() || http.ip().is_unspecified() || operations.ip().is_unspecified();
        if http.port() != 0 && http.port() == operations.port() && share {
            self.add(
                "operations.listen",
                format!("{operations} takes the port of http.listen ({http}): choose another"),
            );
        }
    }

    fn bus(&mut self, bus: &BusConfig) {
        if !is_name(&bus.namespace, NAMESPACE_BYTES_MAX) {
            self.add("bus.namespace", "write 1 to 32 lower-case letters, digits and _, the first one a letter");
        }
        self.within("bus.ring_rows", bus.ring_rows, 16..=1_048_576);
        if !matches!(bus.stream_replicas, 1 | 3 | 5) {
            self.add(
                "bus.stream_replicas",
                format!("{} copies are not possible: write 1, 3 or 5", bus.stream_replicas),
            );
        }
        let is_token = |text: &String| {
            let sound = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
            (1..=64).contains(&text.len()) && text.bytes().all(sound)
        };
        if bus.inbox_prefix.as_ref().is_some_and(|prefix| !is_token(prefix)) {
            self.add("bus.inbox_prefix", "write 1 to 64 letters, digits, _ and -, such as _INBOX_order");
        }
        let sound = |url: &str| {
            let server = url.strip_prefix("nats://").or_else(|| url.strip_prefix("tls://"));
            server.is_some_and(|server| !server.is_empty())
        };
        if bus.kind == BusKind::Nats && !bus.url.split(',').all(|url| sound(url.trim())) {
            let shown = redacted_url(&bus.url);
            self.add("bus.url", format!("{shown:?} is not a NATS address: write nats://host:4222 or tls://host:4222"));
        }
    }

    fn database(&mut self, database: &DatabaseConfig) {
        self.within("database.read_connections_max", database.read_connections_max, 1..=64);
        let url = &database.url;
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return;
        }
        match url.strip_prefix("sqlite:") {
            None => {
                let shown = redacted_url(url);
                self.add(
                    "database.url",
                    format!("{shown:?} is neither sqlite:<file> nor postgres://<user>@<host>/<database>"),
                );
            }
            Some("" | "//") => self.add("database.url", "no file is named: write sqlite:data/{module}.db"),
            Some(_) => {}
        }
    }

    fn replicas(&mut self, config: &Config) {
        if config.runtime.replicas <= 1 {
            return;
        }
        if config.bus.kind == BusKind::Memory {
            self.add("bus.kind", "the memory bus lives in one process: with runtime.replicas above 1 write \"nats\"");
        }
        if config.database.url.starts_with("sqlite:") {
            self.add(
                "database.url",
                "a SQLite file has one process: with runtime.replicas above 1 write a postgres:// URL",
            );
        }
    }

    fn work(&mut self, config: &Config) {
        let (writer, effects) = (&config.writer, &config.effects);
        self.within("writer.batch_max", writer.batch_max, 1..=4_096);
        self.within("writer.queue_max", writer.queue_max, writer.batch_max.clamp(1, 4_096)..=1_048_576);
        self.within("writer.wait_ms_max", writer.wait_ms_max, DURATION_MS);
        self.within("writer.reader_lag_max", writer.reader_lag_max, LAG_MIN..=100_000_000);
        self.within("writer.reader_lag_ms_max", writer.reader_lag_ms_max, DURATION_MS);
        self.within("effects.in_flight_max", effects.in_flight_max, 1..=4_096);
        self.within("effects.pending_max", effects.pending_max, effects.in_flight_max.clamp(1, 4_096)..=1_048_576);
        self.within("effects.backoff_max_ms", effects.backoff_max_ms, 1..=BACKOFF_MS_MAX);
        let initial_max = effects.backoff_max_ms.clamp(1, BACKOFF_MS_MAX);
        self.within("effects.backoff_initial_ms", effects.backoff_initial_ms, 1..=initial_max);
        self.within("effects.breaker_failures", effects.breaker_failures, 1..=1_000);
        self.within("effects.breaker_open_ms", effects.breaker_open_ms, 1..=BACKOFF_MS_MAX);
    }

    fn telemetry(&mut self, telemetry: &TelemetryConfig) {
        if let Err(error) = crate::telemetry::check_filter(&telemetry.log_filter) {
            self.add("telemetry.log_filter", error);
        }
        let endpoint = &telemetry.otlp_endpoint;
        if !endpoint.is_empty() && !endpoint.starts_with("http://") {
            let detail = "write the address of an OTLP/HTTP collector, e.g. \"http://127.0.0.1:4318\", or \"\" for none; TLS is \
                          the mesh's, or a collector's beside this process";
            self.add("telemetry.otlp_endpoint", detail);
        }
        for (key, is_on) in
            [("telemetry.otlp_logs", telemetry.otlp_logs), ("telemetry.otlp_metrics", telemetry.otlp_metrics)]
        {
            if is_on && endpoint.is_empty() {
                self.add(key, "needs a collector: set telemetry.otlp_endpoint, e.g. to \"http://127.0.0.1:4318\"");
            }
        }
        if !(1..=3_600).contains(&telemetry.otlp_metrics_interval_s) {
            self.add("telemetry.otlp_metrics_interval_s", "write a number between 1 and 3600");
        }
        if !(0.0..=1.0).contains(&telemetry.trace_sample_ratio) {
            self.add("telemetry.trace_sample_ratio", "write a share between 0.0 and 1.0");
        }
    }
}

fn is_name(text: &str, bytes_max: usize) -> bool {
    let sound = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    text.len() <= bytes_max && text.starts_with(|first: char| first.is_ascii_lowercase()) && text.bytes().all(sound)
}

// === impl Config ===

impl Config {
    /// The modules of the catalogue that this process hosts, in the catalogue's order.
    ///
    /// # Errors
    /// When `runtime.modules` or a `modules.<name>` table names one that the catalogue does not have.
    pub fn hosted<'a>(&self, catalogue: &[&'a str]) -> Result<Vec<&'a str>, ConfigError> {
        let chosen = &self.runtime.modules;
        let listed = chosen.iter().filter(|name| *name != "*").map(|name| ("runtime.modules".to_owned(), name));
        let tables = self.modules.keys().map(|name| (format!("modules.{name}"), name));
        let unknown: Vec<Fault> = listed
            .chain(tables)
            .filter(|(_, name)| !catalogue.contains(&name.as_str()))
            .map(|(key, name)| Fault { key, origin: None, detail: no_such_module(name, catalogue) })
            .collect();
        if !unknown.is_empty() {
            return Err(ConfigError::Invalid(unknown));
        }
        let all = chosen.is_empty() || chosen.iter().any(|name| name == "*");
        Ok(catalogue.iter().copied().filter(|name| all || chosen.iter().any(|chosen| chosen == name)).collect())
    }
}

fn no_such_module(name: &str, catalogue: &[&str]) -> String {
    match catalogue.iter().min_by_key(|known| edit_distance(name, known)) {
        Some(nearest) => {
            format!("there is no module {name}; did you mean {nearest}? There are: {}", catalogue.join(", "))
        }
        None => format!("there is no module {name}"),
    }
}
