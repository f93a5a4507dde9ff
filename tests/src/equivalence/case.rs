use std::fmt;
use std::str::FromStr;

use pangaea_testkit::Placement;

/// A placement on a kind of database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    pub placement: Placement,
    pub on_postgres: bool,
}

// === impl Case ===

impl Case {
    /// What the others are compared with: nothing but one process and its files.
    pub const FIRST: Self = Self::sqlite(Placement::TogetherMemory);

    /// Everything that the store can be run as.
    pub const ALL: [Self; 10] = [
        Self::FIRST,
        Self::postgres(Placement::TogetherMemory),
        Self::sqlite(Placement::TogetherNats),
        Self::postgres(Placement::TogetherNats),
        Self::sqlite(Placement::Mixed),
        Self::postgres(Placement::Mixed),
        Self::sqlite(Placement::Apart),
        Self::postgres(Placement::ApartPostgres),
        Self::postgres(Placement::ApartReplicas(2)),
        Self::postgres(Placement::ApartReplicas(3)),
    ];

    pub const fn sqlite(placement: Placement) -> Self {
        Self { placement, on_postgres: false }
    }

    pub const fn postgres(placement: Placement) -> Self {
        Self { placement, on_postgres: true }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let more = if self.on_postgres && !self.placement.has_postgres() { "-postgres" } else { "" };
        f.pad(&format!("{}{more}", self.placement))
    }
}

impl FromStr for Case {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|case| case.to_string() == text).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(Self::to_string).collect();
            format!("{text:?} is none of {}", known.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_placement_is_a_case_by_a_name_of_its_own() {
        for placement in Placement::ALL {
            assert!(Case::ALL.iter().any(|case| case.placement == placement), "{placement}");
        }
        for case in Case::ALL {
            assert_eq!(case.to_string().parse(), Ok(case));
        }
        assert_eq!("apart-postgres".parse(), Ok(Case::postgres(Placement::ApartPostgres)));
        assert!("apart-oracle".parse::<Case>().unwrap_err().contains("together-memory-postgres"));
    }
}
