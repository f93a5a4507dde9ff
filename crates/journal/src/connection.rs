//! The one place where the two native drivers are told apart.

use sqlx::postgres::{PgArguments, PgPool, PgRow};
use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqlitePool, SqliteRow};
use sqlx::{Arguments, AssertSqlSafe, Column as _, Connection as _, Row as _, TypeInfo as _, ValueRef as _};

use crate::session::{MIGRATION_TIMEOUT, Session};
use crate::{JournalError, Row, Statement, Value};

#[derive(Debug)]
pub(crate) enum Connection {
    Sqlite(SqliteConnection),
    Postgres(Session),
}

#[derive(Clone, Debug)]
pub(crate) enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

// === impl Connection ===

impl Connection {
    /// Runs SQL without values, of one or more statements, and returns all rows.
    pub(crate) async fn raw(&mut self, sql: &str) -> Result<Vec<Row>, JournalError> {
        let sql = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        match self {
            Self::Sqlite(connection) => sqlite_rows(&sql.fetch_all(connection).await?),
            Self::Postgres(session) => {
                postgres_rows(&session.call(async |connection| sql.fetch_all(connection).await).await?)
            }
        }
    }

    /// The same for a step of a migration, which is given its time.
    pub(crate) async fn migrate(&mut self, sql: &str) -> Result<(), JournalError> {
        let Self::Postgres(session) = self else { return self.raw(sql).await.map(drop) };
        let sql = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        session.call_within(MIGRATION_TIMEOUT, async |connection| sql.fetch_all(connection).await).await.map(drop)
    }

    pub(crate) async fn fetch(&mut self, statement: &Statement) -> Result<Vec<Row>, JournalError> {
        match self {
            Self::Sqlite(connection) => {
                let arguments = sqlite_arguments(statement.values.clone())?;
                let query = sqlx::query_with(AssertSqlSafe(statement.sql.clone()), arguments);
                let query = query.persistent(worth_keeping(statement));
                sqlite_rows(&query.fetch_all(connection).await?)
            }
            Self::Postgres(session) => {
                let arguments = postgres_arguments(&statement.values)?;
                let query = sqlx::query_with(AssertSqlSafe(statement.postgres_sql()), arguments);
                let query = query.persistent(worth_keeping(statement));
                postgres_rows(&session.call(async |connection| query.fetch_all(connection).await).await?)
            }
        }
    }

    /// Runs a statement over a whole table, which is given the time of a migration's step: how many rows it wrote.
    pub(crate) async fn execute_counted(&mut self, statement: &Statement) -> Result<u64, JournalError> {
        match self {
            Self::Sqlite(connection) => {
                let arguments = sqlite_arguments(statement.values.clone())?;
                let query = sqlx::query_with(AssertSqlSafe(statement.sql.clone()), arguments).persistent(false);
                Ok(query.execute(connection).await?.rows_affected())
            }
            Self::Postgres(session) => {
                let arguments = postgres_arguments(&statement.values)?;
                let query = sqlx::query_with(AssertSqlSafe(statement.postgres_sql()), arguments).persistent(false);
                let ran = session.call_within(MIGRATION_TIMEOUT, async |connection| query.execute(connection).await);
                Ok(ran.await?.rows_affected())
            }
        }
    }

    /// Runs statements in order.
    ///
    /// On SQLite all of them travel to the driver's thread in a single call, because the hop to that thread costs more
    /// than the statements; on PostgreSQL each is a round trip.
    pub(crate) async fn execute_all(&mut self, statements: Vec<Statement>) -> Result<(), JournalError> {
        match self {
            Self::Sqlite(connection) => {
                let (mut sql, mut values) = (String::new(), Vec::new());
                for statement in statements {
                    sql.push_str(&statement.sql);
                    sql.push_str(";\n");
                    // Moved all the way: a batch is thousands of texts.
                    values.extend(statement.values);
                }
                let query = sqlx::query_with(AssertSqlSafe(sql), sqlite_arguments(values)?).persistent(false);
                query.execute(connection).await?;
            }
            Self::Postgres(session) => {
                for statement in &statements {
                    let arguments = postgres_arguments(&statement.values)?;
                    let query = sqlx::query_with(AssertSqlSafe(statement.postgres_sql()), arguments);
                    let query = query.persistent(worth_keeping(statement));
                    session.call(async |connection| query.execute(connection).await).await?;
                }
            }
        }
        Ok(())
    }

    pub(crate) async fn close(self) -> Result<(), JournalError> {
        match self {
            Self::Sqlite(connection) => connection.close().await?,
            Self::Postgres(session) => session.close().await?,
        }
        Ok(())
    }
}

// === impl Pool ===

