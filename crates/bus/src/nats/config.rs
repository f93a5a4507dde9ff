use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// How to reach the broker and how to keep streams there.
#[derive(Clone, Debug)]
pub struct NatsConfig {
    /// One address or several, parted by commas: `nats://host:4222`, or `tls://host:4222`.
    pub url: String,
    /// The first token of every subject and of every stream's name: many tests, tenants or stages share one server.
    pub namespace: String,
    pub credentials: NatsCredentials,
    /// Certificates (PEM) of the authority that signed the server's, for `tls://`.
    pub ca_file: Option<PathBuf>,
    /// How long one attempt to connect may take.
    pub connect_timeout: Duration,
    /// How long the broker may take to answer a JetStream request or to acknowledge an append.
    pub operation_timeout: Duration,
    /// What the subjects of this process's answers begin with, so that the server can keep others from listening.
    pub inbox_prefix: Option<String>,
    /// Whether the owner of a log makes its stream where that is missing; otherwise it waits for [`provision`](super::provision).
    pub provides_streams: bool,
    /// Copies of each stream in a cluster: 1 to 5.
    pub replicas: usize,
    /// The largest size of one stream; none is no bound. A full stream refuses appends and discards nothing.
    pub max_bytes: Option<u64>,
}

/// Who the broker is told this is. Never shown by `Debug`.
#[derive(Clone, Default)]
pub enum NatsCredentials {
    #[default]
    None,
    UserPassword {
        user: String,
        password: String,
    },
    Token(String),
    /// The seed of an nkey (`SU…`).
    Nkey(String),
    /// A `.creds` file with a JWT and its seed, or a file with the seed of an nkey alone.
    File(PathBuf),
}

// === impl NatsConfig ===

impl NatsConfig {
    /// Without credentials, one copy, no bound on the size of a stream, two seconds to connect and five for the rest.
    pub fn new(url: impl Into<String>, namespace: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            namespace: namespace.into(),
            credentials: NatsCredentials::None,
            ca_file: None,
            inbox_prefix: None,
            provides_streams: true,
            connect_timeout: Duration::from_secs(2),
            operation_timeout: Duration::from_secs(5),
            replicas: 1,
            max_bytes: None,
        }
    }
}

// === impl NatsCredentials ===

impl fmt::Debug for NatsCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::UserPassword { .. } => "UserPassword(redacted)",
            Self::Token(_) => "Token(redacted)",
            Self::Nkey(_) => "Nkey(redacted)",
            Self::File(_) => "File(redacted)",
        })
    }
}
