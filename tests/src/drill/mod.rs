//! Drills: what goes wrong on purpose, short in the test run and long by command.

mod backpressure;
mod hot_item;
mod load;
mod overload;
mod provider_down;

pub use backpressure::backpressure;
pub use hot_item::hot_item;
pub use overload::overload;
pub use provider_down::provider_down;
