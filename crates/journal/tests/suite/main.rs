//! The journal's suite. Every test runs on SQLite and on PostgreSQL, from one text.
//!
//! The PostgreSQL half needs a server: `cargo xtask test` starts one and names it in `PANGAEA_TEST_POSTGRES_URL`.

mod audit;
mod election;
mod journal_rows;
mod leading;
mod lineage;
mod memory;
mod migrations;
mod model;
mod opening;
mod provision;
mod shadows;
mod snapshot;
mod support;
mod unit_of_work;
