/// The only source of choices: xoshiro256**, seeded by splitmix64. Written here and not taken from a crate, because a
/// seed that failed has to reproduce its run for as long as it stands in a report.
#[derive(Clone, Debug)]
pub(crate) struct Random([u64; 4]);

// === impl Random ===

impl Random {
    /// `stream` tells apart the generators of one run, so that one does not move when another is asked more often.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        let mut state = seed ^ stream.wrapping_mul(0xa076_1d64_78bd_642f);
        Self(std::array::from_fn(|_| split_mix(&mut state)))
    }

    pub(crate) fn next(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.0;
        let result = b.wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        result
    }

    /// A number below `bound`, or 0 where that is 0. The bias of the remainder is far below what a run could show.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// From `least` to `most`, both included.
    pub(crate) fn between(&mut self, least: i64, most: i64) -> i64 {
        least + self.below(most.abs_diff(least) + 1) as i64
    }

    pub(crate) fn index(&mut self, length: usize) -> usize {
        self.below(length as u64) as usize
    }

    /// True in `percent` of a hundred cases.
    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<'a, T>(&mut self, among: &'a [T]) -> Option<&'a T> {
        let index = self.index(among.len());
        among.get(index)
    }

    /// One of the values, as likely as its weight.
    pub(crate) fn weighted<T: Copy>(&mut self, among: &[(u64, T)]) -> Option<T> {
        let total: u64 = among.iter().map(|(weight, _)| weight).sum();
        let mut left = self.below(total);
        among.iter().find_map(|(weight, value)| match left.checked_sub(*weight) {
            Some(rest) => {
                left = rest;
                None
            }
            None => Some(*value),
        })
    }
}

fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::Random;

    #[test]
    fn a_seed_gives_the_same_choices_and_another_gives_others() {
        let choices = |seed, stream| {
            let mut random = Random::new(seed, stream);
            (0..50).map(|_| random.below(1_000)).collect::<Vec<_>>()
        };
        assert_eq!(choices(7, 0), choices(7, 0));
        assert_ne!(choices(7, 0), choices(8, 0));
        assert_ne!(choices(7, 0), choices(7, 1));
    }

    #[test]
    fn choices_stay_in_their_bounds_and_reach_them() {
        let mut random = Random::new(1, 0);
        let numbers: Vec<i64> = (0..500).map(|_| random.between(-2, 2)).collect();
        assert_eq!((numbers.iter().min(), numbers.iter().max()), (Some(&-2), Some(&2)));
        assert_eq!(random.pick::<u8>(&[]), None);
        let weighted: Vec<char> = (0..500).filter_map(|_| random.weighted(&[(0, 'a'), (9, 'b'), (1, 'c')])).collect();
        assert!(!weighted.contains(&'a') && weighted.contains(&'c'));
        assert!(weighted.iter().filter(|one| **one == 'b').count() > 400);
    }
}
