//! The first difference of two runs, told so that a reader can use it.

use std::collections::BTreeMap;

/// The first line of each that the other has not, whatever numbers its ids have. A line that is missing moves all that follow
/// it, and with them the numbers of the ids, so that line by line nearly everything differs.
///
/// Nothing where both have the same lines in another order, or with other ids.
pub(super) fn only_in_one(mine: &[String], theirs: &[String]) -> Option<(String, String)> {
    let (ours, others) = (first_beyond(mine, theirs), first_beyond(theirs, mine));
    if ours.is_none() && others.is_none() {
        return None;
    }
    let shown = |line: Option<&String>| line.map_or_else(|| "nothing".to_owned(), Clone::clone);
    Some((shown(ours), shown(others)))
}

/// The first of `lines` that there are more of than in `others`.
fn first_beyond<'a>(lines: &'a [String], others: &[String]) -> Option<&'a String> {
    let mut left: BTreeMap<String, usize> = BTreeMap::new();
    for line in others {
        *left.entry(unnumbered(line)).or_default() += 1;
    }
    lines.iter().find(|line| match left.get_mut(&unnumbered(line)) {
        Some(count) if *count > 0 => {
            *count -= 1;
            false
        }
        _ => true,
    })
}

/// `ord#12` becomes `ord#`.
fn unnumbered(line: &str) -> String {
    let mut parts = line.split('#');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        text.push('#');
        text.push_str(part.trim_start_matches(|digit: char| digit.is_ascii_digit()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &[&str]) -> Vec<String> {
        text.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_line_that_is_missing_is_told_and_not_what_has_moved() {
        let whole = lines(&["order says: placed ord#1", "order says: paid ord#1 of pay#2", "order says: placed ord#3"]);
        let less = lines(&["order says: placed ord#1", "order says: placed ord#2"]);
        let told = |text: &str| text.to_owned();
        assert_eq!(only_in_one(&whole, &less), Some((told("order says: paid ord#1 of pay#2"), told("nothing"))));
        let twice = lines(&["order says: placed ord#1", "order says: placed ord#2", "order says: placed ord#3"]);
        assert_eq!(
            only_in_one(&less, &twice),
            Some((told("nothing"), told("order says: placed ord#3"))),
            "how often counts too"
        );
        assert_eq!(
            only_in_one(&lines(&["amount 100 of ord#1"]), &lines(&["amount 101 of ord#1"])),
            Some((told("amount 100 of ord#1"), told("amount 101 of ord#1")))
        );
    }

    #[test]
    fn other_ids_and_another_order_are_not_told_here() {
        assert_eq!(only_in_one(&lines(&["a ord#1", "b ord#2"]), &lines(&["b ord#1", "a ord#1"])), None);
    }
}
