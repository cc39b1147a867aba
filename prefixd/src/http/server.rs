//! Listeners and connections.
//!
//! One task a listener, one a connection. Aborting a connection is safe: what the engine was asked is decided and
//! committed all the same. All end within the deadline that the caller of [`serve`] sets.

use super::extract::Stopping;
use super::identity::Remote;
use super::routes::metrics_router;
use super::{App, router};
use anyhow::Context;
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prefixd_api::config::Settings;
use prefixd_api::config::settings::Socket;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, UnixListener};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;
use tracing::{debug, info, warn};

/// Connections at once; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 2048;
/// Connections at `observability.metrics_listen` at once.
const MAX_SCRAPERS: usize = 32;
/// How often a connection is looked at while the daemon stops: without an unanswered request it is cut.
const STOP_GRACE: Duration = Duration::from_secs(1);
/// How long a client may take to send the head of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(15);
/// Connections that the kernel keeps until they are accepted.
const BACKLOG: u32 = 1024;
/// What the kernel keeps for a reader, in bytes. It says that there is room again once a third is free: with the
/// megabytes it takes by itself, a slow reader of the feed would be dead before that, and not told to resync.
const SEND_BUFFER: u32 = 128 * 1024;
/// After a failure to accept (no file descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Bound and not yet served.
pub struct Listeners {
    tcp: Vec<TcpListener>,
    metrics: Option<TcpListener>,
    unix: Option<(UnixListener, SocketFile)>,
}

impl Listeners {
    /// Binds what the configuration names.
    ///
    /// # Errors
    /// When an address or the socket cannot be bound.
    pub fn bind(settings: &Settings) -> anyhow::Result<Self> {
        let http = &settings.http;
        let mut tcp = Vec::new();
        for address in &http.listen {
            tcp.push(bind_tcp("http.listen", *address)?);
        }
        let metrics = match settings.observability.metrics_listen {
            Some(address) => Some(bind_tcp("observability.metrics_listen", address)?),
            None => None,
        };
        let unix = match &http.socket {
            Some(socket) => Some((bind_socket(socket)?, SocketFile(socket.path.clone()))),
            None => None,
        };
        Ok(Self { tcp, metrics, unix })
    }
}

fn bind_tcp(key: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    let bind = || {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        socket.set_reuseaddr(true)?;
        // Connections have it from the listener.
        socket.set_send_buffer_size(SEND_BUFFER)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    let listener = bind().with_context(|| format!("{key}: cannot listen on {address}"))?;
    info!(%address, key, "HTTP listens");
    Ok(listener)
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

/// The socket's file; it goes with the listener.
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            debug!(%error, path = %self.0.display(), "the socket was gone already");
        }
    }
}

/// Answers requests until `shutdown`, then finishes what is under way.
///
/// # Errors
/// Never at present; a listener that fails to accept goes on.
pub async fn serve(listeners: Listeners, app: App, shutdown: CancellationToken) -> anyhow::Result<()> {
    let server = |router| Server {
        router,
        slots: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
        tasks: TaskTracker::new(),
        shutdown: shutdown.clone(),
    };
    let main = server(router(app.clone()));
    // Connections of strangers over TCP, or of a scraper, must not keep the operators at the socket out.
    let [at_socket, metrics] = [
        Server {
            slots: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            ..main.clone()
        },
        Server {
            router: metrics_router(app),
            slots: Arc::new(Semaphore::new(MAX_SCRAPERS)),
            ..main.clone()
        },
    ];
    let mut accepting = tokio::task::JoinSet::new();
    for listener in listeners.tcp {
        accepting.spawn(main.clone().accept_tcp(listener));
    }
    if let Some(listener) = listeners.metrics {
        accepting.spawn(metrics.accept_tcp(listener));
    }
    let file = listeners.unix.map(|(listener, file)| {
        accepting.spawn(at_socket.accept_unix(listener));
        file
    });
    main.shutdown.cancelled().await;
    accepting.shutdown().await;
    main.tasks.close();
    main.tasks.wait().await;
    drop(file);
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
        let asked = Arc::new(Asked::default());
        let stopping = self.shutdown.clone();
        let service = service_fn({
            let asked = Arc::clone(&asked);
            move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(remote);
                request.extensions_mut().insert(Stopping(stopping.clone()));
                let answer = router.clone().call(request.map(Body::new));
                let asked = asked.begin();
                async move {
                    let answer = answer.await;
                    drop(asked);
                    answer
                }
            }
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
                loop {
                    tokio::select! {
                        biased;
                        ended = connection.as_mut() => break ended,
                        // What was asked gets its answer; half a request does not hold the stop.
                        () = tokio::time::sleep(STOP_GRACE) => if !asked.is_pending() { break Ok(()) },
                    }
                }
            }
        };
        if let Err(error) = ended {
            debug!(%error, ?remote, "a connection ended badly");
        }
    }
}

/// Requests of one connection that wait for their answer.
#[derive(Default)]
struct Asked(AtomicUsize);

impl Asked {
    fn begin(self: &Arc<Self>) -> impl Send + use<> {
        struct Pending(Arc<Asked>);
        impl Drop for Pending {
            fn drop(&mut self) {
                self.0.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        self.0.fetch_add(1, Ordering::Relaxed);
        Pending(Arc::clone(self))
    }

    fn is_pending(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[tokio::test]
    async fn the_socket_is_where_and_for_whom_it_is_configured() {
        let dir = tempfile::tempdir().unwrap();
        let group = a_group();
        let socket = Socket {
            path: dir.path().join("sub/prefixd.sock"),
            mode: "0640".to_owned().try_into().unwrap(),
            operator_group: Some(group.name.clone()),
            ..Socket::default()
        };
        let _listener = bind_socket(&socket).unwrap();
        let made = socket.path.metadata().unwrap();
        assert_eq!(made.mode() & 0o777, 0o640);
        assert_eq!(made.gid(), group.gid.as_raw());
    }

    /// One that a file may be given to, and is not in by itself where there is such a one: root may take any, everybody else one of
    /// their own.
    fn a_group() -> nix::unistd::Group {
        use nix::unistd::{Group, getegid, geteuid, getgroups};
        if geteuid().is_root() {
            return Group::from_name("daemon").unwrap().unwrap();
        }
        let own = getegid();
        let others = getgroups().unwrap().into_iter().filter(|group| *group != own);
        let mut groups = others.chain([own]);
        groups.find_map(|group| Group::from_gid(group).unwrap()).unwrap()
    }
}
