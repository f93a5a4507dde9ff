//! How logs travel: one trait, [`Bus`], and its two implementations, [`MemoryBus`] and [`NatsBus`].
//!
//! A module's outbox is a dense, append-only log. The bus lets others read it from any position on, in order, with
//! wake-ups; it carries requests with their replies and ephemeral messages beside. It holds nothing of its own: the
//! truth is the outbox of the source and the cursor of the reader, and what a broker has lost is read again from them.
//!
//! A reader is driven like this:
//!
//! ```no_run
//! # use pangaea_bus::{Bus, BusError, Cursor};
//! # async fn consume(bus: &dyn Bus, cursor: Cursor) -> Result<(), BusError> {
//! let mut reader = bus.open_reader("payment", "order", cursor).await?;
//! loop {
//!     let batch = reader.next(256).await?;
//!     // … handle the messages and move the cursor in one database transaction, then:
//!     reader.committed(batch.last()).await?;
//! }
//! # }
//! ```
//!
//! Subjects are given without the namespace; the bus puts it in front.
//!
//! **Architecture invariant:** only this crate knows `async-nats`, and it cannot write to a database: it sees a log
//! through [`LogSource`] alone, so publishing without a committed outbox row is unrepresentable.

mod api;
mod error;
mod memory;
mod nats;
mod protocol;
mod ring;
mod service;

pub use api::{BoxFuture, BoxStream, Bus, Cursor, LogBatch, LogReader, LogSource, Relay, RelayProgress};
pub use error::BusError;
pub use memory::MemoryBus;
pub use nats::{
    BusUse, NatsBus, NatsConfig, NatsCredentials, NatsPermissions, ProvidedStream, provision, stream_config,
};
pub use protocol::log_read_subject;
pub use ring::LogRing;
pub use service::{IncomingRequest, RequestHandler, ServiceHandle, ServiceSpec};
