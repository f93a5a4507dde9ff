use std::collections::BTreeSet;

/// The cursors and the broker's consumers are named `<module>-<reader>`, which may have so many characters.
const FULL_NAME_MAX: usize = 64;

/// A reader of its own, with a cursor of its own, for subjects that a module consumes from some release on.
///
/// A cursor says that everything before it has been handled or is not for its reader. So a reader's subjects never change: were
/// a subject added to one that stands at position 1,000, the 1,000 messages before would be passed over; and a rollback to the
/// release without it would move the cursor past what only the newer release reads. An older release does not know a reader
/// that was added later, and leaves its cursor alone.
///
/// Version 0.1.0 has one cursor for each source and would take a named reader's for it: the release that adds the first one to
/// a module raises `writable_from` by a migration.
///
/// ```
/// # use pangaea_contracts::product::StockReserved;
/// # use pangaea_kernel::{Cx, Definition, Failure, Reader, Start};
/// # async fn watch(_: &mut Cx, _: StockReserved) -> Result<(), Failure> { Ok(()) }
/// let definition = Definition::new("order").on_from(Reader::named("stock-alerts", Start::Now), watch);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reader {
    pub(crate) name: &'static str,
    pub(crate) start: Start,
}

/// Where a reader begins that has read nothing yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the first message of the source's log.
    History,
    /// Behind the last message of the log at the moment when the reader is first opened. That moment is committed before
    /// anything is read, so that it does not move.
    Now,
}

/// What one reader reads of one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The name of the reader's cursors: the module's own, or `<module>-<name>`.
    pub reader: String,
    pub source: String,
    pub start: Start,
    pub subjects: BTreeSet<&'static str>,
}

// === impl Reader ===

impl Reader {
    /// `name` is lower-case letters, digits and `-`, unique in the module.
    pub const fn named(name: &'static str, start: Start) -> Self {
        Self { name, start }
    }

    /// What is wrong with it in `module`, where `known` is what was declared under its name before.
    pub(crate) fn fault(self, module: &str, known: Option<Self>) -> Option<String> {
        let sound = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let name = self.name;
        if name.is_empty() || full_name(module, name).len() > FULL_NAME_MAX || !name.bytes().all(sound) {
            return Some(format!("{module}'s reader {name:?} is not a short name of lower-case letters, digits and -"));
        }
        let differs = known.is_some_and(|known| known.start != self.start);
        differs.then(|| format!("{module}'s reader {name:?} is declared with two starts"))
    }
}

pub(crate) fn full_name(module: &str, reader: &str) -> String {
    format!("{module}-{reader}")
}
