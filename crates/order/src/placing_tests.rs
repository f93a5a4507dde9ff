use pangaea_contracts::order::{Address, PlaceLine, PlaceOrder};
use pangaea_contracts::{Currency, Money, SkuId};
use pangaea_kernel::Problem;

use super::{LINES_MAX, Priced, QUANTITY_MAX, UNIT_PRICE_MAX, check, price};
use crate::store::SkuPrice;

fn line(sku: &str, quantity: i64) -> PlaceLine {
    PlaceLine { sku: sku.into(), quantity, unit_price: None }
}

fn offer(code: &str, unit_price: i64, currency: Currency) -> Option<SkuPrice> {
    Some(SkuPrice {
        sku_id: SkuId::from_code(code),
        code: code.into(),
        name: code.into(),
        unit_price,
        currency,
        price_version: 1,
        withdrawn: false,
    })
}

fn order(lines: Vec<PlaceLine>) -> PlaceOrder {
    PlaceOrder {
        placed_by: "usr_1".into(),
        lines,
        payment_token: "tok_ok".into(),
        customer_reference: None,
        shipping_address: None,
    }
}

fn pointers(problem: Problem) -> Vec<String> {
    assert_eq!(problem.status, 422);
    problem.errors.into_iter().map(|error| error.pointer).collect()
}

#[test]
fn lines_stay_as_they_were_ordered() {
    let lines = [line("MUG", 2), line("TEA", 1), line("mug", 3)];
    let prices = [offer("MUG", 850, Currency::GBP), offer("TEA", 399, Currency::GBP), offer("MUG", 850, Currency::GBP)];
    let Priced { lines, total } = price(&lines, &prices).unwrap();
    assert_eq!(total, Money::new(5 * 850 + 399, Currency::GBP));
    let shown: Vec<_> =
        lines.iter().map(|line| (line.line, line.code.as_str(), line.quantity, line.unit_price)).collect();
    assert_eq!(shown, [(1, "MUG", 2, 850), (2, "TEA", 1, 399), (3, "MUG", 3, 850)]);
}

#[test]
fn a_price_of_staff_overrides_and_is_recorded() {
    let lines = [PlaceLine { unit_price: Some(Money::new(0, Currency::GBP)), ..line("MUG", 2) }, line("TEA", 1)];
    let prices = [offer("MUG", 850, Currency::GBP), offer("TEA", 399, Currency::GBP)];
    let Priced { lines, total } = price(&lines, &prices).unwrap();
    assert_eq!(total.amount, 399);
    assert_eq!(lines.iter().map(|line| line.price_override).collect::<Vec<_>>(), [true, false]);
}

#[test]
fn every_line_that_cannot_be_had_is_named() {
    let withdrawn = offer("OLD", 100, Currency::GBP).map(|offer| SkuPrice { withdrawn: true, ..offer });
    let lines = [line("MUG", 1), line("NONE", 1), line("OLD", 1), line("EURO", 1)];
    let prices = [offer("MUG", 850, Currency::GBP), None, withdrawn, offer("EURO", 100, Currency::EUR)];
    let named = pointers(price(&lines, &prices).unwrap_err());
    assert_eq!(named, ["/lines/1/sku", "/lines/2/sku", "/lines/3/unit_price"]);
}

#[test]
fn a_total_of_nothing_or_beyond_counting_is_refused() {
    let free = [PlaceLine { unit_price: Some(Money::zero(Currency::GBP)), ..line("MUG", 1) }];
    assert_eq!(pointers(price(&free, &[offer("MUG", 850, Currency::GBP)]).unwrap_err()), ["/lines"]);
    let dear = [line("MUG", QUANTITY_MAX)];
    assert_eq!(
        pointers(price(&dear, &[offer("MUG", i64::MAX / 10, Currency::GBP)]).unwrap_err()),
        ["/lines/0/unit_price"]
    );
}

#[test]
fn bounds_are_checked_at_the_edge() {
    assert_eq!(check(&order(vec![line("MUG", 1); LINES_MAX])), Ok(()));
    assert_eq!(check(&order(vec![line("MUG", QUANTITY_MAX)])), Ok(()));
    assert_eq!(pointers(check(&order(vec![])).unwrap_err()), ["/lines"]);
    assert_eq!(pointers(check(&order(vec![line("MUG", 1); LINES_MAX + 1])).unwrap_err()), ["/lines"]);
    assert_eq!(
        pointers(check(&order(vec![line("", 0), line(&"x".repeat(65), QUANTITY_MAX + 1)])).unwrap_err()),
        ["/lines/0/sku", "/lines/0/quantity", "/lines/1/sku", "/lines/1/quantity"]
    );
    let priced = |amount| PlaceLine { unit_price: Some(Money::new(amount, Currency::GBP)), ..line("MUG", 1) };
    assert_eq!(check(&order(vec![priced(0), priced(UNIT_PRICE_MAX)])), Ok(()));
    let named = pointers(check(&order(vec![priced(-1), priced(UNIT_PRICE_MAX + 1)])).unwrap_err());
    assert_eq!(named, ["/lines/0/unit_price/amount", "/lines/1/unit_price/amount"]);
}

#[test]
fn texts_are_bounded() {
    let address = Address {
        name: "A".repeat(201),
        line1: "\u{7}".into(),
        line2: None,
        city: " ".into(),
        postal_code: Some("N1".into()),
        country: "gb".into(),
    };
    let order = PlaceOrder {
        payment_token: String::new(),
        customer_reference: Some("r".repeat(201)),
        shipping_address: Some(address),
        ..order(vec![line("MUG", 1)])
    };
    assert_eq!(
        pointers(check(&order).unwrap_err()),
        [
            "/payment_token",
            "/customer_reference",
            "/shipping_address/name",
            "/shipping_address/line1",
            "/shipping_address/city",
            "/shipping_address/country"
        ]
    );
}
