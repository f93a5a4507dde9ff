use pangaea_contracts::{Role, Timestamp};
use pangaea_faults::{Plant, unguarded};
use pangaea_kernel::{Answer, Problem, ProblemKind};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::accounts::{Issued, Shared};
use crate::domain::{Address, Profile};
use crate::handlers::AccountFacts;
use crate::store::AccountRead;

/// An account as its holder sees it.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(super) struct UserView {
    /// `usr_…`
    pub(super) id: String,
    /// Absent once the personal data has been erased, like name and addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) email: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    pub(super) addresses: Vec<Address>,
    #[schema(value_type = Vec<String>, example = json!(["customer"]))]
    pub(super) roles: Vec<Role>,
    #[schema(value_type = String, format = DateTime)]
    pub(super) registered_at: Timestamp,
    /// Also the `ETag`, there in quotes.
    pub(super) version: i64,
}

/// An account in an administrator's list.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(super) struct UserSummary {
    /// `usr_…`
    pub(super) id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) email: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    #[schema(value_type = Vec<String>, example = json!(["customer"]))]
    pub(super) roles: Vec<Role>,
    #[schema(value_type = String, format = DateTime)]
    pub(super) registered_at: Timestamp,
    /// Send it in quotes as `If-Match` to change the roles.
    pub(super) version: i64,
}

/// A page of accounts.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(super) struct UserPage {
    pub(super) items: Vec<UserSummary>,
    /// Where the next page begins; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next_cursor: Option<String>,
}

/// Tokens of a session.
#[derive(Serialize, ToSchema)]
pub(super) struct Tokens {
    /// A JWT (RFC 9068), signed with a key of `/.well-known/jwks.json`.
    pub(super) access_token: String,
    /// `Bearer`
    pub(super) token_type: &'static str,
    /// Seconds until the access token ends, at most 600.
    pub(super) expires_in: u32,
    /// Good once: every use gives a new one. Using an old one again ends the session.
    pub(super) refresh_token: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewUser {
    /// At most 254 characters.
    pub(super) email: String,
    /// 10 to 128 characters.
    #[schema(format = Password)]
    pub(super) password: String,
    /// 1 to 100 characters.
    pub(super) name: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SignIn {
    pub(super) email: String,
    #[schema(format = Password)]
    pub(super) password: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Refresh {
    pub(super) refresh_token: String,
}

/// What is to change; what is absent stays.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ProfileChange {
    /// 1 to 100 characters.
    #[serde(default)]
    pub(super) name: Option<String>,
    /// All addresses, at most 10.
    #[serde(default)]
    pub(super) addresses: Option<Vec<Address>>,
}

#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewRoles {
    /// All roles, at least one.
    #[schema(value_type = Vec<String>, example = json!(["customer", "staff"]))]
    pub(super) roles: Vec<Role>,
}

// === impl UserView ===

impl UserView {
    pub(super) fn new(facts: AccountFacts, personal: Option<(String, Profile)>) -> Self {
        let (email, profile) = personal.unzip();
        let (name, addresses) = profile.map(|profile| (profile.name, profile.addresses)).unzip();
        Self {
            id: facts.id.to_string(),
            email,
            name,
            addresses: addresses.unwrap_or_default(),
            roles: facts.roles,
            registered_at: facts.registered_at,
            version: facts.version,
        }
    }

    pub(super) fn of(shared: &Shared, read: &AccountRead) -> Self {
        Self::new(AccountFacts::from(&read.account), shared.open_personal(read))
    }
}

impl From<UserView> for UserSummary {
    fn from(view: UserView) -> Self {
        let UserView { id, email, name, addresses: _, roles, registered_at, version } = view;
        Self { id, email, name, roles, registered_at, version }
    }
}

impl From<Issued> for Tokens {
    fn from(issued: Issued) -> Self {
        let Issued { access_token, expires_in, refresh_token } = issued;
        Self { access_token, token_type: "Bearer", expires_in, refresh_token }
    }
}

/// Puts what is personal into a command's answer, which was stored without it. Refusals go as they are.
pub(super) fn personal(answer: Answer, personal: Option<(String, Profile)>) -> Result<Answer, Problem> {
    if !answer.is_success() {
        return Ok(answer);
    }
    let failed = |error: serde_json::Error| {
        tracing::error!(%error, "an account's answer cannot be read");
        Problem::new(ProblemKind::Internal, "the failure has been logged")
    };
    // A planted bug: without the view, which knows what a caller may see, all of the answer goes out.
    let all = unguarded(Plant::SecretInAReply).then(|| answer.body.clone());
    let facts: AccountFacts = serde_json::from_value(answer.body).map_err(failed)?;
    let mut body = serde_json::to_value(UserView::new(facts, personal)).map_err(failed)?;
    if let Some(all) = all {
        body["password_hash"] = all["password_hash"].clone();
    }
    Ok(Answer { body, ..answer })
}
