//! One way to two databases: `sqlx::Any`, or an enum over the two native drivers?
//!
//! Runs the same module transaction through both and prints messages per second and their ratio:
//! statement by statement, and with multi-row statements; on one and on four SQLite files at once (`synchronous=FULL`), and on
//! PostgreSQL when `PANGAEA_TEST_POSTGRES_URL` is set. Then four writers and eight readers work at once through `Any`.
//!
//! `cargo run --release -p pangaea-journal --example dispatch_trial`

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sqlx::AnyConnection;
use sqlx::postgres::PgConnection;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Connection as _, Row as _};

/// Messages per transaction.
const BATCH: usize = 64;
/// How long each figure is measured. The drivers take turns this often, so that a busy moment of the machine hits both.
const TURN: Duration = Duration::from_millis(700);
const TURNS: u32 = 4;
const TABLES: &str = "CREATE TABLE stock (sku TEXT PRIMARY KEY, on_hand BIGINT NOT NULL); \
    CREATE TABLE outbox (position BIGINT PRIMARY KEY, key TEXT NOT NULL, payload TEXT NOT NULL)";

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What the enum of this crate does, with nothing around it, and what `Any` does.
enum Driver {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
    Any(AnyConnection),
}

#[derive(Clone, Copy)]
enum Shape {
    /// A read, an update and an insert per message.
    Statements,
    /// A read, an upsert and an insert per batch.
    Rows,
}

/// Text is bound as a string, numbers as integers: the two types that mean the same on both databases.
macro_rules! run {
    ($connection:expr, $sql:expr, $texts:expr, $numbers:expr) => {{
        let mut query = sqlx::query(AssertSqlSafe($sql));
        for (text, number) in $texts.iter().zip($numbers) {
            query = query.bind(text.clone());
            if let Some(number) = number {
                query = query.bind(*number);
            }
        }
        query.fetch_all($connection).await?.len()
    }};
}

// === impl Driver ===

impl Driver {
    async fn open(url: &str, any: bool) -> Result<Self, Failure> {
        let mut driver = match (any, url.starts_with("sqlite")) {
            (true, _) => Self::Any(AnyConnection::connect(url).await?),
            (false, true) => Self::Sqlite(SqliteConnection::connect(url).await?),
            (false, false) => Self::Postgres(PgConnection::connect(url).await?),
        };
        if url.starts_with("sqlite") {
            driver.raw("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 5000").await?;
        }
        Ok(driver)
    }

    async fn raw(&mut self, sql: &str) -> Result<(), Failure> {
        let sql = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        match self {
            Self::Sqlite(connection) => _ = sql.execute(connection).await?,
            Self::Postgres(connection) => _ = sql.execute(connection).await?,
            Self::Any(connection) => _ = sql.execute(connection).await?,
        }
        Ok(())
    }

    /// Each text is bound, followed by its number where it has one. Returns how many rows came back.
    async fn run(&mut self, sql: String, texts: &[String], numbers: &[Option<i64>]) -> Result<usize, Failure> {
        Ok(match self {
            Self::Sqlite(connection) => run!(connection, sql, texts, numbers),
            Self::Postgres(connection) => run!(connection, sql, texts, numbers),
            Self::Any(connection) => run!(connection, sql, texts, numbers),
        })
    }
}

/// `$1, $2 …`: the one form of placeholder that SQLite and PostgreSQL both take, since `Any` rewrites none.
fn rows(count: usize, columns: usize) -> String {
    let row = |row: usize| {
        let columns: Vec<String> = (0..columns).map(|column| format!("${}", row * columns + column + 1)).collect();
        format!("({})", columns.join(", "))
    };
    (0..count).map(row).collect::<Vec<_>>().join(", ")
}

