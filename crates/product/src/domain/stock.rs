use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::str::FromStr;

use pangaea_contracts::SkuId;
use pangaea_contracts::order::Reason;
use pangaea_contracts::product::{Shortage, StockLine};
use pangaea_faults::{Change, changed};
use serde::{Deserialize, Serialize};

/// Units of one SKU in all lines of an order, at most; far above what a shop holds, far below what overflows.
const QUANTITY_MAX: i64 = 1_000_000_000;

/// What is there of a SKU. Always `0 <= reserved <= on_hand`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Level {
    pub(crate) on_hand: i64,
    /// Held for orders that are not committed yet.
    pub(crate) reserved: i64,
}

/// What has become of an order's hold on the stock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReservationState {
    /// Units are reserved until a time.
    Open,
    /// Units are sold.
    Committed,
    /// Units were given back, or there never were any.
    Released,
    /// The time ran out; units were given back.
    Expired,
    /// There was never enough. Kept, so that a repeat cannot succeed after order has heard the refusal.
    Refused,
    /// Released before it was asked for: refuses the late original.
    Tombstone,
}

/// Why stock was not reserved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Refusal {
    pub(crate) reason: Reason,
    pub(crate) shortages: Vec<Shortage>,
}

/// What to do when an order asks to reserve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReserveStep {
    /// Never seen: look at the stock.
    Evaluate,
    /// Seen: say again how it stands.
    Again(ReservationState),
}

/// What to do when an order asks to commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CommitStep {
    Commit,
    /// The reservation expired: sell the units if they are still there.
    ReserveAgain,
    Already,
    /// With this code.
    Refuse(&'static str),
}

/// What to do when an order gives back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReleaseStep {
    /// Nothing was asked for yet.
    Tombstone,
    /// Reserved units become available.
    Unreserve,
    /// Sold units come back.
    Restock,
    /// Nothing is held.
    Nothing,
}

/// Why an adjustment cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AdjustRefusal {
    /// `on_hand` is not what the caller expected.
    Unexpected,
    /// `on_hand` would fall below `reserved`.
    BelowReserved,
    /// More units than can be counted.
    TooMany,
}

/// The units wanted per SKU.
///
/// # Errors
/// When a quantity is not at least 1, or the sum is beyond all sense.
pub(crate) fn sum_lines(lines: &[StockLine]) -> Result<Vec<StockLine>, Refusal> {
    let invalid = |detail: String| Refusal { reason: Reason::new("invalid_quantity", detail), shortages: Vec::new() };
    let mut sums: BTreeMap<&SkuId, i64> = BTreeMap::new();
    for StockLine { sku_id, quantity } in lines {
        let sum = sums.entry(sku_id).or_insert(0);
        if !(1..=QUANTITY_MAX).contains(quantity) || *sum > QUANTITY_MAX - quantity {
            return Err(invalid(format!("{sku_id}: a quantity is from 1 to {QUANTITY_MAX}")));
        }
        *sum += quantity;
    }
    if sums.is_empty() {
        return Err(invalid("there is no line".to_owned()));
    }
    let summed = sums.into_iter().map(|(sku_id, quantity)| StockLine { sku_id: sku_id.clone(), quantity }).collect();
    Ok(if changed(Change::UnorderedMap) { in_map_order(summed) } else { summed })
}

/// A planted change: as if the sums above were kept in a map whose hash seed is random.
fn in_map_order(lines: Vec<StockLine>) -> Vec<StockLine> {
    let sums: HashMap<SkuId, i64> = lines.into_iter().map(|line| (line.sku_id, line.quantity)).collect();
    sums.into_iter().map(|(sku_id, quantity)| StockLine { sku_id, quantity }).collect()
}

/// Whether all of `lines` (summed per SKU) can be had. A level of `None`: there is no such SKU, or it is no longer sold.
///
/// # Errors
/// Says which SKUs are unknown, or else which are short.
pub(crate) fn check_availability(lines: &[StockLine], levels: &[Option<Level>]) -> Result<(), Refusal> {
    let (mut unknown, mut shortages) = (Vec::new(), Vec::new());
    let short = |have: i64, want: i64| if changed(Change::ChangedStockGuard) { have <= want } else { have < want };
    for (StockLine { sku_id, quantity }, level) in lines.iter().zip(levels) {
        match level {
            None => unknown.push(sku_id.as_str()),
            Some(level) if short(level.available(), *quantity) => {
                shortages.push(Shortage { sku_id: sku_id.clone(), wanted: *quantity, available: level.available() });
            }
            Some(_) => {}
        }
    }
    if !unknown.is_empty() {
        unknown.truncate(10);
        let reason = Reason::new("unknown_sku", format!("not sold here: {}", unknown.join(", ")));
        return Err(Refusal { reason, shortages: Vec::new() });
    }
    if shortages.is_empty() {
        return Ok(());
    }
    let short: Vec<String> = shortages
        .iter()
        .take(10)
        .map(|Shortage { sku_id, wanted, available }| format!("{sku_id}: {wanted} wanted, {available} available"))
        .collect();
    Err(Refusal { reason: Reason::new("out_of_stock", short.join("; ")), shortages })
}

