//! Accepting connections and handing each to the neighbour of its address.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Duration, sleep};
use tracing::{debug, warn};

use crate::shared::{Accepted, NeighborShared};

/// Connections the kernel holds for us.
const BACKLOG: i32 = 64;
/// Pause after a failed accept, which mostly means that file descriptors ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Binds without IPv4 on IPv6 sockets, so that `0.0.0.0` and `[::]` can both be listed.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Accepts until aborted, which is safe at any point. `neighbor` finds who has an address.
pub(crate) async fn accept(listener: TcpListener, neighbor: impl Fn(IpAddr) -> Option<Arc<NeighborShared>>) {
    loop {
        match listener.accept().await {
            Ok((stream, remote)) => hand_over(stream, remote, &neighbor),
            Err(error) => {
                warn!(%error, "a BGP connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn hand_over(
    stream: TcpStream,
    remote: SocketAddr,
    neighbor: impl Fn(IpAddr) -> Option<Arc<NeighborShared>>,
) {
    let Some(neighbor) = neighbor(remote.ip().to_canonical()) else {
        debug!(%remote, "a BGP connection from an address that is no neighbour was closed");
        return;
    };
    if neighbor.accepted.try_send(Accepted { stream, remote }).is_err() {
        debug!(%remote, "a BGP connection was closed: the neighbour has others waiting already");
    }
}
