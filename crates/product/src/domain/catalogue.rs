use std::collections::{BTreeMap, BTreeSet};

use pangaea_contracts::product::{NewProduct, NewVariant};
use pangaea_contracts::{Money, SkuId};
use pangaea_kernel::FieldError;

use super::picture;

/// Products of one `POST /v1/products/bulk`, at most.
pub(crate) const PRODUCTS_PER_BULK_MAX: usize = 200;
/// Units a SKU may begin with, and that one adjustment may move.
pub(crate) const OPENING_STOCK_MAX: i64 = 1_000_000_000;
const NAME_CHARS_MAX: usize = 200;
const DESCRIPTION_CHARS_MAX: usize = 4_000;
const CATEGORIES_MAX: usize = 20;
const CATEGORY_CHARS_MAX: usize = 64;
const VARIANTS_MAX: usize = 100;
const CODE_CHARS_MAX: usize = 64;
const OPTIONS_MAX: usize = 10;
const OPTION_CHARS_MAX: usize = 64;
const PICTURE_BYTES_MAX: usize = 8 * 1024;
/// Minor units: a thousand million pounds.
const PRICE_MAX: i64 = 100_000_000_000;
const WORD_CHARS_MAX: usize = 32;
const WORDS_MAX: usize = 400;

/// Everything that is wrong with a product, by JSON pointer behind `prefix`. Empty: it may be created, if its codes are new.
pub(crate) fn check_product(product: &NewProduct, prefix: &str) -> Vec<FieldError> {
    let mut faults = Vec::new();
    let mut fault = |pointer: &str, result: Result<(), String>| {
        faults.extend(result.err().map(|detail| FieldError { pointer: format!("{prefix}{pointer}"), detail }));
    };
    fault("/name", check_name(&product.name));
    fault("/description", check_description(&product.description));
    fault("/categories", check_categories(&product.categories));
    fault("/picture", product.picture.as_deref().map_or(Ok(()), check_picture));
    let count = product.variants.len();
    if count == 0 || count > VARIANTS_MAX {
        fault("/variants", Err(format!("give 1 to {VARIANTS_MAX} variants")));
    }
    let mut first_with: BTreeMap<SkuId, usize> = BTreeMap::new();
    for (index, variant) in product.variants.iter().take(VARIANTS_MAX).enumerate() {
        let at = format!("/variants/{index}");
        fault(&format!("{at}/code"), check_code(&variant.code));
        fault(&format!("{at}/options"), check_options(variant));
        fault(&format!("{at}/price"), check_price(variant.price));
        fault(&format!("{at}/stock"), check_opening_stock(variant.stock));
        if let Some(first) = first_with.insert(SkuId::from_code(&variant.code), index) {
            fault(
                &format!("{at}/code"),
                Err(format!("variant {first} has this code already; case makes no difference")),
            );
        }
    }
    faults
}

/// # Errors
/// When it is empty, too long, or has control characters.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    check_text(name, 1, NAME_CHARS_MAX)
}

/// # Errors
/// When it is too long.
pub(crate) fn check_description(description: &str) -> Result<(), String> {
    if description.chars().count() <= DESCRIPTION_CHARS_MAX {
        Ok(())
    } else {
        Err(format!("at most {DESCRIPTION_CHARS_MAX} characters"))
    }
}

/// # Errors
/// When there are too many, or one is not a category's name.
pub(crate) fn check_categories(categories: &[String]) -> Result<(), String> {
    if categories.len() > CATEGORIES_MAX {
        return Err(format!("at most {CATEGORIES_MAX} categories"));
    }
    categories.iter().try_for_each(|category| check_text(category, 1, CATEGORY_CHARS_MAX))
}

/// # Errors
/// When it is too large, or anything but shapes.
pub(crate) fn check_picture(text: &str) -> Result<(), String> {
    if text.len() > PICTURE_BYTES_MAX {
        return Err(format!("at most {PICTURE_BYTES_MAX} bytes"));
    }
    picture::check(text)
}

/// # Errors
/// When it is negative or beyond the bound.
pub(crate) fn check_price(price: Money) -> Result<(), String> {
    if (0..=PRICE_MAX).contains(&price.amount) {
        Ok(())
    } else {
        Err(format!("an amount is from 0 to {PRICE_MAX} minor units"))
    }
}

