//! Tables that can be made again from history, by a name.

use super::Definition;

/// A named set of a module's own tables, of which `pangaea rebuild MODULE --projection NAME` makes the rows again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Projection {
    pub name: &'static str,
    pub tables: Vec<&'static str>,
}

// === impl Definition: projections ===

impl Definition {
    /// Tables of the module's own that belong together and can be made again from its inputs without the others: what is
    /// shown, listed or searched. `name` is lower-case letters, digits and `-`; a table is in one projection at most.
    #[must_use]
    pub fn projection(mut self, name: &'static str, tables: &[&'static str]) -> Self {
        let module = self.name;
        if !is_name(name, b'-') {
            self.faults.push(format!(
                "{module}'s projection {name:?} is not a short name of lower-case letters, digits and -"
            ));
        }
        if self.projections.iter().any(|known| known.name == name) {
            self.faults.push(format!("{module}'s projection {name:?} is declared twice"));
        }
        if tables.is_empty() {
            self.faults.push(format!("{module}'s projection {name:?} has no tables"));
        }
        for (index, table) in tables.iter().enumerate() {
            if !is_name(table, b'_') {
                self.faults.push(format!("{module}'s projection {name:?} names {table:?}, which is no table's name"));
            }
            let elsewhere = self.projections.iter().find(|known| known.tables.contains(table));
            if let Some(elsewhere) = elsewhere.map(|known| known.name) {
                self.faults.push(format!("{module}'s table {table} is in two projections, {elsewhere:?} and {name:?}"));
            } else if tables[..index].contains(table) {
                self.faults.push(format!("{module}'s projection {name:?} names the table {table} twice"));
            }
        }
        self.projections.push(Projection { name, tables: tables.to_vec() });
        self
    }

    /// In the order in which they are declared.
    pub fn projections(&self) -> &[Projection] {
        &self.projections
    }
}

fn is_name(name: &str, separator: u8) -> bool {
    const NAME_BYTES_MAX: usize = 50;
    let sound = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == separator;
    let starts_well = name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
    starts_well && name.len() <= NAME_BYTES_MAX && name.bytes().all(sound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_tables_that_are_wrong_are_faults() {
        let sound =
            Definition::new("order").projection("timeline", &["timeline"]).projection("price-list", &["a", "b"]);
        assert_eq!(sound.faults(), &[] as &[String]);
        assert_eq!(sound.projections()[1], Projection { name: "price-list", tables: vec!["a", "b"] });
        let faults = |name: &'static str, tables: &[&'static str]| {
            let definition = Definition::new("order").projection("list", &["listed"]).projection(name, tables);
            definition.faults().join("; ")
        };
        let cases: [(&'static str, &[&'static str], &str); 7] = [
            ("", &["a"], "not a short name"),
            ("Time line", &["a"], "not a short name"),
            ("list", &["a"], "declared twice"),
            ("other", &[], "no tables"),
            ("other", &["a; DROP TABLE b"], "no table's name"),
            ("other", &["a", "a"], "names the table a twice"),
            ("other", &["listed"], "in two projections, \"list\" and \"other\""),
        ];
        for (name, tables, expected) in cases {
            assert!(faults(name, tables).contains(expected), "{name} {tables:?}: {}", faults(name, tables));
        }
    }
}
