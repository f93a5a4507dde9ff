//! One module's database, only read, as one moment shows it.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row as _, TypeInfo, ValueRef};

use crate::shown;

pub(crate) enum Source {
    Sqlite(Box<SqliteConnection>),
    Postgres(Box<PgConnection>),
}

/// A row's columns in the order of the query.
#[derive(Debug)]
pub(crate) struct Row(Vec<Field>);

#[derive(Clone, Debug, PartialEq)]
enum Field {
    Null,
    Int(i64),
    Text(String),
}

// === impl Source ===

impl Source {
    /// The database of a module with a read transaction begun; `None` where the module has none.
    pub(crate) async fn open(url: &str, module: &str) -> Result<Option<Self>> {
        let url = url.replace("{module}", module);
        let opened = if url.starts_with("postgres:") || url.starts_with("postgresql:") {
            Self::open_postgres(&url, module).await
        } else {
            Self::open_sqlite(&url, module).await
        };
        opened.with_context(|| format!("opening the database of {module} at {}", shown(&url)))
    }

    async fn open_sqlite(url: &str, module: &str) -> Result<Option<Self>> {
        let Some(path) = url.strip_prefix("sqlite:") else {
            bail!("it starts with neither sqlite: nor postgres:");
        };
        let mut file = PathBuf::from(path.strip_prefix("//").unwrap_or(path));
        if file.is_dir() || path.ends_with('/') {
            file.push(format!("{module}.db"));
        }
        if !file.is_file() {
            return Ok(None);
        }
        let options = SqliteConnectOptions::new().filename(&file).read_only(true).pragma("query_only", "on");
        let mut connection = options.disable_statement_logging().connect().await?;
        sqlx::raw_sql("BEGIN").execute(&mut connection).await?;
        Ok(Some(Self::Sqlite(Box::new(connection))))
    }

    async fn open_postgres(url: &str, module: &str) -> Result<Option<Self>> {
        let options = PgConnectOptions::from_str(url)?.application_name("pangaea-auditor");
        let mut connection = options.options([("search_path", module)]).disable_statement_logging().connect().await?;
        let known = sqlx::query("SELECT 1 FROM pg_namespace WHERE nspname = $1").bind(module);
        if known.fetch_all(&mut connection).await?.is_empty() {
            connection.close().await?;
            return Ok(None);
        }
        sqlx::raw_sql("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY").execute(&mut connection).await?;
        Ok(Some(Self::Postgres(Box::new(connection))))
    }

    pub(crate) async fn rows(&mut self, sql: &str) -> Result<Vec<Row>> {
        let text = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        let rows = match self {
            Self::Sqlite(connection) => {
                let rows = text.fetch_all(&mut **connection).await.with_context(|| sql.to_owned())?;
                rows.iter().map(Row::of_sqlite).collect::<Result<_>>()
            }
            Self::Postgres(connection) => {
                let rows = text.fetch_all(&mut **connection).await.with_context(|| sql.to_owned())?;
                rows.iter().map(Row::of_postgres).collect::<Result<_>>()
            }
        };
        rows.with_context(|| sql.to_owned())
    }

    /// Columns of a table that hold something else than whole numbers, where they must: SQLite stores what it is given.
    pub(crate) async fn not_integral(&mut self, table: &str, columns: &[&str]) -> Result<Vec<String>> {
        let Self::Sqlite(_) = self else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for column in columns {
            let sql = format!(
                "SELECT '{table}.{column} of row ' || rowid || ' is ' || {column} FROM {table} \
                 WHERE typeof({column}) NOT IN ('integer', 'null') LIMIT 50"
            );
            found.extend(self.rows(&sql).await?.iter().map(|row| row.text(0)));
        }
        Ok(found)
    }

    pub(crate) async fn close(self) {
        // Nothing was written: however the connection ends, all is as it was.
        let _ = match self {
            Self::Sqlite(connection) => connection.close().await,
            Self::Postgres(connection) => connection.close().await,
        };
    }
}

// === impl Row ===

impl Row {
    fn of_sqlite(row: &SqliteRow) -> Result<Self> {
        let field = |index| {
            let value = row.try_get_raw(index)?;
            Ok(match (value.is_null(), value.type_info().name()) {
                (true, _) => Field::Null,
                (_, "INTEGER") => Field::Int(row.try_get_unchecked(index)?),
                // Told as a breach by `not_integral`; here it is only carried on.
                (_, "REAL") => Field::Int(row.try_get_unchecked::<f64, _>(index)? as i64),
                _ => Field::Text(row.try_get_unchecked(index)?),
            })
        };
        (0..row.len()).map(field).collect::<Result<_>>().map(Self)
    }

    fn of_postgres(row: &PgRow) -> Result<Self> {
        let field = |index| {
            let value = row.try_get_raw(index)?;
            Ok(match (value.is_null(), value.type_info().name()) {
                (true, _) => Field::Null,
                (_, "INT8") => Field::Int(row.try_get(index)?),
                (_, "INT4") => Field::Int(row.try_get::<i32, _>(index)?.into()),
                _ => Field::Text(row.try_get_unchecked(index)?),
            })
        };
        (0..row.len()).map(field).collect::<Result<_>>().map(Self)
    }

    /// The number in a column; 0 where there is none.
    pub(crate) fn int(&self, column: usize) -> i64 {
        match &self.0[column] {
            Field::Int(number) => *number,
            Field::Text(text) => text.parse().unwrap_or(0),
            Field::Null => 0,
        }
    }

    /// The text in a column; empty where there is none.
    pub(crate) fn text(&self, column: usize) -> String {
        self.optional(column).unwrap_or_default()
    }

    pub(crate) fn optional(&self, column: usize) -> Option<String> {
        match &self.0[column] {
            Field::Null => None,
            Field::Int(number) => Some(number.to_string()),
            Field::Text(text) => Some(text.clone()),
        }
    }
}
