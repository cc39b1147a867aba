//! Accepting connections and handing each to the neighbour of its address.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use socket2::{Domain, Socket, Type};
use tokio::net::TcpListener;
use tokio::time::{Duration, sleep};
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, warn};

use crate::config::NeighborConfig;
use crate::shared::{Accepted, NeighborShared};
use crate::socket::{Md5Key, clear_md5, demand_full_ttl, send_full_ttl, set_md5};
use crate::status::LOG;
use crate::transport::Stream;

/// Connections the kernel holds for us.
const BACKLOG: i32 = 64;
/// Pause after a failed accept, which mostly means that file descriptors ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// One address that sessions are accepted on; dropping it ends that.
pub(crate) struct Listening {
    pub(crate) address: SocketAddr,
    /// Shared with the task, to change the keys of neighbours.
    listener: Arc<TcpListener>,
    _task: AbortOnDropHandle<()>,
}

impl Listening {
    /// `neighbor` finds who has an address.
    pub(crate) fn start(
        address: SocketAddr,
        neighbor: impl Fn(IpAddr) -> Option<Arc<NeighborShared>> + Send + 'static,
    ) -> io::Result<Self> {
        let listener = Arc::new(bind(address)?);
        Ok(Self {
            address: listener.local_addr()?,
            _task: AbortOnDropHandle::new(tokio::spawn(accept(listener.clone(), neighbor))),
            listener,
        })
    }

    /// Demands signed segments from the neighbour, or no longer.
    pub(crate) fn set_key(&self, neighbor: IpAddr, key: Option<&Md5Key>) -> io::Result<()> {
        match key {
            Some(key) => set_md5(&self.listener, neighbor, key),
            None => clear_md5(&self.listener, neighbor),
        }
    }
}

/// Binds without IPv4 on IPv6 sockets, so that `0.0.0.0` and `[::]` can both be listed. The first answer to a new
/// connection comes from this socket, before it is known whose it is: its TTL is the one GTSM demands, which no other
/// neighbour minds.
fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    send_full_ttl(&socket, address.is_ipv6())?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Accepts until aborted, which is safe at any point.
async fn accept(listener: Arc<TcpListener>, neighbor: impl Fn(IpAddr) -> Option<Arc<NeighborShared>>) {
    loop {
        match listener.accept().await {
            Ok((stream, remote)) => hand_over(Stream::Tcp(stream), remote, &neighbor),
            Err(error) => {
                warn!(target: LOG, %error, "a BGP connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Gives the connection to the neighbour of the address it comes from.
pub(crate) fn hand_over(
    stream: Stream,
    remote: SocketAddr,
    neighbor: impl Fn(IpAddr) -> Option<Arc<NeighborShared>>,
) {
    let Some(neighbor) = neighbor(remote.ip().to_canonical()) else {
        debug!(target: LOG, %remote, "a BGP connection from an address that is no neighbour was closed");
        return;
    };
    if let Err(reason) = admit(&stream, remote, &neighbor.config()) {
        warn!(target: LOG, %remote, %reason, "a BGP connection of a neighbour was closed");
        return;
    }
    if neighbor.accepted.try_send(Accepted { stream, remote }).is_err() {
        debug!(target: LOG, %remote, "a BGP connection was closed: the neighbour has others waiting already");
    }
}

/// Whether a connection fits what the neighbour is configured for. The kernel has put the listener's key on it; it is
/// put there again, because a key that came by a reload is not on a connection that was made a moment before. What
/// arrived before GTSM is demanded here is not checked by it.
pub(crate) fn admit(stream: &Stream, remote: SocketAddr, config: &NeighborConfig) -> Result<(), String> {
    let local = stream.local_addr().map_err(|error| error.to_string())?.ip();
    if let Some(expected) = config.local_address.filter(|expected| *expected != local) {
        return Err(format!(
            "it was made to {local}, the neighbour is configured for {expected}"
        ));
    }
    let Some(socket) = stream.tcp() else {
        return Ok(());
    };
    if let Some(key) = &config.password {
        match set_md5(socket, remote.ip(), key) {
            // A kernel that takes keys before the connection is made, and no later.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
            result => result.map_err(|error| format!("the TCP-MD5 key cannot be set on it: {error}"))?,
        }
    }
    if config.ttl_security {
        demand_full_ttl(socket, remote.ip())
            .map_err(|error| format!("ttl_security cannot be set on it: {error}"))?;
    }
    Ok(())
}
