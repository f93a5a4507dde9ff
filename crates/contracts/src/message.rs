use schemars::{JsonSchema, Schema};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A type that travels: its address, and the aggregate it is about.
pub trait Message: Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// The address, without the namespace; see [`Subject`](crate::Subject) for the forms.
    const SUBJECT: &'static str;

    /// The id of the aggregate that the message is about: what is parked together when one of its messages is poison.
    fn key(&self) -> String;
}

/// A message that is answered: its subject is of the `rpc` form.
pub trait Request: Message {
    type Reply: Serialize + DeserializeOwned + JsonSchema + Send + 'static;
}

/// One message's subject and JSON Schema, for the lockfile, AsyncAPI and recordings.
#[derive(Clone, Debug)]
pub struct SchemaEntry {
    pub subject: &'static str,
    pub schema: Schema,
}

/// The schemas of every message of the built-in modules, sorted by subject.
pub fn schemas() -> Vec<SchemaEntry> {
    let mut all: Vec<SchemaEntry> =
        [crate::order::schemas(), crate::payment::schemas(), crate::product::schemas(), crate::user::schemas()]
            .into_iter()
            .flatten()
            .collect();
    all.sort_by_key(|entry| entry.subject);
    all
}

/// Declares the subjects and keys of a contract's messages, and lists their schemas. A crate that uses it depends on
/// `schemars` too, as it does for the derives.
///
/// ```
/// use schemars::JsonSchema;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize, JsonSchema)]
/// struct Posted {
///     review_id: String,
/// }
///
/// pangaea_contracts::messages! {
///     Posted = "reviews.evt.posted.v1", key review_id;
/// }
/// ```
#[macro_export]
macro_rules! messages {
    ($($type:ident = $subject:literal, key $key:ident;)*) => {
        $(impl $crate::Message for $type {
            const SUBJECT: &'static str = $subject;

            fn key(&self) -> String {
                self.$key.to_string()
            }
        })*

        /// The schemas of this module's messages.
        pub fn schemas() -> Vec<$crate::SchemaEntry> {
            vec![$($crate::SchemaEntry { subject: $subject, schema: schemars::schema_for!($type) }),*]
        }
    };
}
pub(crate) use messages;
