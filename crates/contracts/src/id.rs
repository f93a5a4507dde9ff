use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

use crate::Timestamp;

const ID_BYTES_MAX: usize = 64;

/// Text that is not an id of the wanted type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a valid id: expected {prefix}… with letters and digits, at most {ID_BYTES_MAX} bytes")]
pub struct IdError {
    pub prefix: &'static str,
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            pub const PREFIX: &'static str = $prefix;

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let error = IdError { prefix: $prefix };
                let rest = text.strip_prefix($prefix).ok_or_else(|| error.clone())?;
                let sound = !rest.is_empty()
                    && text.len() <= ID_BYTES_MAX
                    && rest.bytes().all(|byte| byte.is_ascii_alphanumeric());
                if sound { Ok(Self(text.to_owned())) } else { Err(error) }
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": concat!("^", $prefix, "[0-9A-Za-z]+$"), "maxLength": ID_BYTES_MAX })
            }
        }
    )*};
}

ids! {
    /// A product of the catalogue, with one or more SKUs.
    ProductId = "prod_";
    /// A stock-keeping unit: what is priced, counted and sold.
    SkuId = "sku_";
    OrderId = "ord_";
    /// A payment intent.
    PaymentId = "pay_";
    RefundId = "ref_";
    UserId = "usr_";
    /// A sign-in, and the family of refresh tokens that grows from it.
    SessionId = "ses_";
}

// === impl SkuId ===

impl SkuId {
    /// The id of the SKU with this merchant code. Codes that differ only in case are one SKU; because the id follows from
    /// the code, a code is unique without an index and found without a lookup.
    pub fn from_code(code: &str) -> Self {
        Self(format!("{}{}", Self::PREFIX, digest_text(&[code.trim().to_uppercase().as_bytes()], 16)))
    }

    /// Reads either form a caller may use for a SKU: its id, or its merchant code.
    pub fn from_id_or_code(text: &str) -> Self {
        text.parse().unwrap_or_else(|_| Self::from_code(text))
    }
}

/// Crockford's base 32 in lower case: sorts as the numbers do.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// Digits of a moment in milliseconds, five bits each.
const MOMENT_DIGITS: usize = 10;

/// What an id that was derived at `moment` begins with, behind its type's prefix: ten digits that sort by time.
pub fn moment_text(moment: Timestamp) -> String {
    let millis = moment.as_millis().max(0) as u64;
    (0..MOMENT_DIGITS).rev().map(|digit| char::from(ALPHABET[(millis >> (digit * 5) & 31) as usize])).collect()
}

/// When an id was derived; `None` when it is too short or was not derived by a module.
pub fn moment_of_id(id: &str) -> Option<Timestamp> {
    let digits = id.split_once('_')?.1.as_bytes().get(..MOMENT_DIGITS)?;
    let value = |digit: &u8| ALPHABET.iter().position(|letter| letter == digit);
    let millis = digits.iter().try_fold(0_i64, |sum, digit| Some(sum << 5 | value(digit)? as i64))?;
    Some(Timestamp::from_millis(millis))
}

/// The first `chars` (at most 51) characters of the SHA-256 of `parts`, in lower-case Crockford base 32. The parts are
/// length-prefixed, so no two lists of parts run together.
pub fn digest_text(parts: &[&[u8]], chars: usize) -> String {
    let (mut text, mut bits, mut held) = (String::with_capacity(chars), 0u32, 0u32);
    for byte in digest(parts) {
        bits = (bits << 8) | u32::from(byte);
        held += 8;
        while held >= 5 && text.len() < chars {
            held -= 5;
            text.push(char::from(ALPHABET[((bits >> held) & 31) as usize]));
        }
    }
    text
}

/// The SHA-256 of `parts`, each behind its length.
pub(crate) fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

#[cfg(test)]
mod tests {
    use super::{OrderId, SkuId, digest_text};

    #[test]
    fn an_id_keeps_its_type() {
        assert!("ord_01abc".parse::<OrderId>().is_ok());
        for bad in ["sku_01", "ord_", "ord_a b", "ord_é", &format!("ord_{}", "a".repeat(80))] {
            assert!(bad.parse::<OrderId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn codes_that_differ_in_case_are_one_sku() {
        assert_eq!(SkuId::from_code("85123a"), SkuId::from_code("85123A"));
        assert_ne!(SkuId::from_code("85123A"), SkuId::from_code("85123B"));
        let id = SkuId::from_code("X");
        assert_eq!(SkuId::from_id_or_code(id.as_str()), id);
    }

    #[test]
    fn parts_do_not_run_together() {
        assert_ne!(digest_text(&[b"ab", b"c"], 26), digest_text(&[b"a", b"bc"], 26));
        assert_eq!(digest_text(&[b"x"], 26).len(), 26);
    }
}
