//! `pangaea replay FILE state --at T|POS`: what the tables held then.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use clap::Args;
use comfy_table::{Table, presets};
use pangaea_kernel::Definition;
use pangaea_replay::{Bound, Ignore, ModuleRecording, RowsWanted, TableView, Traveller, check_bounds};
use serde_json::{Map, Value, json};

use super::shown::{plain, printable, shortened};
use crate::commands::record::{Place, parse_place};

/// Characters of one value in a table for people.
const VALUE_CHARS_MAX: usize = 48;

#[derive(Args)]
#[command(after_help = "Examples:\n  \
    pangaea replay today.rec state --at 2026-11-27T08:00:00Z\n  \
    pangaea replay today.rec state --at 120 --module order --table orders --key ord_01m855w2c7fy1ab13bd5cde8kq\n  \
    pangaea replay today.rec state --at 120 --module product --json\n\n\
    The inputs up to there, that one included, run through this program's handlers in a database of their own, and the rows\n\
    are read from it. Of which input that was the last, is said for each module.")]
pub(super) struct StateArgs {
    /// When: a moment (RFC 3339) or a position of each module's inbox
    #[arg(long, value_name = "T|POS", value_parser = parse_place)]
    at: Place,
    /// Of this module only
    #[arg(long, value_name = "NAME")]
    pub(super) module: Option<String>,
    /// Of this table only
    #[arg(long, value_name = "NAME")]
    table: Option<String>,
    /// Rows with this value in their primary key; of a key of several columns one of them, or all with commas between
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Rows shown of each table; the others are counted
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// What is shown of one module.
struct ModuleState {
    module: String,
    last: Value,
    tables: Vec<TableView>,
}

pub(super) async fn run(
    args: &StateArgs,
    pairs: Vec<(ModuleRecording, Arc<Definition>)>,
    as_json: bool,
) -> Result<ExitCode> {
    let modules: Vec<_> = pairs.iter().map(|(module, _)| module.clone()).collect();
    let until = args.at.until();
    check_bounds(&modules, until)?;
    let mut traveller = Traveller::at_start(pairs, Bound::Until(until), Ignore::default()).await?;
    traveller.pass(|_| true).await?;
    let states = states(&traveller, args, modules.len()).await?;
    traveller.stop().await?;
    let mut out = std::io::stdout().lock();
    if as_json || args.json {
        let modules: Vec<_> = states.iter().map(ModuleState::to_json).collect();
        writeln!(out, "{:#}", json!({ "modules": modules }))?;
    } else {
        states.iter().try_for_each(|state| write!(out, "{}", state.text(args)))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn states(traveller: &Traveller, args: &StateArgs, count: usize) -> Result<Vec<ModuleState>> {
    // A table that is named without its module is looked for in all.
    let has_table = |module: &usize| {
        let named = args.table.as_ref();
        named.is_none_or(|table| args.module.is_some() || traveller.tables(*module).any(|name| name == table))
    };
    let mut wanted: Vec<usize> = (0..count).filter(has_table).collect();
    if wanted.is_empty() {
        // The error names the tables of the first.
        wanted.push(0);
    }
    let rows = RowsWanted { table: args.table.clone(), key: args.key.clone(), rows_max: args.limit as usize };
    let mut states = Vec::with_capacity(wanted.len());
    for (number, module) in traveller.modules().enumerate().filter(|(number, _)| wanted.contains(number)) {
        let last = traveller.last_of(number);
        let last = last.map(|(position, time)| json!({ "position": position, "admitted_at": time }));
        let tables = traveller.rows(number, &rows).await?;
        states.push(ModuleState { module: module.name().to_owned(), last: last.unwrap_or_default(), tables });
    }
    Ok(states)
}

/// Rows as a table for people, and how many there are more.
pub(super) fn table(view: &TableView) -> String {
    if view.rows.is_empty() {
        return format!("{}: no rows\n", view.table);
    }
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY).set_header(&view.columns);
    for row in &view.rows {
        table.add_row(row.iter().map(|value| printable(&shortened(&plain(value), VALUE_CHARS_MAX))));
    }
    let more = if view.more > 0 { format!(", and {} more", view.more) } else { String::new() };
    format!("{}: {} rows{more}\n{table}\n", view.table, view.rows.len())
}

// === impl ModuleState ===

impl ModuleState {
    fn to_json(&self) -> Value {
        let row = |view: &TableView, row: &Vec<Value>| -> Map<String, Value> {
            view.columns.iter().cloned().zip(row.iter().cloned()).collect()
        };
        let table = |view: &TableView| {
            let rows: Vec<_> = view.rows.iter().map(|values| row(view, values)).collect();
            json!({ "table": view.table, "rows": rows, "more": view.more })
        };
        json!({ "module": self.module, "last": self.last, "tables": self.tables.iter().map(table).collect::<Vec<_>>() })
    }

    fn text(&self, args: &StateArgs) -> String {
        let mut text = match self.last["position"].as_u64() {
            Some(position) => {
                format!("{}, up to input {position} at {}\n", self.module, plain(&self.last["admitted_at"]))
            }
            None => format!("{}, before its first input\n", self.module),
        };
        // Who asks for a key is not told of every table that has no such row.
        let is_shown = |view: &&TableView| args.key.is_none() || !view.rows.is_empty();
        let mut shown = self.tables.iter().filter(is_shown).peekable();
        if shown.peek().is_none() {
            text.push_str("no rows with such a key\n");
        }
        text.extend(shown.map(table));
        text
    }
}
