//! The end-to-end suite: what a client of the store sees, the same in every placement.
//!
//! [`scenarios::run_all`] is the suite; `tests/placement.rs` runs it in each placement. [`drill`] has the drills: faults on
//! purpose, while orders flow; their short forms run in `tests/drills_*.rs`, the long ones by `cargo xtask drill`.
//! [`equivalence`] compares what one workload does in every placement: `tests/equivalence.rs`, `cargo xtask equivalence`. What needs
//! a store of its own, such as one that is killed, is a file of its own in `tests/`.

mod audit;
mod clients;
mod collector;
pub mod drill;
pub mod equivalence;
mod replies;
pub mod scenarios;
mod session;
mod shop;
mod spoiling;
mod trade;

pub use clients::{Accepted, Clients, Pace};
pub use collector::{Collector, LogLine, Span, Trace};
pub use replies::Replies;
pub use session::Session;
pub use shop::{Shop, Sku, ask_to_place, is_settled, order_body, settled};
pub use spoiling::{buries, spoil_newest};
pub use trade::trade;
