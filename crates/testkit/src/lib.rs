//! Starts the real store for a test: real processes of the real executable, a real broker, a real provider with its own
//! ledger. Nothing in it knows how a module works; a test sees what a client sees.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use pangaea_testkit::{Account, Placement, Store};
//!
//! let mut store = Store::start(Placement::Apart).await?;
//! let customer = store.api().sign_in(Account::CUSTOMER).await?;
//! let page = customer.get("/v1/products?limit=3").send().await?.expect(200)?;
//! assert_eq!(page.body["items"].as_array().map(Vec::len), Some(3));
//! store.kill("order")?;
//! store.restart("order").await?;
//! store.verify().await?;
//! store.stop().await
//! # }
//! ```
//!
//! Every wait is bounded, and its error names what was waited for with the end of the child's log. The children die with
//! the [`Store`]. At most two stores run at once in one test executable.

mod api;
mod broker;
mod builder;
mod folder;
mod host;
mod placement;
mod ports;
mod postgres;
mod process;
mod program;
mod proxies;
mod proxy;
mod release;
mod store;
mod wait;

pub use api::{Account, Answer, Api, Call};
pub use broker::Broker;
pub use builder::StoreBuilder;
pub use folder::Folder;
pub use host::Host;
pub use placement::{Part, Placement};
pub use ports::free_port;
pub use postgres::Postgres;
pub use process::{Output, Process};
pub use program::{program, run_program, workspace};
pub use proxies::{Link, Proxies};
pub use proxy::{Flow, Proxy};
pub use release::Release;
pub use store::Store;
pub use wait::eventually;
