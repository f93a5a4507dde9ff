use std::net::SocketAddr;

use anyhow::{Context, Result};

use crate::proxy::Proxy;

/// What a process of the store is connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Link {
    Nats,
    Postgres,
    Provider,
}

/// A proxy for each process and each of its links, so that one process alone can be cut off, or all of them.
#[derive(Debug, Default)]
pub struct Proxies {
    proxies: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    link: Link,
    process: String,
    proxy: Proxy,
}

// === impl Link ===

impl Link {
    pub const ALL: [Self; 3] = [Self::Nats, Self::Postgres, Self::Provider];

    pub fn name(self) -> &'static str {
        match self {
            Self::Nats => "nats",
            Self::Postgres => "postgres",
            Self::Provider => "provider",
        }
    }
}

// === impl Proxies ===

impl Proxies {
    /// Puts a proxy between a process and a server, and returns its address.
    pub(crate) async fn add(&mut self, link: Link, process: &str, server: SocketAddr) -> Result<SocketAddr> {
        let proxy = Proxy::start(server).await?;
        let address = proxy.address();
        self.proxies.push(Entry { link, process: process.to_owned(), proxy });
        Ok(address)
    }

    /// Those of all processes.
    pub fn of(&self, link: Link) -> impl Iterator<Item = &Proxy> {
        self.proxies.iter().filter(move |entry| entry.link == link).map(|entry| &entry.proxy)
    }

    /// That of one process, by its name.
    ///
    /// # Errors
    /// When it has no such link, or the store was started without proxies.
    pub fn one(&self, link: Link, process: &str) -> Result<&Proxy> {
        let found = self.proxies.iter().find(|entry| entry.link == link && entry.process == process);
        let found = found.with_context(|| format!("no proxy between {process} and {}", link.name()))?;
        Ok(&found.proxy)
    }

    /// Heals all of them.
    pub fn heal(&self) {
        self.proxies.iter().for_each(|entry| entry.proxy.heal());
    }
}
