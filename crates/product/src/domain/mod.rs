//! What the module decides, without a database: catalogue entries, pictures, stock and reservations.

mod catalogue;
mod picture;
mod stock;

pub(crate) use catalogue::{
    OPENING_STOCK_MAX, PRODUCTS_PER_BULK_MAX, check_categories, check_description, check_name, check_picture,
    check_price, check_product, words_of,
};
pub use stock::ReservationState;
pub(crate) use stock::{
    AdjustRefusal, CommitStep, Level, Refusal, ReleaseStep, ReserveStep, adjust, check_availability, give_back,
    on_commit, on_release, on_reserve, outstanding, sum_lines,
};
