use pangaea_kernel::{Gauge, Histogram, Unit};

/// How much is said: of much praise in few words somebody may be proud who was paid for it.
pub(crate) const LETTERS: Histogram = Histogram {
    name: "reviews_letters",
    unit: Unit::Count,
    label: "tone",
    values: &["praise", "mixed", "complaint"],
    buckets: &[0.0, 20.0, 100.0, 500.0, 2_000.0],
};

/// Reviews that can be read, and those that are held back.
pub(crate) const REVIEWS: Gauge =
    Gauge { name: "reviews", unit: Unit::Count, label: "state", values: &["posted", "held_back"] };

pub(crate) fn tone(stars: u32) -> &'static str {
    match stars {
        4.. => "praise",
        3 => "mixed",
        _ => "complaint",
    }
}
