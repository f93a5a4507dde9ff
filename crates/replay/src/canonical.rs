use std::collections::BTreeMap;

use pangaea_contracts::user::KeyPublished;
use pangaea_contracts::{Envelope, Message, digest_text};
use pangaea_journal::{Contents, Database, JournalError, Value};

use crate::naming::{Document, name_ids};
use crate::text::{pieces, timeless};

/// Messages read at once.
const PAGE: usize = 1_000;
/// Kept by the kernel in every module: configuration, and keys that are random in every store.
const KERNEL_TABLES: [&str; 2] = ["setting", "token_key"];
/// What a column is called, or ends with, that holds what was sealed: no two seals of one text are alike.
const SEALED: &str = "sealed";
/// What a column that holds a moment is called, or ends with.
const TIME_NAMES: [&str; 6] = ["at", "since", "from", "until", "before", "after"];
/// The year 2001, in milliseconds: what is smaller in such a column is no moment and is kept.
const MOMENT_MIN_MS: i64 = 1_000_000_000_000;

/// What a store holds and has said, comparable between runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canonical {
    lines: Vec<String>,
}

/// Reads the state and the outputs of modules that are quiet, each database of which gives a part.
///
/// A module's outputs are grouped by key, in the order in which they were said; its tables are rows. Of both, times and
/// positions are dropped, as is the trace that a request came with; ids are renamed by first appearance; signing keys and what
/// is sealed are random and left out. Nothing else is.
///
/// # Errors
/// When a database cannot be read.
pub async fn canonical(databases: &[Database]) -> Result<Canonical, JournalError> {
    let mut documents = Vec::new();
    for database in databases {
        let module = database.module();
        for (_, history) in outputs(database).await? {
            let lines = history.iter().map(|message| pieces(&output_line(message))).collect();
            documents.push(Document { label: format!("{module} says"), lines });
        }
        for contents in database.contents().await? {
            if !KERNEL_TABLES.contains(&contents.table.as_str()) {
                documents.extend(rows(module, &contents));
            }
        }
    }
    Ok(Canonical { lines: name_ids(documents) })
}

/// A module's outputs by their keys.
async fn outputs(database: &Database) -> Result<BTreeMap<String, Vec<Envelope>>, JournalError> {
    let mut by_key: BTreeMap<String, Vec<Envelope>> = BTreeMap::new();
    let mut after = 0;
    loop {
        let page = database.outbox_after("", after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(by_key) };
        after = last.position;
        for message in page.iter().filter(|message| message.subject != KeyPublished::SUBJECT) {
            by_key.entry(message.key.clone()).or_default().push(Envelope::clone(message));
        }
    }
}

fn output_line(message: &Envelope) -> String {
    let Envelope { id, subject, key, causation_id, correlation_id, actor, payload, .. } = message;
    let actor = serde_json::to_string(actor).unwrap_or_default();
    format!("{subject} {key} {id} after {causation_id} of {correlation_id} by {actor}: {}", timeless(payload))
}

fn rows(module: &str, contents: &Contents) -> Vec<Document> {
    let label = format!("{module} holds {}", contents.table);
    let row_line = |row: &Vec<Value>| {
        let fields =
            contents.columns.iter().zip(row).map(|(column, value)| format!("{column}={}", field(column, value)));
        fields.collect::<Vec<_>>().join(" ")
    };
    contents.rows.iter().map(|row| Document { label: label.clone(), lines: vec![pieces(&row_line(row))] }).collect()
}

fn field(column: &str, value: &Value) -> String {
    match value {
        Value::Int(Some(number)) if *number >= MOMENT_MIN_MS && is_time(column) => "time".to_owned(),
        Value::Int(Some(number)) => number.to_string(),
        Value::Text(Some(_)) if is_called(column, SEALED) => SEALED.to_owned(),
        Value::Text(Some(text)) => timeless(text),
        Value::Int(None) | Value::Text(None) => "none".to_owned(),
    }
}

fn is_time(column: &str) -> bool {
    TIME_NAMES.iter().any(|name| is_called(column, name))
}

fn is_called(column: &str, name: &str) -> bool {
    column.rsplit('_').next() == Some(name)
}

// === impl Canonical ===

impl Canonical {
    /// The same for two runs that did the same, and practically only for them.
    pub fn digest(&self) -> String {
        let lines: Vec<&[u8]> = self.lines.iter().map(|line| line.as_bytes()).collect();
        digest_text(&lines, 51)
    }

    /// What is said and held, a line each.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// The first line in which `other` differs, for a failing test.
    pub fn difference(&self, other: &Self) -> Option<String> {
        let none = String::from("nothing");
        let length = self.lines.len().max(other.lines.len());
        (0..length).find_map(|index| {
            let (mine, theirs) = (self.lines.get(index).unwrap_or(&none), other.lines.get(index).unwrap_or(&none));
            (mine != theirs).then(|| format!("line {index}:\n  {mine}\n  {theirs}"))
        })
    }
}
