//! What the user module says, and the commands that its edge gives its writer. Events carry no personal data; commands
//! carry it sealed, and secrets (password hashes, tokens, private keys) not at all.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::message::messages;
use crate::{Role, SessionId, Timestamp, UserId};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Registered {
    pub user_id: UserId,
    pub roles: Vec<Role>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RolesChanged {
    pub user_id: UserId,
    pub roles: Vec<Role>,
}

/// A key with which access tokens will be signed, published before its first use. Every module keeps these keys, so that
/// a token is checked while the user module is down.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KeyPublished {
    /// The `kid` of the tokens signed with it.
    pub key_id: String,
    /// The Ed25519 public key: 32 bytes, base64url without padding (the `x` of its JWK, RFC 8037).
    pub public_key: String,
    pub not_before: Timestamp,
    /// Tokens signed with it are refused from then on.
    pub not_after: Timestamp,
}

/// Opens an account. Its password hash and the key of its personal data ride beside the command as secrets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Register {
    /// Made at the edge, because the secrets are named after it.
    pub user_id: UserId,
    /// A keyed hash of the e-mail address: equal addresses are found without being readable.
    #[schemars(extend("x-personal" = true))]
    pub email_hash: String,
    /// The e-mail address, sealed under the account's key.
    #[schemars(extend("x-personal" = true))]
    pub email_sealed: String,
    /// Name and addresses, sealed likewise.
    #[schemars(extend("x-personal" = true))]
    pub profile_sealed: String,
    pub roles: Vec<Role>,
}

/// Replaces the sealed profile, made at the edge from the one at `base_version`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ChangeProfile {
    pub user_id: UserId,
    /// The version that the client named; none for `If-Match: *`.
    #[serde(default)]
    pub expected_version: Option<i64>,
    /// The version that the new profile was made from.
    pub base_version: i64,
    #[schemars(extend("x-personal" = true))]
    pub profile_sealed: String,
}

/// Gives an account these roles and no others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ChangeRoles {
    pub user_id: UserId,
    /// The version that the client named; none for `If-Match: *`.
    #[serde(default)]
    pub expected_version: Option<i64>,
    pub roles: Vec<Role>,
}

/// Opens a session after the edge has checked a password. The refresh token's hash rides beside it as a secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OpenSession {
    pub session_id: SessionId,
    pub user_id: UserId,
    /// Of the first refresh token: 1.
    pub generation: i64,
}

/// Uses up a refresh token of `generation`. The hash of the next one rides beside it as a secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RotateSession {
    pub session_id: SessionId,
    pub generation: i64,
}

/// Signs out of one session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CloseSession {
    pub session_id: SessionId,
    pub user_id: UserId,
}

/// Signs out of all sessions of an account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CloseAllSessions {
    pub user_id: UserId,
}

/// Publishes a signing key made at the edge. The private key rides beside it as a sealed secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PublishKey {
    pub key_id: String,
    /// As in [`KeyPublished`].
    pub public_key: String,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
}

/// Asks the user module for a published key by request/reply: for a module that meets a token before the event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TokenKeyRequest {
    pub key_id: String,
}

impl crate::Request for TokenKeyRequest {
    type Reply = Option<KeyPublished>;
}

messages! {
    Registered = "user.evt.registered.v1", key user_id;
    RolesChanged = "user.evt.roles_changed.v1", key user_id;
    KeyPublished = "user.evt.key_published.v1", key key_id;
    Register = "user.rpc.register.v1", key user_id;
    ChangeProfile = "user.rpc.change_profile.v1", key user_id;
    ChangeRoles = "user.rpc.change_roles.v1", key user_id;
    OpenSession = "user.rpc.open_session.v1", key user_id;
    RotateSession = "user.rpc.rotate_session.v1", key session_id;
    CloseSession = "user.rpc.close_session.v1", key session_id;
    CloseAllSessions = "user.rpc.close_all_sessions.v1", key user_id;
    PublishKey = "user.rpc.publish_key.v1", key key_id;
    TokenKeyRequest = "user.rpc.token_key.v1", key key_id;
}
