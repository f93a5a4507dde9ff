use pangaea_kernel::{Problem, ProblemKind};

const TEXT_CHARS_MAX: usize = 2_000;

/// What needs no state: how many stars there are, and how much may be said.
///
/// # Errors
/// 422 with a pointer to every field out of its bounds.
pub(crate) fn check(stars: u32, text: &str) -> Result<(), Problem> {
    let mut problem = Problem::new(ProblemKind::Invalid, "the review is not acceptable");
    if !(1..=5).contains(&stars) {
        problem = problem.with_field("/stars", "give 1 to 5 stars");
    }
    if text.chars().count() > TEXT_CHARS_MAX {
        problem = problem.with_field("/text", format!("write at most {TEXT_CHARS_MAX} characters"));
    }
    if problem.errors.is_empty() { Ok(()) } else { Err(problem) }
}

/// The average with two decimals; none without a review.
pub(crate) fn average(stars: i64, reviews: i64) -> Option<f64> {
    (reviews > 0).then(|| (stars as f64 / reviews as f64 * 100.0).round() / 100.0)
}

#[cfg(test)]
mod tests {
    use super::{average, check};

    #[test]
    fn stars_and_texts_have_bounds() {
        assert!(check(1, "").is_ok() && check(5, &"é".repeat(2_000)).is_ok());
        let problem = check(6, &"x".repeat(2_001)).unwrap_err();
        let pointers: Vec<_> = problem.errors.iter().map(|error| error.pointer.as_str()).collect();
        assert_eq!((problem.status, pointers), (422, vec!["/stars", "/text"]));
    }

    #[test]
    fn the_average_has_two_decimals() {
        assert_eq!([average(0, 0), average(5, 1), average(10, 3)], [None, Some(5.0), Some(3.33)]);
    }
}
