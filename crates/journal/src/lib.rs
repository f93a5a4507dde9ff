//! A module's database: one history in, one log out, and everything between two commits.
//!
//! [`Database`] is opened from a URL (a SQLite file, SQLite in memory, or PostgreSQL) and gives the read pool.
//! [`Writer`] is the module's *single* writing connection. It runs one transaction at a time as a unit of work: rows are
//! read by key into an identity map, changed there, and written by one upsert per table at the commit, together with the
//! inbox, the outbox (a dense log), cursors, timers, effects, dead letters and secrets of the batch.
//!
//! Both databases share every SQL text: placeholders are `?`, columns are `TEXT` and `BIGINT`. Why an enum over the two
//! native drivers and not `sqlx::Any`: see `docs/decisions/0001-database-dispatch.md`.
//!
//! The journal cannot publish: a message leaves only as a row of the outbox.

mod audit;
mod candidate;
mod connection;
mod contents;
mod database;
mod error;
mod head;
mod identity_map;
mod journal_rows;
mod lineage;
mod lock;
mod migrate;
mod pending;
mod place;
mod provision;
mod read;
mod record;
mod rows;
mod session;
mod shadow;
mod snapshot;
mod statement;
mod temporary;
mod torn;
mod unit_of_work;
mod value;
mod whole;
mod writer;

pub use audit::{DeadLetterCounts, Extent, Extents};
pub use candidate::Candidate;
pub use contents::Contents;
pub use database::{Database, DatabaseOptions, Kind};
pub use error::JournalError;
pub use head::Head;
pub use identity_map::{Mark, RowChange};
pub use lineage::{Admitted, Sought};
pub use migrate::Migration;
pub use provision::Provisioned;
pub use record::{IntoKey, Record};
pub use rows::{
    CursorRow, DeadLetterChoice, DeadLetterRow, DeadLetterState, EffectRow, EffectState, InboxRow, Recorded, SecretRow,
    TimerRow,
};
pub use shadow::{ShadowRows, TableChange};
pub use snapshot::{Handled, Snapshot, TablePlace, TableShape};
pub use statement::{Row, Statement};
pub use value::{Column, ColumnType, Json, Value};
pub use writer::Writer;
