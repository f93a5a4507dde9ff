//! Planted changes of behaviour: each shows in what the module says or asks for in the usual life of a payment.

mod common;

use common::{Bench, held, taken};
use pangaea_faults::{Change, with_change};
use pangaea_payment::{AuthorizeIntent, CaptureIntent};

/// The beginning of the first line that differs, without or with the change.
const SHOWN_BY: [(Change, &str); 2] =
    [(Change::RandomId, "says payment.evt.authorized"), (Change::WrongCurrency, "asks for payment.eff.authorize")];

/// Money is held, then taken.
async fn live() -> Vec<String> {
    let mut bench = Bench::new().await;
    let mut seen = Vec::new();
    bench.authorize("tok_ok").await;
    seen.extend(bench.effects.iter().map(|effect| format!("asks for {} {}", effect.subject, effect.payload)));
    bench.outcome::<AuthorizeIntent>(held()).await;
    bench.capture().await;
    bench.outcome::<CaptureIntent>(taken()).await;
    seen.extend(bench.log.iter().map(|message| format!("says {} {}", message.subject, message.payload)));
    seen
}

#[tokio::test]
async fn each_change_shows_in_the_usual_life_of_a_payment() {
    let unchanged = live().await;
    assert_eq!(unchanged, live().await, "without a change nothing differs");
    for (change, shown_by) in SHOWN_BY {
        let guard = with_change(change);
        let changed = live().await;
        drop(guard);
        let differs = unchanged.iter().zip(&changed).find(|(before, after)| before != after);
        let (before, after) = differs.unwrap_or_else(|| panic!("{change} does not show"));
        let shows = before.starts_with(shown_by) || after.starts_with(shown_by);
        assert!(shows, "{change} shows otherwise:\n  {before}\n  {after}");
    }
}
