//! Where a walk begins: the inputs that an id names.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};
use pangaea_contracts::trace::trace_id;
use pangaea_contracts::{OrderId, Timestamp, moment_of_id};
use pangaea_journal::{Admitted, Database, Sought};
use pangaea_order::{Order, Outline};

use super::ids::{TraceTarget, order_prefix};
use super::progress::Progress;
use super::stores::Stores;
use super::walk::Walk;

/// Ids that are named when several begin alike.
const CANDIDATES_MAX: usize = 10;
/// How far two modules' clocks may be apart; a leader's is within a second of its database's.
const CLOCKS_APART_MS: i64 = 60_000;
/// Positions that one query looks at, so that it is short and progress can be shown.
const SCAN_STEP: u64 = 20_000;

/// How an order is looked for, and how far.
pub(super) struct Search {
    /// Entries at most.
    pub(super) entries_max: usize,
    /// Look at every input since this moment or, of an order, since it was placed.
    pub(super) since: Option<Timestamp>,
    /// Look at every input even where the order's timeline leads to them.
    pub(super) must_scan: bool,
}

/// Begins at everything that an order's timeline knows of, or, without it, at everything that names the order.
///
/// # Errors
/// When there is no such order, several begin alike, or a database cannot be read.
pub(super) async fn order(
    stores: &Stores,
    text: &str,
    search: &Search,
    walk: &mut Walk<'_>,
) -> Result<(OrderId, Option<Outline>)> {
    let prefix = order_prefix(text)?;
    let outline = match stores.of(Order::NAME) {
        Some(database) => Some(outline(database, &prefix, search).await?),
        None => None,
    };
    let id = match &outline {
        Some(outline) => outline.id.clone(),
        None => prefix.parse().with_context(|| format!("{prefix:?} cannot be looked up without order's database"))?,
    };
    if let (Some(outline), Some(database)) = (&outline, stores.of(Order::NAME)) {
        for moment in &outline.moments {
            for admitted in database.inputs_about(id.as_str(), *moment).await? {
                walk.begin(Order::NAME, &admitted).await?;
            }
        }
    }
    if outline.is_none() || search.must_scan {
        let placed_at = outline.as_ref().map(|outline| outline.placed_at).or_else(|| moment_of_id(id.as_str()));
        let since = search.since.or(placed_at).map(|moment| moment.plus_millis(-CLOCKS_APART_MS));
        let found = scan(stores, &Sought::Key(id.to_string()), since, search.entries_max).await?;
        if found.is_empty() && outline.is_none() {
            bail!("nothing names the order {id} in the databases that can be read ({})", stores.names().join(", "));
        }
        for (module, admitted) in &found {
            walk.begin(module, admitted).await?;
        }
    }
    Ok((id, outline))
}

async fn outline(database: &Database, prefix: &str, search: &Search) -> Result<Outline> {
    let moments_max = u32::try_from(search.entries_max).unwrap_or(u32::MAX);
    let known = async |id: &OrderId| pangaea_order::outline(database, id, moments_max).await;
    if let Some(outline) = known(&prefix.parse()?).await? {
        return Ok(outline);
    }
    let candidates = pangaea_order::orders_with_prefix(database, prefix, CANDIDATES_MAX as u32 + 1).await?;
    match &candidates[..] {
        [] => bail!("there is no order {prefix}"),
        [id] => known(id).await?.with_context(|| format!("there is no order {id}")),
        several => bail!("{}", ambiguous(prefix, "orders", several.iter().map(ToString::to_string))),
    }
}

/// Begins at the inputs of a trace, or at the one with an id. The trace's whole id, when it was one.
///
/// # Errors
/// When nothing is found, several traces begin alike, or a database cannot be read.
pub(super) async fn trace(
    stores: &Stores,
    target: &TraceTarget,
    search: &Search,
    walk: &mut Walk<'_>,
) -> Result<Option<String>> {
    match target {
        TraceTarget::Input(id) => input(stores, id, walk).await.map(|()| None),
        TraceTarget::Trace(digits) => {
            let found = scan(stores, &Sought::Trace(digits.clone()), search.since, search.entries_max).await?;
            let traces = found.iter().filter_map(|(_, admitted)| trace_id(admitted.input.traceparent.as_deref()?));
            let traces: BTreeSet<&str> = traces.collect();
            let id = match traces.iter().collect::<Vec<_>>()[..] {
                [] => bail!(
                    "no input of the trace {digits} in the databases that can be read ({}){}",
                    stores.names().join(", "),
                    if search.since.is_some() { "; --since leaves older ones out" } else { "" }
                ),
                [id] => (*id).to_owned(),
                _ => bail!("{}", ambiguous(digits, "traces", traces.iter().map(ToString::to_string))),
            };
            for (module, admitted) in &found {
                walk.begin(module, admitted).await?;
            }
            Ok(Some(id))
        }
    }
}

async fn input(stores: &Stores, id: &str, walk: &mut Walk<'_>) -> Result<()> {
    let wanted = [id.to_owned()];
    let mut is_found = false;
    for (module, database) in stores.all() {
        for admitted in database.inputs(&wanted).await? {
            walk.begin(module, &admitted).await?;
            is_found = true;
        }
        for letter in database.dead_letters_by_ids(&wanted).await? {
            walk.begin_letter(module, &letter).await?;
            is_found = true;
        }
    }
    if !is_found {
        bail!(
            "no module has handled {id}, of those whose databases can be read ({}); what waits to be handled is found \
             by what led to it",
            stores.names().join(", ")
        );
    }
    Ok(())
}

/// Every input that is what is sought, module by module; at most `limit`.
async fn scan(
    stores: &Stores,
    sought: &Sought,
    since: Option<Timestamp>,
    limit: usize,
) -> Result<Vec<(&'static str, Admitted)>> {
    let mut found = Vec::new();
    for (module, database) in stores.all() {
        let Some(head) = database.head().await? else { continue };
        let first = match since {
            Some(since) => database.inbox_position_at(since).await?,
            None => 1,
        };
        let mut progress = Progress::new(module, first, head.inbox_end);
        for start in (first..=head.inbox_end).step_by(SCAN_STEP as usize) {
            let positions = start..start.saturating_add(SCAN_STEP);
            let rows = database.scan_inbox(positions, sought, limit - found.len()).await;
            found.extend(rows?.into_iter().map(|admitted| (module, admitted)));
            if found.len() >= limit {
                return Ok(found);
            }
            progress.reached(start.saturating_add(SCAN_STEP));
        }
    }
    Ok(found)
}

fn ambiguous(prefix: &str, what: &str, candidates: impl Iterator<Item = String>) -> String {
    let mut candidates: Vec<String> = candidates.take(CANDIDATES_MAX + 1).collect();
    let more = if candidates.len() > CANDIDATES_MAX { "\n  and more" } else { "" };
    candidates.truncate(CANDIDATES_MAX);
    format!("several {what} begin with {prefix}:\n  {}{more}", candidates.join("\n  "))
}
