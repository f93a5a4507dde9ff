/// Why the bus could not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BusError {
    #[error("the broker is not reachable: {0}")]
    Unavailable(String),
    #[error("nobody serves {0}; is the module that owns it running?")]
    NoResponders(String),
    #[error("no reply to {subject} within {timeout_ms} ms; whether it was handled is unknown")]
    Timeout { subject: String, timeout_ms: u64 },
    #[error("the service of {0} is busy; try again")]
    Busy(String),
    #[error("{subject} answered with error {status}: {message}")]
    Remote { subject: String, status: usize, message: String },
    #[error("the log of {0:?} is not attached to this bus; the module that owns it must run in this process")]
    UnknownSource(String),
    #[error(
        "the log of {source_name:?} is {found:?}, but the cursor was taken from {expected:?}: the source was reset or \
         restored; rebuild this reader from the start, or restore the source"
    )]
    LogReset { source_name: String, expected: String, found: String },
    #[error(
        "the log of {source_name:?} does not hold the message of the cursor at position {position}: {detail}; the source \
         was restored to an older state without a new log id"
    )]
    CursorMismatch { source_name: String, position: u64, detail: String },
    #[error("the log of {source_name:?} no longer holds position {position}; its first is {first}")]
    Pruned { source_name: String, position: u64, first: u64 },
    #[error(
        "stream {stream} holds what the outbox does not: {detail}; the module must not publish. If the outbox is the \
         truth, delete the stream and it is refilled"
    )]
    StreamAhead { stream: String, detail: String },
    #[error(
        "stream {stream} is missing; the module that owns it makes it again within seconds, or `pangaea provision` where modules may \
         not (bus.provision = false), and then refills it"
    )]
    StreamMissing { stream: String },
    #[error("stream {stream} refused an append: {detail}")]
    AppendRefused { stream: String, detail: String },
    #[error("{what} is not configured as wanted: {}; change it on the server, or run nats-server 2.9 or newer", differences.join(", "))]
    Configuration { what: String, differences: Vec<String> },
    #[error("the bus cannot be configured like this: {0}")]
    InvalidConfig(String),
    #[error("{what} {name:?} is not valid: {expected}")]
    InvalidName { what: &'static str, name: String, expected: &'static str },
    #[error("a message in the log of {source_name:?} cannot be read: {detail}")]
    Malformed { source_name: String, detail: String },
    #[error("the log of {source_name:?} could not be read: {detail}")]
    Source { source_name: String, detail: String },
    #[error("the broker answered {operation} with an error: {detail}")]
    Broker { operation: &'static str, detail: String },
    #[error("the bus is closed")]
    Closed,
}

// === impl BusError ===

impl BusError {
    /// A name for logs, metrics and documentation that never changes.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "bus.unavailable",
            Self::NoResponders(_) => "bus.no_responders",
            Self::Timeout { .. } => "bus.timeout",
            Self::Busy(_) => "bus.busy",
            Self::Remote { .. } => "bus.remote",
            Self::UnknownSource(_) => "bus.unknown_source",
            Self::LogReset { .. } => "bus.log_reset",
            Self::CursorMismatch { .. } => "bus.cursor_mismatch",
            Self::Pruned { .. } => "bus.pruned",
            Self::StreamAhead { .. } => "bus.stream_ahead",
            Self::StreamMissing { .. } => "bus.stream_missing",
            Self::AppendRefused { .. } => "bus.append_refused",
            Self::Configuration { .. } => "bus.configuration",
            Self::InvalidConfig(_) => "bus.invalid_config",
            Self::InvalidName { .. } => "bus.invalid_name",
            Self::Malformed { .. } => "bus.malformed",
            Self::Source { .. } => "bus.source",
            Self::Broker { .. } => "bus.broker",
            Self::Closed => "bus.closed",
        }
    }

    /// Whether the same call may succeed later without anyone changing anything.
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Unavailable(_)
            | Self::NoResponders(_)
            | Self::Timeout { .. }
            | Self::Busy(_)
            | Self::UnknownSource(_)
            | Self::StreamMissing { .. }
            | Self::AppendRefused { .. }
            | Self::Source { .. }
            | Self::Broker { .. } => true,
            Self::Remote { .. }
            | Self::LogReset { .. }
            | Self::CursorMismatch { .. }
            | Self::Pruned { .. }
            | Self::StreamAhead { .. }
            | Self::Configuration { .. }
            | Self::InvalidConfig(_)
            | Self::InvalidName { .. }
            | Self::Malformed { .. }
            | Self::Closed => false,
        }
    }
}
