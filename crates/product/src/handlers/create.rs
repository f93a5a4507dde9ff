use std::collections::BTreeSet;

use pangaea_contracts::product::{CreateProduct, CreateProducts, NewProduct, NewVariant, SkuPriced};
use pangaea_contracts::{ProductId, SkuId};
use pangaea_journal::Json;
use pangaea_kernel::{Answer, Cx, Failure, FieldError, Problem, ProblemKind};

use super::{moved, with_etag};
use crate::domain::{check_product, words_of};
use crate::store::{self, CategoryRow, MovementKind, PriceRow, ProductRow, SkuRow, StockRow, WordRow, word_column};
use crate::view::{BulkItemView, BulkView, ProductView};

/// Staff add one product.
pub(crate) async fn create_product(cx: &mut Cx, command: CreateProduct) -> Result<Answer, Failure> {
    let taken = taken_codes(cx, &command.product, "").await?;
    if !taken.is_empty() {
        return Err(taken_problem(taken).into());
    }
    let (row, skus) = create(cx, command.product)?;
    let (location, version) = (format!("/v1/products/{}", row.id), row.version);
    let answer = Answer::json(201, &ProductView::new(row, &skus))?.with_header("location", location);
    Ok(with_etag(answer, version))
}

/// Staff add many products; one that cannot be created is reported and does not stop the others.
pub(crate) async fn create_products(cx: &mut Cx, command: CreateProducts) -> Result<Answer, Failure> {
    let mut results = Vec::with_capacity(command.products.len());
    if command.only_if_empty && !store::is_empty(cx).await? {
        return Answer::json(200, &BulkView { results });
    }
    for (index, product) in command.products.into_iter().enumerate() {
        let prefix = format!("/products/{index}");
        let faults = check_product(&product, &prefix);
        let error = if faults.is_empty() {
            let taken = taken_codes(cx, &product, &prefix).await?;
            (!taken.is_empty()).then(|| taken_problem(taken))
        } else {
            Some(invalid_product(faults))
        };
        let product_id = if error.is_none() { Some(create(cx, product)?.0.id) } else { None };
        results.push(BulkItemView { index, product_id, error });
    }
    Answer::json(200, &BulkView { results })
}

/// The problem with a product that has these faults.
pub(crate) fn invalid_product(faults: Vec<FieldError>) -> Problem {
    let mut problem = Problem::new(ProblemKind::Invalid, "correct the fields named in errors");
    problem.errors = faults;
    problem
}

fn taken_problem(taken: Vec<FieldError>) -> Problem {
    let mut problem =
        Problem::new(ProblemKind::Conflict, "a code names one SKU for ever; choose others for those named in errors");
    problem.errors = taken;
    problem
}

async fn taken_codes(cx: &mut Cx, product: &NewProduct, prefix: &str) -> Result<Vec<FieldError>, Failure> {
    let mut taken = Vec::new();
    for (index, variant) in product.variants.iter().enumerate() {
        if let Some(sku) = cx.get::<SkuRow>(&SkuId::from_code(&variant.code)).await? {
            let pointer = format!("{prefix}/variants/{index}/code");
            taken.push(FieldError { pointer, detail: format!("{} is a SKU of {} already", sku.code, sku.product_id) });
        }
    }
    Ok(taken)
}

/// Writes a product that is known to be sound and new.
fn create(cx: &mut Cx, product: NewProduct) -> Result<(ProductRow, Vec<SkuRow>), Failure> {
    let id = cx.id::<ProductId>()?;
    let NewProduct { name, description, categories, variants, picture } = product;
    let name = name.trim().to_owned();
    let price_min = variants.iter().map(|variant| variant.price.amount).min().unwrap_or(0);
    let mut skus = Vec::with_capacity(variants.len());
    for variant in variants {
        skus.push(create_sku(cx, &id, &name, variant));
    }
    let row = ProductRow {
        name_key: name.to_lowercase(),
        name,
        description,
        categories: Json(categories.iter().map(|category| category.trim().to_owned()).collect()),
        picture,
        sku_ids: Json(skus.iter().map(|sku| sku.sku_id.clone()).collect()),
        price_min,
        withdrawn: false,
        created_at: cx.now(),
        updated_at: cx.now(),
        version: 1,
        id,
    };
    for (word, product_id) in index_words(&row, &skus) {
        cx.put(WordRow { word, product_id });
    }
    for (category, product_id) in index_categories(&row) {
        cx.put(CategoryRow { category, product_id });
    }
    cx.put(row.clone());
    Ok((row, skus))
}

fn create_sku(cx: &mut Cx, product_id: &ProductId, name: &str, variant: NewVariant) -> SkuRow {
    let NewVariant { code, options, price, stock } = variant;
    let sku = SkuRow {
        sku_id: SkuId::from_code(&code),
        code: code.trim().to_owned(),
        product_id: product_id.clone(),
        options: Json(options),
        price_amount: price.amount,
        price_currency: price.currency,
        price_version: 1,
        withdrawn: false,
        version: 1,
    };
    let mut level = StockRow { sku_id: sku.sku_id.clone(), on_hand: 0, reserved: 0, movements: 0, withdrawn: false };
    if stock > 0 {
        let opening = moved(&mut level, MovementKind::Opening, stock, product_id.as_str(), cx.now());
        cx.put(opening);
    }
    cx.put(level);
    cx.put(price_row(&sku, cx));
    cx.put(sku.clone());
    cx.emit(&priced(&sku, name));
    sku
}

/// The current price of a SKU as a row of its history, valid from now on.
pub(super) fn price_row(sku: &SkuRow, cx: &Cx) -> PriceRow {
    PriceRow {
        sku_id: sku.sku_id.clone(),
        price_version: sku.price_version,
        amount: sku.price_amount,
        currency: sku.price_currency,
        valid_from: cx.now(),
        valid_until: None,
    }
}

pub(super) fn priced(sku: &SkuRow, name: &str) -> SkuPriced {
    SkuPriced {
        sku_id: sku.sku_id.clone(),
        code: sku.code.clone(),
        product_id: sku.product_id.clone(),
        name: name.to_owned(),
        unit_price: sku.price(),
        price_version: sku.price_version,
    }
}

/// The keys of `product_word` for a product: words of its name and of its codes.
pub(super) fn index_words(row: &ProductRow, skus: &[SkuRow]) -> BTreeSet<(String, ProductId)> {
    let texts = [row.name.as_str()].into_iter().chain(skus.iter().map(|sku| sku.code.as_str()));
    words_of(texts).iter().map(|word| (word_column(word), row.id.clone())).collect()
}

/// The keys of `product_category` for a product.
pub(super) fn index_categories(row: &ProductRow) -> BTreeSet<(String, ProductId)> {
    row.categories.0.iter().map(|category| (category.to_lowercase(), row.id.clone())).collect()
}
