//! What the blank module says, and what it is asked: all that another module may know of it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An entry was written, for the first time or again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Written {
    /// Which entry.
    pub entry: String,
    /// Grows by one with every write, from 1.
    pub version: i64,
}

/// From the edge: writes an entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Write {
    /// Which entry: 1 to 64 characters.
    pub entry: String,
    /// At most 2,000 characters.
    pub text: String,
}

pangaea_contracts::messages! {
    Written = "blank.evt.written.v1", key entry;
    Write = "blank.rpc.write.v1", key entry;
}
