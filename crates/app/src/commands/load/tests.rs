use std::collections::HashSet;
use std::num::NonZeroU64;
use std::time::Duration;

use super::histogram::Histogram;
use super::plan::{Mode, Plan};

fn plan(seed: u64, mode: Mode) -> Plan {
    Plan {
        mode,
        seed,
        orders: NonZeroU64::new(1_000),
        duration: None,
        codes: (0..50).map(|number| format!("C-{number}")).collect(),
        lines_max: 3,
        quantity_max: 2,
        payment_token: "tok_ok".to_owned(),
    }
}

fn open(rate: f64, fixed: bool) -> Mode {
    Mode::Open { rate, fixed, in_flight_max: 8 }
}

#[test]
fn a_seed_gives_the_same_orders_and_another_gives_others() {
    let [one, same, other] = [7, 7, 8].map(|seed| plan(seed, open(50.0, false)));
    let orders = |plan: &Plan| (1..=1_000).map(|number| plan.order(number, true).to_string()).collect::<Vec<_>>();
    assert_eq!(orders(&one), orders(&same));
    assert_ne!(orders(&one), orders(&other));
    assert_eq!(one.gap(5), same.gap(5));
    assert_ne!(one.idempotency_key(1), other.idempotency_key(1));
}

#[test]
fn orders_are_within_their_bounds_and_reach_all_of_the_catalogue() {
    let plan = plan(1, open(50.0, false));
    let mut codes = HashSet::new();
    for number in 1..=1_000 {
        let order = plan.order(number, false);
        assert!(order.get("customer_reference").is_none());
        let lines = order["lines"].as_array().unwrap();
        assert!((1..=3).contains(&lines.len()));
        for line in lines {
            assert!((1..=2).contains(&line["quantity"].as_u64().unwrap()));
            codes.insert(line["sku"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(codes.len(), 50);
}

#[test]
fn arrivals_come_at_the_wanted_rate() {
    let exponential = plan(3, open(200.0, false));
    let total: Duration = (1..=100_000).map(|number| exponential.gap(number)).sum();
    assert!((495.0..505.0).contains(&total.as_secs_f64()), "{total:?}");
    let longest = (1..=100_000).map(|number| exponential.gap(number)).max().unwrap();
    assert!(longest > Duration::from_millis(40), "{longest:?}");
    assert_eq!(plan(3, open(200.0, true)).gap(9), Duration::from_millis(5));
}

#[test]
fn a_run_ends_at_its_number_or_its_duration() {
    let mut plan = plan(1, open(50.0, true));
    assert!(plan.includes(1_000, Duration::from_secs(9_999)));
    assert!(!plan.includes(1_001, Duration::ZERO));
    plan.duration = Some(Duration::from_secs(2));
    assert!(plan.includes(1, Duration::from_millis(1_999)));
    assert!(!plan.includes(1, Duration::from_secs(2)));
}

#[test]
fn a_run_that_would_be_cut_short_is_refused() {
    let run =
        |seconds| Plan { orders: None, duration: Some(Duration::from_secs(seconds)), ..plan(1, open(10_000.0, false)) };
    assert_eq!(run(300).check(), Ok(()));
    assert!(run(400).check().unwrap_err().contains("a shorter --duration-s"));
}

#[test]
fn quantiles_are_right_within_the_width_of_a_bucket() {
    let mut histogram = Histogram::default();
    (1..=100_000_u64).for_each(|micros| histogram.record_us(micros));
    let quantiles = histogram.quantiles();
    for (found, exact) in [(quantiles.p50_ms, 50.0), (quantiles.p90_ms, 90.0), (quantiles.p99_ms, 99.0)] {
        assert!((exact..exact * 1.016).contains(&found), "{found} for {exact}");
    }
    assert_eq!(quantiles.max_ms, 100.0);
    assert_eq!(quantiles.count, 100_000);
}

#[test]
fn a_histogram_takes_every_value() {
    let mut histogram = Histogram::default();
    [0, 63, 64, 127, 128, u64::MAX].into_iter().for_each(|micros| histogram.record_us(micros));
    let quantiles = histogram.quantiles();
    assert_eq!(quantiles.p50_ms, 0.064);
    assert_eq!(quantiles.max_ms, u64::MAX as f64 / 1_000.0);
    assert_eq!(Histogram::default().quantiles().p99_ms, 0.0);
}
