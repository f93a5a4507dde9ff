use pangaea_contracts::{Currency, OrderId, PaymentId, ProductId, RefundId, Role, SessionId, SkuId, Timestamp, UserId};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::JournalError;

/// The two column types that mean the same on SQLite and PostgreSQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnType {
    Int,
    Text,
}

/// A value on its way to or from a column. The order is that of keys in the digest: integers, then texts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    Int(Option<i64>),
    Text(Option<String>),
}

/// A Rust type that is stored in one column.
pub trait Column: Sized {
    const TYPE: ColumnType;

    fn to_value(&self) -> Value;

    /// # Errors
    /// When the stored value is not one of this type.
    fn from_value(value: &Value) -> Result<Self, JournalError>;
}

/// A value stored as JSON text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Json<T>(pub T);

// === impl Value ===

impl Value {
    pub(crate) fn null(kind: ColumnType) -> Self {
        match kind {
            ColumnType::Int => Self::Int(None),
            ColumnType::Text => Self::Text(None),
        }
    }

    pub fn is_null(&self) -> bool {
        matches!(self, Self::Int(None) | Self::Text(None))
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(Some(value))
    }
}

impl From<u64> for Value {
    /// Positions and counts: far below `i64::MAX` for any store that can exist.
    fn from(value: u64) -> Self {
        Self::Int(Some(i64::try_from(value).unwrap_or(i64::MAX)))
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(Some(value.to_owned()))
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(Some(value))
    }
}

impl From<Option<String>> for Value {
    fn from(value: Option<String>) -> Self {
        Self::Text(value)
    }
}

impl From<Option<i64>> for Value {
    fn from(value: Option<i64>) -> Self {
        Self::Int(value)
    }
}

impl From<Timestamp> for Value {
    fn from(value: Timestamp) -> Self {
        Self::Int(Some(value.as_millis()))
    }
}

// === impl Column for the types that modules store ===

fn wrong(expected: &str, value: &Value) -> JournalError {
    JournalError::Decode(format!("expected {expected}, found {value:?}"))
}

impl Column for i64 {
    const TYPE: ColumnType = ColumnType::Int;

    fn to_value(&self) -> Value {
        Value::Int(Some(*self))
    }

    fn from_value(value: &Value) -> Result<Self, JournalError> {
        match value {
            Value::Int(Some(number)) => Ok(*number),
            other => Err(wrong("an integer", other)),
        }
    }
}

impl Column for u64 {
    const TYPE: ColumnType = ColumnType::Int;

    fn to_value(&self) -> Value {
        Value::from(*self)
    }

    fn from_value(value: &Value) -> Result<Self, JournalError> {
        u64::try_from(i64::from_value(value)?).map_err(|_| wrong("a count", value))
    }
}

impl Column for u32 {
    const TYPE: ColumnType = ColumnType::Int;

    fn to_value(&self) -> Value {
        Value::Int(Some(i64::from(*self)))
    }

    fn from_value(value: &Value) -> Result<Self, JournalError> {
        u32::try_from(i64::from_value(value)?).map_err(|_| wrong("a small count", value))
    }
}

impl Column for bool {
    const TYPE: ColumnType = ColumnType::Int;

    fn to_value(&self) -> Value {
        Value::Int(Some(i64::from(*self)))
    }

    fn from_value(value: &Value) -> Result<Self, JournalError> {
        Ok(i64::from_value(value)? != 0)
    }
}

impl Column for Timestamp {
    const TYPE: ColumnType = ColumnType::Int;

    fn to_value(&self) -> Value {
        Value::from(*self)
    }

    fn from_value(value: &Value) -> Result<Self, JournalError> {
        i64::from_value(value).map(Timestamp::from_millis)
    }
}

impl Column for String {
    const TYPE: ColumnType = ColumnType::Text;

    fn to_value(&self) -> Value {
        Value::Text(Some(self.clone()))
    }

    fn from_value(value: &Value) -> Result<Self, JournalError> {
        match value {
            Value::Text(Some(text)) => Ok(text.clone()),
            other => Err(wrong("a text", other)),
        }
    }
}

impl<T: Column> Column for Option<T> {
    const TYPE: ColumnType = T::TYPE;

    fn to_value(&self) -> Value {
        self.as_ref().map_or_else(|| Value::null(T::TYPE), T::to_value)
    }

    fn from_value(value: &Value) -> Result<Self, JournalError> {
        if value.is_null() { Ok(None) } else { T::from_value(value).map(Some) }
    }
}

impl<T: Serialize + DeserializeOwned> Column for Json<T> {
    const TYPE: ColumnType = ColumnType::Text;

    fn to_value(&self) -> Value {
        // Types stored as JSON are plain data: maps with text keys, numbers and texts, which always serialise.
        Value::Text(serde_json::to_string(&self.0).ok())
    }

    fn from_value(value: &Value) -> Result<Self, JournalError> {
        let text = String::from_value(value)?;
        serde_json::from_str(&text).map(Json).map_err(|error| JournalError::Decode(error.to_string()))
    }
}

/// Stores a type by its `Display` and `FromStr`.
#[macro_export]
macro_rules! text_column {
    ($($type:ty),* $(,)?) => {$(
        impl $crate::Column for $type {
            const TYPE: $crate::ColumnType = $crate::ColumnType::Text;

            fn to_value(&self) -> $crate::Value {
                $crate::Value::Text(Some(self.to_string()))
            }

            fn from_value(value: &$crate::Value) -> Result<Self, $crate::JournalError> {
                <String as $crate::Column>::from_value(value)?
                    .parse()
                    .map_err(|error| $crate::JournalError::Decode(format!("{error}")))
            }
        }
    )*};
}

text_column!(Currency, OrderId, PaymentId, ProductId, RefundId, Role, SessionId, SkuId, UserId);
