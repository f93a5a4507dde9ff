//! All SQL of the module: its rows, what the edge reads, and what `verify` checks.

mod read;
mod rows;
mod verify;

pub(crate) use read::{Search, Sort, is_empty, list, prices, product, sku};
pub(crate) use rows::{
    CategoryRow, MIGRATIONS, MovementKind, MovementRow, PriceRow, ProductRow, ReservationRow, RestockRow, SkuRow,
    StockRow, WordRow, word_column,
};
pub use verify::{Reservation, reservations, verify};
