use std::path::{Path, PathBuf};

use super::redact::redacted_url;
use super::shape::edit_distance;
use super::{BusKind, Config, ConfigError, Loaded, Overrides, Sources};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config")
}

fn with_environment(variables: &[(&str, &str)]) -> Sources {
    let environment = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Sources { environment, ..Sources::default() }
}

fn with_set(keys: &[(&str, &str)]) -> Sources {
    let set = keys.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Sources { overrides: Overrides { set, ..Overrides::default() }, ..Sources::default() }
}

/// A profile with this text, in a file of its own that goes when the guard does.
fn load_profile(name: &str, text: &str) -> (PathBuf, Result<Loaded, ConfigError>) {
    let path = std::env::temp_dir().join(format!("pangaea-config-{}-{name}.toml", std::process::id()));
    std::fs::write(&path, text).unwrap();
    let loaded = Config::load(&Sources { profile: Some(path.clone()), ..Sources::default() });
    std::fs::remove_file(&path).unwrap();
    (path, loaded)
}

fn error_of(sources: &Sources) -> String {
    Config::load(sources).expect_err("this must be refused").to_string()
}

#[test]
fn every_shipped_file_loads() {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let loaded = Config::load(&Sources { profile: Some(path.clone()), ..Sources::default() });
        loaded.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        names.push(path.file_name().unwrap().to_string_lossy().into_owned());
    }
    names.sort();
    assert_eq!(names, ["apart.toml", "default.toml", "mixed.toml", "together.toml"]);
}

#[test]
fn the_profiles_say_what_their_names_say() {
    let load = |name: &str| {
        Config::load(&Sources { profile: Some(folder().join(name)), ..Sources::default() }).unwrap().config
    };
    let (together, apart, mixed) = (load("together.toml"), load("apart.toml"), load("mixed.toml"));
    assert_eq!((together.bus.kind, apart.bus.kind, mixed.bus.kind), (BusKind::Memory, BusKind::Nats, BusKind::Nats));
    assert_eq!(apart.database.url, "sqlite:data/apart/{module}.db");
    assert_eq!(mixed.modules["payment"].options["provider"]["ledger"], "data/mixed/provider-ledger.jsonl");
    assert_eq!(apart.modules["payment"].options["provider"]["url"], "", "tables are merged key by key");
    assert_eq!(together.runtime.modules, ["product", "order", "payment", "user"]);
}

#[test]
fn every_variable_of_the_deployment_files_loads() {
    let mut found = 0;
    for entry in std::fs::read_dir(folder().join("../deploy")).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap_or_default();
        for line in
            text.lines().filter_map(|line| line.trim().trim_start_matches("ENV ").trim().strip_prefix("PANGAEA__"))
        {
            let (name, value) = line.split_once([':', '=']).unwrap();
            let value = value.trim_end_matches('\\').trim().trim_matches(['\'', '"']);
            let sources = with_environment(&[(&format!("PANGAEA__{name}"), value)]);
            Config::load(&sources).unwrap_or_else(|error| panic!("{line}: {error}"));
            found += 1;
        }
    }
    assert!(found >= 6, "the form of the files has changed: only {found} variables were found");
}

#[test]
fn each_layer_wins_over_the_one_below() {
    let (_, loaded) = load_profile("layers", "[http]\nlisten = \"127.0.0.1:7001\"\n[writer]\nbatch_max = 7\n");
    assert_eq!(loaded.unwrap().config.http.listen.port(), 7001);
    let path = std::env::temp_dir().join(format!("pangaea-config-{}-all.toml", std::process::id()));
    std::fs::write(&path, "[http]\nlisten = \"127.0.0.1:7001\"\nbody_timeout_ms = 11\nrequest_timeout_ms = 12\n")
        .unwrap();
    let mut sources = with_environment(&[
        ("PANGAEA__HTTP__LISTEN", "127.0.0.1:7002"),
        ("PANGAEA__HTTP__BODY_TIMEOUT_MS", "1_300"),
        ("HOME", "/"),
    ]);
    sources.profile = Some(path.clone());
    sources.overrides.http_listen = Some("127.0.0.1:7003".parse().unwrap());
    let loaded = Config::load(&sources).unwrap();
    std::fs::remove_file(&path).unwrap();
    let http = &loaded.config.http;
    assert_eq!(
        (http.listen.port(), http.body_timeout_ms, http.request_timeout_ms, http.header_timeout_ms),
        (7003, 1_300, 12, 5_000)
    );
    let shown = loaded.show(true);
    for line in [
        "http.listen = \"127.0.0.1:7003\"  # command line, http.listen".to_owned(),
        "http.body_timeout_ms = 1300  # environment variable PANGAEA__HTTP__BODY_TIMEOUT_MS".to_owned(),
        format!("http.request_timeout_ms = 12  # {}", path.display()),
        "http.header_timeout_ms = 5000  # config/default.toml".to_owned(),
        "# http.public_url is not set".to_owned(),
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line}\n{shown}");
    }
    assert!(!loaded.show(false).contains("  # "), "origins only when asked for");
}

