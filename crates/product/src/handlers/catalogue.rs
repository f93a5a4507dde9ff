use pangaea_contracts::product::{ReviseProduct, SetPrice, SkuWithdrawn, WithdrawProduct};
use pangaea_contracts::{ProductId, SkuId};
use pangaea_journal::{Column, Json};
use pangaea_kernel::{Answer, Cx, Failure, Problem};

use super::create::{index_categories, index_words, price_row, priced};
use super::{check_version, with_etag};
use crate::store::{CategoryRow, PriceRow, ProductRow, SkuRow, StockRow, WordRow};
use crate::view::{ProductView, SkuView};

/// Staff change how a product is presented.
pub(crate) async fn revise_product(cx: &mut Cx, command: ReviseProduct) -> Result<Answer, Failure> {
    let before = product(cx, &command.product_id, command.expected_version).await?;
    let skus = skus_of(cx, &before.sku_ids.0).await?;
    let ReviseProduct { name, description, categories, picture, remove_picture, .. } = command;
    let name = name.map_or_else(|| before.name.clone(), |name| name.trim().to_owned());
    let categories = categories.map(|all| Json(all.iter().map(|category| category.trim().to_owned()).collect()));
    let after = ProductRow {
        name_key: name.to_lowercase(),
        name,
        description: description.unwrap_or_else(|| before.description.clone()),
        categories: categories.unwrap_or_else(|| before.categories.clone()),
        picture: if remove_picture { None } else { picture.or_else(|| before.picture.clone()) },
        updated_at: cx.now(),
        version: before.version + 1,
        ..before.clone()
    };
    index_again(cx, &before, &after, &skus);
    if after.name != before.name {
        skus.iter().for_each(|sku| cx.emit(&priced(sku, &after.name)));
    }
    cx.put(after.clone());
    let version = after.version;
    Ok(with_etag(Answer::json(200, &ProductView::new(after, &skus))?, version))
}

fn index_again(cx: &mut Cx, before: &ProductRow, after: &ProductRow, skus: &[SkuRow]) {
    let (old, new) = (index_words(before, skus), index_words(after, skus));
    old.difference(&new).for_each(|(word, product_id)| cx.delete::<WordRow>((word, product_id)));
    for (word, product_id) in new.difference(&old).cloned() {
        cx.put(WordRow { word, product_id });
    }
    let (old, new) = (index_categories(before), index_categories(after));
    old.difference(&new).for_each(|(category, product_id)| cx.delete::<CategoryRow>((category, product_id)));
    for (category, product_id) in new.difference(&old).cloned() {
        cx.put(CategoryRow { category, product_id });
    }
}

/// Staff take a product out of the catalogue. What is reserved or sold of it takes its course.
pub(crate) async fn withdraw_product(cx: &mut Cx, command: WithdrawProduct) -> Result<Answer, Failure> {
    let row = product(cx, &command.product_id, command.expected_version).await?;
    for mut sku in skus_of(cx, &row.sku_ids.0).await? {
        if let Some(mut stock) = cx.get::<StockRow>(&sku.sku_id).await? {
            stock.withdrawn = true;
            cx.put(stock);
        }
        cx.emit(&SkuWithdrawn { sku_id: sku.sku_id.clone() });
        sku.withdrawn = true;
        sku.version += 1;
        cx.put(sku);
    }
    cx.put(ProductRow { withdrawn: true, updated_at: cx.now(), version: row.version + 1, ..row });
    Ok(Answer::empty(204))
}

/// Staff set what a SKU costs from now on. The price it has already makes no new version.
pub(crate) async fn set_price(cx: &mut Cx, command: SetPrice) -> Result<Answer, Failure> {
    let SetPrice { sku_id, expected_version, price } = command;
    let found = (cx.get::<SkuRow>(&sku_id).await?.filter(|sku| !sku.withdrawn), cx.get::<StockRow>(&sku_id).await?);
    let (Some(mut sku), Some(stock)) = found else {
        return Err(Problem::not_found("SKU").into());
    };
    check_version(sku.version, expected_version)?;
    if sku.price() != price {
        let product = product(cx, &sku.product_id, None).await?;
        if let Some(past) = cx.get::<PriceRow>((&sku_id, &sku.price_version)).await? {
            cx.put(PriceRow { valid_until: Some(cx.now()), ..past });
        }
        (sku.price_amount, sku.price_currency) = (price.amount, price.currency);
        sku.price_version += 1;
        sku.version += 1;
        cx.put(price_row(&sku, cx));
        cx.put(sku.clone());
        cx.emit(&priced(&sku, &product.name));
        let price_min = skus_of(cx, &product.sku_ids.0).await?.iter().map(|sku| sku.price_amount).min().unwrap_or(0);
        cx.put(ProductRow { price_min, updated_at: cx.now(), version: product.version + 1, ..product });
    }
    let version = sku.version;
    Ok(with_etag(Answer::json(200, &SkuView::new(sku, &stock))?, version))
}

async fn product(cx: &mut Cx, id: &ProductId, expected_version: Option<i64>) -> Result<ProductRow, Failure> {
    let row = cx.get::<ProductRow>(id).await?.filter(|row| !row.withdrawn);
    let row = row.ok_or_else(|| Failure::from(Problem::not_found("product")))?;
    check_version(row.version, expected_version)?;
    Ok(row)
}

async fn skus_of(cx: &mut Cx, sku_ids: &[SkuId]) -> Result<Vec<SkuRow>, Failure> {
    cx.prefetch::<SkuRow>(sku_ids.iter().map(|sku_id| vec![sku_id.to_value()])).await?;
    let mut skus = Vec::with_capacity(sku_ids.len());
    for sku_id in sku_ids {
        skus.extend(cx.get::<SkuRow>(sku_id).await?);
    }
    Ok(skus)
}
