//! Loopback addresses and ports that nobody else on the machine uses.

use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Context as _, bail};

/// Ports are taken from below Linux's ephemeral range (32768 and up), so that no outgoing connection takes one
/// between the check and the use.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// Attempts before giving up on finding a free port.
const ATTEMPTS: usize = 100;

/// A random address in 127.64.0.0/10. Whoever listens on one of its own meets no other test's sockets.
pub fn own_loopback() -> Ipv4Addr {
    let [a, b, c, _] = random_bits()
        .to_be_bytes()
        .first_chunk()
        .copied()
        .unwrap_or([0; 4]);
    Ipv4Addr::new(127, 64 + a % 64, b, c.clamp(1, 254))
}

/// A TCP port on `address` that nothing listens on now.
///
/// # Errors
/// When no port is found, which means that the address cannot be bound.
pub fn free_port(address: IpAddr) -> anyhow::Result<u16> {
    let mut last = None;
    for _ in 0..ATTEMPTS {
        let span = u64::from(PORTS.end - PORTS.start);
        let offset = u16::try_from(random_bits() % span).context("the span of ports fits u16")?;
        let port = PORTS.start + offset;
        match TcpListener::bind(SocketAddr::new(address, port)) {
            Ok(_) => return Ok(port),
            Err(error) => last = Some(error),
        }
    }
    match last {
        Some(error) => Err(error).with_context(|| format!("no free port on {address}")),
        None => bail!("no free port on {address}"),
    }
}

/// Whether some process listens on exactly this address and port, without connecting to it.
///
/// # Errors
/// When the kernel's socket table cannot be read.
pub fn is_listening(at: SocketAddr) -> anyhow::Result<bool> {
    let (table, wanted) = match at.ip() {
        IpAddr::V4(v4) => (
            "/proc/net/tcp",
            format!("{:08X}", u32::from_ne_bytes(v4.octets())),
        ),
        IpAddr::V6(v6) => {
            let words = v6.octets();
            let hex = words
                .as_chunks::<4>()
                .0
                .iter()
                .map(|word| format!("{:08X}", u32::from_ne_bytes(*word)))
                .collect::<String>();
            ("/proc/net/tcp6", hex)
        }
    };
    let wanted = format!("{wanted}:{:04X}", at.port());
    let text = std::fs::read_to_string(table).with_context(|| format!("read {table}"))?;
    const LISTEN: &str = "0A";
    Ok(text.lines().skip(1).any(|line| {
        let mut columns = line.split_ascii_whitespace().skip(1);
        columns.next() == Some(wanted.as_str()) && columns.nth(1) == Some(LISTEN)
    }))
}

pub(crate) fn random_bits() -> u64 {
    RandomState::new().hash_one(std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listening_socket_is_seen_and_a_closed_one_is_not() {
        for address in [IpAddr::V4(own_loopback()), "::1".parse().unwrap()] {
            let listener = TcpListener::bind((address, free_port(address).unwrap())).unwrap();
            let at = listener.local_addr().unwrap();
            assert!(is_listening(at).unwrap(), "{at}");
            drop(listener);
            assert!(!is_listening(at).unwrap(), "{at}");
        }
    }
}