#[test]
fn variables_are_read_as_what_their_key_holds() {
    let loaded = Config::load(&with_environment(&[
        ("PANGAEA__RUNTIME__MODULES", "order, payment"),
        ("PANGAEA__HTTP__TRUSTED_PROXIES", "[\"10.0.0.0/8\", '192.168.1.1']"),
        ("PANGAEA__DATABASE__SYNCHRONOUS_FULL", "false"),
        ("PANGAEA__HTTP__PUBLIC_URL", ""),
        ("PANGAEA__MODULES__USER__OPTIONS__FIRST_ADMIN_PASSWORD", "12345678"),
        ("PANGAEA__MODULES__ORDER__SETTINGS__LINES_MAX", "50"),
        ("PANGAEA__MODULES__CART__OPTIONS__NAME", "basket, big"),
    ]))
    .unwrap()
    .config;
    assert_eq!(loaded.runtime.modules, ["order", "payment"]);
    assert!(loaded.http.trusted_proxies[0].contains("10.9.8.7".parse().unwrap()));
    assert_eq!(
        (loaded.http.trusted_proxies.len(), loaded.database.synchronous_full, &loaded.http.public_url),
        (2, false, &None)
    );
    assert_eq!(loaded.modules["user"].options["first_admin_password"], "12345678", "text stays text");
    assert_eq!(loaded.modules["order"].settings["lines_max"], 50);
    assert_eq!(
        loaded.modules["cart"].options["name"], "basket, big",
        "a module that the default file does not know is open"
    );
    let all = Config::load(&with_environment(&[("PANGAEA__RUNTIME__MODULES", "")])).unwrap().config;
    assert!(all.runtime.modules.is_empty());
}

#[test]
fn unknown_keys_name_the_nearest_and_their_origin() {
    let variable = error_of(&with_environment(&[("PANGAEA__HTTP__LISTNE", "127.0.0.1:1")]));
    assert!(
        variable.contains("http.listne (environment variable PANGAEA__HTTP__LISTNE): unknown key; ")
            && variable.contains("did you mean PANGAEA__HTTP__LISTEN (http.listen)?"),
        "{variable}"
    );
    let (path, loaded) = load_profile("unknown", "[htpp]\nlisten = \"127.0.0.1:1\"\n[writer]\nbatch_mx = 1\n");
    let file = loaded.unwrap_err();
    assert_eq!(file.faults().len(), 2, "all of them at once: {file}");
    assert!(
        file.to_string()
            .contains(&format!("writer.batch_mx ({}): unknown key; did you mean writer.batch_max?", path.display())),
        "{file}"
    );
    assert!(file.to_string().contains("htpp") && file.to_string().contains("did you mean http?"), "{file}");
    for (key, says) in [
        ("modules.product.options.demo_catalog", "did you mean modules.product.options.demo_catalogue?"),
        ("modules.product.option.demo_catalogue", "did you mean modules.product.options?"),
        ("http.listen.port", "http.listen (command line, --set http.listen.port): is not a table"),
        ("http.public_url.host", "http.public_url (command line, --set http.public_url.host): is not a table"),
    ] {
        let error = error_of(&with_set(&[(key, "true")]));
        assert!(error.contains(says), "{key}: {error}");
        assert!(error.contains(&format!("command line, --set {key}")), "{error}");
    }
}

#[test]
fn values_of_the_wrong_type_say_what_to_write() {
    for (key, value, says) in [
        ("http.body_bytes_max", "2MB", "expected a whole number"),
        ("http.listen", "localhost:8080", "write an address and a port, such as 127.0.0.1:8080"),
        ("bus.kind", "kafka", "expected `memory` or `nats`"),
        ("http.trusted_proxies", "proxy.internal", "neither an address"),
        ("http", "5", "is a table"),
        ("modules.product.options.demo_catalogue", "yes", "expected true or false"),
        ("http..listen", "127.0.0.1:1", "a part of the name is empty"),
    ] {
        let error = error_of(&with_set(&[(key, value)]));
        assert!(error.contains(says) && error.contains(key), "{key}: {error}");
    }
}

