use pangaea_contracts::payment::Authorize;
use pangaea_contracts::{Message, order::PlaceOrder};
use pangaea_contracts::{Timestamp, moment_of_id};
use serde_json::json;

use super::fact::{Fact, FactKind, Outcome};
use super::ids::{TraceTarget, of_moment, order_prefix, trace_target};
use super::redact::Redaction;
use super::report::{Query, Report};
use super::style::Style;
use super::text::text;
use super::tree::in_causal_order;
use super::walk::Found;
use super::waterfall::{duration, waterfall};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const START: i64 = 1_795_000_000_000;
const PLAIN: Style = Style { width: 80, is_ascii: true, has_colours: false };

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(START + millis)
}

/// A fact that `cause` led to, published and handled so many milliseconds after the start.
fn fact(module: &str, id: &str, cause: Option<(&str, &str)>, subject: &str, times: (Option<i64>, Option<i64>)) -> Fact {
    let kind = match subject.split('.').nth(1) {
        Some("rpc") => FactKind::Request,
        Some("cmd") => FactKind::Command,
        Some("tmr") => FactKind::Timer,
        Some("eff") => FactKind::Effect,
        _ => FactKind::Event,
    };
    Fact {
        module: module.to_owned(),
        id: id.to_owned(),
        cause: cause.map(|(module, id)| (module.to_owned(), id.to_owned())),
        kind,
        subject: subject.to_owned(),
        key: "ord_1".to_owned(),
        correlation_id: "cmd_1".to_owned(),
        trace_id: Some(TRACE.to_owned()),
        published_at: times.0.map(at),
        at: times.1.map(at),
        position: times.1.map(|_| 1),
        outcome: Outcome::Handled,
        payload: "{}".to_owned(),
    }
}

/// An order whose money is being asked for, while a dead letter and a deadline are there.
fn story() -> Vec<Fact> {
    let post = fact("order", "cmd_1", None, "order.rpc.place.v1", (None, Some(0)));
    let reserve =
        fact("product", "msg_1", Some(("order", "cmd_1")), "order.cmd.product.reserve_stock.v1", (Some(0), Some(4)));
    let reserved =
        fact("order", "msg_2", Some(("product", "msg_1")), "product.evt.stock_reserved.v1", (Some(4), Some(10)));
    let authorize =
        fact("payment", "msg_3", Some(("order", "msg_2")), "order.cmd.payment.authorize.v1", (Some(10), Some(20)));
    let call = fact("payment", "op_1", Some(("payment", "msg_3")), "payment.eff.authorize.v1", (Some(20), None));
    let deadline = fact("order", "tmr_1", Some(("order", "msg_2")), "order.tmr.deadline.v1", (Some(10), None));
    let dead = fact("user", "msg_4", Some(("order", "cmd_1")), "order.evt.placed.v1", (Some(0), Some(40)));
    let under_way =
        Outcome::UnderWay { tries: 3, newest_try_at: at(1_000), try_expires_at: at(3_000), deadline_at: at(30_000) };
    let error = "cannot decode: missing field `x`".to_owned();
    vec![
        Fact { outcome: under_way, ..call },
        Fact { outcome: Outcome::Due { at: at(60_010) }, ..deadline },
        Fact { outcome: Outcome::Dead { attempts: 3, error, fingerprint: "4tz9k2m0q8wd".to_owned() }, ..dead },
        reserved,
        authorize,
        reserve,
        Fact { outcome: Outcome::Answered { status: 202 }, ..post },
    ]
}

fn report(facts: Vec<Fact>) -> Report {
    let query = Query { trace_id: Some(TRACE.to_owned()), ..Query::default() };
    Report::new(query, None, Found { facts, is_cut: false }, 2_000, None)
}

#[test]
fn nothing_stands_before_its_cause_whatever_the_clocks_say() {
    let mut facts = story();
    // Product's clock is a second slow.
    facts[5].at = Some(at(-996));
    let order = |facts: Vec<Fact>| {
        let nodes = in_causal_order(facts);
        nodes.into_iter().map(|node| (node.fact.id, node.parent, node.depth)).collect::<Vec<_>>()
    };
    let ordered = order(facts.clone());
    let expected = [
        ("cmd_1", None, 0),
        ("msg_1", Some(0), 1),
        ("msg_2", Some(1), 2),
        ("tmr_1", Some(2), 3),
        ("msg_3", Some(2), 3),
        ("op_1", Some(4), 4),
        ("msg_4", Some(0), 1),
    ];
    assert_eq!(ordered, expected.map(|(id, parent, depth)| (id.to_owned(), parent, depth)));
    facts.reverse();
    assert_eq!(order(facts), ordered, "the order of the reads makes no difference");
}

#[test]
fn what_has_lost_its_cause_is_a_root_and_a_circle_ends() {
    let lost = fact("order", "msg_9", Some(("product", "msg_8")), "product.evt.stock_reserved.v1", (None, Some(5)));
    let circle = fact("order", "a", Some(("order", "a")), "order.tmr.deadline.v1", (None, Some(6)));
    let nodes = in_causal_order(vec![circle, lost]);
    assert_eq!(nodes.iter().map(|node| (node.fact.id.as_str(), node.parent)).collect::<Vec<_>>(), [("msg_9", None)]);
    assert_eq!(in_causal_order(Vec::new()), []);
}

