use pangaea_contracts::Envelope;
use pangaea_journal::{EffectRow, TimerRow};

/// What one input has said so far. It reaches the writer only when the handler has succeeded.
#[derive(Debug, Default)]
pub(crate) struct Outputs {
    pub(crate) messages: Vec<Envelope>,
    pub(crate) timers: Vec<TimerChange>,
    pub(crate) effects: Vec<EffectRow>,
    /// The first thing that the handler said but may not say.
    pub(crate) fault: Option<String>,
    /// Ids derived so far.
    pub(crate) ids: u32,
    /// Whether the handler used SQL of its own: then its changes cannot be taken back in memory.
    pub(crate) used_sql: bool,
}

#[derive(Debug)]
pub(crate) enum TimerChange {
    Set(TimerRow),
    Cancel { key: String, subject: String },
}
