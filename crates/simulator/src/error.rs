use std::net::SocketAddr;
use std::path::PathBuf;

/// Why a simulator did not start, stopped, or a ledger could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SimulatorError {
    /// The address is taken or not ours.
    #[error("cannot listen on {addr}: choose another address, or port 0 for any free port")]
    Listen {
        addr: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    /// The ledger file could not be opened, read or written.
    #[error("ledger {path}: {action} failed")]
    LedgerIo {
        path: PathBuf,
        action: &'static str,
        #[source]
        source: std::io::Error,
    },
    /// Another process has the ledger open.
    #[error("ledger {path} is in use by another simulator: stop it, or name another file")]
    LedgerBusy { path: PathBuf },
    /// A whole line of the ledger is not what this version writes.
    #[error("ledger {path}, line {line}: {reason}; move the file away to start an empty ledger")]
    LedgerCorrupt { path: PathBuf, line: u64, reason: String },
    /// The ledger can no longer be written; nothing was answered that is not in it.
    #[error("the ledger writer stopped: {reason}")]
    LedgerStopped { reason: String },
    /// The index beside the ledger file cannot be used and cannot be made again.
    #[error("index {path}: {reason}; it is made again from the ledger when it is missing")]
    Index { path: PathBuf, reason: String },
    /// Webhook settings that cannot work.
    #[error("webhooks: {reason}")]
    Webhook { reason: String },
}
