//! Making outgoing connections.

use std::io;
use std::net::{IpAddr, SocketAddr};

use socket2::SockRef;
use tokio::net::{TcpSocket, TcpStream};
use tokio_util::task::AbortOnDropHandle;

use crate::config::NeighborConfig;
use crate::connection::describe;
use crate::socket::{Md5Key, demand_full_ttl, send_full_ttl, set_md5};
use crate::transport::{Network, Stream};

/// The kernel holds at most about this much that the router has not taken, so that a withdrawal never queues behind
/// megabytes of announcements.
const SEND_BUFFER: usize = 128 * 1024;
/// Of that, about this much may wait for the router's window to open; a withdrawal waits behind it.
const NOT_SENT: u32 = 16 * 1024;

/// At most one attempt at a time; dropping it ends the attempt.
pub(super) struct Dial {
    plan: Plan,
    attempt: Option<AbortOnDropHandle<io::Result<Stream>>>,
}

impl Dial {
    pub(super) fn new(config: &NeighborConfig, network: Network) -> Self {
        Self {
            plan: Plan {
                network,
                remote: SocketAddr::new(config.address.to_canonical(), config.port),
                local: config.local_address,
                password: config.password.clone(),
                ttl_security: config.ttl_security,
            },
            attempt: None,
        }
    }

    pub(super) fn start(&mut self) {
        self.attempt = Some(AbortOnDropHandle::new(tokio::spawn(self.plan.clone().connect())));
    }

    pub(super) fn cancel(&mut self) {
        self.attempt = None;
    }

    /// Waits for the attempt; for ever when there is none.
    pub(super) async fn finished(&mut self) -> Result<(Stream, SocketAddr), String> {
        let Some(attempt) = self.attempt.as_mut() else {
            return std::future::pending().await;
        };
        let result = attempt.await;
        self.attempt = None;
        match result {
            Ok(Ok(stream)) => Ok((stream, self.plan.remote)),
            Ok(Err(error)) => Err(describe(&error)),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// From where to where, and under which protection.
#[derive(Clone)]
struct Plan {
    network: Network,
    remote: SocketAddr,
    local: Option<IpAddr>,
    password: Option<Md5Key>,
    ttl_security: bool,
}

impl Plan {
    async fn connect(self) -> io::Result<Stream> {
        match &self.network {
            Network::Kernel => self.connect_tcp().await.map(Stream::Tcp),
            #[cfg(test)]
            Network::Simulated(net) => net.connect(self.remote).await.map(Stream::Simulated),
        }
    }

    /// A protection that cannot be set is an error: there is no session without it.
    async fn connect_tcp(&self) -> io::Result<TcpStream> {
        let address = self.remote.ip();
        let socket = if address.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        if let Some(local) = self.local {
            socket.bind(SocketAddr::new(local, 0))?;
        }
        if let Some(key) = &self.password {
            set_md5(&socket, address, key)?;
        }
        if self.ttl_security {
            send_full_ttl(&socket, address.is_ipv6())?;
            demand_full_ttl(&socket, address)?;
        }
        socket.connect(self.remote).await
    }
}

/// For both directions: no delay for small messages, a bounded send buffer, and little in it that was not even sent.
pub(super) fn tune(stream: &Stream) -> io::Result<()> {
    let Some(stream) = stream.tcp() else {
        return Ok(());
    };
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_notsent_lowat(NOT_SENT)?;
    socket.set_send_buffer_size(SEND_BUFFER)
}
