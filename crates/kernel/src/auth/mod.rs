//! Access tokens: EdDSA JWTs (RFC 9068, RFC 8725), checked by every module by itself.
//!
//! The keys travel as `user.evt.key_published` and are kept as a projection in every module's database, so a token is
//! checked while the user module is down.

mod jwt;
mod verifier;

use pangaea_contracts::Timestamp;
use pangaea_contracts::user::{KeyPublished, TokenKeyRequest};
use pangaea_journal::{Statement, record};

use crate::http::Edge;
use crate::{Cx, Failure, Problem};

pub use jwt::{AUDIENCE, Claims, ISSUER, JwtError, SigningKey, base64url, decode, encode, from_base64url, key_id_of};
pub use verifier::{AskForKey, TokenVerifier};

/// The module that publishes keys.
pub const KEY_SOURCE: &str = "user";

record! {
    /// A key that access tokens may be signed with.
    pub struct TokenKey in "token_key" {
        key { key_id: String }
        /// Ed25519, 32 bytes, base64url.
        public_key: String,
        not_before: Timestamp,
        not_after: Timestamp,
    }
}

/// Keeps a published key. The user module, which publishes, calls it too.
///
/// # Errors
/// Never by itself; the signature is a handler's.
pub async fn key_published(cx: &mut Cx, event: KeyPublished) -> Result<(), Failure> {
    let KeyPublished { key_id, public_key, not_before, not_after } = event;
    cx.put(TokenKey { key_id, public_key, not_before, not_after });
    Ok(())
}

/// Answers the question of a module that has met a token before its key's event.
///
/// # Errors
/// 503 when the database cannot be read.
pub async fn token_key(edge: Edge, request: TokenKeyRequest) -> Result<Option<KeyPublished>, Problem> {
    let sql = "SELECT key_id, public_key, not_before, not_after FROM token_key WHERE key_id = ?";
    let rows = edge.database().fetch(Statement::new(sql).bind(request.key_id)).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    Ok(Some(KeyPublished {
        key_id: row.get(0)?,
        public_key: row.get(1)?,
        not_before: row.get(2)?,
        not_after: row.get(3)?,
    }))
}