impl Pool {
    pub(crate) async fn fetch(&self, statement: &Statement) -> Result<Vec<Row>, JournalError> {
        match self {
            Self::Sqlite(pool) => {
                let arguments = sqlite_arguments(statement.values.clone())?;
                let query = sqlx::query_with(AssertSqlSafe(statement.sql.clone()), arguments);
                sqlite_rows(&query.persistent(worth_keeping(statement)).fetch_all(pool).await?)
            }
            Self::Postgres(pool) => {
                let arguments = postgres_arguments(&statement.values)?;
                let query = sqlx::query_with(AssertSqlSafe(statement.postgres_sql()), arguments);
                postgres_rows(&query.persistent(worth_keeping(statement)).fetch_all(pool).await?)
            }
        }
    }

    pub(crate) fn connections(&self) -> (usize, usize) {
        match self {
            Self::Sqlite(pool) => (pool.size() as usize, pool.num_idle()),
            Self::Postgres(pool) => (pool.size() as usize, pool.num_idle()),
        }
    }

    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite(pool) => pool.close().await,
            Self::Postgres(pool) => pool.close().await,
        }
    }
}

/// Prepared statements are kept by their text, and with their values, up to a number of statements. Long lists come seldom, and
/// keeping them would push out the short ones that come again and hold memory for nothing.
fn worth_keeping(statement: &Statement) -> bool {
    const VALUES_KEPT_MAX: usize = 256;
    statement.values.len() <= VALUES_KEPT_MAX
}

fn sqlite_arguments(values: Vec<Value>) -> Result<SqliteArguments, JournalError> {
    let mut arguments = SqliteArguments::default();
    for value in values {
        match value {
            Value::Int(number) => arguments.add(number),
            Value::Text(text) => {
                storable(&text)?;
                arguments.add(text)
            }
        }
        .map_err(|error| JournalError::Statement(error.to_string()))?;
    }
    Ok(arguments)
}

fn postgres_arguments(values: &[Value]) -> Result<PgArguments, JournalError> {
    let mut arguments = PgArguments::default();
    for value in values {
        match value {
            Value::Int(number) => arguments.add(*number),
            Value::Text(text) => arguments.add(storable(text)?.as_deref()),
        }
        .map_err(|error| JournalError::Statement(error.to_string()))?;
    }
    Ok(arguments)
}

/// PostgreSQL stores no U+0000. SQLite would, so it is refused here, for both alike.
fn storable(text: &Option<String>) -> Result<&Option<String>, JournalError> {
    if text.as_deref().is_some_and(|text| text.contains('\0')) {
        return Err(JournalError::Constraint("a text must not contain the character U+0000".into()));
    }
    Ok(text)
}

fn sqlite_rows(rows: &[SqliteRow]) -> Result<Vec<Row>, JournalError> {
    rows.iter()
        .map(|row| {
            let mut values = Vec::with_capacity(row.len());
            for index in 0..row.len() {
                let value = row.try_get_raw(index)?;
                let (kind, is_null) = (value.type_info(), value.is_null());
                values.push(match kind.name() {
                    "INTEGER" => Value::Int(row.try_get_unchecked(index)?),
                    "TEXT" => Value::Text(row.try_get_unchecked(index)?),
                    _ if is_null => Value::Text(None),
                    other => return Err(foreign_type(index, other)),
                });
            }
            Ok(Row(values))
        })
        .collect()
}

fn postgres_rows(rows: &[PgRow]) -> Result<Vec<Row>, JournalError> {
    rows.iter()
        .map(|row| {
            let mut values = Vec::with_capacity(row.len());
            for column in row.columns() {
                let index = column.ordinal();
                values.push(match column.type_info().name() {
                    "INT8" => Value::Int(row.try_get(index)?),
                    "INT4" => Value::Int(row.try_get::<Option<i32>, _>(index)?.map(i64::from)),
                    "INT2" => Value::Int(row.try_get::<Option<i16>, _>(index)?.map(i64::from)),
                    "BOOL" => Value::Int(row.try_get::<Option<bool>, _>(index)?.map(i64::from)),
                    "TEXT" | "VARCHAR" | "CHAR" | "NAME" | "VOID" => Value::Text(row.try_get_unchecked(index)?),
                    other => return Err(foreign_type(index, other)),
                });
            }
            Ok(Row(values))
        })
        .collect()
}

/// A `sum` over BIGINT is NUMERIC on PostgreSQL and INTEGER on SQLite: an error here shows it at the first run.
fn foreign_type(column: usize, name: &str) -> JournalError {
    JournalError::Decode(format!("column {column} has the type {name}; CAST it to BIGINT or TEXT in the statement"))
}
