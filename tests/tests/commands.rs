//! The commands beside `run`: those that need no store leave nothing behind, and those that need one say so.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pangaea_testkit::{Api, Folder, Output, Placement, Process, Store, eventually, free_port, program};
use serde_json::Value;

const COMMAND_MAX: Duration = Duration::from_secs(60);
const READY_MAX: Duration = Duration::from_secs(60);
const MODULES: [&str; 4] = ["order", "payment", "product", "user"];
const EMAIL: &str = "ada@shop.example";
const PASSWORD: &str = "a long enough password";

/// An empty folder to work in, and another one for what the commands print.
struct Desk {
    empty: Folder,
    outputs: Folder,
}

/// A store as `pangaea run` starts it in a folder, on ports of its own.
struct Running {
    process: Process,
    api: Api,
}

#[tokio::test(flavor = "multi_thread")]
async fn check_accepts_the_defaults_and_refuses_an_unknown_key() -> Result<()> {
    let desk = Desk::new()?;
    let fine = desk.run(&["check"]).await?.success()?;
    ensure!(MODULES.iter().all(|name| fine.stdout.contains(name)), "{}", fine.stdout);
    let file = desk.outputs.join("shop.toml");
    std::fs::write(&file, "[writer]\nbatch_maxx = 3\n")?;
    let refused = desk.run(&["check", "--config", &file]).await?.failure()?;
    let text = format!("{}{}", refused.stdout, refused.stderr);
    ensure!(text.contains("writer.batch_maxx") && text.contains("did you mean writer.batch_max?"), "{text}");
    desk.must_be_empty()
}

#[tokio::test(flavor = "multi_thread")]
async fn config_show_names_the_origin_of_every_key_and_hides_secrets() -> Result<()> {
    let desk = Desk::new()?;
    let file = desk.outputs.join("shop.toml");
    std::fs::write(&file, "[database]\nurl = \"postgres://shop:canary-one@db.example/shop\"\n")?;
    let secret = "canary-two-of-an-administrator";
    let env = [
        ("PANGAEA__MODULES__USER__OPTIONS__FIRST_ADMIN_PASSWORD".to_owned(), secret.to_owned()),
        ("PANGAEA__WRITER__BATCH_MAX".to_owned(), "17".to_owned()),
    ];
    let args = ["config", "show", "--origin", "--config", &file, "--set", "writer.queue_max=99"];
    let shown = desk.run_with(&args, &env).await?.success()?.stdout;
    for line in shown.lines() {
        let is_unset = line.starts_with("# ") && line.ends_with(" is not set");
        let origin = line.split_once(" = ").and_then(|(_, value)| value.rsplit_once("  # ")).map(|(_, origin)| origin);
        ensure!(is_unset || origin.is_some_and(|origin| !origin.trim().is_empty()), "no origin: {line}");
    }
    let line = |key: &str| shown.lines().find(|line| line.starts_with(key)).with_context(|| format!("{key}: {shown}"));
    ensure!(line("http.listen = ")?.contains("default.toml"), "{shown}");
    ensure!(line("database.url = ")?.contains("shop.toml"), "{shown}");
    ensure!(line("writer.batch_max = 17")?.contains("PANGAEA__WRITER__BATCH_MAX"), "{shown}");
    ensure!(line("writer.queue_max = 99")?.contains("--set"), "{shown}");
    ensure!(line("modules.user.options.first_admin_password = ")?.contains("***"), "{shown}");
    ensure!(!shown.contains("canary-"), "a secret is shown: {shown}");
    desk.must_be_empty()
}

#[tokio::test(flavor = "multi_thread")]
async fn topology_is_drawn_in_three_formats() -> Result<()> {
    let desk = Desk::new()?;
    for (format, start) in [("mermaid", "flowchart"), ("dot", "digraph"), ("json", "{")] {
        let drawn = desk.run(&["topology", "--format", format]).await?.success()?.stdout;
        ensure!(drawn.starts_with(start), "{format}: {drawn}");
        ensure!(MODULES.iter().all(|name| drawn.contains(name)), "{format}: {drawn}");
        if format == "json" {
            let drawn: Value = serde_json::from_str(&drawn)?;
            let modules = drawn["modules"].as_array().context("modules")?;
            let names: Vec<_> = modules.iter().filter_map(|module| module["name"].as_str()).collect();
            ensure!(names == MODULES, "{names:?}");
        }
    }
    desk.must_be_empty()
}

