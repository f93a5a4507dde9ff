use std::fmt;
use std::str::FromStr;

/// Which modules share a process, and over which bus they talk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// One process, the memory bus.
    TogetherMemory,
    /// One process, NATS.
    TogetherNats,
    /// A process per module, NATS.
    Apart,
    /// Two processes with two modules each, NATS.
    Mixed,
    /// A process per module, NATS, PostgreSQL.
    ApartPostgres,
    /// So many replicas of a process per module, NATS, PostgreSQL.
    ApartReplicas(u8),
}

/// The modules of one process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    modules: Vec<Guest>,
}

/// A module that a store hosts: its name, and the path prefixes that it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guest {
    pub module: &'static str,
    pub prefixes: &'static [&'static str],
}

const PRODUCT: Guest = Guest { module: "product", prefixes: &["/v1/products", "/v1/skus"] };
const ORDER: Guest = Guest { module: "order", prefixes: &["/v1/orders"] };
const PAYMENT: Guest = Guest { module: "payment", prefixes: &["/v1/payments"] };
const USER: Guest = Guest { module: "user", prefixes: &["/v1/users", "/v1/sessions", "/.well-known"] };

// === impl Placement ===

impl Placement {
    pub const ALL: [Self; 7] = [
        Self::TogetherMemory,
        Self::TogetherNats,
        Self::Apart,
        Self::Mixed,
        Self::ApartPostgres,
        Self::ApartReplicas(2),
        Self::ApartReplicas(3),
    ];

    /// The name that the command line knows.
    pub fn name(self) -> String {
        match self {
            Self::TogetherMemory => "together-memory".to_owned(),
            Self::TogetherNats => "together-nats".to_owned(),
            Self::Apart => "apart".to_owned(),
            Self::Mixed => "mixed".to_owned(),
            Self::ApartPostgres => "apart-postgres".to_owned(),
            Self::ApartReplicas(replicas) => format!("apart-replicas-{replicas}"),
        }
    }

    /// The processes, and the modules of each; where the store hosts more modules than its own, those too. Apart, each of
    /// them has a process of its own; in a mixed store they are not with order, so that what they hear of it travels.
    pub fn parts(self, guests: &[Guest]) -> Vec<Part> {
        let part = |modules: &[Guest]| Part { modules: modules.to_vec() };
        match self {
            Self::TogetherMemory | Self::TogetherNats => {
                vec![part(&[&[PRODUCT, ORDER, PAYMENT, USER], guests].concat())]
            }
            Self::Apart | Self::ApartPostgres | Self::ApartReplicas(_) => {
                [&[PRODUCT, ORDER, PAYMENT, USER], guests].concat().into_iter().map(|one| part(&[one])).collect()
            }
            Self::Mixed => vec![part(&[PRODUCT, ORDER]), part(&[&[PAYMENT, USER], guests].concat())],
        }
    }

    /// The profile file, within `config/`.
    pub fn config(self) -> &'static str {
        match self {
            Self::TogetherMemory | Self::TogetherNats => "together.toml",
            Self::Apart | Self::ApartPostgres | Self::ApartReplicas(_) => "apart.toml",
            Self::Mixed => "mixed.toml",
        }
    }

    pub fn has_broker(self) -> bool {
        self != Self::TogetherMemory
    }

    pub fn has_postgres(self) -> bool {
        matches!(self, Self::ApartPostgres | Self::ApartReplicas(_))
    }

    /// Processes with the same modules.
    pub fn replicas(self) -> u8 {
        match self {
            Self::ApartReplicas(replicas) => replicas,
            _ => 1,
        }
    }
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

impl FromStr for Placement {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|placement| placement.name() == text).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|placement| placement.name()).collect();
            format!("{text:?} is none of {}", known.join(", "))
        })
    }
}

// === impl Part ===

impl Part {
    pub fn hosts(&self, module: &str) -> bool {
        self.modules.iter().any(|one| one.module == module)
    }

    pub(crate) fn modules(&self) -> impl Iterator<Item = &'static str> {
        self.modules.iter().map(|one| one.module)
    }

    /// The modules' names, joined by `+`.
    pub fn name(&self) -> String {
        self.names("+")
    }

    pub(crate) fn names(&self, separator: &str) -> String {
        self.modules().collect::<Vec<_>>().join(separator)
    }

    /// The path prefixes that this process answers.
    pub(crate) fn prefixes(&self) -> impl Iterator<Item = &'static str> {
        self.modules.iter().flat_map(|one| one.prefixes).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_module_runs_once_in_every_placement() {
        let guest = Guest { module: "reviews", prefixes: &["/v1/reviews"] };
        for placement in Placement::ALL {
            for (guests, known, prefixes) in [
                (&[][..], &["order", "payment", "product", "user"][..], 7),
                (&[guest], &["order", "payment", "product", "reviews", "user"], 8),
            ] {
                let parts = placement.parts(guests);
                let mut modules: Vec<_> = parts.iter().flat_map(|part| &part.modules).map(|one| one.module).collect();
                modules.sort_unstable();
                assert_eq!(modules, known, "{placement:?}");
                assert_eq!(parts.iter().flat_map(Part::prefixes).count(), prefixes, "{placement:?}");
            }
            assert_eq!(placement.name().parse(), Ok(placement));
        }
    }
}
