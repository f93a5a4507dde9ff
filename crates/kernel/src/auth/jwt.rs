//! Compact JWS with the one algorithm that is allowed here.
//!
//! `jsonwebtoken` was rejected: without its bundled backends it needs a crypto provider installed for the whole process,
//! and it parses far more than one header and one algorithm.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pangaea_contracts::{Actor, Role, Timestamp};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

pub const ISSUER: &str = "https://pangaea.example";
pub const AUDIENCE: &str = "pangaea";

/// A token longer than this is not one of ours.
const TOKEN_BYTES_MAX: usize = 4096;

/// What an access token says (RFC 9068). Times are seconds since 1970 (RFC 7519).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    pub iss: String,
    pub aud: String,
    pub sub: String,
    pub iat: i64,
    pub exp: i64,
    pub jti: String,
    pub client_id: String,
    /// The session that the token belongs to.
    pub sid: String,
    pub roles: Vec<Role>,
}

/// An Ed25519 key pair with its `kid`.
pub struct SigningKey {
    pub key_id: String,
    pair: Ed25519KeyPair,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwtError {
    #[error("the access token is malformed")]
    Malformed,
    #[error("the access token is signed with an unknown key")]
    UnknownKey(String),
    #[error("the access token's signature is wrong")]
    Signature,
    #[error("the access token has expired; sign in or refresh")]
    Expired,
    #[error("the access token is not for this store")]
    Audience,
}

#[derive(Serialize, Deserialize)]
struct Header {
    alg: String,
    typ: String,
    kid: String,
}

// === impl SigningKey ===

impl SigningKey {
    /// # Errors
    /// When `pkcs8` is not an Ed25519 key pair (RFC 8410).
    pub fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, JwtError> {
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8).map_err(|_| JwtError::Malformed)?;
        Ok(Self { key_id: key_id_of(pair.public_key().as_ref()), pair })
    }

    /// 32 bytes, base64url: the `x` of the JWK.
    pub fn public_key(&self) -> String {
        base64url(self.pair.public_key().as_ref())
    }
}

/// The `kid` of a public key: a digest of it.
pub fn key_id_of(public_key: &[u8]) -> String {
    pangaea_contracts::digest_text(&[public_key], 16)
}

pub fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// # Errors
/// When `text` is not base64url without padding.
pub fn from_base64url(text: &str) -> Result<Vec<u8>, JwtError> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| JwtError::Malformed)
}

/// Signs `claims`.
///
/// # Errors
/// Never in practice: claims always serialise.
pub fn encode(claims: &Claims, key: &SigningKey) -> Result<String, JwtError> {
    let header = Header { alg: "EdDSA".into(), typ: "at+jwt".into(), kid: key.key_id.clone() };
    let header = serde_json::to_vec(&header).map_err(|_| JwtError::Malformed)?;
    let body = serde_json::to_vec(claims).map_err(|_| JwtError::Malformed)?;
    let signed = format!("{}.{}", base64url(&header), base64url(&body));
    let signature = base64url(key.pair.sign(signed.as_bytes()).as_ref());
    Ok(format!("{signed}.{signature}"))
}

/// Checks a token and reads its claims; `public_key` finds the key of a `kid`.
///
/// # Errors
/// Says what is wrong with the token.
pub fn decode(
    token: &str,
    now: Timestamp,
    public_key: impl FnOnce(&str) -> Option<Vec<u8>>,
) -> Result<Claims, JwtError> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(JwtError::Malformed);
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(JwtError::Malformed)?;
    let (header, body) = signed.split_once('.').ok_or(JwtError::Malformed)?;
    let header: Header = serde_json::from_slice(&from_base64url(header)?).map_err(|_| JwtError::Malformed)?;
    // RFC 8725: the algorithm and the type are what we say, never what the token says.
    if header.alg != "EdDSA" || header.typ != "at+jwt" {
        return Err(JwtError::Malformed);
    }
    let key = public_key(&header.kid).ok_or(JwtError::UnknownKey(header.kid))?;
    let verified = UnparsedPublicKey::new(&ED25519, key).verify(signed.as_bytes(), &from_base64url(signature)?);
    verified.map_err(|_| JwtError::Signature)?;
    let claims: Claims = serde_json::from_slice(&from_base64url(body)?).map_err(|_| JwtError::Malformed)?;
    if claims.iss != ISSUER || claims.aud != AUDIENCE {
        return Err(JwtError::Audience);
    }
    if claims.expires_at() <= now {
        return Err(JwtError::Expired);
    }
    Ok(claims)
}

// === impl Claims ===

impl Claims {
    /// The first moment at which the token is not good any more; a number too large for a moment is the last one there is.
    pub fn expires_at(&self) -> Timestamp {
        Timestamp::from_millis(self.exp.saturating_mul(1_000))
    }

    pub fn actor(&self) -> Actor {
        Actor::user(self.sub.clone(), self.roles.clone())
    }
}
