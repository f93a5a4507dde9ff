//! Tools for tests: of one module or several in this process, and of the real store in any placement.
//!
//! [`scenario`] is for a module's own tests: inputs in, outputs and rows out, on the real executor and a real database, in a
//! time that the test moves. `docs/write-a-module.md` shows it.
//!
//! [`Store`] starts the real store: real processes of the real executable, a real broker, a real provider with its own
//! ledger. Nothing in that knows how a module works; a test sees what a client sees.
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
mod clock;
mod diff;
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
mod rights;
mod store;
mod wait;

pub mod golden;
pub mod scenario;

pub use api::{Account, Answer, Api, Call};
pub use broker::Broker;
pub use builder::StoreBuilder;
pub use clock::DrivenClock;
pub use folder::Folder;
pub use host::Host;
pub use placement::{Guest, Part, Placement};
pub use ports::free_port;
pub use postgres::Postgres;
pub use process::{Output, Process};
pub use program::{program, run_program, workspace};
pub use proxies::{Link, Proxies};
pub use proxy::{Flow, Proxy};
pub use release::Release;
pub use store::Store;
pub use wait::eventually;
