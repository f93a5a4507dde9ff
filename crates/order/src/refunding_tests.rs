use pangaea_contracts::SkuId;
use pangaea_contracts::order::RefundLine;

use super::{Outcome, begin, decide, end, stock_lines};
use crate::placing::Line;

/// Three of A at 250, one of B at 100, two of C that cost nothing: 850 in all.
fn lines() -> Vec<Line> {
    let line = |line, code: &str, quantity, unit_price| Line {
        line,
        sku_id: SkuId::from_code(code),
        code: code.into(),
        quantity,
        unit_price,
        price_override: false,
        refunded: 0,
        refund_pending: 0,
    };
    vec![line(1, "A", 3, 250), line(2, "B", 1, 100), line(3, "C", 2, 0)]
}

fn ask(line: u32, quantity: i64) -> RefundLine {
    RefundLine { line, quantity }
}

#[test]
fn the_whole_is_what_is_left() {
    let mut lines = lines();
    let (first, amount) = decide(&lines, &[ask(1, 1)], 850).unwrap();
    assert_eq!(amount, 250);
    begin(&mut lines, &first);
    let (rest, amount) = decide(&lines, &[], 600).unwrap();
    assert_eq!(amount, 600);
    assert_eq!(rest.iter().map(|one| (one.line, one.quantity)).collect::<Vec<_>>(), [(1, 2), (2, 1), (3, 2)]);
    assert_eq!(stock_lines(&rest).len(), 3);
    begin(&mut lines, &rest);
    assert_eq!(decide(&lines, &[], 0).unwrap_err().status, 409);
}

#[test]
fn units_count_once_whether_pending_or_refunded() {
    let mut lines = lines();
    let (returned, _) = decide(&lines, &[ask(1, 2)], 850).unwrap();
    begin(&mut lines, &returned);
    assert_eq!(decide(&lines, &[ask(1, 2)], 350).unwrap_err().errors[0].pointer, "/lines/0/quantity");
    end(&mut lines, &returned, Outcome::Succeeded);
    assert_eq!((lines[0].refunded, lines[0].refund_pending), (2, 0));
    assert!(decide(&lines, &[ask(1, 2)], 350).is_err());
    assert_eq!(decide(&lines, &[ask(1, 1)], 350).unwrap().1, 250);
}

#[test]
fn a_refused_refund_gives_its_units_back() {
    let mut lines = lines();
    let before = lines.clone();
    let (returned, _) = decide(&lines, &[], 850).unwrap();
    begin(&mut lines, &returned);
    end(&mut lines, &returned, Outcome::Refused);
    assert_eq!(lines, before);
}

#[test]
fn a_line_named_twice_counts_as_both() {
    let lines = lines();
    let (returned, amount) = decide(&lines, &[ask(1, 1), ask(2, 1), ask(1, 2)], 850).unwrap();
    assert_eq!((returned.len(), amount), (2, 850));
    assert!(decide(&lines, &[ask(1, 2), ask(1, 2)], 850).is_err());
    assert!(decide(&lines, &[ask(1, i64::MAX), ask(1, i64::MAX)], 850).is_err());
}

#[test]
fn what_is_not_there_or_costs_nothing_is_refused() {
    let lines = lines();
    assert_eq!(decide(&lines, &[ask(4, 1)], 850).unwrap_err().errors[0].pointer, "/lines/0/line");
    assert_eq!(decide(&lines, &[ask(0, 1)], 850).unwrap_err().status, 422);
    assert_eq!(decide(&lines, &[ask(3, 1)], 850).unwrap_err().status, 422);
}

#[test]
fn never_more_than_was_captured() {
    assert_eq!(decide(&lines(), &[], 849).unwrap_err().status, 409);
}
