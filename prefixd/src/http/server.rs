//! Listeners and connections.
//!
//! One task a listener, one a connection. Aborting a connection is safe: what the engine was asked is decided and
//! committed all the same. All end within the deadline that the caller of [`serve`] sets.

use super::identity::Remote;
use super::{App, router};
use anyhow::Context;
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prefixd_api::config::settings::{Http, Socket};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;
use tracing::{debug, info, warn};

/// Connections at once; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 2048;
/// How long a client may take to send the head of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(15);
/// After a failure to accept (no file descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Bound and not yet served.
pub struct Listeners {
    tcp: Vec<TcpListener>,
    unix: Option<(UnixListener, PathBuf)>,
}

impl Listeners {
    /// Binds what the configuration names.
    ///
    /// # Errors
    /// When an address or the socket cannot be bound.
    pub async fn bind(http: &Http) -> anyhow::Result<Self> {
        let mut tcp = Vec::new();
        for address in &http.listen {
            let listener = TcpListener::bind(address)
                .await
                .with_context(|| format!("http.listen: cannot listen on {address}"))?;
            info!(%address, "HTTP listens");
            tcp.push(listener);
        }
        let unix = match &http.socket {
            Some(socket) => Some((bind_socket(socket)?, socket.path.clone())),
            None => None,
        };
        Ok(Self { tcp, unix })
    }
}

fn bind_socket(socket: &Socket) -> anyhow::Result<UnixListener> {
    let path = &socket.path;
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)
            .with_context(|| format!("http.socket.path: cannot make {}", dir.display()))?;
    }
    // A daemon that was killed leaves its socket behind; one that lives still answers.
    if path
        .symlink_metadata()
        .is_ok_and(|file| file.file_type().is_socket())
    {
        anyhow::ensure!(
            std::os::unix::net::UnixStream::connect(path).is_err(),
            "http.socket.path: another prefixd answers at {}",
            path.display()
        );
        std::fs::remove_file(path)
            .with_context(|| format!("cannot remove the old socket {}", path.display()))?;
    }
    let listener = UnixListener::bind(path)
        .with_context(|| format!("http.socket.path: cannot listen at {}", path.display()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(socket.mode.0))
        .with_context(|| format!("http.socket.mode: {}", path.display()))?;
    hand_to_group(socket);
    info!(path = %path.display(), "HTTP listens");
    Ok(listener)
}

/// Members of the operators' group can open the socket; who they are decides what they may do.
fn hand_to_group(socket: &Socket) {
    let Some(name) = &socket.operator_group else {
        return;
    };
    let given = match nix::unistd::Group::from_name(name) {
        Ok(Some(group)) => {
            nix::unistd::chown(&socket.path, None, Some(group.gid)).map_err(|error| error.to_string())
        }
        Ok(None) => Err("there is no such group".to_owned()),
        Err(error) => Err(error.to_string()),
    };
    if let Err(error) = given {
        warn!(
            group = name,
            error, "the socket stays with the daemon's own group: http.socket.operator_group"
        );
    }
}

/// Answers requests until `shutdown`, then finishes what is under way.
///
/// # Errors
/// Never at present; a listener that fails to accept goes on.
pub async fn serve(listeners: Listeners, app: App, shutdown: CancellationToken) -> anyhow::Result<()> {
    let server = Server {
        router: router(app),
        slots: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
        tasks: TaskTracker::new(),
        shutdown,
    };
    let mut accepting = tokio::task::JoinSet::new();
    for listener in listeners.tcp {
        accepting.spawn(server.clone().accept_tcp(listener));
    }
    let socket_path = listeners.unix.map(|(listener, path)| {
        accepting.spawn(server.clone().accept_unix(listener));
        path
    });
    server.shutdown.cancelled().await;
    accepting.shutdown().await;
    server.tasks.close();
    server.tasks.wait().await;
    if let Some(path) = socket_path
        && let Err(error) = std::fs::remove_file(&path)
    {
        debug!(%error, path = %path.display(), "the socket was gone already");
    }
    Ok(())
}

#[derive(Clone)]
struct Server {
    router: Router,
    slots: Arc<Semaphore>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

impl Server {
    async fn accept_tcp(self, listener: TcpListener) {
        while let Ok(slot) = Arc::clone(&self.slots).acquire_owned().await {
            match listener.accept().await {
                Ok((stream, remote)) => {
                    // Answers are one write each; a failure here costs latency only.
                    let _ = stream.set_nodelay(true);
                    let connection = self.clone().connection(stream, Remote::Tcp(remote));
                    self.tasks.spawn(async move {
                        connection.await;
                        drop(slot);
                    });
                }
                Err(error) => {
                    warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn accept_unix(self, listener: UnixListener) {
        while let Ok(slot) = Arc::clone(&self.slots).acquire_owned().await {
            let accepted = match listener.accept().await {
                Ok((stream, _)) => stream.peer_cred().map(|peer| {
                    (
                        stream,
                        Remote::Unix {
                            uid: peer.uid(),
                            gid: peer.gid(),
                        },
                    )
                }),
                Err(error) => Err(error),
            };
            match accepted {
                Ok((stream, remote)) => {
                    let connection = self.clone().connection(stream, remote);
                    self.tasks.spawn(async move {
                        connection.await;
                        drop(slot);
                    });
                }
                Err(error) => {
                    warn!(%error, "a connection to the socket could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn connection<S>(self, stream: S, remote: Remote)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let router = self.router;
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(remote);
            router.clone().call(request.map(Body::new))
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.shutdown.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            debug!(%error, ?remote, "a connection ended badly");
        }
    }
}
