//! A module's edge: routes that read from the pool, and turn every write into a command.

mod access;
mod body;
mod conditional;
mod edge;
mod intent;
mod paging;
mod request;

pub use access::{Access, Caller, access_table};
pub use body::{Body, Params, PathParams};
pub use conditional::{etag, not_modified, require_match};
pub use edge::{CommandFuture, Commands, Edge, EdgeParts, WaitPermit};
pub use intent::Intent;
pub use paging::{PAGE_LIMIT_MAX, Page, PageParams, decode_cursor, encode_cursor, percent_encoded};
pub use request::{HttpRequest, picked};
