//! One connection: two pipes with delay and bounded room. A frozen pipe delivers nothing, as a link that swallows packets
//! or a side that has stopped reading; a reset one fails on both sides.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Duration, Instant, Sleep, sleep_until};

use crate::shared::lock;

/// What a pipe holds that was written and not read: the send buffer of one side and the receive buffer of the other.
const ROOM: usize = 64 * 1024;

/// One end.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) local: SocketAddr,
    pub(super) wire: Arc<Wire>,
    speaker_side: bool,
    alarm: Option<Pin<Box<Sleep>>>,
    /// When what was read last had been written.
    pub(super) written: Instant,
}

/// Both directions of a connection.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) id: u64,
    to_router: Mutex<Pipe>,
    to_speaker: Mutex<Pipe>,
    /// The speaker still has its end.
    speaker_holds: Mutex<bool>,
}

#[derive(Debug)]
struct Pipe {
    chunks: VecDeque<Chunk>,
    held: usize,
    delay: Duration,
    frozen_until: Option<Instant>,
    reset: bool,
    reader_gone: Option<Instant>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// Without bytes it is the end of the stream.
#[derive(Debug)]
struct Chunk {
    bytes: Bytes,
    written: Instant,
    due: Instant,
}

impl Pipe {
    fn new(delay: Duration) -> Self {
        Self {
            chunks: VecDeque::new(),
            held: 0,
            delay,
            frozen_until: None,
            reset: false,
            reader_gone: None,
            reader: None,
            writer: None,
        }
    }

    fn push(&mut self, bytes: Bytes) {
        let now = Instant::now();
        self.held += bytes.len();
        self.chunks.push_back(Chunk {
            bytes,
            written: now,
            due: now + self.delay,
        });
        self.wake();
    }

    fn frozen(&self) -> bool {
        self.frozen_until.is_some_and(|until| Instant::now() < until)
    }

    fn wake(&mut self) {
        self.reader.take().into_iter().for_each(Waker::wake);
        self.writer.take().into_iter().for_each(Waker::wake);
    }
}

impl Wire {
    /// The speaker's end and the router's.
    pub(super) fn pair(
        id: u64,
        delay: Duration,
        speaker: SocketAddr,
        router: SocketAddr,
    ) -> (Stream, Stream) {
        let wire = Arc::new(Self {
            id,
            to_router: Mutex::new(Pipe::new(delay)),
            to_speaker: Mutex::new(Pipe::new(delay)),
            speaker_holds: Mutex::new(true),
        });
        let end = |local, speaker_side| Stream {
            local,
            wire: wire.clone(),
            speaker_side,
            alarm: None,
            written: Instant::now(),
        };
        (end(speaker, true), end(router, false))
    }

    /// Both ends fail at their next step.
    pub(super) fn reset(&self) {
        for pipe in [&self.to_router, &self.to_speaker] {
            let mut pipe = lock(pipe);
            pipe.reset = true;
            pipe.chunks.clear();
            pipe.wake();
        }
    }

    pub(super) fn freeze_to_router(&self, until: Instant) {
        freeze(&self.to_router, until);
    }

    pub(super) fn freeze_to_speaker(&self, until: Instant) {
        freeze(&self.to_speaker, until);
    }

    pub(super) fn speaker_holds(&self) -> bool {
        *lock(&self.speaker_holds)
    }
}

fn freeze(pipe: &Mutex<Pipe>, until: Instant) {
    let mut pipe = lock(pipe);
    pipe.frozen_until = pipe.frozen_until.max(Some(until));
    pipe.wake();
}

impl Stream {
    fn incoming(&self) -> &Mutex<Pipe> {
        if self.speaker_side {
            &self.wire.to_speaker
        } else {
            &self.wire.to_router
        }
    }

    fn outgoing(&self) -> &Mutex<Pipe> {
        if self.speaker_side {
            &self.wire.to_router
        } else {
            &self.wire.to_speaker
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let wire = this.wire.clone();
        let pipe = if this.speaker_side {
            &wire.to_speaker
        } else {
            &wire.to_router
        };
        let mut pipe = lock(pipe);
        if pipe.reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let now = Instant::now();
        let frozen_until = pipe.frozen_until.filter(|until| now < *until);
        let Some(due) = pipe
            .chunks
            .front()
            .map(|chunk| chunk.due.max(frozen_until.unwrap_or(now)))
        else {
            pipe.reader = Some(cx.waker().clone());
            return Poll::Pending;
        };
        if due > now {
            pipe.reader = Some(cx.waker().clone());
            let alarm = this.alarm.insert(Box::pin(sleep_until(due)));
            return match alarm.as_mut().poll(cx) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(()) => {
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
            };
        }
        let Some(chunk) = pipe.chunks.front_mut().filter(|chunk| !chunk.bytes.is_empty()) else {
            return Poll::Ready(Ok(()));
        };
        let count = chunk.bytes.len().min(buf.remaining());
        buf.put_slice(&chunk.bytes[..count]);
        chunk.bytes.advance(count);
        this.written = chunk.written;
        if chunk.bytes.is_empty() {
            pipe.chunks.pop_front();
        }
        pipe.held -= count;
        pipe.writer.take().into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let mut pipe = lock(self.outgoing());
        let gone = pipe.reader_gone.is_some_and(|at| at <= Instant::now()) && !pipe.frozen();
        if pipe.reset || gone {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let room = ROOM - pipe.held;
        if room == 0 {
            pipe.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let count = room.min(buf.len());
        pipe.push(Bytes::copy_from_slice(&buf[..count]));
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        lock(self.outgoing()).push(Bytes::new());
        Poll::Ready(Ok(()))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let gone = {
            let mut pipe = lock(self.outgoing());
            pipe.push(Bytes::new());
            Instant::now() + pipe.delay
        };
        let mut pipe = lock(self.incoming());
        pipe.reader_gone = Some(gone);
        pipe.wake();
        if self.speaker_side {
            *lock(&self.wire.speaker_holds) = false;
        }
    }
}
