use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who acts: the principal that was verified at the edge, or the system itself. Carried in every envelope.
///
/// As text: the subject, then the roles after `;`, e.g. `usr_01abc;customer,staff` or `system`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Actor {
    /// A user id, or `system` for what no person asked for.
    pub subject: String,
    pub roles: Vec<Role>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Customer,
    Staff,
    Admin,
}

// === impl Actor ===

impl Actor {
    pub fn system() -> Self {
        Self { subject: "system".into(), roles: Vec::new() }
    }

    pub fn user(subject: impl Into<String>, roles: impl Into<Vec<Role>>) -> Self {
        Self { subject: subject.into(), roles: roles.into() }
    }

    pub fn is_system(&self) -> bool {
        self.subject == "system"
    }

    pub fn has(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// Staff and administrators manage catalogue, stock and orders; so does the system itself.
    pub fn is_staff(&self) -> bool {
        self.is_system() || self.has(Role::Staff) || self.has(Role::Admin)
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.subject)?;
        for (index, role) in self.roles.iter().enumerate() {
            write!(f, "{}{role}", if index == 0 { ';' } else { ',' })?;
        }
        Ok(())
    }
}

impl FromStr for Actor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (subject, roles) = text.split_once(';').unwrap_or((text, ""));
        let roles = roles.split(',').filter(|role| !role.is_empty()).map(str::parse).collect::<Result<_, _>>()?;
        Ok(Self { subject: subject.to_owned(), roles })
    }
}

impl TryFrom<String> for Actor {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Actor> for String {
    fn from(actor: Actor) -> String {
        actor.to_string()
    }
}

// === impl Role ===

impl Role {
    pub const ALL: [Role; 3] = [Role::Customer, Role::Staff, Role::Admin];

    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Customer => "customer",
            Role::Staff => "staff",
            Role::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| format!("{text:?} is not a role: use customer, staff or admin"))
    }
}

#[cfg(test)]
mod tests {
    use super::{Actor, Role};

    #[test]
    fn reads_what_it_writes() {
        for actor in
            [Actor::system(), Actor::user("usr_1", [Role::Customer]), Actor::user("usr_2", [Role::Staff, Role::Admin])]
        {
            assert_eq!(actor.to_string().parse::<Actor>().unwrap(), actor);
        }
        assert!("usr_1;king".parse::<Actor>().is_err());
    }
}