#[test]
fn bounds_hold_at_their_edges() {
    for (key, sound, wrong) in [
        ("runtime.replicas", "1", "0"),
        ("runtime.drain_timeout_ms", "0", "600001"),
        ("http.idle_timeout_ms", "86400000", "86400001"),
        ("http.header_timeout_ms", "1", "0"),
        ("http.request_timeout_ms", "600000", "600001"),
        ("http.body_bytes_max", "1024", "1023"),
        ("http.connections_max", "1000000", "1000001"),
        ("http.rate_limit_per_minute.customer", "1", "0"),
        ("http.public_url", "https://shop.example", "shop.example/store"),
        ("bus.namespace", "shop_2", "Shop.2"),
        ("bus.ring_rows", "16", "15"),
        ("bus.stream_replicas", "3", "2"),
        ("database.url", "postgres://pangaea@db/store", "mysql://db/store"),
        ("database.read_connections_max", "64", "65"),
        ("writer.batch_max", "4096", "4097"),
        ("writer.queue_max", "256", "255"),
        ("writer.wait_ms_max", "1", "0"),
        ("writer.reader_lag_max", "2048", "2047"),
        ("writer.reader_lag_ms_max", "600000", "600001"),
        ("effects.pending_max", "64", "63"),
        ("effects.backoff_initial_ms", "10000", "10001"),
        ("effects.breaker_failures", "1000", "1001"),
        ("telemetry.log_filter", "warn,pangaea_runtime=debug", "inof"),
        ("telemetry.otlp_endpoint", "http://collector:4318", "collector:4318"),
        ("telemetry.otlp_metrics_interval_s", "3600", "0"),
        ("telemetry.otlp_metrics_interval_s", "1", "3601"),
        ("telemetry.otlp_logs", "false", "true"),
        ("telemetry.otlp_metrics", "false", "true"),
        ("telemetry.trace_sample_ratio", "0.1", "1.1"),
        ("runtime.modules", "*", "*,order"),
        ("runtime.modules", "order,user", "order,order"),
    ] {
        Config::load(&with_set(&[(key, sound)])).unwrap_or_else(|error| panic!("{key} = {sound}: {error}"));
        let error = Config::load(&with_set(&[(key, wrong)])).expect_err(key);
        assert_eq!(error.faults().len(), 1, "{key} = {wrong}: {error}");
        let fault = &error.faults()[0];
        assert_eq!(
            (fault.key.as_str(), fault.origin.as_deref()),
            (key, Some(format!("command line, --set {key}").as_str()))
        );
    }
}

#[test]
fn keys_that_do_not_go_together_are_refused() {
    let faults = Config::load(&with_set(&[("runtime.replicas", "2")])).unwrap_err();
    let keys: Vec<&str> = faults.faults().iter().map(|fault| fault.key.as_str()).collect();
    assert_eq!(keys, ["bus.kind", "database.url"], "{faults}");
    let replicated = [("runtime.replicas", "2"), ("bus.kind", "nats"), ("database.url", "postgres://db/store")];
    assert_eq!(Config::load(&with_set(&replicated)).unwrap().config.runtime.replicas, 2);
    for key in ["telemetry.otlp_logs", "telemetry.otlp_metrics"] {
        let error = error_of(&with_set(&[(key, "true")]));
        assert!(error.contains(key) && error.contains("set telemetry.otlp_endpoint"), "{error}");
        let collected = [(key, "true"), ("telemetry.otlp_endpoint", "http://127.0.0.1:4318")];
        assert!(Config::load(&with_set(&collected)).is_ok(), "{key}");
    }
    for (http, operations) in [("127.0.0.1:8080", "127.0.0.1:8080"), ("0.0.0.0:9000", "127.0.0.1:9000")] {
        let error = error_of(&with_set(&[("http.listen", http), ("operations.listen", operations)]));
        assert!(error.contains("operations.listen") && error.contains("takes the port of http.listen"), "{error}");
    }
    assert!(Config::load(&with_set(&[("http.listen", "127.0.0.1:0"), ("operations.listen", "127.0.0.1:0")])).is_ok());
    let broker = error_of(&with_set(&[("bus.kind", "nats"), ("bus.url", "http://me:hunter2@broker")]));
    assert!(broker.contains("nats://host:4222") && !broker.contains("hunter2"), "{broker}");
}

