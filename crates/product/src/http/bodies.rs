//! The bodies of writes, as a client sends them. Unknown fields are refused: a misspelt one would else be lost silently.

use std::collections::BTreeMap;

use pangaea_contracts::product::{NewProduct, NewVariant};
use pangaea_contracts::{Money, ProductId};
use pangaea_kernel::Problem;
use serde::{Deserialize, Deserializer};
use utoipa::ToSchema;

use crate::domain::{OPENING_STOCK_MAX, check_categories, check_description, check_name, check_picture, check_price};
use crate::view::MoneySchema;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewProduct)]
pub(crate) struct ProductBody {
    #[schema(min_length = 1, max_length = 200, example = "Earl Grey")]
    name: String,
    #[serde(default)]
    #[schema(max_length = 4000)]
    description: String,
    #[serde(default)]
    #[schema(max_items = 20, example = json!(["Tea"]))]
    categories: Vec<String>,
    #[schema(min_items = 1, max_items = 100)]
    variants: Vec<VariantBody>,
    /// An inline SVG of shapes only: no script, style, link or image.
    #[serde(default)]
    #[schema(max_length = 8192)]
    picture: Option<String>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewVariant)]
pub(crate) struct VariantBody {
    /// The merchant's own code: unique in the store for ever, whatever its case.
    #[schema(min_length = 1, max_length = 64, example = "TEA-EARL-GREY-100")]
    code: String,
    #[serde(default)]
    #[schema(example = json!({"size": "100 g"}))]
    options: BTreeMap<String, String>,
    #[schema(value_type = MoneySchema)]
    price: Money,
    /// Units there are at the beginning.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 1_000_000_000)]
    stock: i64,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewProducts)]
pub(crate) struct BulkBody {
    #[schema(min_items = 1, max_items = 200)]
    pub(crate) products: Vec<ProductBody>,
}

/// A JSON merge patch (RFC 7396): what is absent stays, `null` removes the picture.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ProductPatch)]
pub(crate) struct PatchBody {
    #[serde(default)]
    #[schema(min_length = 1, max_length = 200)]
    pub(crate) name: Option<String>,
    #[serde(default)]
    #[schema(max_length = 4000)]
    pub(crate) description: Option<String>,
    /// All of them: replaces the former ones.
    #[serde(default)]
    #[schema(max_items = 20)]
    pub(crate) categories: Option<Vec<String>>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, max_length = 8192)]
    pub(crate) picture: Option<Option<String>>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Adjustment)]
pub(crate) struct AdjustmentBody {
    /// Units that come (positive) or go (negative); not 0.
    #[schema(minimum = -1_000_000_000, maximum = 1_000_000_000, example = -2)]
    pub(crate) delta: i64,
    #[schema(min_length = 1, max_length = 200, example = "broken in the warehouse")]
    pub(crate) reason: String,
    /// Compare-and-set: the adjustment is refused when `on_hand` is another number.
    #[serde(default)]
    pub(crate) expected_on_hand: Option<i64>,
}

/// Tells `null` from an absent field.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::<String>::deserialize(deserializer).map(Some)
}

// === impl bodies ===

impl From<ProductBody> for NewProduct {
    fn from(body: ProductBody) -> Self {
        let ProductBody { name, description, categories, variants, picture } = body;
        let variant = |VariantBody { code, options, price, stock }| NewVariant { code, options, price, stock };
        Self { name, description, categories, variants: variants.into_iter().map(variant).collect(), picture }
    }
}

impl PatchBody {
    /// The command that this patch of `product_id` is.
    ///
    /// # Errors
    /// Names every field that is out of its bounds.
    pub(crate) fn into_command(
        self,
        product_id: ProductId,
        expected_version: Option<i64>,
    ) -> Result<pangaea_contracts::product::ReviseProduct, Problem> {
        let Self { name, description, categories, picture } = self;
        let remove_picture = picture == Some(None);
        let picture = picture.flatten();
        let checks = [
            ("/name", name.as_deref().map(check_name)),
            ("/description", description.as_deref().map(check_description)),
            ("/categories", categories.as_deref().map(check_categories)),
            ("/picture", picture.as_deref().map(check_picture)),
        ];
        refuse_faults(checks)?;
        Ok(pangaea_contracts::product::ReviseProduct {
            product_id,
            expected_version,
            name,
            description,
            categories,
            picture,
            remove_picture,
        })
    }
}

impl AdjustmentBody {
    /// # Errors
    /// Names every field that is out of its bounds.
    pub(crate) fn check(&self) -> Result<(), Problem> {
        let delta = match self.delta {
            0 => Err("say how many units come or go; 0 changes nothing".to_owned()),
            delta if delta.unsigned_abs() > OPENING_STOCK_MAX.unsigned_abs() => {
                Err(format!("at most {OPENING_STOCK_MAX} units at once"))
            }
            _ => Ok(()),
        };
        refuse_faults([("/delta", Some(delta)), ("/reason", Some(check_name(&self.reason)))])
    }
}

/// # Errors
/// When the amount is out of its bounds.
pub(crate) fn check_money(price: Money) -> Result<(), Problem> {
    refuse_faults([("/amount", Some(check_price(price)))])
}

fn refuse_faults<const N: usize>(checks: [(&str, Option<Result<(), String>>); N]) -> Result<(), Problem> {
    let faults: Vec<_> =
        checks.into_iter().filter_map(|(pointer, checked)| checked?.err().map(|detail| (pointer, detail))).collect();
    let Some((_, first)) = faults.first() else { return Ok(()) };
    let problem = Problem::new(pangaea_kernel::ProblemKind::Invalid, first.clone());
    Err(faults.into_iter().fold(problem, |problem, (pointer, detail)| problem.with_field(pointer, detail)))
}
