//! Socket options that no safe crate sets: the key of TCP-MD5 (RFC 2385) and the lowest TTL of GTSM (RFC 5082).
//!
//! The only module with `unsafe`: one call of `setsockopt`, always with a value that is borrowed for its length.
//!
//! The kernel signs and checks segments by itself. A segment without the right signature is dropped in silence, so a
//! wrong key shows as a connection that is never made. A key belongs to an address on a socket; a connection that is
//! accepted has the key of its listener.

#![expect(unsafe_code, reason = "setsockopt has no safe form for these options")]

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use socket2::SockRef;

use crate::config::ConfigError;

/// What GTSM sends and demands: no router on the way has counted it down.
const FULL_TTL: u32 = 255;
/// What the kernel takes.
const MAX_KEY: usize = 80;

/// The key of TCP-MD5, 1 to 80 bytes. It is never shown, and wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Md5Key(Box<[u8]>);

impl Md5Key {
    /// Checks the length.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Md5KeyLength`].
    pub fn new(key: &[u8]) -> Result<Self, ConfigError> {
        if (1..=MAX_KEY).contains(&key.len()) {
            Ok(Self(key.into()))
        } else {
            Err(ConfigError::Md5KeyLength { bytes: key.len() })
        }
    }
}

impl fmt::Debug for Md5Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Md5Key(***)")
    }
}

impl Drop for Md5Key {
    fn drop(&mut self) {
        self.0.fill(0);
        // The bytes are looked at, so the wiping is not left out as useless.
        std::hint::black_box(&self.0);
    }
}

/// `struct tcp_md5sig` of linux/tcp.h.
#[repr(C, align(8))]
struct TcpMd5Sig {
    /// `struct sockaddr_storage`: family, port (ignored), address.
    address: [u8; 128],
    flags: u8,
    prefix_length: u8,
    key_length: u16,
    interface: u32,
    key: [u8; MAX_KEY],
}

const _: () = assert!(size_of::<TcpMd5Sig>() == 216);

/// Demands signed segments from `peer`, and signs those to it. Before `connect`, and on a listener.
pub(crate) fn set_md5(socket: &impl AsFd, peer: IpAddr, key: &Md5Key) -> io::Result<()> {
    set_key(socket.as_fd(), peer, &key.0)
}

/// Demands no signature from `peer` any more. Fine if there was no key.
pub(crate) fn clear_md5(socket: &impl AsFd, peer: IpAddr) -> io::Result<()> {
    match set_key(socket.as_fd(), peer, &[]) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        result => result,
    }
}

/// From now on segments that any router has forwarded are dropped.
pub(crate) fn demand_full_ttl(socket: &impl AsFd, peer: IpAddr) -> io::Result<()> {
    let ttl: libc::c_int = 255;
    let (level, option) = match peer {
        IpAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_MINTTL),
        IpAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_MINHOPCOUNT),
    };
    set(socket.as_fd(), level, option, &ttl)
}

/// Sends with the TTL that a neighbour with GTSM demands. On a listener this is for the answers to new connections.
pub(crate) fn send_full_ttl(socket: &impl AsFd, v6: bool) -> io::Result<()> {
    let socket = SockRef::from(socket);
    if v6 {
        socket.set_unicast_hops_v6(FULL_TTL)
    } else {
        socket.set_ttl_v4(FULL_TTL)
    }
}

fn set_key(socket: BorrowedFd<'_>, peer: IpAddr, key: &[u8]) -> io::Result<()> {
    let too_long = || io::Error::from(io::ErrorKind::InvalidInput);
    let mut option = TcpMd5Sig {
        address: [0; 128],
        flags: 0,
        prefix_length: 0,
        key_length: u16::try_from(key.len()).map_err(|_| too_long())?,
        interface: 0,
        key: [0; MAX_KEY],
    };
    option
        .key
        .get_mut(..key.len())
        .ok_or_else(too_long)?
        .copy_from_slice(key);
    let mut put = |offset: usize, bytes: &[u8]| {
        option.address[offset..offset + bytes.len()].copy_from_slice(bytes);
    };
    // sockaddr_in: family, port, address; sockaddr_in6: family, port, flow information, address.
    match peer {
        IpAddr::V4(address) => {
            put(0, &family(libc::AF_INET));
            put(4, &address.octets());
        }
        IpAddr::V6(address) => {
            put(0, &family(libc::AF_INET6));
            put(8, &address.octets());
        }
    }
    let result = set(socket, libc::IPPROTO_TCP, libc::TCP_MD5SIG, &option);
    option.key.fill(0);
    std::hint::black_box(&option.key);
    result
}

fn family(family: libc::c_int) -> [u8; 2] {
    libc::sa_family_t::try_from(family)
        .unwrap_or_default()
        .to_ne_bytes()
}

fn set<T>(socket: BorrowedFd<'_>, level: libc::c_int, option: libc::c_int, value: &T) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<T>()).map_err(io::Error::other)?;
    // SAFETY: the descriptor is borrowed and so open; `value` is `length` bytes that live until the call returns, and
    // the kernel only reads them.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            std::ptr::from_ref(value).cast(),
            length,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