#[test]
fn the_story_is_told_line_by_line() {
    let told = text(&report(story()), PLAIN, at(2_000));
    // A file, because the lines are longer than those of a program may be.
    let expected = include_str!("story.txt");
    assert_eq!(told, expected);
}

#[test]
fn a_waterfall_of_nothing_is_nothing_and_of_one_moment_a_mark() {
    assert_eq!(waterfall(&report(Vec::new()), PLAIN), "");
    let one = fact("order", "cmd_1", None, "order.rpc.place.v1", (None, Some(0)));
    let drawn = waterfall(&report(vec![one]), Style { width: 40, ..PLAIN });
    assert_eq!(drawn.lines().last(), Some("   1 order place #"));
}

#[test]
fn colours_are_for_those_who_see_them() {
    assert!(!text(&report(story()), PLAIN, at(0)).contains('\u{1b}'));
    let colourful = text(&report(story()), Style { has_colours: true, ..PLAIN }, at(0));
    assert!(colourful.contains("\u{1b}[31mdead letter after 3 attempts\u{1b}[0m"), "{colourful}");
}

#[test]
fn lengths_of_time_have_units_that_suit_them() {
    let shown = [-3, 0, 9_999, 12_345, 600_000, 40_000_000, 900_000_000].map(duration);
    assert_eq!(shown, ["-3 ms", "0 ms", "9999 ms", "12.3 s", "10 min", "11 h", "10 d"]);
}

#[test]
fn ids_tell_their_moment() {
    let moment = Timestamp::from_millis(1_795_470_284_711);
    let range = of_moment("tmr_", moment);
    assert!(range.start < range.end && moment_of_id(&range.start) == Some(moment), "{range:?}");
    assert_eq!(moment_of_id(&range.end), Some(moment.plus_millis(1)));
    // As `cx.id()` makes them: ten digits of five bits.
    assert_eq!(of_moment("op_", Timestamp::from_millis(33)).start, "op_0000000011");
    assert_eq!((moment_of_id("ord_short"), moment_of_id("none"), moment_of_id("ord_UUUUUUUUUU")), (None, None, None));
}

#[test]
fn what_is_looked_for_is_told_by_its_form() {
    let trace = |digits: &str| Some(TraceTarget::Trace(digits.to_owned()));
    let input = |id: &str| Some(TraceTarget::Input(id.to_owned()));
    assert_eq!(trace_target(TRACE).ok(), trace(TRACE));
    assert_eq!(trace_target(&TRACE.to_uppercase()[..6]).ok(), trace("4bf92f"));
    assert_eq!(trace_target(&format!("00-{TRACE}-00f067aa0ba902b7-01")).ok(), trace(TRACE));
    assert_eq!(trace_target("op_1").ok(), input("op_1:result"));
    assert_eq!(trace_target("msg_1").ok(), input("msg_1"));
    for bad in ["", "4bf", "xyzw", "ord_1", "cmd_", &format!("{TRACE}0"), &format!("00-{TRACE}"), "4bf9-4bf9"] {
        assert!(trace_target(bad).is_err(), "{bad}");
    }
    assert_eq!(order_prefix(" 01abc ").ok().as_deref(), Some("ord_01abc"));
    for bad in ["", "ord_", "ord_a b", "ord_'", &"a".repeat(61)] {
        assert!(order_prefix(bad).is_err(), "{bad}");
    }
}

#[test]
fn only_what_a_contract_describes_and_does_not_mark_is_shown() {
    let redaction = Redaction::of_contracts();
    let address = json!({ "name": "Ada", "line1": "1 Way", "city": "London", "country": "GB" });
    let order = json!({
        "placed_by": "usr_1", "lines": [{ "sku": "TEA", "quantity": 2, "unit_price": { "amount": 1, "currency": "GBP" } }],
        "payment_token": "tok_ok", "customer_reference": null, "shipping_address": address, "of_a_later_release": "x",
    });
    let shown = redaction.shown(PlaceOrder::SUBJECT, &order.to_string());
    let expected = json!({
        "placed_by": "usr_1", "lines": [{ "sku": "TEA", "quantity": 2, "unit_price": { "amount": 1, "currency": "GBP" } }],
        "payment_token": "***", "customer_reference": null, "shipping_address": "***", "of_a_later_release": "***",
    });
    assert_eq!(shown, expected);
    let authorize = redaction.shown(Authorize::SUBJECT, r#"{"payment_token":"tok_ok","order_id":"ord_1"}"#);
    assert_eq!(authorize, json!({ "payment_token": "***", "order_id": "ord_1" }));
    // Effects, timers and what cannot be read are described by no contract.
    for (subject, payload) in [("payment.eff.authorize.v1", r#"{"payment_token":"t"}"#), (PlaceOrder::SUBJECT, "tok")] {
        assert_eq!(redaction.shown(subject, payload), json!("***"));
    }
}
