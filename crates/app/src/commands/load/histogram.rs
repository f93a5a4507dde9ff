use serde::Serialize;

/// Sub-buckets of each power of two: a value is known to about 1.5 %.
const SUB_BITS: u32 = 6;
const SUB: u64 = 1 << SUB_BITS;
const BUCKETS: usize = ((64 - SUB_BITS as usize) + 1) << SUB_BITS;

/// Counts durations in logarithmic buckets, in memory that does not grow.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    max_us: u64,
}

/// In milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Quantiles {
    pub count: u64,
    pub p50_ms: f64,
    pub p90_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
}

// === impl Histogram ===

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: vec![0; BUCKETS], count: 0, max_us: 0 }
    }
}

impl Histogram {
    pub(crate) fn record_us(&mut self, micros: u64) {
        if let Some(bucket) = self.buckets.get_mut(bucket_of(micros)) {
            *bucket += 1;
        }
        self.count += 1;
        self.max_us = self.max_us.max(micros);
    }

    pub(crate) fn quantiles(&self) -> Quantiles {
        let at = |share: f64| self.quantile_us(share) as f64 / 1_000.0;
        Quantiles {
            count: self.count,
            p50_ms: at(0.50),
            p90_ms: at(0.90),
            p99_ms: at(0.99),
            max_ms: self.max_us as f64 / 1_000.0,
        }
    }

    /// The smallest value that at least this share does not exceed, up to the width of its bucket.
    fn quantile_us(&self, share: f64) -> u64 {
        let wanted = ((self.count as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return upper_bound(bucket).min(self.max_us);
            }
        }
        self.max_us
    }
}

fn bucket_of(value: u64) -> usize {
    if value < SUB {
        return value as usize;
    }
    let shift = value.ilog2() - SUB_BITS;
    ((u64::from(shift + 1) << SUB_BITS) + ((value >> shift) - SUB)) as usize
}

/// The largest value of a bucket.
fn upper_bound(bucket: usize) -> u64 {
    let (group, rest) = (bucket as u64 >> SUB_BITS, bucket as u64 & (SUB - 1));
    match group {
        0 => rest,
        _ => ((u128::from(SUB + rest + 1) << (group - 1)) - 1).min(u128::from(u64::MAX)) as u64,
    }
}
