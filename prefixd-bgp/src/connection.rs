//! The two tasks around one TCP connection.
//!
//! ```text
//!   socket --> reader --(bounded; waits)--> neighbour task
//!                                                |  try_send, never waits
//!   socket <-- writer <--(control lane)----------+
//!                 ^------ pulls bulk from the RIB when the last write is through
//! ```
//!
//! The neighbour task never waits for the writer, so a router that stops reading cannot stop its own hold timer. The
//! writer takes the control lane first and only then one bounded batch, so a KEEPALIVE or a withdrawal never queues
//! behind a full table. Aborting either task is safe: the reader keeps no state, and what the writer pulled but did not
//! confirm is forgotten with the session.

mod writer;

use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tracing::trace;

use crate::mrt::{Ends, front};
use crate::neighbor::ConnectionId;
use crate::rib::Generation;
use crate::shared::NeighborShared;
use crate::status::LOG;
use crate::wire::{Inbound, frame};
use writer::{Blocked, Lane};

/// Messages from the sockets of one neighbour waiting for its task; when full the reader waits, and so the router.
pub(crate) const INBOUND_QUEUE: usize = 64;
/// Control messages waiting for the writer. When full the socket has been stuck for several keepalive intervals, and
/// another KEEPALIVE would say nothing new: it is dropped.
const CONTROL_LANE: usize = 16;
/// Room for the longest message and the start of the next.
const READ_BUFFER: usize = 8 * 1024;

/// What a connection reports to the neighbour task.
#[derive(Debug)]
pub(crate) enum Report {
    Message(Inbound),
    Lost(String),
}

/// The owner of both tasks; dropping it ends them and closes the socket without a NOTIFICATION.
pub(crate) struct Connection {
    lane: mpsc::Sender<Lane>,
    blocked: Arc<Blocked>,
    reader: AbortOnDropHandle<()>,
    writer: AbortOnDropHandle<()>,
}

impl Connection {
    pub(crate) fn start<S>(
        id: ConnectionId,
        stream: S,
        ends: Ends,
        shared: &Arc<NeighborShared>,
        reports: &mpsc::Sender<(ConnectionId, Report)>,
    ) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (read_half, write_half) = tokio::io::split(stream);
        let (lane, lane_rx) = mpsc::channel(CONTROL_LANE);
        let blocked = Arc::new(Blocked::default());
        let reader = tokio::spawn(read(id, read_half, ends, shared.clone(), reports.clone()));
        let writing = writer::write(id, write_half, lane_rx, ends, shared.clone(), blocked.clone());
        let reports = reports.clone();
        let writer = tokio::spawn(async move {
            if let Err(error) = writing.await {
                // Fails only when the neighbour task is gone, which ends this connection too.
                let _ = reports.send((id, Report::Lost(error.to_string()))).await;
            }
        });
        Self {
            lane,
            blocked,
            reader: AbortOnDropHandle::new(reader),
            writer: AbortOnDropHandle::new(writer),
        }
    }

    /// Queues a control message; true if it will be written.
    pub(crate) fn send(&self, message: Bytes) -> bool {
        self.lane.try_send(Lane::Message(message)).is_ok()
    }

    /// From now on the writer pulls from the RIB; true unless the writer is stuck or gone.
    pub(crate) fn open_bulk(&self, generation: Generation) -> bool {
        self.lane.try_send(Lane::Bulk(generation)).is_ok()
    }

    pub(crate) fn blocked_since(&self) -> Option<Instant> {
        self.blocked.since()
    }

    /// Time spent waiting for the socket since the last call.
    pub(crate) fn take_blocked(&self) -> std::time::Duration {
        self.blocked.take_total()
    }

    /// Writes what is queued, then the last message, closes our half and reads until the router closes its half. The
    /// caller bounds the time: a stuck socket never finishes.
    pub(crate) async fn close(self, last: Option<Bytes>) {
        // Fails only when the writer is gone already, and then there is nobody to say it to.
        let _ = self.lane.send(Lane::Farewell(last.unwrap_or_default())).await;
        let _ = self.writer.await;
        let _ = self.reader.await;
    }
}

/// Frames messages until the stream ends. After bytes that are not BGP it only drains: closing a socket with unread
/// data resets the connection and could overtake our NOTIFICATION.
async fn read<R: AsyncRead>(
    id: ConnectionId,
    stream: R,
    ends: Ends,
    shared: Arc<NeighborShared>,
    reports: mpsc::Sender<(ConnectionId, Report)>,
) {
    let mut stream = std::pin::pin!(stream);
    let mut buffer = BytesMut::with_capacity(READ_BUFFER);
    let mut readable = true;
    let lost = loop {
        match stream.read_buf(&mut buffer).await {
            Ok(0) => break "closed by the router".to_owned(),
            Ok(count) => {
                let new = buffer
                    .get(buffer.len().saturating_sub(count)..)
                    .unwrap_or_default();
                trace!(target: LOG, neighbor = %shared.name(), connection = id.0, bytes = %Hex(new), "from the router");
            }
            Err(error) => break describe(&error),
        }
        while readable
            && let raw = shared.tap.is_on().then(|| front(&buffer).to_vec())
            && let Some(inbound) = frame(&mut buffer)
        {
            if let Some(raw) = raw {
                shared.tap.received(&raw, ends, || shared.writes_four_octets());
            }
            readable = !matches!(inbound, Inbound::Malformed(_));
            if reports.send((id, Report::Message(inbound))).await.is_err() {
                return;
            }
        }
        if !readable {
            buffer.clear();
        }
    };
    // The task may be gone already.
    let _ = reports.send((id, Report::Lost(lost))).await;
}

/// Bytes for the log.
struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

pub(crate) fn describe(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionReset => "reset by the router".to_owned(),
        io::ErrorKind::ConnectionRefused => "refused; is BGP running there, and on this port?".to_owned(),
        _ => error.to_string(),
    }
}
