//! Probes, as the kubelet would do them.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::pods::Pod;
use crate::deploy::objects::{number, text};
use crate::process::http_status;

/// One probe of a container.
#[derive(Debug)]
pub(super) struct Probe {
    address: SocketAddr,
    /// None: that somebody accepts a connection is enough.
    path: Option<String>,
    patience: Duration,
}

/// What a container that says nothing is given to start.
const USUAL: Duration = Duration::from_secs(30);

/// The container's probe of this name; none where it has none, or one that runs a program in the container.
pub(super) fn probe(pod: &Pod<'_>, name: &str) -> Option<Probe> {
    let probe = pod.container.get(name)?;
    let seconds = |key: &str, usual: u64| number(probe, &format!("/{key}")).unwrap_or(usual);
    let failures = seconds("failureThreshold", 3);
    let patience = Duration::from_secs(seconds("initialDelaySeconds", 0) + failures * seconds("periodSeconds", 10));
    // What is probed later than at the start may wait for its neighbours, which start beside it.
    let patience = patience.max(USUAL);
    if let Some(get) = probe.get("httpGet") {
        let path = text(get, "/path");
        let path = Some(if path.is_empty() { "/" } else { path }.to_owned());
        return Some(Probe { address: pod.local(get.get("port")?)?, path, patience });
    }
    let connect = probe.get("tcpSocket")?;
    Some(Probe { address: pod.local(connect.get("port")?)?, path: None, patience })
}

// === impl Probe ===

impl Probe {
    /// Tries once.
    ///
    /// # Errors
    /// With what was answered instead of success.
    pub(super) fn try_once(&self) -> Result<(), String> {
        match &self.path {
            None => {
                let connected = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
                connected.map(drop).map_err(|error| format!("{}: {error}", self.address))
            }
            Some(path) => match http_status(self.address, path) {
                Ok(200..400) => Ok(()),
                Ok(status) => Err(format!("GET http://{}{path} answered {status}", self.address)),
                Err(error) => Err(format!("GET http://{}{path}: {error}", self.address)),
            },
        }
    }

    pub(super) fn patience(&self) -> Duration {
        self.patience
    }
}
