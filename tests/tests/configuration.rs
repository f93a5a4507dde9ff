//! Mistakes of an operator: each is an error that says what to do, and none is a store that half runs.

use std::net::TcpListener;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pangaea_testkit::{Folder, Placement, Process, Store, free_port, run_program};

/// A store that refuses to start says so at once.
const REFUSAL_MAX: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_key_is_named_with_the_nearest_known_one() -> Result<()> {
    let folder = Folder::new("configuration")?;
    let file = folder.join("shop.toml");
    std::fs::write(&file, "[http]\nlissten = \"127.0.0.1:0\"\n")?;
    for command in ["run", "check"] {
        let refused = run_program(folder.path(), &[command, "--config", &file], &[]).await?.failure()?;
        let text = format!("{}{}", refused.stdout, refused.stderr);
        ensure!(text.contains("http.lissten") && text.contains("http.listen"), "{text}");
        ensure!(text.contains("shop.toml"), "the error does not say where the key was set: {text}");
    }
    let env = [("PANGAEA__HTTP__LISTN".to_owned(), "127.0.0.1:0".to_owned())];
    let refused = run_program(folder.path(), &["run"], &env).await?.failure()?;
    let text = &refused.stderr;
    ensure!(text.contains("PANGAEA__HTTP__LISTN") && text.contains("PANGAEA__HTTP__LISTEN"), "{text}");
    let made: Vec<_> = std::fs::read_dir(folder.path())?.filter_map(|entry| Some(entry.ok()?.file_name())).collect();
    ensure!(!made.iter().any(|name| name == "data"), "a refused start has made files: {made:?}");
    folder.set_clean();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_the_wrong_type_and_files_that_are_not_there_are_named() -> Result<()> {
    let folder = Folder::new("configuration")?;
    for (name, value, expected) in [
        ("PANGAEA__HTTP__LISTEN", "everywhere", "http.listen"),
        ("PANGAEA__WRITER__BATCH_MAX", "many", "writer.batch_max"),
        ("PANGAEA__BUS__KIND", "pigeon", "bus.kind"),
        ("PANGAEA__MODULES__ORDER__SETTINGS__ANSWER_TRIES_MAX", "0", "answer_tries_max"),
        ("PANGAEA__RUNTIME__MODULES", "order,produce", "produce"),
    ] {
        let env = [(name.to_owned(), value.to_owned())];
        let refused = run_program(folder.path(), &["check"], &env).await?.failure().with_context(|| name.to_owned())?;
        let text = format!("{}{}", refused.stdout, refused.stderr);
        ensure!(text.contains(expected), "{name}={value}: {text}");
    }
    let refused = run_program(folder.path(), &["run", "--config", "nowhere.toml"], &[]).await?.failure()?;
    ensure!(refused.stderr.contains("nowhere.toml"), "{}", refused.stderr);
    folder.set_clean();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_memory_bus_is_refused_where_a_source_is_elsewhere() -> Result<()> {
    let folder = Folder::new("configuration")?;
    let env = [("PANGAEA__BUS__KIND".to_owned(), "memory".to_owned())];
    for command in ["check", "run"] {
        let refused = run_program(folder.path(), &[command, "--modules", "order"], &env).await?.failure()?;
        let text = format!("{}{}", refused.stdout, refused.stderr);
        ensure!(text.contains("product") || text.contains("payment"), "the missing source is not named: {text}");
    }
    folder.set_clean();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn several_replicas_are_refused_on_sqlite_and_on_the_memory_bus() -> Result<()> {
    let folder = Folder::new("configuration")?;
    let replicas = "runtime.replicas=2";
    for (more, key) in [
        (&["--set", "bus.kind=nats"][..], "database.url"),
        (&["--set", "database.url=postgres://127.0.0.1/store"], "bus.kind"),
    ] {
        let args = [&["check", "--set", replicas], more].concat();
        let refused = run_program(folder.path(), &args, &[]).await?.failure()?;
        let text = format!("{}{}", refused.stdout, refused.stderr);
        ensure!(text.contains(key) && text.contains("runtime.replicas"), "{key}: {text}");
    }
    let sound = ["check", "--set", replicas, "--set", "bus.kind=nats", "--set", "database.url=postgres://db/store"];
    run_program(folder.path(), &sound, &[]).await?.success()?;
    folder.set_clean();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_an_error_that_names_its_key() -> Result<()> {
    let folder = Folder::new("configuration")?;
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let (taken_address, free) = (taken.local_addr()?.to_string(), format!("127.0.0.1:{}", free_port()));
    for (http, operations, key) in
        [(&taken_address, &free, "http.listen"), (&free, &taken_address, "operations.listen")]
    {
        let env = [
            ("PANGAEA__HTTP__LISTEN".to_owned(), http.clone()),
            ("PANGAEA__OPERATIONS__LISTEN".to_owned(), operations.clone()),
        ];
        let refused = run_program(folder.path(), &["run"], &env).await?.failure()?;
        ensure!(refused.stderr.contains(key) && refused.stderr.contains(&taken_address), "{key}: {}", refused.stderr);
    }
    folder.set_clean();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_another_process_writes_is_refused() -> Result<()> {
    let mut store = Store::start(Placement::TogetherMemory).await?;
    let first = store.process("order")?;
    let (program, args, mut env) =
        (first.program().to_owned(), first.arguments().to_vec(), first.environment().to_vec());
    let addresses = ["PANGAEA__HTTP__LISTEN", "PANGAEA__OPERATIONS__LISTEN"];
    env.retain(|(name, _)| !addresses.contains(&name.as_str()));
    env.extend(addresses.map(|name| (name.to_owned(), format!("127.0.0.1:{}", free_port()))));
    let folder = Folder::new("configuration")?;
    let mut second = Process::new("second", &program, folder.path());
    second.args(&args.iter().map(String::as_str).collect::<Vec<_>>()).envs(&env);
    let refused = second.run(REFUSAL_MAX).await?.failure()?;
    let text = &refused.stderr;
    ensure!(text.contains("product.db is in use") && text.contains("database.url"), "{text}");
    // The first one has not noticed.
    store.customer().await?.get("/v1/orders").send().await?.expect(200)?;
    folder.set_clean();
    store.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_file_that_cannot_be_opened_is_named() -> Result<()> {
    let folder = Folder::new("configuration")?;
    let file = folder.join("product.db");
    std::fs::write(&file, "this is no database, but a text that is long enough to be read as one".repeat(100))?;
    let env = [
        ("PANGAEA__DATABASE__URL".to_owned(), format!("sqlite:{}", folder.join("{module}.db"))),
        ("PANGAEA__HTTP__LISTEN".to_owned(), format!("127.0.0.1:{}", free_port())),
        ("PANGAEA__OPERATIONS__LISTEN".to_owned(), format!("127.0.0.1:{}", free_port())),
    ];
    let refused = run_program(folder.path(), &["run"], &env).await?.failure()?;
    ensure!(refused.stderr.contains("product") && refused.stderr.contains("database"), "{}", refused.stderr);
    folder.set_clean();
    Ok(())
}