fn check_code(code: &str) -> Result<(), String> {
    if code.parse::<SkuId>().is_ok() {
        return Err("a code must not look like a SKU id: let it not begin with sku_".to_owned());
    }
    check_text(code, 1, CODE_CHARS_MAX)
}

fn check_options(variant: &NewVariant) -> Result<(), String> {
    if variant.options.len() > OPTIONS_MAX {
        return Err(format!("at most {OPTIONS_MAX} options"));
    }
    variant
        .options
        .iter()
        .flat_map(|(name, value)| [name, value])
        .try_for_each(|text| check_text(text, 1, OPTION_CHARS_MAX))
}

fn check_opening_stock(stock: i64) -> Result<(), String> {
    if (0..=OPENING_STOCK_MAX).contains(&stock) { Ok(()) } else { Err(format!("from 0 to {OPENING_STOCK_MAX} units")) }
}

fn check_text(text: &str, min: usize, max: usize) -> Result<(), String> {
    let count = text.trim().chars().count();
    if count < min || text.chars().count() > max {
        return Err(format!("{min} to {max} characters"));
    }
    if text.chars().any(char::is_control) { Err("no control characters".to_owned()) } else { Ok(()) }
}

/// The words of texts that a search may begin with: lower case, letters and digits.
pub(crate) fn words_of<'a>(texts: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    texts
        .into_iter()
        .flat_map(|text| text.split(|character: char| !character.is_alphanumeric()))
        .filter(|word| !word.is_empty())
        .map(|word| word.to_lowercase().chars().take(WORD_CHARS_MAX).collect())
        .take(WORDS_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use pangaea_contracts::Currency;

    use super::*;

    fn product() -> NewProduct {
        let variant = |code: &str| NewVariant {
            code: code.into(),
            options: BTreeMap::from([("size".into(), "100 g".into())]),
            price: Money::new(450, Currency::GBP),
            stock: 3,
        };
        NewProduct {
            name: "Earl Grey".into(),
            description: String::new(),
            categories: vec!["Tea".into()],
            variants: vec![variant("TEA-1"), variant("TEA-2")],
            picture: None,
        }
    }

    #[test]
    fn a_sound_product_has_no_fault() {
        assert_eq!(check_product(&product(), ""), []);
    }

    #[test]
    fn every_fault_is_named_by_its_pointer() {
        type Spoil = fn(&mut NewProduct);
        let cases: [(&str, Spoil); 12] = [
            ("/name", |it| it.name = "  ".into()),
            ("/name", |it| it.name = "x".repeat(201)),
            ("/name", |it| it.name = "a\nb".into()),
            ("/description", |it| it.description = "x".repeat(4_001)),
            ("/categories", |it| it.categories = vec!["c".into(); 21]),
            ("/picture", |it| it.picture = Some("<svg><script/></svg>".into())),
            ("/variants", |it| it.variants.clear()),
            ("/variants/0/code", |it| it.variants[0].code = SkuId::from_code("x").to_string()),
            ("/variants/1/code", |it| it.variants[1].code = "tea-1".into()),
            ("/variants/1/options", |it| drop(it.variants[1].options.insert("colour".into(), String::new()))),
            ("/variants/0/price", |it| it.variants[0].price.amount = -1),
            ("/variants/1/stock", |it| it.variants[1].stock = -1),
        ];
        for (pointer, spoil) in cases {
            let mut spoilt = product();
            spoil(&mut spoilt);
            let faults = check_product(&spoilt, "/products/7");
            let pointers: Vec<_> = faults.iter().map(|fault| fault.pointer.as_str()).collect();
            assert_eq!(pointers, [format!("/products/7{pointer}")]);
        }
    }

    #[test]
    fn words_are_lower_case_letters_and_digits() {
        let words = words_of(["Earl Grey, 100 g", "TEA-EARL-GREY-100"]);
        assert_eq!(words.iter().map(String::as_str).collect::<Vec<_>>(), ["100", "earl", "g", "grey", "tea"]);
    }
}
