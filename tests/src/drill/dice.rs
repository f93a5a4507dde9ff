/// Numbers that look random and are the same for the same seed (splitmix64).
#[derive(Clone, Debug)]
pub struct Dice(u64);

// === impl Dice ===

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// From 0 to `bound`, which itself does not come.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound.max(1)
    }

    /// From 0 to 1, which itself does not come.
    pub fn share(&mut self) -> f64 {
        self.below(1 << 20) as f64 / f64::from(1 << 20)
    }

    /// From the least to the most, small ones as often as large ones: each factor of ten is as likely as another.
    pub fn log_uniform(&mut self, least: f64, most: f64) -> f64 {
        least * (most / least).powf(self.share())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_within_their_bounds() {
        let (mut one, mut two) = (Dice::new(7), Dice::new(7));
        let numbers: Vec<u64> = (0..100).map(|_| one.below(10)).collect();
        assert_eq!(numbers, (0..100).map(|_| two.below(10)).collect::<Vec<_>>());
        assert!((0..10).all(|number| numbers.contains(&number)), "{numbers:?}");
        let times: Vec<f64> = (0..1_000).map(|_| one.log_uniform(0.1, 60.0)).collect();
        assert!(times.iter().all(|time| (0.1..60.0).contains(time)));
        assert!(times.iter().filter(|time| **time < 1.0).count() > 200, "small ones come too");
    }
}