async fn transaction(driver: &mut Driver, shape: Shape, begin: &str, position: &mut i64) -> Result<(), Failure> {
    driver.raw(begin).await?;
    let skus: Vec<String> = (0..BATCH).map(|number| format!("sku-{number:03}")).collect();
    match shape {
        Shape::Statements => {
            for sku in &skus {
                *position += 1;
                let key = [sku.clone()];
                driver.run("SELECT on_hand FROM stock WHERE sku = $1".into(), &key, &[None]).await?;
                driver.run("UPDATE stock SET on_hand = on_hand + 1 WHERE sku = $1".into(), &key, &[None]).await?;
                let insert = "INSERT INTO outbox (key, position, payload) VALUES ($1, $2, '{}')";
                driver.run(insert.into(), &key, &[Some(*position)]).await?;
            }
        }
        Shape::Rows => {
            let list: Vec<String> = (1..=BATCH).map(|number| format!("${number}")).collect();
            let select = format!("SELECT sku, on_hand FROM stock WHERE sku IN ({})", list.join(", "));
            driver.run(select, &skus, &[None; BATCH]).await?;
            let tail = "ON CONFLICT (sku) DO UPDATE SET on_hand = excluded.on_hand";
            let upsert = format!("INSERT INTO stock (sku, on_hand) VALUES {} {tail}", rows(BATCH, 2));
            driver.run(upsert, &skus, &[Some(*position); BATCH]).await?;
            let numbers: Vec<Option<i64>> = (1..=BATCH as i64).map(|number| Some(*position + number)).collect();
            let insert = format!("INSERT INTO outbox (key, position, payload) VALUES {}", messages(BATCH));
            driver.run(insert, &skus, &numbers).await?;
            *position += BATCH as i64;
        }
    }
    driver.raw("COMMIT").await
}

fn messages(count: usize) -> String {
    (0..count).map(|row| format!("(${}, ${}, '{{}}')", row * 2 + 1, row * 2 + 2)).collect::<Vec<_>>().join(", ")
}

/// One database of one driver, kept open between its turns.
struct Bench {
    driver: Driver,
    begin: &'static str,
    position: i64,
}

async fn turn(mut bench: Bench, shape: Shape) -> Result<(Bench, f64), Failure> {
    let (started, first) = (Instant::now(), bench.position);
    while started.elapsed() < TURN {
        transaction(&mut bench.driver, shape, bench.begin, &mut bench.position).await?;
    }
    let rate = (bench.position - first) as f64 / started.elapsed().as_secs_f64();
    Ok((bench, rate))
}

/// Messages per second of all databases together.
async fn turns(benches: &mut Vec<Bench>, shape: Shape) -> Result<f64, Failure> {
    let running: Vec<_> = benches.drain(..).map(|bench| tokio::spawn(turn(bench, shape))).collect();
    let mut total = 0.0;
    for task in running {
        let (bench, rate) = task.await??;
        benches.push(bench);
        total += rate;
    }
    Ok(total)
}

async fn compare(name: &str, native: Vec<Bench>, any: Vec<Bench>) -> Result<(), Failure> {
    let mut both = [native, any];
    for (label, shape) in [("statement by statement", Shape::Statements), ("multi-row statements", Shape::Rows)] {
        let mut rates = [0.0, 0.0];
        for number in 0..TURNS {
            // Who goes first changes, so that neither always follows the other's writes to the disk.
            for which in [number % 2, 1 - number % 2].map(|which| which as usize) {
                rates[which] += turns(&mut both[which], shape).await? / f64::from(TURNS);
            }
        }
        let [native, any] = rates;
        println!("{name:<24} {label:<24} native {native:>8.0}/s   Any {any:>8.0}/s   native/Any {:.2}", native / any);
    }
    Ok(())
}

async fn bench(url: &str, any: bool, schema: Option<&str>) -> Result<Bench, Failure> {
    let mut driver = Driver::open(url, any).await?;
    if let Some(schema) = schema {
        let drop = format!("DROP SCHEMA IF EXISTS {schema} CASCADE");
        driver.raw(&format!("{drop}; CREATE SCHEMA {schema}; SET search_path = {schema}")).await?;
    }
    driver.raw(TABLES).await?;
    let begin = if schema.is_some() { "BEGIN" } else { "BEGIN IMMEDIATE" };
    let skus: Vec<String> = (0..BATCH).map(|number| format!("sku-{number:03}")).collect();
    driver.run(format!("INSERT INTO stock (sku, on_hand) VALUES {}", rows(BATCH, 2)), &skus, &[Some(0); BATCH]).await?;
    Ok(Bench { driver, begin, position: 0 })
}

