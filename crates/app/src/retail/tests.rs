//! The rules against the independent program, and the plan's own promises.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::csv::Lines;
use super::money::{Amount, Price};
use super::plan::{Plan, Step};
use super::source;
use super::table::Outcome;

fn retail_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/retail")
}

fn sample() -> PathBuf {
    retail_folder().join("sample.csv")
}

/// The table of `reconcile.py`, which knows nothing of this crate.
fn independent_table(file: &Path) -> Value {
    let output =
        Command::new("python3").arg(retail_folder().join("reconcile.py")).arg(file).arg("--json").output().expect(
            "python3 must be installed: the independent program that this test compares with is written in Python",
        );
    assert!(output.status.success(), "reconcile.py failed: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("reconcile.py --json prints JSON")
}

fn our_table(file: &Path) -> Value {
    let table = source::read(file, |_, _| {}).expect("the file is readable");
    serde_json::to_value(table.json()).expect("the table is JSON")
}

/// Writes a file of its own for one test and removes it when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, content: &[u8]) -> Self {
        let path = std::env::temp_dir().join(format!("pangaea-retail-{}-{name}.csv", std::process::id()));
        std::fs::write(&path, content).expect("the temporary folder is writable");
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn the_sample_has_the_table_of_the_independent_program() {
    let ours = our_table(&sample());
    assert_eq!(ours, independent_table(&sample()));
    let outcomes = ours["outcomes"].as_array().expect("rows");
    assert_eq!(outcomes.len(), Outcome::ALL.len() + 1);
    for row in outcomes {
        assert!(row["lines"].as_u64() > Some(0), "the sample must have a line for every outcome: {row}");
    }
}

/// Runs over the file named by `PANGAEA_RETAIL_CSV`; without it, over the sample alone.
#[test]
#[expect(clippy::disallowed_methods, reason = "the file is no setting of the store: only this test reads it")]
fn a_real_file_has_the_table_of_the_independent_program() {
    let file = std::env::var_os("PANGAEA_RETAIL_CSV").map_or_else(sample, PathBuf::from);
    let (ours, theirs) = (our_table(&file), independent_table(&file));
    println!("{}: {} rows used", file.display(), ours["outcomes"][Outcome::ALL.len()]["lines"]);
    assert_eq!(ours, theirs);
}

#[test]
fn bad_rows_are_named_by_line_and_do_not_stop_the_rest() {
    let rows = "\u{feff}InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n\
        1,10001,\"TWO\nLINES\",2,d,1.10,7,UK\n\
        1,10001,few fields,2\n\
        \n\
        1,10002,half a unit,2.5,d,1.10,7,UK\n\
        ,10002,no invoice,2,d,1.10,7,UK\n\
        1,10003,no price,2,d,,7,UK\n\
        1,10003,nine decimals,2,d,0.123456789,7,UK\n\
        1,10003,ten zeros,2,d,0.5000000000,7,UK\n\
        1,10003,exponent,2,d,1e3,7,UK\n\
        1,10004,huge,99999999999999999999,d,1,7,UK\n\
        1,10004,fine, 3 ,d, 2. ,7,UK\n\
        1,10004,none,0,d,2,7,UK\n\
        C1,10004,positive,1,d,2,7,UK";
    let windows = rows.replace('\n', "\r\n");
    for (name, text) in [("lf", rows), ("crlf", windows.as_str())] {
        let file = Scratch::new(name, text.as_bytes());
        let ours = our_table(&file.0);
        assert_eq!(ours, independent_table(&file.0), "{name}");
        assert_eq!(ours["unreadable_lines"], serde_json::json!([4, 6, 7, 8, 9, 11, 12]), "{name}");
    }
}

#[test]
fn bytes_that_are_not_utf_8_lose_no_sale() {
    let mut rows = b"InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n".to_vec();
    rows.extend(b"1,10001,CAF\xe9 MUG,2,d,1.10,7,UK\n1,1000\xe9,broken code,2,d,1.10,7,UK\n");
    let file = Scratch::new("latin1", &rows);
    let ours = our_table(&file.0);
    assert_eq!(ours, independent_table(&file.0));
    assert_eq!(ours["outcomes"][0]["sum"], "2.20");
}

#[test]
fn a_wrong_header_is_refused_by_name() {
    let check = |header: &str, expected: &str| {
        let error = Lines::new(header.as_bytes()).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains(expected), "{header:?} gave {error:?}");
    };
    check("Invoice,StockCode,Description,Quantity,UnitPrice,CustomerID\n", "the header lacks InvoiceNo;");
    check("InvoiceNo;StockCode\n", "the header lacks InvoiceNo, StockCode, Description");
    check("", "found: nothing");
}

