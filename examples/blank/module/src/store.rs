use pangaea_contracts::Timestamp;
use pangaea_journal::{Database, JournalError, Migration, Record, Statement, record};

pub(crate) const MIGRATIONS: &[Migration] =
    &[Migration { name: "0001_blank", sql: include_str!("../migrations/0001_blank.sql") }];

record! {
    pub(crate) struct Entry in "entry" {
        key { entry: String }
        /// Grows by one with every write; the entity tag.
        version: i64,
        text: String,
        written_at: Timestamp,
    }
}

pub(crate) async fn entry(database: &Database, entry: &str) -> Result<Option<Entry>, JournalError> {
    let select = format!("SELECT {} FROM {} WHERE entry = ?", Entry::COLUMNS.join(", "), Entry::TABLE);
    let found = database.fetch(Statement::new(select).bind(entry)).await?;
    found.first().map(Entry::from_row).transpose()
}
