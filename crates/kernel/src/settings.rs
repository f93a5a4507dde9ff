use pangaea_journal::{Database, JournalError, Migration, Statement, record};

/// The kernel's own tables, in every module's database.
pub(crate) const MIGRATION: Migration = Migration {
    name: "kernel/0001",
    sql: "CREATE TABLE setting (name TEXT PRIMARY KEY, value TEXT NOT NULL);
          CREATE TABLE token_key (
              key_id TEXT PRIMARY KEY,
              public_key TEXT NOT NULL,
              not_before BIGINT NOT NULL,
              not_after BIGINT NOT NULL
          );",
};

record! {
    /// The settings that handlers see, as last admitted.
    pub struct SettingsRow in "setting" {
        key { name: String }
        /// JSON.
        value: String,
    }
}

// === impl SettingsRow ===

impl SettingsRow {
    pub(crate) const NAME: &'static str = "settings";

    /// The settings last admitted, as JSON; `None` before any.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn stored(database: &Database) -> Result<Option<serde_json::Value>, JournalError> {
        let select = Statement::new("SELECT value FROM setting WHERE name = ?").bind(Self::NAME);
        let rows = database.fetch(select).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let text: String = row.get(0)?;
        serde_json::from_str(&text).map(Some).map_err(|error| JournalError::Decode(error.to_string()))
    }
}

/// Under which subject a change of settings stands in a module's inbox.
pub fn settings_subject(module: &str) -> String {
    format!("{module}.set.settings.v1")
}