pub(crate) fn on_reserve(state: Option<ReservationState>) -> ReserveStep {
    state.map_or(ReserveStep::Evaluate, ReserveStep::Again)
}

pub(crate) fn on_commit(state: Option<ReservationState>) -> CommitStep {
    match state {
        Some(ReservationState::Open) => CommitStep::Commit,
        Some(ReservationState::Expired) => CommitStep::ReserveAgain,
        Some(ReservationState::Committed) => CommitStep::Already,
        Some(ReservationState::Released | ReservationState::Tombstone) => CommitStep::Refuse("released"),
        Some(ReservationState::Refused) | None => CommitStep::Refuse("not_reserved"),
    }
}

pub(crate) fn on_release(state: Option<ReservationState>) -> ReleaseStep {
    match state {
        None => ReleaseStep::Tombstone,
        Some(ReservationState::Open) => ReleaseStep::Unreserve,
        Some(ReservationState::Committed) => ReleaseStep::Restock,
        Some(
            ReservationState::Released
            | ReservationState::Expired
            | ReservationState::Refused
            | ReservationState::Tombstone,
        ) => ReleaseStep::Nothing,
    }
}

/// Of `sold`, what has not come back yet.
pub(crate) fn outstanding(sold: &[StockLine], returned: &[StockLine]) -> Vec<StockLine> {
    let back: BTreeMap<&SkuId, i64> = returned.iter().map(|line| (&line.sku_id, line.quantity)).collect();
    sold.iter()
        .map(|StockLine { sku_id, quantity }| StockLine {
            sku_id: sku_id.clone(),
            quantity: quantity - back.get(sku_id).copied().unwrap_or(0),
        })
        .filter(|line| line.quantity > 0)
        .collect()
}

/// Of `wanted`, what can come back: never more units than were sold and are not back yet. Returns it, and the new sum of
/// all that has come back.
pub(crate) fn give_back(
    sold: &[StockLine],
    returned: &[StockLine],
    wanted: &[StockLine],
) -> (Vec<StockLine>, Vec<StockLine>) {
    let mut wanted_of: BTreeMap<&SkuId, i64> = BTreeMap::new();
    for StockLine { sku_id, quantity } in wanted {
        let sum = wanted_of.entry(sku_id).or_insert(0);
        *sum = sum.saturating_add((*quantity).max(0));
    }
    let mut coming = outstanding(sold, returned);
    coming.retain_mut(|line| {
        line.quantity = line.quantity.min(wanted_of.get(&line.sku_id).copied().unwrap_or(0));
        line.quantity > 0
    });
    let mut sums: BTreeMap<SkuId, i64> = BTreeMap::new();
    for StockLine { sku_id, quantity } in returned.iter().chain(&coming) {
        *sums.entry(sku_id.clone()).or_insert(0) += quantity;
    }
    let returned = sums.into_iter().map(|(sku_id, quantity)| StockLine { sku_id, quantity }).collect();
    (coming, returned)
}

/// The level after `delta` units have come or gone.
///
/// # Errors
/// When the caller expected another number, or it would break the stock's invariant.
pub(crate) fn adjust(level: Level, delta: i64, expected_on_hand: Option<i64>) -> Result<Level, AdjustRefusal> {
    if expected_on_hand.is_some_and(|expected| expected != level.on_hand) {
        return Err(AdjustRefusal::Unexpected);
    }
    let on_hand = level.on_hand.checked_add(delta).ok_or(AdjustRefusal::TooMany)?;
    if on_hand < level.reserved {
        return Err(AdjustRefusal::BelowReserved);
    }
    if on_hand > QUANTITY_MAX * 1_000 { Err(AdjustRefusal::TooMany) } else { Ok(Level { on_hand, ..level }) }
}

// === impl Level ===

impl Level {
    pub(crate) const fn available(self) -> i64 {
        self.on_hand - self.reserved
    }
}

// === impl ReservationState ===

