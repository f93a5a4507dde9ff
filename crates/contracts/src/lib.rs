//! The wire language of Pangaea: envelopes, ids, money, and every module's messages with their subjects.
//!
//! A message type carries its own address: [`Message::SUBJECT`]. Routing, streams, permissions, schemas and the
//! topology are computed from these constants; no subject is written anywhere else.
//!
//! Compatibility: within a major version fields are only added, with defaults. `schemas.lock.json` beside this crate
//! holds the schemas as released, and a test fails on a breaking change.

mod actor;
mod envelope;
mod id;
mod message;
mod money;
mod subject;
mod timestamp;

pub mod order;
pub mod payment;
pub mod product;
pub mod trace;
pub mod user;

pub use actor::{Actor, Role};
pub use envelope::{Envelope, PAYLOAD_BYTES_MAX, cloud_event_headers, from_cloud_event_headers};
pub use id::{
    IdError, OrderId, PaymentId, ProductId, RefundId, SessionId, SkuId, UserId, digest_text, moment_of_id, moment_text,
};
pub use message::{Message, Request, SchemaEntry, schemas};
pub use money::{Currency, Money, MoneyError};
pub use subject::{Kind, Subject, SubjectError, subject_matches};
pub use timestamp::Timestamp;
