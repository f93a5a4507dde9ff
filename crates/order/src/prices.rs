//! The projection of product's prices. Its events come in the order in which product committed them, so the last one is true.

use pangaea_contracts::product::{SkuPriced, SkuWithdrawn};
use pangaea_kernel::{Cx, Failure};

use crate::store::SkuPrice;

pub(crate) async fn sku_priced(cx: &mut Cx, event: SkuPriced) -> Result<(), Failure> {
    let SkuPriced { sku_id, code, name, unit_price, price_version, .. } = event;
    let currency = unit_price.currency;
    cx.put(SkuPrice { sku_id, code, name, unit_price: unit_price.amount, currency, price_version, withdrawn: false });
    Ok(())
}

/// The row stays, so that a caller learns that the SKU *was* sold here.
pub(crate) async fn sku_withdrawn(cx: &mut Cx, event: SkuWithdrawn) -> Result<(), Failure> {
    if let Some(price) = cx.get::<SkuPrice>(&event.sku_id).await? {
        cx.put(SkuPrice { withdrawn: true, ..price });
    }
    Ok(())
}
