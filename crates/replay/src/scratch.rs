//! Databases of a replay's own, gone when it is over.

use std::sync::Arc;

use pangaea_journal::{Database, DatabaseOptions, Migration, TableShape, Value, Writer};
use pangaea_kernel::{Definition, Replayer};

use crate::ReplayError;
use crate::recording::{ModuleRecording, TableRows};

/// A database in a temporary folder, without any fsync.
pub const IN_MEMORY: &str = "sqlite::memory:";

/// A new database with the module's tables, as this program makes them, and nothing in them.
pub(crate) async fn empty(definition: &Definition, url: &str) -> Result<(Database, Writer), ReplayError> {
    made_by(definition, url, definition.all_migrations()).await
}

/// The same, with the tables that these of its migrations make.
pub(crate) async fn made_by(
    definition: &Definition,
    url: &str,
    migrations: &[Migration],
) -> Result<(Database, Writer), ReplayError> {
    let module = definition.name();
    let options = DatabaseOptions { url: url.to_owned(), read_connections_max: 1, synchronous_full: false };
    let database = Database::open(module, &options).await.map_err(ReplayError::journal(module))?;
    if database.head().await.map_err(ReplayError::journal(module))?.is_some() {
        return Err(ReplayError::module(module, "the database for the replay is not empty; name an empty one"));
    }
    let writer = database.writer(migrations, env!("CARGO_PKG_VERSION")).await;
    Ok((database, writer.map_err(ReplayError::journal(module))?))
}

/// A replayer whose state is what the recording begins with.
pub(crate) async fn at_start(
    module: &ModuleRecording,
    definition: &Arc<Definition>,
    url: &str,
) -> Result<Replayer, ReplayError> {
    let (_, mut writer) = empty(definition, url).await?;
    if module.start.first > 1 {
        let shapes = shapes(writer.database()).await?;
        let mut rows = module.rows()?;
        loop {
            let part = rows.next_frame()?;
            if part.is_empty() {
                break;
            }
            for rows in &part {
                load(&mut writer, &shapes, rows).await?;
            }
        }
    }
    Replayer::new(writer, definition.clone()).await.map_err(ReplayError::journal(definition.name()))
}

async fn load(writer: &mut Writer, shapes: &[TableShape], rows: &TableRows) -> Result<(), ReplayError> {
    let shape = shapes.iter().find(|shape| shape.table == rows.table).ok_or_else(|| {
        ReplayError::module(writer.database().module(), format!("this program makes no table {}", rows.table))
    })?;
    load_values(writer, shape, &rows.columns, rows.values()).await
}

pub(crate) async fn load_values(
    writer: &mut Writer,
    shape: &TableShape,
    columns: &[String],
    rows: Vec<Vec<Value>>,
) -> Result<(), ReplayError> {
    let loaded = writer.load_rows(shape, columns, rows).await;
    loaded.map_err(|error| {
        ReplayError::module(writer.database().module(), format!("the rows of {} do not fit: {error}", shape.table))
    })
}

/// The tables of a database, as they are.
pub(crate) async fn shapes(database: &Database) -> Result<Vec<TableShape>, ReplayError> {
    let shapes = async {
        let mut snapshot = database.snapshot().await?;
        let shapes = snapshot.tables().await?;
        snapshot.close().await?;
        Ok(shapes)
    };
    shapes.await.map_err(ReplayError::journal(database.module()))
}
