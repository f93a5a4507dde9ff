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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    pub modules: &'static [&'static str],
}

const TOGETHER: &[Part] = &[Part { modules: &["product", "order", "payment", "user"] }];
const APART: &[Part] = &[
    Part { modules: &["product"] },
    Part { modules: &["order"] },
    Part { modules: &["payment"] },
    Part { modules: &["user"] },
];
const MIXED: &[Part] = &[Part { modules: &["product", "order"] }, Part { modules: &["payment", "user"] }];

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

    pub fn parts(self) -> &'static [Part] {
        match self {
            Self::TogetherMemory | Self::TogetherNats => TOGETHER,
            Self::Apart | Self::ApartPostgres | Self::ApartReplicas(_) => APART,
            Self::Mixed => MIXED,
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
        self.modules.contains(&module)
    }

    /// The modules' names, joined by `+`.
    pub fn name(&self) -> String {
        self.modules.join("+")
    }

    /// The path prefixes that this process answers.
    pub(crate) fn prefixes(&self) -> impl Iterator<Item = &'static str> {
        self.modules.iter().flat_map(|module| prefixes(module)).copied()
    }
}

fn prefixes(module: &str) -> &'static [&'static str] {
    match module {
        "product" => &["/v1/products", "/v1/skus"],
        "order" => &["/v1/orders"],
        "payment" => &["/v1/payments"],
        "user" => &["/v1/users", "/v1/sessions", "/.well-known"],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_module_runs_once_in_every_placement() {
        for placement in Placement::ALL {
            let mut modules: Vec<_> = placement.parts().iter().flat_map(|part| part.modules).collect();
            modules.sort_unstable();
            assert_eq!(modules, [&"order", &"payment", &"product", &"user"], "{placement:?}");
            let prefixes = placement.parts().iter().flat_map(Part::prefixes).count();
            assert_eq!(prefixes, 7, "{placement:?}");
            assert_eq!(placement.name().parse(), Ok(placement));
        }
    }
}
