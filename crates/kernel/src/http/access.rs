use std::collections::BTreeMap;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use pangaea_contracts::{Actor, Role, UserId};
use serde::{Deserialize, Serialize};

use crate::{Problem, ProblemKind};

/// Who may call an operation: the `x-access` extension of its OpenAPI entry. The host enforces it before the handler
/// runs, and refuses to start with an operation that has none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Access {
    /// Roles that may call it; an administrator may do what staff may. Empty with `anonymous`: everyone.
    #[serde(default)]
    pub roles: Vec<Role>,
    /// Also without a token.
    #[serde(default)]
    pub anonymous: bool,
    /// A customer reaches only what is theirs (another's is 404); staff reach all.
    #[serde(default)]
    pub owner: bool,
}

/// The verified principal of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub actor: Actor,
    /// The session that the token belongs to.
    pub session_id: String,
}

/// Reads who may call what from an OpenAPI document: by method (upper case) and path template.
///
/// # Errors
/// Names every operation without a readable `x-access` extension.
pub fn access_table(document: &serde_json::Value) -> Result<BTreeMap<(String, String), Access>, String> {
    let mut table = BTreeMap::new();
    let mut faults = Vec::new();
    let paths = document.get("paths").and_then(serde_json::Value::as_object).into_iter().flatten();
    for (path, item) in paths {
        for (method, operation) in item.as_object().into_iter().flatten() {
            if !["get", "put", "post", "delete", "patch", "head", "options"].contains(&method.as_str()) {
                continue;
            }
            let name = format!("{} {path}", method.to_uppercase());
            match operation.get("x-access").map(|access| serde_json::from_value::<Access>(access.clone())) {
                Some(Ok(access)) if access.anonymous || !access.roles.is_empty() => {
                    table.insert((method.to_uppercase(), path.clone()), access);
                }
                Some(Ok(_)) => faults.push(format!("{name}: x-access allows nobody")),
                Some(Err(error)) => faults.push(format!("{name}: x-access: {error}")),
                None => faults.push(format!("{name}: no x-access")),
            }
        }
    }
    if faults.is_empty() { Ok(table) } else { Err(faults.join("; ")) }
}

// === impl Access ===

impl Access {
    /// # Errors
    /// 401 without a token where one is needed, 403 with one whose roles do not suffice.
    pub fn check(&self, caller: Option<&Caller>) -> Result<(), Problem> {
        let Some(caller) = caller else {
            let detail = "send an access token: Authorization: Bearer …";
            return if self.anonymous { Ok(()) } else { Err(Problem::new(ProblemKind::Unauthenticated, detail)) };
        };
        let allowed = self.anonymous
            || self.roles.iter().any(|role| caller.actor.has(*role))
            || (self.roles.contains(&Role::Staff) && caller.actor.has(Role::Admin));
        if allowed {
            return Ok(());
        }
        let roles: Vec<&str> = self.roles.iter().map(|role| role.as_str()).collect();
        Err(Problem::new(ProblemKind::Forbidden, format!("this needs one of the roles: {}", roles.join(", "))))
    }
}

// === impl Caller ===

impl Caller {
    pub fn is_staff(&self) -> bool {
        self.actor.is_staff()
    }

    /// Whether this caller reaches what belongs to `owner`.
    pub fn reaches(&self, owner: Option<&UserId>) -> bool {
        self.is_staff() || owner.is_some_and(|owner| owner.as_str() == self.actor.subject)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let detail = "send an access token: Authorization: Bearer …";
        parts.extensions.get::<Caller>().cloned().ok_or_else(|| Problem::new(ProblemKind::Unauthenticated, detail))
    }
}

impl<S: Send + Sync> axum::extract::OptionalFromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Problem> {
        Ok(parts.extensions.get::<Caller>().cloned())
    }
}
