//! A dead letter that is redriven in vain must still be there.

use anyhow::{Result, ensure};
use pangaea_auditor::Audit;
use pangaea_faults::{Plant, VARIABLE};
use pangaea_testkit::Placement;
use pangaea_tests::{Shop, ask_to_place};

use crate::support::{builder, must_be_caught, must_pass_with_dead_letters, must_say};

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_that_a_redrive_loses() -> Result<()> {
    let plant = Plant::DeadLetterLostOnRedrive;
    let shop = redrive_in_vain(&format!("plant:{plant}")).await?;
    must_be_caught(&shop, &Audit { dead_letters_allowed: true, ..shop.audit()? }, "read_once").await?;
    drop(shop);
    let mut shop = redrive_in_vain(&format!("guarded:{plant}")).await?;
    must_say(&mut shop, "product", "a letter is not let go of before its input is handled").await?;
    must_pass_with_dead_letters(shop).await
}

/// A reservation that the database refuses becomes a dead letter, and is refused again when it is redriven.
async fn redrive_in_vain(faults: &str) -> Result<Shop> {
    let faults = format!("{faults} guarded:{}", Plant::StockWithoutGuard);
    let mut shop = Shop::open_with(builder(Placement::TogetherMemory).variable(VARIABLE, &faults)).await?;
    let sku = shop.new_sku(1, 100).await?;
    ask_to_place(&shop.customer, &[(&sku.code, 2)], "tok_ok").send().await?.expect(202)?;
    must_say(&mut shop, "product", "dead letter").await?;
    let operations = shop.store.operations_of("product")?.base().to_owned();
    let redriven = shop.store.run(&["dead-letters", "redrive", "--operations", &operations, "--all"]).await?;
    ensure!(!redriven.stdout.contains("redriven 1"), "{redriven:?}");
    Ok(shop)
}
