use crate::{Column, JournalError, Value};

/// An SQL text with `?` placeholders, and their values. A `?` may stand nowhere else in the text.
#[derive(Clone, Debug)]
pub struct Statement {
    pub(crate) sql: String,
    pub(crate) values: Vec<Value>,
}

/// A row of an answer: values by column, from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row(pub(crate) Vec<Value>);

// === impl Statement ===

impl Statement {
    pub fn new(sql: impl Into<String>) -> Self {
        Self { sql: sql.into(), values: Vec::new() }
    }

    #[must_use]
    pub fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    #[must_use]
    pub fn bind_column(mut self, value: &impl Column) -> Self {
        self.values.push(value.to_value());
        self
    }

    /// Appends more SQL: for clauses that are there only sometimes.
    #[must_use]
    pub fn and(mut self, sql: &str) -> Self {
        self.sql.push(' ');
        self.sql.push_str(sql);
        self
    }

    /// Appends ` IN (?, ?, …)` and binds the values. An empty list matches nothing.
    ///
    /// The list is as long as the next power of two, its last value again and again. Prepared statements are kept by their text:
    /// with a text for each number of values, nearly every list would be prepared anew, and connections would fill up with them.
    #[must_use]
    pub fn and_in(mut self, values: impl IntoIterator<Item = Value>) -> Self {
        let list: Vec<Value> = values.into_iter().collect();
        if list.is_empty() {
            self.sql.push_str(" IN (NULL)");
            return self;
        }
        let list = padded(list);
        self.sql.push_str(&format!(" IN ({})", vec!["?"; list.len()].join(", ")));
        self.values.extend(list);
        self
    }

    /// Whether the statement is sure to write nothing. A `WITH` may hide an `INSERT`, so it does not count.
    pub(crate) fn only_reads(&self) -> bool {
        self.sql.trim_start().get(..6).is_some_and(|verb| verb.eq_ignore_ascii_case("select"))
    }

    /// The text as PostgreSQL wants it, with `$1`, `$2` …
    pub(crate) fn postgres_sql(&self) -> String {
        let mut sql = String::with_capacity(self.sql.len() + self.values.len() * 3);
        let mut count = 0;
        for character in self.sql.chars() {
            if character == '?' {
                count += 1;
                sql.push('$');
                sql.push_str(&count.to_string());
            } else {
                sql.push(character);
            }
        }
        sql
    }
}

/// The last one again and again, up to the next power of two.
pub(crate) fn padded<T: Clone>(mut list: Vec<T>) -> Vec<T> {
    if let Some(last) = list.last().cloned() {
        list.resize(list.len().next_power_of_two(), last);
    }
    list
}

// === impl Row ===

impl Row {
    /// # Errors
    /// When there is no such column or its value is not a `T`.
    pub fn get<T: Column>(&self, column: usize) -> Result<T, JournalError> {
        let value =
            self.0.get(column).ok_or_else(|| JournalError::Decode(format!("the answer has no column {column}")))?;
        T::from_value(value).map_err(|error| match error {
            JournalError::Decode(reason) => JournalError::Decode(format!("column {column}: {reason}")),
            other => other,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Statement;

    #[test]
    fn numbers_placeholders_for_postgres() {
        let statement =
            Statement::new("SELECT a FROM t WHERE b = ? AND c").bind(1_i64).and_in(["x".into(), "y".into()]);
        assert_eq!(statement.postgres_sql(), "SELECT a FROM t WHERE b = $1 AND c IN ($2, $3)");
        assert_eq!(Statement::new("SELECT a FROM t WHERE c").and_in([]).sql, "SELECT a FROM t WHERE c IN (NULL)");
    }

    #[test]
    fn lists_have_few_lengths() {
        let statement = |count: usize| Statement::new("c").and_in((0..count).map(|value| (value as i64).into()));
        assert_eq!(statement(1).sql, "c IN (?)");
        assert_eq!(statement(3).values, [0_i64, 1, 2, 2].map(Into::into));
        let texts: std::collections::BTreeSet<String> = (1..=500).map(|count| statement(count).sql).collect();
        assert_eq!(texts.len(), 10);
    }
}
