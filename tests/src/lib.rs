//! The end-to-end suite: what a client of the store sees, the same in every placement.
//!
//! [`scenarios::run_all`] is the suite; `tests/placement.rs` runs it in each placement. What needs a store of its own, such
//! as one that is killed, is a file of its own in `tests/`.

mod clients;
pub mod drill;
pub mod scenarios;
mod shop;

pub use clients::Clients;
pub use shop::{Shop, Sku, ask_to_place, is_settled, order_body, settled};