#[tokio::test(flavor = "multi_thread")]
async fn openapi_says_of_every_operation_who_may_call_it() -> Result<()> {
    let desk = Desk::new()?;
    let document: Value = serde_json::from_str(&desk.run(&["openapi"]).await?.success()?.stdout)?;
    ensure!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1.")), "{}", document["openapi"]);
    let paths = document["paths"].as_object().context("paths")?;
    let mut operations = 0;
    for (path, item) in paths {
        for method in ["get", "put", "post", "patch", "delete", "head", "options"] {
            let Some(operation) = item.get(method) else { continue };
            let access = operation["x-access"].as_object();
            ensure!(access.is_some_and(|access| !access.is_empty()), "{method} {path} has no x-access: {operation}");
            operations += 1;
        }
    }
    ensure!(operations >= 30, "{operations} operations only");
    desk.must_be_empty()
}

#[tokio::test(flavor = "multi_thread")]
async fn help_names_every_command() -> Result<()> {
    let desk = Desk::new()?;
    let help = desk.run(&["--help"]).await?.success()?.stdout;
    for command in ["run", "check", "config", "topology", "openapi", "verify", "import", "load", "user", "edge"] {
        ensure!(help.lines().any(|line| line.trim_start().starts_with(command)), "{command}: {help}");
        desk.run(&[command, "--help"]).await?.success().with_context(|| command.to_owned())?;
    }
    desk.must_be_empty()
}

/// `head` goes as soon as it has its line, and the rest of the document finds nobody who reads it.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_goes_early_is_no_error() -> Result<()> {
    let desk = Desk::new()?;
    let whole = desk.run(&["openapi"]).await?.success()?.stdout;
    ensure!(whole.len() > 128 * 1024, "the document fits into a pipe, so that nothing would be shown here");
    let script = "{ \"$0\" openapi; echo \"status $?\" >&2; } | head -n 1";
    let piped = desk.shell(script).run(COMMAND_MAX).await?.success()?;
    ensure!(piped.stdout == "{\n", "{piped:?}");
    ensure!(piped.stderr == "status 0\n", "{piped:?}");
    desk.must_be_empty()
}

/// A server may be starting, and a pod's first connections are refused for a moment: a gate must not fail for that.
#[tokio::test(flavor = "multi_thread")]
async fn verify_and_shadow_wait_for_a_database_server_and_then_say_what_is_away() -> Result<()> {
    let desk = Desk::new()?;
    // Closed again at once.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let url = format!("database.url=postgres://nobody@{nobody}/none");
    for command in [&["verify"][..], &["shadow", "order"]] {
        let told = desk.run(&[command, &["--wait-s", "2", "--set", &url]].concat()).await?.failure()?;
        let waited = told.stderr.matches("waiting for the database: cannot open").count();
        ensure!(waited >= 1 && told.stderr.contains("error: cannot open the database"), "{told:?}");
        let at_once = desk.run(&[command, &["--wait-s", "0", "--set", &url]].concat()).await?.failure()?;
        ensure!(!at_once.stderr.contains("waiting"), "{at_once:?}");
    }
    let mut waiting = Process::new("shadow", program()?, desk.outputs.path());
    waiting.args(&["shadow", "order", "--wait-s", "600", "--set", &url]).work_in(desk.empty.path()).start()?;
    eventually("a shadow that waits", COMMAND_MAX, async || Ok(waiting.log().contains("waiting").then_some(())))
        .await?;
    let status = waiting.terminate(COMMAND_MAX).await?;
    ensure!(status.code() == Some(1) && waiting.log().contains("told to stop"), "{status}: {}", waiting.log_tail());
    desk.must_be_empty()
}

