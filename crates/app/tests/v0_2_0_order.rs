//! Written by `pangaea replay --shrink`: these inputs no longer did what they had done.
//!
//! ```text
//!   input 88 payment.evt.declined.v1 ord_01m8eah5a0kmm6pd8b1zj25yhf at 2026-11-27T10:59:00.052Z
//!     {"order_id":"ord_01m8eah5a0kmm6pd8b1zj25yhf","payment_id":"pay_01m8eah5a9tt2aryep8400p4bc","reason":{"code":"payment_declined","detail":"card_declined: the card…
//!     - order.cmd.product.release_stock.v1 ord_01m8eah5a0kmm6pd8b1zj25yhf {"order_id":"ord_01m8eah5a0kmm6pd8b1zj25yhf"}
//!     ~ timer order.tmr.deadline.v1 ord_01m8eah5a0kmm6pd8b1zj25yhf
//!       - @id "tmr_01m8eah5amgnd050a90qjg4y5d"
//!       + @id "tmr_01m8eah5am8env0p646sncy0xd"
//! ```

use std::path::Path;

#[tokio::test(flavor = "multi_thread")]
async fn v0_2_0_order_replays_clean() {
    // A program with modules of its own names its own catalogue.
    let catalogue = pangaea::Catalogue::store();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/v0_2_0_order.rec");
    pangaea::replay::assert_replays_clean(&catalogue, &file).await;
}
