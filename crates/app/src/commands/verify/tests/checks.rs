use crate::commands::verify::check::{Check, grouped};

fn check(breaches: &[&str]) -> Check {
    let mut check = Check::new("stock");
    for breach in breaches {
        check.breach(*breach);
    }
    check
}

#[test]
fn only_what_is_still_there_is_a_breach() {
    let first = check(&["ord_1 is cancelled, but 1299 is held", "sku_a has 5 on hand, but its movements sum to 6"]);
    let second = check(&["ord_2 is cancelled, but 1299 is held", "sku_a has 3 on hand, but its movements sum to 4"]);
    let left = second.persisting_since(&first);
    assert_eq!(left.json()["breaches_total"], 1);
    assert_eq!(left.json()["breaches"][0], "sku_a has 3 on hand, but its movements sum to 4");
    assert!(check(&["ord_2 is late"]).persisting_since(&check(&["ord_1 is late"])).is_ok());
}

#[test]
fn a_look_that_could_not_keep_all_excuses_nothing() {
    let mut first = Check::new("orders");
    (0..20_000).for_each(|number| first.breach(format!("ord_{number} is late")));
    assert!(!check(&["ord_x is late"]).persisting_since(&first).is_ok());
}

#[test]
fn shows_a_few_examples_and_counts_the_others() {
    let many: Vec<String> = (0..30).map(|number| format!("ord_{number} is late")).collect();
    let text = check(&many.iter().map(String::as_str).collect::<Vec<_>>()).to_string();
    assert!(text.starts_with("BREACH  stock\n"), "{text}");
    assert_eq!(text.lines().count(), 22);
    assert!(text.ends_with("and 10 more\n"), "{text}");
}

#[test]
fn groups_digits() {
    assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
}
