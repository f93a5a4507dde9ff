use pangaea_contracts::ProductId;
use pangaea_kernel::http::{PageParams, decode_cursor};
use pangaea_kernel::{Problem, ProblemKind};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use crate::domain::words_of;
use crate::store::{ProductRow, Search, Sort};

/// Words of one search, at most.
const WORDS_MAX: usize = 8;
const Q_CHARS_MAX: usize = 200;

#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListParams {
    /// Products of this category only, whatever its case.
    category: Option<String>,
    /// Words that names or codes begin with, whatever their case; all must fit.
    q: Option<String>,
    /// `true`: with units to sell; `false`: sold out.
    available: Option<bool>,
    /// Minor units: one of the SKUs costs at least this much.
    #[param(minimum = 0)]
    min_price: Option<i64>,
    /// Minor units: one of the SKUs costs at most this much.
    #[param(minimum = 0)]
    max_price: Option<i64>,
    /// By name unless given. The price is the lowest of a product's SKUs.
    #[param(inline)]
    sort: Option<SortParam>,
    /// From a former page's `next_cursor`. Opaque.
    cursor: Option<String>,
    /// Items on a page; 50 unless given.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
}

#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
pub(crate) enum SortParam {
    #[serde(rename = "name")]
    Name,
    #[serde(rename = "price")]
    Price,
    #[serde(rename = "-price")]
    PriceDown,
    #[serde(rename = "newest")]
    Newest,
}

// === impl ListParams ===

impl ListParams {
    /// What to look for, and how many items make a page.
    ///
    /// # Errors
    /// Says which parameter is out of its bounds.
    pub(crate) fn search(self) -> Result<(Search, u32), Problem> {
        let Self { category, q, available, min_price, max_price, sort, cursor, limit } = self;
        let limit = PageParams { cursor: None, limit }.limit()?;
        let words: Vec<String> = words_of(q.as_deref()).into_iter().collect();
        if q.is_some_and(|q| q.chars().count() > Q_CHARS_MAX) || words.len() > WORDS_MAX {
            return Err(Problem::invalid("/q", format!("at most {WORDS_MAX} words and {Q_CHARS_MAX} characters")));
        }
        if min_price.zip(max_price).is_some_and(|(min, max)| min > max) {
            return Err(Problem::invalid("/min_price", "min_price is above max_price"));
        }
        let sort = sort.map_or(Sort::default(), Sort::from);
        let after = cursor.map(|cursor| after(sort, &cursor)).transpose()?;
        let category = category.map(|category| category.trim().to_lowercase());
        Ok((Search { words, category, available, prices: (min_price, max_price), sort, after }, limit))
    }
}

/// What the cursor of the page behind `last` holds.
pub(crate) fn cursor_of(sort: Sort, last: &ProductRow) -> Vec<String> {
    vec![sort.name().to_owned(), sort.key_of(last), last.id.to_string()]
}

fn after(sort: Sort, cursor: &str) -> Result<(pangaea_journal::Value, ProductId), Problem> {
    let parts = decode_cursor(cursor, 3)?;
    let read = match parts.as_slice() {
        [name, key, id] if name == sort.name() => sort.key_from(key).zip(id.parse().ok()),
        _ => None,
    };
    let detail = "the cursor is of a list with another order; start without one";
    read.ok_or_else(|| Problem::new(ProblemKind::MalformedRequest, detail))
}

impl From<SortParam> for Sort {
    fn from(sort: SortParam) -> Self {
        match sort {
            SortParam::Name => Self::Name,
            SortParam::Price => Self::Price,
            SortParam::PriceDown => Self::PriceDown,
            SortParam::Newest => Self::Newest,
        }
    }
}
