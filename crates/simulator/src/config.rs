use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// How a simulator is set up. The default listens on any free loopback port, keeps its ledger in memory and sends no
/// webhooks.
#[derive(Clone, Debug)]
pub struct SimulatorConfig {
    /// Address to listen on; port 0 takes any free one.
    pub listen: SocketAddr,
    /// Ledger file, created with its folders if missing; beside it goes an index of it, of the same name and `.index`.
    /// `None` keeps everything in memory, for tests that read no ledger.
    pub ledger: Option<PathBuf>,
    /// So many ledger entries go from memory to the index together; while the index is slow, up to four times as many are in
    /// memory.
    pub kept_in_memory: usize,
    /// Ids and the moments at which `tok_flaky` fails are derived from it.
    pub seed: u64,
    /// Where webhooks go, an `http://` URL. `None` sends none.
    pub webhook_url: Option<String>,
    /// Secret of the webhook signatures: `whsec_` and base64, as Standard Webhooks writes it. Needed with a URL.
    pub webhook_secret: Option<String>,
    /// Added to every answer, in milliseconds.
    pub latency_ms: u64,
    /// How long `tok_timeout` is held before the connection is closed, in milliseconds.
    pub hold_ms: u64,
}

// === impl SimulatorConfig ===

impl Default for SimulatorConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            ledger: None,
            kept_in_memory: 2_048,
            seed: 1,
            webhook_url: None,
            webhook_secret: None,
            latency_ms: 0,
            hold_ms: 60_000,
        }
    }
}
