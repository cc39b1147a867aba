//! The writing half: two lanes, control before bulk.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::time::{Duration, Instant, sleep_until};
use tracing::{debug, trace};

use super::Hex;
use crate::mrt::Ends;
use crate::neighbor::ConnectionId;
use crate::rib::{BATCH_BYTES, Batch, Generation, MESSAGE_BYTES, Pull};
use crate::shared::{NeighborShared, lock};
use crate::status::LOG;

/// What the neighbour task may ask of the writer.
#[derive(Debug)]
pub(super) enum Lane {
    Message(Bytes),
    /// The session is established: pull from the RIB under this name.
    Bulk(Generation),
    /// Write this (or nothing) and close our half.
    Farewell(Bytes),
}

/// Since when the socket takes nothing, and for how long in all.
#[derive(Debug, Default)]
pub(super) struct Blocked(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    now: Option<Wait>,
    /// Finished waits that nobody has taken yet.
    total: Duration,
}

#[derive(Debug)]
struct Wait {
    since: Instant,
    /// Up to here it was taken into account.
    taken: Instant,
}

impl Blocked {
    pub(super) fn since(&self) -> Option<Instant> {
        lock(&self.0).now.as_ref().map(|wait| wait.since)
    }

    /// Time waited since the last call, a wait that is still going on included.
    pub(super) fn take_total(&self) -> Duration {
        let mut waiting = lock(&self.0);
        let mut total = std::mem::take(&mut waiting.total);
        if let Some(wait) = waiting.now.as_mut() {
            let now = Instant::now();
            total += now.saturating_duration_since(wait.taken);
            wait.taken = now;
        }
        total
    }

    fn begin(&self) {
        let now = Instant::now();
        lock(&self.0).now = Some(Wait {
            since: now,
            taken: now,
        });
    }

    fn end(&self) {
        let mut waiting = lock(&self.0);
        if let Some(wait) = waiting.now.take() {
            waiting.total += wait.taken.elapsed();
        }
    }
}

/// Runs until told to say farewell, until its owner is gone (closing without a word), or until the socket fails.
pub(super) async fn write<W: AsyncWrite>(
    id: ConnectionId,
    stream: W,
    mut lane: mpsc::Receiver<Lane>,
    ends: Ends,
    shared: Arc<NeighborShared>,
    blocked: Arc<Blocked>,
) -> io::Result<()> {
    let mut stream = pin!(stream);
    let says = |bytes: &[u8]| {
        if bytes.is_empty() {
            return;
        }
        trace!(target: LOG, neighbor = %shared.name(), connection = id.0, bytes = %Hex(bytes), "to the router");
    };
    let sent = |bytes: &[u8]| shared.tap.sent(bytes, ends, || shared.writes_four_octets());
    let mut changed = shared.changed.subscribe();
    let mut bulk = None;
    let mut amount = MESSAGE_BYTES;
    loop {
        let next = match lane.try_recv() {
            Ok(next) => next,
            Err(TryRecvError::Disconnected) => return Ok(()),
            Err(TryRecvError::Empty) => {
                let later = match bulk {
                    None => None,
                    Some(generation) => {
                        changed.mark_unchanged();
                        let pull = {
                            let mut rib = shared.rib();
                            // Under the lock: what other attributes ask to be sent again must be sent with them.
                            rib.pull(generation, &shared.attributes(), amount, Instant::now())
                        };
                        match pull {
                            Pull::Batch(batch) => {
                                says(&batch.bytes);
                                // As much at a time as is taken at once, so that what is more urgent is never far behind.
                                amount = match write_all(&mut stream, &batch.bytes, &blocked).await? {
                                    Taken::AtOnce => (amount * 2).min(BATCH_BYTES),
                                    Taken::Slowly => MESSAGE_BYTES,
                                };
                                sent(&batch.bytes);
                                confirm(id, &shared, batch);
                                continue;
                            }
                            Pull::Later(at) => Some(at),
                            Pull::Idle | Pull::Stale => None,
                        }
                    }
                };
                tokio::select! {
                    biased;
                    next = lane.recv() => match next {
                        Some(next) => next,
                        None => return Ok(()),
                    },
                    _ = changed.changed(), if bulk.is_some() => continue,
                    () = sleep_until_some(later) => continue,
                }
            }
        };
        match next {
            Lane::Message(message) => {
                says(&message);
                write_all(&mut stream, &message, &blocked).await?;
                sent(&message);
            }
            Lane::Bulk(generation) => bulk = Some(generation),
            Lane::Farewell(last) => {
                says(&last);
                write_all(&mut stream, &last, &blocked).await?;
                sent(&last);
                return stream.shutdown().await;
            }
        }
    }
}

fn confirm(id: ConnectionId, shared: &NeighborShared, batch: Batch) {
    debug!(
        target: LOG,
        neighbor = %shared.name(),
        connection = id.0,
        kind = "UPDATE",
        updates = batch.updates,
        refreshes = batch.refreshes,
        announced = batch.announcements(),
        withdrawn = batch.withdrawals(),
        bytes = batch.bytes.len(),
        "sent"
    );
    {
        let mut observed = shared.observed();
        observed.sent.update += batch.updates;
        observed.sent.route_refresh += batch.refreshes;
    }
    shared.rib().written(batch, Instant::now());
    shared.written.notify_one();
}

async fn sleep_until_some(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// How a socket took what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taken {
    AtOnce,
    /// It was full in between.
    Slowly,
}

/// Every byte the socket takes counts as progress (RFC 9687 section 3.2).
async fn write_all<W: AsyncWrite + Unpin>(
    stream: &mut W,
    mut bytes: &[u8],
    blocked: &Blocked,
) -> io::Result<Taken> {
    let mut taken = Taken::AtOnce;
    while !bytes.is_empty() {
        blocked.begin();
        let written = poll_fn(|context| {
            let written = Pin::new(&mut *stream).poll_write(context, bytes);
            if written.is_pending() {
                taken = Taken::Slowly;
            }
            written
        })
        .await;
        blocked.end();
        match written? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            count => bytes = &bytes[count..],
        }
    }
    Ok(taken)
}
