use super::*;

const SOUND: Histogram = Histogram {
    name: "order_wait",
    unit: Unit::Seconds,
    label: "outcome",
    values: &["confirmed", "cancelled"],
    buckets: &[0.5, 1.0, 30.0],
};
const OPEN: Gauge = Gauge { name: "orders", unit: Unit::Count, label: "state", values: &["open", "done"] };

async fn none(_: &Database) -> Result<Vec<(String, i64)>, JournalError> {
    Ok(Vec::new())
}

#[test]
fn declarations_that_are_wrong_are_faults() {
    let sound = Definition::new("order").histogram(&SOUND).gauge(&OPEN, none);
    assert_eq!(sound.faults(), &[] as &[String]);
    assert_eq!(
        (SOUND.full_name().as_str(), OPEN.full_name().as_str()),
        ("pangaea_order_wait_seconds", "pangaea_orders")
    );

    static WRONG: [(Histogram, &str); 13] = [
        (Histogram { name: "orders", ..SOUND }, "declared twice"),
        (Histogram { name: "wait", ..SOUND }, "begin with the module's name"),
        (Histogram { name: "order-wait", ..SOUND }, "not lower-case"),
        (Histogram { name: "order_wait_seconds", ..SOUND }, "ends with _seconds"),
        (Histogram { name: "order_total", ..SOUND }, "ends with _total"),
        (Histogram { label: "module", ..SOUND }, "\"module\", which is taken"),
        (Histogram { label: "Outcome", ..SOUND }, "not lower-case"),
        (Histogram { values: &[], ..SOUND }, "no values"),
        (Histogram { values: &["a", "b", "a"], ..SOUND }, "or one twice"),
        (Histogram { buckets: &[], ..SOUND }, "no buckets"),
        (Histogram { buckets: &[1.0, 1.0], ..SOUND }, "do not ascend"),
        (Histogram { buckets: &[1.0, f64::INFINITY], ..SOUND }, "do not ascend"),
        (Histogram { values: &[""; VALUES_MAX + 1], ..SOUND }, "more than 32"),
    ];
    for (histogram, expected) in &WRONG {
        let faults = Definition::new("order").gauge(&OPEN, none).histogram(histogram).faults().join("; ");
        assert!(faults.contains(expected), "{histogram:?}: {faults}");
    }
}

#[test]
fn only_what_is_declared_is_an_observation() {
    let definition = Definition::new("order").histogram(&SOUND);
    let observed = definition.observation(&SOUND, "cancelled", 2.5);
    assert_eq!(observed, Ok(Observation { histogram: 0, value: 1, measured: 2.5 }));
    let other = Histogram { name: "order_other", ..SOUND };
    for (histogram, value, measured) in
        [(&other, "confirmed", 1.0), (&SOUND, "lost", 1.0), (&SOUND, "confirmed", f64::NAN)]
    {
        assert!(definition.observation(histogram, value, measured).is_err(), "{} {value} {measured}", histogram.name);
    }
}
