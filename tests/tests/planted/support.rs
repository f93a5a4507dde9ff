use std::time::Duration;

use anyhow::{Context, Result, bail};
use pangaea_auditor::Audit;
use pangaea_faults::{Plant, VARIABLE};
use pangaea_testkit::{Placement, Store, StoreBuilder, eventually};
use pangaea_tests::Shop;

/// How long a planted bug may take to be seen, and a store to become quiet.
pub(crate) const SEEN_MAX: Duration = Duration::from_secs(60);

/// A store whose deadlines are short: what dies unanswered is asked for again soon.
pub(crate) fn builder(placement: Placement) -> StoreBuilder {
    Store::builder(placement)
        .set("MODULES__ORDER__SETTINGS__ANSWER_TIMEOUT_MS", "3000")
        .set("MODULES__ORDER__SETTINGS__ANSWER_TRIES_MAX", "40")
        .set("MODULES__ORDER__SETTINGS__COMPENSATION_RETRY_MS", "500")
        .set("MODULES__ORDER__SETTINGS__COMPENSATION_RETRY_MAX_MS", "1000")
}

/// A store with the bug, and without the guard beneath it.
pub(crate) async fn planted(plant: Plant, builder: StoreBuilder) -> Result<Shop> {
    Shop::open_with(builder.variable(VARIABLE, &format!("plant:{plant}"))).await
}

/// A store with the bug, and the guard in its place.
pub(crate) async fn guarded(plant: Plant, builder: StoreBuilder) -> Result<Shop> {
    Shop::open_with(builder.variable(VARIABLE, &format!("guarded:{plant}"))).await
}

/// The auditor must find that this claim does not hold. What else it finds follows from the bug as well.
pub(crate) async fn must_be_caught(shop: &Shop, audit: &Audit, check: &str) -> Result<()> {
    let found = async || is_caught(audit, check).await.map(|found| found.then_some(()));
    eventually(&format!("the auditor to see a breach of {check}"), SEEN_MAX, found).await?;
    shop.store.folder().set_clean();
    Ok(())
}

/// Whether the auditor sees it now.
pub(crate) async fn is_caught(audit: &Audit, check: &str) -> Result<bool> {
    let report = audit.judge().await?;
    let found = report.check(check).with_context(|| format!("there is no check {check}"))?;
    if let Some(breach) = found.breaches.first() {
        println!("caught by {check}: {breach} (all that is breached: {:?})", report.breached());
    }
    Ok(found.breached > 0)
}

/// The process that hosts `module` must have said this, or say it soon.
pub(crate) async fn must_say(shop: &mut Shop, module: &str, text: &str) -> Result<()> {
    let process = shop.store.process(module)?;
    let said = async || Ok(process.log().contains(text).then_some(()));
    eventually(&format!("{module} to say {text:?}"), SEEN_MAX, said).await
}

/// With the guard everything is as it should be: the store ends all it has begun, the auditor finds nothing, and
/// everything stops when told to.
pub(crate) async fn must_pass(shop: Shop) -> Result<()> {
    shop.pass_audit().await?;
    shop.close().await
}

/// With the guard the bug has done no harm, but kept inputs from being handled: they are among the dead letters, and
/// what waits behind them has no end.
pub(crate) async fn must_pass_with_dead_letters(shop: Shop) -> Result<()> {
    let audit = Audit { dead_letters_allowed: true, ..shop.audit()? };
    // An input becomes a dead letter after its last try only: until then all may be sound, and nothing refused yet.
    let refused = async || {
        let report = audit.judge().await?;
        let letters = report.check("dead_letters").map_or(0, |check| check.looked_at);
        Ok((report.is_sound() && letters > 0).then_some(()))
    };
    if let Err(late) = eventually("a sound store with a dead letter", SEEN_MAX, refused).await {
        bail!("{late:#}:\n{}", audit.judge().await?);
    }
    shop.store.folder().set_clean();
    Ok(())
}