fn url(folder: &Path, name: &str) -> String {
    format!("sqlite:{}?mode=rwc", folder.join(name).display())
}

/// Four writers, each with its file, and two readers of each, all through `Any`.
async fn concurrency(folder: &Path) -> Result<(), Failure> {
    const BATCHES: i64 = 40;
    let mut tasks = Vec::new();
    for number in 0..4 {
        let url = url(folder, &format!("concurrent-{number}.db"));
        let mut writer = bench(&url, true, None).await?;
        for _ in 0..2 {
            let url = url.clone();
            tasks.push(tokio::spawn(async move {
                let Driver::Any(mut reader) = Driver::open(&url, true).await? else { return Err("not Any".into()) };
                let mut seen = 0;
                while seen < BATCHES * BATCH as i64 {
                    let row = sqlx::query("SELECT COUNT(*) FROM outbox").fetch_one(&mut reader).await?;
                    seen = row.try_get(0)?;
                    if seen % BATCH as i64 != 0 {
                        return Err(Failure::from("a reader saw half a transaction"));
                    }
                }
                Ok(())
            }));
        }
        tasks.push(tokio::spawn(async move {
            for _ in 0..BATCHES {
                transaction(&mut writer.driver, Shape::Rows, writer.begin, &mut writer.position).await?;
            }
            Ok(())
        }));
    }
    let count = tasks.len();
    for task in tasks {
        tokio::time::timeout(Duration::from_secs(60), task).await???;
    }
    println!("concurrency through Any: 4 writers and {} readers, no error, all rows seen", count - 4);
    Ok(())
}

/// What each driver says of the column types that a first schema would use.
async fn types(folder: &Path) -> Result<(), Failure> {
    let url = url(folder, "types.db");
    let Driver::Any(mut any) = Driver::open(&url, true).await? else { return Err("not Any".into()) };
    sqlx::raw_sql("CREATE TABLE flag (set_ BOOLEAN); INSERT INTO flag VALUES (TRUE)").execute(&mut any).await?;
    match sqlx::query("SELECT set_ FROM flag").fetch_all(&mut any).await {
        Ok(_) => println!("types through Any: a SQLite BOOLEAN column is read"),
        Err(error) => println!("types through Any: a SQLite BOOLEAN column is not read: {error}"),
    }
    Ok(())
}

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::main]
#[expect(clippy::disallowed_methods, reason = "a program's edge: the suite's PostgreSQL is named this way")]
async fn main() -> Result<(), Failure> {
    sqlx::any::install_default_drivers();
    let folder = Folder(std::env::temp_dir().join(format!("pangaea-dispatch-trial-{}", std::process::id())));
    std::fs::create_dir_all(&folder.0)?;
    for databases in [1, 4] {
        let (mut native, mut any) = (Vec::new(), Vec::new());
        for number in 0..databases {
            native.push(bench(&url(&folder.0, &format!("native-{databases}-{number}.db")), false, None).await?);
            any.push(bench(&url(&folder.0, &format!("any-{databases}-{number}.db")), true, None).await?);
        }
        compare(&format!("SQLite FULL, {databases} database(s)"), native, any).await?;
    }
    match std::env::var("PANGAEA_TEST_POSTGRES_URL") {
        Ok(url) => {
            let native = vec![bench(&url, false, Some("trial_native")).await?];
            let any = vec![bench(&url, true, Some("trial_any")).await?];
            compare("PostgreSQL, 1 schema", native, any).await?;
            let drop = "DROP SCHEMA trial_native CASCADE; DROP SCHEMA trial_any CASCADE";
            Driver::open(&url, false).await?.raw(drop).await?;
        }
        Err(_) => println!("PostgreSQL: not measured, PANGAEA_TEST_POSTGRES_URL is not set"),
    }
    types(&folder.0).await?;
    concurrency(&folder.0).await
}