#[test]
fn prices_and_sums_are_exact() {
    let check = |text: &str, units: i64, decimal: &str, display: &str| {
        let sum = Price::parse(text).expect("a price") * units;
        assert_eq!((sum.decimal().as_str(), sum.to_string().as_str()), (decimal, display));
    };
    check("2.55", 6, "15.30", "£15.30");
    check("0.001", 3, "0.003", "£0.003");
    check("-11062.06", 1, "-11062.06", "-£11,062.06");
    check("0.00000001", 1, "0.00000001", "£0.00000001");
    check("999999999.99999999", 999_999_999, "999999998999999990.00000001", "£999,999,998,999,999,990.00000001");
    check("-0", 5, "0.00", "£0.00");
    assert_eq!(Amount::from_pence(-801_372).to_string(), "-£8,013.72");
    assert_eq!(Price::parse("2.5").expect("a price").pence(), Some(250));
    assert_eq!(Price::parse("0.055").expect("a price").pence(), None);
    for wrong in ["", "-", ".", ".5", "1.2.3", "1,5", "+1", "٣", "1234567890"] {
        assert!(Price::parse(wrong).is_err(), "{wrong:?} must not be a price");
    }
}

#[test]
fn the_plan_sends_what_the_table_counts() {
    let plan = Plan::of(&sample()).expect("the sample is readable");
    let sales: i64 = plan.orders.iter().map(super::plan::PlannedOrder::total_pence).sum();
    assert_eq!(Amount::from_pence(sales), plan.table.of(Outcome::SalesAccepted).sum);
    let lines: usize = plan.orders.iter().map(|order| order.lines.len()).sum();
    assert_eq!(lines as u64, plan.table.of(Outcome::SalesAccepted).lines);
    let refunds: i64 = plan.steps.iter().map(refunded_pence).sum();
    assert_eq!(Amount::from_pence(-refunds), plan.table.of(Outcome::RefundsAccepted).sum);

    // A refund never stands before an order that it takes from, and no order line gives more than it has.
    let mut placed = vec![false; plan.orders.len()];
    let mut left: Vec<Vec<i64>> =
        plan.orders.iter().map(|order| order.lines.iter().map(|line| line.units).collect()).collect();
    for step in &plan.steps {
        match step {
            Step::Order(place) => placed[*place] = true,
            Step::Refund(refund) => {
                for part in &refund.parts {
                    assert!(placed[part.order]);
                    for (line, units) in &part.lines {
                        left[part.order][line - 1] -= units;
                        assert!(left[part.order][line - 1] >= 0);
                    }
                }
            }
            Step::Adjustment(adjustment) => assert!(adjustment.units >= 0),
        }
    }
    assert!(placed.iter().all(|placed| *placed));
}

fn refunded_pence(step: &Step) -> i64 {
    match step {
        Step::Refund(refund) => refund.parts.iter().map(|part| part.pence).sum(),
        Step::Order(_) | Step::Adjustment(_) => 0,
    }
}

#[test]
fn a_refund_takes_the_newest_sales_first_and_spans_orders() {
    let plan = Plan::of(&sample()).expect("the sample is readable");
    let refund = plan.steps.iter().find_map(|step| match step {
        Step::Refund(refund) if refund.invoice == "C900007" => Some(refund),
        _ => None,
    });
    // Eighteen bunting: six from the newer invoice, then ten and two from the two lines of the older one.
    let parts: Vec<(&str, Vec<(usize, i64)>)> = refund
        .expect("the cancellation is accepted")
        .parts
        .iter()
        .map(|part| (plan.orders[part.order].invoice.as_str(), part.lines.clone()))
        .collect();
    assert_eq!(parts, [("900006", vec![(1, 6)]), ("900004", vec![(2, 10), (1, 2)])]);
}

#[test]
fn an_invoice_that_mixes_a_customer_and_guests_is_two_orders_and_one_that_is_reopened_is_one() {
    let plan = Plan::of(&sample()).expect("the sample is readable");
    let of = |invoice: &str| plan.orders.iter().filter(|order| order.invoice == invoice).collect::<Vec<_>>();
    let mixed = of("900020");
    assert_eq!(mixed.iter().map(|order| order.customer.as_deref()).collect::<Vec<_>>(), [Some("50005"), None]);
    let reopened = of("900025");
    assert_eq!((reopened.len(), reopened[0].lines.len()), (1, 3));
}

#[test]
fn opening_stock_is_the_units_that_leave_it() {
    let items = super::import::gather(&sample()).expect("the sample is readable");
    let units = |code: &str| items.get(code).map(|item| item.units);
    // Both spellings of one code, and both kinds of adjustment.
    assert_eq!(units("31005GR"), Some(25));
    assert_eq!(units("31005gr"), None);
    assert_eq!(units("31009"), Some(5));
    assert_eq!(units("31004"), Some(30));
    assert_eq!(units("31016"), Some(35));
    assert_eq!(units("POST"), None);
}

#[test]
fn keys_depend_on_the_content_and_on_every_part() {
    let keys = |content: &[u8]| {
        let file = Scratch::new("keys", content);
        let hash = source::ContentHash::of(&file.0).expect("the file is readable");
        [&["order", "1", "2"][..], &["order", "12", ""], &["refund", "1", "2"]].map(|parts| hash.key(parts))
    };
    let (first, again, other) = (keys(b"a"), keys(b"a"), keys(b"b"));
    assert_eq!(first, again);
    let mut all: Vec<String> = first.into_iter().chain(other).collect();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 6);
    assert!(all.iter().all(|key| key.len() <= 255 && key.is_ascii()));
}