impl ReservationState {
    pub(crate) const ALL: [ReservationState; 6] =
        [Self::Open, Self::Committed, Self::Released, Self::Expired, Self::Refused, Self::Tombstone];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Committed => "committed",
            Self::Released => "released",
            Self::Expired => "expired",
            Self::Refused => "refused",
            Self::Tombstone => "tombstone",
        }
    }
}

impl fmt::Display for ReservationState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ReservationState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| format!("{text:?} is no state of a reservation"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(code: &str, quantity: i64) -> StockLine {
        StockLine { sku_id: SkuId::from_code(code), quantity }
    }

    fn level(on_hand: i64, reserved: i64) -> Option<Level> {
        Some(Level { on_hand, reserved })
    }

    #[test]
    fn lines_of_one_sku_are_summed() {
        let summed = sum_lines(&[line("a", 2), line("b", 1), line("A", 3)]).unwrap();
        assert_eq!(summed.len(), 2);
        assert!(summed.contains(&line("a", 5)) && summed.contains(&line("b", 1)));
        for bad in [vec![], vec![line("a", 0)], vec![line("a", -1)], vec![line("a", QUANTITY_MAX), line("a", 1)]] {
            assert_eq!(sum_lines(&bad).unwrap_err().reason.code, "invalid_quantity");
        }
    }

    #[test]
    fn all_or_none_with_every_shortage_named() {
        let lines = [line("a", 2), line("b", 3), line("c", 1)];
        assert_eq!(check_availability(&lines, &[level(2, 0), level(4, 1), level(1, 0)]), Ok(()));
        let refusal = check_availability(&lines, &[level(2, 1), level(9, 0), level(0, 0)]).unwrap_err();
        assert_eq!(refusal.reason.code, "out_of_stock");
        let short: Vec<_> = refusal.shortages.iter().map(|short| (short.wanted, short.available)).collect();
        assert_eq!(short, [(2, 1), (1, 0)]);
        let refusal = check_availability(&lines, &[level(0, 0), None, level(1, 0)]).unwrap_err();
        assert_eq!((refusal.reason.code.as_str(), refusal.shortages.len()), ("unknown_sku", 0));
    }

    #[test]
    fn every_state_answers_every_message() {
        use ReservationState::{Committed, Expired, Open, Refused, Released, Tombstone};
        let table = [
            (None, CommitStep::Refuse("not_reserved"), ReleaseStep::Tombstone),
            (Some(Open), CommitStep::Commit, ReleaseStep::Unreserve),
            (Some(Committed), CommitStep::Already, ReleaseStep::Restock),
            (Some(Released), CommitStep::Refuse("released"), ReleaseStep::Nothing),
            (Some(Expired), CommitStep::ReserveAgain, ReleaseStep::Nothing),
            (Some(Refused), CommitStep::Refuse("not_reserved"), ReleaseStep::Nothing),
            (Some(Tombstone), CommitStep::Refuse("released"), ReleaseStep::Nothing),
        ];
        for (state, commit, release) in table {
            assert_eq!(on_commit(state), commit, "{state:?}");
            assert_eq!(on_release(state), release, "{state:?}");
            assert_eq!(on_reserve(state) == ReserveStep::Evaluate, state.is_none(), "{state:?}");
        }
    }

    #[test]
    fn never_more_comes_back_than_was_sold() {
        let sold = [line("a", 5), line("b", 2)];
        let (first, returned) = give_back(&sold, &[], &[line("a", 1), line("a", 2), line("x", 9)]);
        assert_eq!((first.as_slice(), returned.as_slice()), ([line("a", 3)].as_slice(), [line("a", 3)].as_slice()));
        let (second, returned) = give_back(&sold, &returned, &[line("a", 9), line("b", -4)]);
        assert_eq!((second.as_slice(), returned.as_slice()), ([line("a", 2)].as_slice(), [line("a", 5)].as_slice()));
        assert_eq!(outstanding(&sold, &returned), [line("b", 2)]);
    }

    #[test]
    fn an_adjustment_compares_and_sets() {
        let now = Level { on_hand: 10, reserved: 4 };
        assert_eq!(adjust(now, -6, Some(10)), Ok(Level { on_hand: 4, reserved: 4 }));
        assert_eq!(adjust(now, -7, None), Err(AdjustRefusal::BelowReserved));
        assert_eq!(adjust(now, 1, Some(9)), Err(AdjustRefusal::Unexpected));
        assert_eq!(adjust(now, i64::MAX, None), Err(AdjustRefusal::TooMany));
    }

    #[test]
    fn a_state_reads_what_it_writes() {
        for state in ReservationState::ALL {
            assert_eq!(state.to_string().parse(), Ok(state));
        }
        assert!("lost".parse::<ReservationState>().is_err());
    }
}
