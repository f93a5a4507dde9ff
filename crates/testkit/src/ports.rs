use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};

/// Where test ports lie: below the range that the system gives to outgoing connections, one of which could else take a
/// port between the look here and the bind of the child, or while a killed child is away.
const FIRST: u32 = 20_000;
const COUNT: u32 = 12_000;

static TAKEN: AtomicU32 = AtomicU32::new(0);

/// A port of 127.0.0.1 that nobody listens on, and that no other call in this process gets.
///
/// # Panics
/// When none of 12,000 ports is free.
pub fn free_port() -> u16 {
    let start = std::process::id().wrapping_mul(101);
    let mut candidates = (0..COUNT).map(|_| {
        let number = TAKEN.fetch_add(1, Ordering::Relaxed);
        FIRST + start.wrapping_add(number) % COUNT
    });
    let port = candidates.find_map(|port| {
        let port = u16::try_from(port).ok()?;
        TcpListener::bind(("127.0.0.1", port)).is_ok().then_some(port)
    });
    port.expect("a port between 20000 and 31999 is free")
}

#[cfg(test)]
mod tests {
    use super::free_port;

    #[test]
    fn no_port_is_given_twice() {
        let ports: std::collections::BTreeSet<u16> = (0..50).map(|_| free_port()).collect();
        assert_eq!(ports.len(), 50);
    }
}
