//! Making outgoing connections.

use std::io;
use std::net::{IpAddr, SocketAddr};

use socket2::SockRef;
use tokio::net::{TcpSocket, TcpStream};
use tokio_util::task::AbortOnDropHandle;

use crate::config::NeighborConfig;
use crate::connection::describe;

/// The kernel holds at most about this much that the router has not taken, so that a withdrawal never queues behind
/// megabytes of announcements.
const SEND_BUFFER: usize = 128 * 1024;

/// At most one attempt at a time; dropping it ends the attempt.
pub(super) struct Dial {
    remote: SocketAddr,
    local: Option<IpAddr>,
    attempt: Option<AbortOnDropHandle<io::Result<TcpStream>>>,
}

impl Dial {
    pub(super) fn new(config: &NeighborConfig) -> Self {
        Self {
            remote: SocketAddr::new(config.address, config.port),
            local: config.local_address,
            attempt: None,
        }
    }

    pub(super) fn start(&mut self) {
        self.attempt = Some(AbortOnDropHandle::new(tokio::spawn(connect(
            self.local,
            self.remote,
        ))));
    }

    pub(super) fn cancel(&mut self) {
        self.attempt = None;
    }

    /// Waits for the attempt; for ever when there is none.
    pub(super) async fn finished(&mut self) -> Result<(TcpStream, SocketAddr), String> {
        let Some(attempt) = self.attempt.as_mut() else {
            return std::future::pending().await;
        };
        let result = attempt.await;
        self.attempt = None;
        match result {
            Ok(Ok(stream)) => Ok((stream, self.remote)),
            Ok(Err(error)) => Err(describe(&error)),
            Err(error) => Err(error.to_string()),
        }
    }
}

async fn connect(local: Option<IpAddr>, remote: SocketAddr) -> io::Result<TcpStream> {
    let socket = if remote.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    if let Some(local) = local {
        socket.bind(SocketAddr::new(local, 0))?;
    }
    socket.connect(remote).await
}

/// For both directions: no delay for small messages, and a bounded send buffer.
pub(super) fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    SockRef::from(stream).set_send_buffer_size(SEND_BUFFER)
}
