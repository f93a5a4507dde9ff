//! Accounts, sessions and profiles; the keys that access tokens are signed with.
//!
//! What is slow, random or secret happens at the edge: passwords are hashed there, refresh tokens and signing keys made
//! there. A command carries references and sealed text; the secrets ride beside it into the `secret` table, outside the
//! journal. Personal data is sealed under a key per account, kept among the secrets: without that key everything that
//! was ever written about a person is unreadable.
//!
//! An access token cannot be taken back: after a sign-out it is good until it ends, ten minutes at most. The session's
//! refresh tokens end at once.

mod accounts;
mod domain;
mod handlers;
mod http;
mod keys;
mod lockout;
mod passwords;
mod seed;
mod settings;
mod store;
mod vault;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use pangaea_contracts::user::{
    ChangeProfile, ChangeRoles, CloseAllSessions, CloseSession, KeyPublished, OpenSession, PublishKey, Register,
    Registered, RolesChanged, RotateSession,
};
use pangaea_contracts::{Role, UserId};
use pangaea_kernel::http::Edge;
use pangaea_kernel::{Definition, Module, Problem, auth};
use utoipa_axum::router::OpenApiRouter;

use crate::accounts::Shared;
use crate::handlers::SessionExpiry;
use crate::store::{Account, EmailOwner, Session};

pub use domain::Address;
pub use seed::{DEMO_ADMIN, DEMO_CUSTOMER, DEMO_STAFF, DemoAccount};
pub use settings::UserSettings;
pub use store::verify;

/// The user module.
pub struct User {
    shared: Arc<Shared>,
    first_admin: Option<(String, String)>,
    demo_accounts: bool,
}

/// What the user module is told by configuration.
#[derive(Clone)]
pub struct UserConfig {
    /// Seals signing keys and the keys of personal data, and keys the hashes of e-mail addresses. It must stay the same for
    /// the life of a store, and the same on every replica.
    pub sealing_key: [u8; 32],
    /// E-mail address and password of an administrator who is made at the start, where that address has no account.
    pub first_admin: Option<(String, String)>,
    /// Whether the demo accounts are made at the start. Their passwords are public.
    pub demo_accounts: bool,
}

// === impl User ===

impl User {
    pub fn new(config: UserConfig) -> Self {
        let UserConfig { sealing_key, first_admin, demo_accounts } = config;
        Self { shared: Arc::new(Shared::new(&sealing_key)), first_admin, demo_accounts }
    }

    /// Makes an account with any roles, as the command line does.
    ///
    /// # Errors
    /// 422 for what is not acceptable, 409 when the address has an account, 503 when the store cannot be reached.
    pub async fn create_user(
        &self,
        edge: &Edge,
        email: &str,
        password: &str,
        name: &str,
        roles: &[Role],
    ) -> Result<UserId, Problem> {
        seed::create_user(&self.shared, edge, email, password, name, roles).await
    }

    /// An access token for an account, without its password: for the host to print a demo customer's token. It is one of
    /// an ordinary session, and ends as soon.
    ///
    /// # Errors
    /// 404 when the address has no account, 503 without a signing key.
    pub async fn demo_token(&self, edge: &Edge, email: &str) -> Result<String, Problem> {
        seed::token_of(&self.shared, edge, email).await
    }
}

impl Module for User {
    fn define(&self) -> Definition {
        Definition::new(auth::KEY_SOURCE)
            .migrations(store::MIGRATIONS)
            .invariant("accounts, sessions and secrets belong together", store::verify)
            .projection("addresses", &["email_owner"])
            .projection("sessions", &["session"])
            .settings::<UserSettings>()
            .emits::<Registered>()
            .emits::<RolesChanged>()
            .emits::<KeyPublished>()
            .command::<Register>(handlers::register)
            .wants::<Register>(|command, keys| {
                keys.want::<EmailOwner>(&command.email_hash);
                keys.want::<Account>(&command.user_id);
            })
            .command::<ChangeProfile>(handlers::change_profile)
            .wants::<ChangeProfile>(|command, keys| keys.want::<Account>(&command.user_id))
            .command::<ChangeRoles>(handlers::change_roles)
            .wants::<ChangeRoles>(|command, keys| keys.want::<Account>(&command.user_id))
            .command::<OpenSession>(handlers::open_session)
            .wants::<OpenSession>(|command, keys| {
                keys.want::<Account>(&command.user_id);
                keys.want::<Session>(&command.session_id);
            })
            .command::<RotateSession>(handlers::rotate_session)
            .wants::<RotateSession>(|command, keys| keys.want::<Session>(&command.session_id))
            .command::<CloseSession>(handlers::close_session)
            .wants::<CloseSession>(|command, keys| keys.want::<Session>(&command.session_id))
            .command::<CloseAllSessions>(handlers::close_all_sessions)
            .wants::<CloseAllSessions>(|command, keys| keys.want::<Account>(&command.user_id))
            .command::<PublishKey>(handlers::publish_key)
            .timer::<SessionExpiry>(handlers::session_expiry)
            .serves(auth::token_key)
    }

    fn routes(&self) -> OpenApiRouter<Edge> {
        http::routes(self.shared.clone())
    }

    fn start(&self, edge: Edge) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move { seed::start(&self.shared, &edge, self.first_admin.as_ref(), self.demo_accounts).await })
    }
}
