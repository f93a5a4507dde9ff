//! What the payloads of a module's messages look like.

use pangaea_contracts::Message;
use schemars::Schema;

use super::Definition;

pub(super) type SchemaOf = fn() -> Schema;

// === impl Definition ===

impl Definition {
    /// The JSON Schemas of all that this module handles and says, by subject, timers and effects included. The result of
    /// an effect holds the effect under `effect`, and is described by that alone.
    pub fn schemas(&self) -> impl Iterator<Item = (&'static str, Schema)> + '_ {
        self.schemas.iter().map(|(subject, schema)| (*subject, schema()))
    }

    pub(super) fn may_say<M: Message>(&mut self) {
        self.says.insert(M::SUBJECT);
        self.know::<M>();
    }

    pub(super) fn know<M: Message>(&mut self) {
        self.schemas.insert(M::SUBJECT, || schemars::schema_for!(M));
    }
}