#[test]
fn hosted_modules_come_from_the_catalogue() {
    let catalogue = ["product", "order", "payment", "user"];
    let hosted =
        |modules: &str| Config::load(&with_set(&[("runtime.modules", modules)])).unwrap().config.hosted(&catalogue);
    assert_eq!(hosted("").unwrap(), catalogue);
    assert_eq!(hosted("*").unwrap(), catalogue);
    assert_eq!(hosted("user,product").unwrap(), ["product", "user"]);
    assert!(hosted("ordre").unwrap_err().to_string().contains("there is no module ordre; did you mean order?"));
    let stray = Config::load(&with_set(&[("modules.cart.options.big", "true")])).unwrap().config;
    assert!(stray.hosted(&catalogue).unwrap_err().to_string().contains("modules.cart"));
}

#[test]
fn secrets_are_shown_nowhere() {
    let loaded = Config::load(&with_environment(&[
        ("PANGAEA__DATABASE__URL", "postgres://pangaea:hunter2@db/store?sslmode=require&password=hunter2"),
        ("PANGAEA__BUS__URL", "nats://hunter2@one:4222"),
        ("PANGAEA__BUS__CREDENTIALS_FILE", "/run/hunter2.creds"),
        ("PANGAEA__MODULES__USER__OPTIONS__SEALING_KEY", "hunter2"),
        ("PANGAEA__MODULES__USER__OPTIONS__FIRST_ADMIN_PASSWORD", "hunter2"),
        ("PANGAEA__MODULES__MAIL__OPTIONS__SMTP__PASSWORD", "8675309"),
        ("PANGAEA__MODULES__MAIL__OPTIONS__API_TOKENS", "['hunter2']"),
        ("PANGAEA__MODULES__MAIL__SETTINGS__TOKEN_LIFETIME_MS", "900000"),
    ]))
    .unwrap();
    let shown = loaded.show(true);
    for text in [shown.clone(), format!("{loaded:?} {:?} {:?}", loaded.config.bus, loaded.config.database)] {
        assert!(!text.contains("hunter2") && !text.contains("8675309"), "{text}");
    }
    assert!(
        shown.contains("database.url = \"postgres://pangaea:***@db/store?sslmode=require&password=***\""),
        "{shown}"
    );
    assert!(shown.contains("modules.mail.settings.token_lifetime_ms = 900000"), "a measure is no secret: {shown}");
    assert!(shown.contains("modules.user.options.sealing_key = \"***\""), "{shown}");
    let unset = Config::load(&Sources::default()).unwrap().show(false);
    assert!(unset.contains("modules.user.options.sealing_key = \"\""), "what is empty is no secret: {unset}");
}

#[test]
fn urls_lose_their_passwords_whatever_these_hold() {
    for (url, shown) in [
        ("sqlite:data/{module}.db", "sqlite:data/{module}.db"),
        ("nats://127.0.0.1:4222", "nats://127.0.0.1:4222"),
        ("nats://a:b@one:4222,nats://c:d@two:4222", "nats://a:***@two:4222"),
        ("postgres://u:p/a,s@s@host/db", "postgres://u:***@host/db"),
        ("postgres://u@host/db", "postgres://u@host/db"),
        ("nats://token@host", "nats://***@host"),
    ] {
        assert_eq!(redacted_url(url), shown);
    }
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let missing = error_of(&Sources { profile: Some("no/such/file.toml".into()), ..Sources::default() });
    assert!(missing.contains("no/such/file.toml") && missing.contains("--config"), "{missing}");
    let (path, loaded) = load_profile("syntax", "[http\nlisten = 1");
    let error = loaded.unwrap_err().to_string();
    assert!(error.contains(&path.display().to_string()) && error.contains("line 1"), "{error}");
    let (_, loaded) = load_profile("long", &"# a comment that goes on\n".repeat(50_000));
    assert!(loaded.unwrap_err().to_string().contains("longer than 1048576 bytes"));
}

#[test]
fn arguments_of_set_are_split_at_the_first_equals_sign() {
    assert_eq!(Overrides::parse_set("bus.url=nats://h?a=b"), Ok(("bus.url".to_owned(), "nats://h?a=b".to_owned())));
    assert!(Overrides::parse_set("http.listen").unwrap_err().contains("section.key=value"));
    assert!(Overrides::parse_set("=1").is_err());
}

#[test]
fn distances_count_a_swap_as_one() {
    for (left, right, distance) in
        [("listne", "listen", 1), ("", "abc", 3), ("http", "http", 0), ("batch_mx", "batch_max", 1), ("abc", "xyz", 3)]
    {
        assert_eq!(edit_distance(left, right), distance, "{left} {right}");
    }
}