#[tokio::test(flavor = "multi_thread")]
async fn user_create_makes_the_first_administrator() -> Result<()> {
    let folder = Folder::new("user-create")?;
    let outputs = Folder::new("user-create-outputs")?;
    let mut shell = Process::new("sh", Path::new("/bin/sh"), outputs.path());
    let script = format!("printf '%s' '{PASSWORD}' | \"$0\" user create --email {EMAIL} --role admin --password-stdin");
    shell.args(&["-c", &script, &program()?.display().to_string()]).work_in(folder.path());
    let created = shell.run(COMMAND_MAX).await?.success()?;
    ensure!(created.stdout.trim().starts_with("usr_"), "{created:?}");

    let again = ["user", "create", "--email", EMAIL, "--role", "staff", "--password", PASSWORD];
    let refused = command(&folder, &outputs, &again, &[]).await?.failure()?;
    ensure!(
        refused.stderr.contains("there is an account with this e-mail address") && !refused.stderr.contains("panicked"),
        "{refused:?}"
    );
    let weak = ["user", "create", "--email", "bob@shop.example", "--role", "staff", "--password", "short"];
    let refused = command(&folder, &outputs, &weak, &[]).await?.failure()?;
    ensure!(refused.stderr.contains("--password") && refused.stderr.contains("10"), "{refused:?}");

    let mut running = Running::start(&folder, &outputs).await?;
    let admin = running.api.sign_in_as(EMAIL, PASSWORD).await?;
    let me = admin.get("/v1/users/me").send().await?.expect(200)?;
    ensure!(me.text_at("id")? == created.stdout.trim(), "{}", me.text);
    admin.get("/v1/users").send().await?.expect(200)?;

    let other = ["user", "create", "--email", "eve@shop.example", "--role", "admin", "--password", PASSWORD];
    let refused = command(&folder, &outputs, &other, &[]).await?.failure()?;
    ensure!(refused.stderr.contains("is in use") && refused.stderr.contains("stop that process"), "{refused:?}");
    ensure!(running.api.sign_in_as("eve@shop.example", PASSWORD).await.is_err(), "the refused account is there");
    admin.get("/v1/users/me").send().await?.expect(200)?;
    let status = running.process.terminate(READY_MAX).await?;
    ensure!(status.success(), "{status}: {}", running.process.log_tail());
    folder.set_clean();
    outputs.set_clean();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn load_places_what_it_is_told_to() -> Result<()> {
    let store = Store::start(Placement::TogetherMemory).await?;
    let url = store.api().base().to_owned();
    let args = ["load", "--url", &url, "--orders", "50", "--rate", "50", "--seed", "1", "--json"];
    for replayed in [0, 50] {
        let told = store.run(&args).await?.success()?.stdout;
        let report: Value = serde_json::from_str(&told)?;
        for (key, expected) in [("sent", 50), ("accepted", 50), ("confirmed", 50), ("replayed", replayed)] {
            ensure!(report[key] == expected, "{key} is not {expected}: {told}");
        }
        for key in ["refused", "shed", "errors", "not_sent", "missing"] {
            ensure!(report[key] == 0, "{key}: {told}");
        }
        ensure!(report["seed"] == 1 && report["all_settled"] == true, "{told}");
    }
    // The provider's books agree: the second run has charged nobody.
    let ledger = store.ledger()?;
    ensure!(ledger.references.len() == 50 && ledger.double_captures.is_empty(), "{ledger:?}");
    store.verify().await?;
    store.stop().await
}

async fn command(folder: &Folder, outputs: &Folder, args: &[&str], env: &[(String, String)]) -> Result<Output> {
    let mut process = Process::new(args.first().copied().unwrap_or("pangaea"), program()?, outputs.path());
    process.args(args).envs(env).work_in(folder.path());
    process.run(COMMAND_MAX).await
}

// === impl Desk ===

impl Desk {
    fn new() -> Result<Self> {
        Ok(Self { empty: Folder::new("empty")?, outputs: Folder::new("outputs")? })
    }

    async fn run(&self, args: &[&str]) -> Result<Output> {
        self.run_with(args, &[]).await
    }

    async fn run_with(&self, args: &[&str], env: &[(String, String)]) -> Result<Output> {
        command(&self.empty, &self.outputs, args, env).await
    }

    /// A script in which `$0` is the program.
    fn shell(&self, script: &str) -> Process {
        let program = program().map(|path| path.display().to_string()).unwrap_or_default();
        let mut shell = Process::new("sh", Path::new("/bin/sh"), self.outputs.path());
        shell.args(&["-c", script, &program]).work_in(self.empty.path());
        shell
    }

    /// The end of every test of a command that works offline.
    fn must_be_empty(self) -> Result<()> {
        let left: Vec<_> = std::fs::read_dir(self.empty.path())?.collect::<Result<_, _>>()?;
        ensure!(left.is_empty(), "left behind: {left:?}");
        self.empty.set_clean();
        self.outputs.set_clean();
        Ok(())
    }
}

// === impl Running ===

impl Running {
    async fn start(folder: &Folder, outputs: &Folder) -> Result<Self> {
        let [http, operations] = [free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
        let mut process = Process::new("pangaea", program()?, outputs.path());
        process.args(&["run"]).work_in(folder.path()).envs(&[
            ("PANGAEA__HTTP__LISTEN".to_owned(), http.clone()),
            ("PANGAEA__OPERATIONS__LISTEN".to_owned(), operations.clone()),
        ]);
        process.start()?;
        let probe = Api::new(&format!("http://{operations}"))?;
        eventually("the store to be ready", READY_MAX, async || {
            process.must_run()?;
            let answer = probe.get("/readyz").send().await;
            Ok(answer.is_ok_and(|answer| answer.status == 200).then_some(()))
        })
        .await?;
        Ok(Self { process, api: Api::new(&format!("http://{http}"))? })
    }
}
