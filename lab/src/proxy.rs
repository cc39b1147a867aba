//! A TCP proxy that cuts or stalls what passes through it, for tests of a database that goes away or hangs.
//!
//! Tasks: one accepts, and owns one per connection in a `JoinSet`. Dropping the [`Proxy`] aborts the first, which
//! drops the set; the sockets close with their tasks, which is what a cut is.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// What the proxy does with bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Pass,
    Stall,
    /// Stalls the connections that are older than this number.
    StallOlder(u64),
    Cut,
}

impl Mode {
    fn moves(self, connection: u64) -> bool {
        match self {
            Self::Stall => false,
            Self::StallOlder(than) => connection >= than,
            Self::Pass | Self::Cut => true,
        }
    }
}

/// A running proxy.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
    /// Connections so far.
    connections: Arc<AtomicU64>,
    acceptor: JoinHandle<()>,
}

impl Proxy {
    /// Starts a proxy in front of `target` on a loopback address of its own.
    ///
    /// # Errors
    /// When no socket can be bound.
    pub async fn start(target: SocketAddr) -> anyhow::Result<Self> {
        Self::start_at(SocketAddr::new(crate::net::own_loopback().into(), 0), target).await
    }

    /// Starts a proxy at this address: it stands for a server that comes late.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn start_at(address: SocketAddr, target: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address).await.context("bind the proxy")?;
        let address = listener.local_addr().context("the proxy's address")?;
        let (mode, watched) = watch::channel(Mode::Pass);
        let connections = Arc::new(AtomicU64::new(0));
        let acceptor = tokio::spawn(accept(listener, target, watched, Arc::clone(&connections)));
        Ok(Self {
            address,
            mode,
            connections,
            acceptor,
        })
    }

    /// Where to connect instead of the target.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes every connection, and every new one at once, until [`Proxy::pass`].
    pub fn cut(&self) {
        self.mode.send_replace(Mode::Cut);
    }

    /// Keeps connections open, also new ones, but moves no byte until [`Proxy::pass`].
    pub fn stall(&self) {
        self.mode.send_replace(Mode::Stall);
    }

    /// Stalls the connections that there are, while new ones pass: packets of the old ones are late.
    pub fn stall_old(&self) {
        let next = self.connections.load(Ordering::Relaxed);
        self.mode.send_replace(Mode::StallOlder(next));
    }

    /// Moves bytes again. Connections that were cut stay closed.
    pub fn pass(&self) {
        self.mode.send_replace(Mode::Pass);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

async fn accept(
    listener: TcpListener,
    target: SocketAddr,
    mode: watch::Receiver<Mode>,
    count: Arc<AtomicU64>,
) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let number = count.fetch_add(1, Ordering::Relaxed);
        connections.spawn(connection(number, client, target, mode.clone()));
        while connections.try_join_next().is_some() {}
    }
}

/// An error on either side ends the connection: the other side sees it closed, as it would without the proxy.
async fn connection(number: u64, client: TcpStream, target: SocketAddr, mode: watch::Receiver<Mode>) {
    let mut until_cut = mode.clone();
    let relay = async {
        let mut until_pass = mode.clone();
        until_pass.wait_for(|mode| mode.moves(number)).await.ok()?;
        let server = TcpStream::connect(target).await.ok()?;
        let (client_reads, client_writes) = client.into_split();
        let (server_reads, server_writes) = server.into_split();
        tokio::join!(
            pump(number, client_reads, server_writes, mode.clone()),
            pump(number, server_reads, client_writes, mode)
        );
        Some(())
    };
    tokio::select! {
        _ = until_cut.wait_for(|mode| *mode == Mode::Cut) => {}
        _ = relay => {}
    }
}

async fn pump(number: u64, mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut mode: watch::Receiver<Mode>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if mode.wait_for(|mode| mode.moves(number)).await.is_err()
            || to.write_all(&buffer[..length]).await.is_err()
        {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind((crate::net::own_loopback(), 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut reads, mut writes) = stream.split();
                    tokio::io::copy(&mut reads, &mut writes).await
                });
            }
        });
        address
    }

    async fn ask(stream: &mut TcpStream) -> std::io::Result<u8> {
        stream.write_all(b"x").await?;
        stream.read_u8().await
    }

    #[tokio::test]
    async fn passes_stalls_and_cuts() {
        let proxy = Proxy::start(echo().await).await.unwrap();
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(
            tokio::time::timeout(LIMIT, ask(&mut stream))
                .await
                .unwrap()
                .unwrap(),
            b'x'
        );

        proxy.stall();
        assert!(
            tokio::time::timeout(Duration::from_millis(50), ask(&mut stream))
                .await
                .is_err()
        );
        proxy.pass();
        assert_eq!(
            tokio::time::timeout(LIMIT, stream.read_u8())
                .await
                .unwrap()
                .unwrap(),
            b'x'
        );

        proxy.stall_old();
        let mut new = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(
            tokio::time::timeout(LIMIT, ask(&mut new)).await.unwrap().unwrap(),
            b'x'
        );
        assert!(
            tokio::time::timeout(Duration::from_millis(50), ask(&mut stream))
                .await
                .is_err()
        );

        proxy.cut();
        assert!(
            tokio::time::timeout(LIMIT, stream.read_u8())
                .await
                .unwrap()
                .is_err()
        );
        let mut refused = TcpStream::connect(proxy.address()).await.unwrap();
        assert!(
            tokio::time::timeout(LIMIT, refused.read_u8())
                .await
                .unwrap()
                .is_err()
        );

        proxy.pass();
        let mut again = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(
            tokio::time::timeout(LIMIT, ask(&mut again))
                .await
                .unwrap()
                .unwrap(),
            b'x'
        );
    }
}
