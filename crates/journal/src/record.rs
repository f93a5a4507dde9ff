use std::any::Any;

use crate::{Column, JournalError, Row, Value};

/// A row of a module's table, read and written by its key. Made by [`record!`](crate::record).
pub trait Record: Clone + Send + Sync + 'static {
    const TABLE: &'static str;
    /// All columns, the key's first.
    const COLUMNS: &'static [&'static str];
    /// How many of the columns are the key.
    const KEY_COLUMNS: usize;

    fn to_values(&self) -> Vec<Value>;

    /// # Errors
    /// When a stored value is not of its field's type.
    fn from_row(row: &Row) -> Result<Self, JournalError>;
}

/// A key as a caller has it: one value, or a tuple for a key of several columns.
pub trait IntoKey {
    fn into_key(self) -> Vec<Value>;
}

impl<A: Column> IntoKey for &A {
    fn into_key(self) -> Vec<Value> {
        vec![self.to_value()]
    }
}

impl<A: Column, B: Column> IntoKey for (&A, &B) {
    fn into_key(self) -> Vec<Value> {
        vec![self.0.to_value(), self.1.to_value()]
    }
}

impl<A: Column, B: Column, C: Column> IntoKey for (&A, &B, &C) {
    fn into_key(self) -> Vec<Value> {
        vec![self.0.to_value(), self.1.to_value(), self.2.to_value()]
    }
}

/// A record with its type forgotten, so that one map holds the rows of every table.
pub(crate) trait AnyRecord: Any + Send + Sync {
    fn values(&self) -> Vec<Value>;
}

impl<R: Record> AnyRecord for R {
    fn values(&self) -> Vec<Value> {
        self.to_values()
    }
}

/// What the unit of work needs to know of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) columns: &'static [&'static str],
    pub(crate) key_columns: usize,
}

// === impl Table ===

impl Table {
    pub(crate) const fn of<R: Record>() -> Self {
        Self { name: R::TABLE, columns: R::COLUMNS, key_columns: R::KEY_COLUMNS }
    }
}

/// Declares a table's row: a struct, the table's name, the fields of the key, the other fields.
///
/// ```
/// pangaea_journal::record! {
///     /// What is there of a SKU.
///     pub struct Stock in "stock" {
///         key { sku: String }
///         on_hand: i64,
///         reserved: i64,
///     }
/// }
/// ```
#[macro_export]
macro_rules! record {
    ($(#[$meta:meta])* $vis:vis struct $name:ident in $table:literal {
        key { $($(#[$key_meta:meta])* $key:ident: $key_type:ty),+ $(,)? }
        $($(#[$field_meta:meta])* $field:ident: $field_type:ty),* $(,)?
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        $vis struct $name {
            $($(#[$key_meta])* $vis $key: $key_type,)+
            $($(#[$field_meta])* $vis $field: $field_type,)*
        }

        impl $crate::Record for $name {
            const TABLE: &'static str = $table;
            const COLUMNS: &'static [&'static str] = &[$(stringify!($key),)+ $(stringify!($field),)*];
            const KEY_COLUMNS: usize = [$(stringify!($key)),+].len();

            fn to_values(&self) -> Vec<$crate::Value> {
                vec![$($crate::Column::to_value(&self.$key),)+ $($crate::Column::to_value(&self.$field),)*]
            }

            fn from_row(row: &$crate::Row) -> Result<Self, $crate::JournalError> {
                let mut column = 0;
                let mut next = || {
                    column += 1;
                    column - 1
                };
                Ok(Self { $($key: row.get(next())?,)+ $($field: row.get(next())?,)* })
            }
        }
    };
}
