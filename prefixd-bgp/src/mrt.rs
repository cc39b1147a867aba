//! What a neighbour and we say to each other, as MRT records (RFC 6396) for support.
//!
//! One capture at a time for each neighbour, bounded in time here and by whoever reads it. Nobody waits for it: what its
//! queue has no room for is counted and left out. Keys of TCP-MD5 are no part of messages.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::{Duration, Instant};

use crate::shared::lock;

/// Pieces that wait for the reader: each is one received message, or what was written at once.
const QUEUE: usize = 256;
/// Longest BGP message (RFC 4271 section 4.1).
const LONGEST: usize = 4096;
const HEADER: usize = 19;
/// BGP4MP with microseconds, and its subtypes: what the router said, what we said, and how the session changed.
const BGP4MP_ET: u16 = 17;
const MESSAGE: u16 = 1;
const MESSAGE_AS4: u16 = 4;
const STATE_CHANGE_AS4: u16 = 5;
const MESSAGE_LOCAL: u16 = 6;
const MESSAGE_AS4_LOCAL: u16 = 7;
/// States of RFC 4271, as MRT numbers them.
const IDLE: u16 = 1;
const ESTABLISHED: u16 = 6;

/// Where the messages of a neighbour are taken.
#[derive(Debug, Default)]
pub(crate) struct Tap {
    is_on: AtomicBool,
    on: Mutex<Option<On>>,
}

#[derive(Debug)]
struct On {
    queue: mpsc::Sender<Piece>,
    until: Instant,
    lost: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Piece {
    at: Instant,
    what: What,
    ends: Ends,
    four_octet_as: bool,
}

#[derive(Debug)]
enum What {
    Received(Bytes),
    Sent(Bytes),
    /// The session is established, or is no longer.
    Session(bool),
}

/// The two ends of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ends {
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
}

/// Somebody captures the messages of this neighbour already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the messages of this neighbour are being dumped already; one dump at a time")]
pub struct Busy;

/// The messages of a neighbour from now on, for a while.
#[derive(Debug)]
pub struct Capture {
    queue: mpsc::Receiver<Piece>,
    lost: Arc<AtomicU64>,
    local_asn: u32,
    peer_asn: u32,
}

/// Messages that were read or written at once.
#[derive(Debug)]
pub struct Captured {
    piece: Piece,
    local_asn: u32,
    peer_asn: u32,
}

impl Tap {
    pub(crate) fn open(
        &self,
        lasts: Duration,
        now: Instant,
        local_asn: u32,
        peer_asn: u32,
    ) -> Result<Capture, Busy> {
        let mut on = lock(&self.on);
        if on
            .as_ref()
            .is_some_and(|on| on.until > now && !on.queue.is_closed())
        {
            return Err(Busy);
        }
        let (sender, queue) = mpsc::channel(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        *on = Some(On {
            queue: sender,
            until: now + lasts,
            lost: lost.clone(),
        });
        self.is_on.store(true, Ordering::Relaxed);
        Ok(Capture {
            queue,
            lost,
            local_asn,
            peer_asn,
        })
    }

    /// Whether anybody wants to know. Cheap.
    pub(crate) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    pub(crate) fn received(&self, message: &[u8], ends: Ends, four_octet_as: impl FnOnce() -> bool) {
        self.put(ends, four_octet_as, || {
            What::Received(Bytes::copy_from_slice(message))
        });
    }

    pub(crate) fn sent(&self, messages: &[u8], ends: Ends, four_octet_as: impl FnOnce() -> bool) {
        if !messages.is_empty() {
            self.put(ends, four_octet_as, || {
                What::Sent(Bytes::copy_from_slice(messages))
            });
        }
    }

    pub(crate) fn session(&self, is_up: bool, ends: Ends) {
        self.put(ends, || true, || What::Session(is_up));
    }

    fn put(&self, ends: Ends, four_octet_as: impl FnOnce() -> bool, what: impl FnOnce() -> What) {
        if !self.is_on() {
            return;
        }
        let mut on = lock(&self.on);
        let now = Instant::now();
        let Some(open) = on.as_ref().filter(|on| on.until > now && !on.queue.is_closed()) else {
            *on = None;
            self.is_on.store(false, Ordering::Relaxed);
            return;
        };
        let piece = Piece {
            at: now,
            what: what(),
            ends,
            four_octet_as: four_octet_as(),
        };
        if open.queue.try_send(piece).is_err() {
            open.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The message at the front of what was read, or what there is of it.
pub(crate) fn front(read: &[u8]) -> &[u8] {
    let length = read
        .get(16..18)
        .and_then(|length| length.try_into().ok())
        .map_or(LONGEST, |length| usize::from(u16::from_be_bytes(length)));
    &read[..read.len().min(length.clamp(HEADER, LONGEST))]
}

impl Capture {
    /// What was said next. None once nothing more will come.
    pub async fn next(&mut self) -> Option<Captured> {
        let piece = self.queue.recv().await?;
        Some(Captured {
            piece,
            local_asn: self.local_asn,
            peer_asn: self.peer_asn,
        })
    }

    /// Pieces that are missing, because they were not read fast enough.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Captured {
    /// When it was read or written.
    #[must_use]
    pub fn at(&self) -> Instant {
        self.piece.at
    }

    /// The records, each with this time in microseconds since 1970.
    #[must_use]
    pub fn records(&self, micros: u64) -> Vec<u8> {
        let mut out = Vec::new();
        let as4 = self.piece.four_octet_as;
        match &self.piece.what {
            What::Received(message) => {
                let subtype = if as4 { MESSAGE_AS4 } else { MESSAGE };
                self.record(&mut out, micros, subtype, message);
            }
            What::Sent(messages) => {
                let subtype = if as4 { MESSAGE_AS4_LOCAL } else { MESSAGE_LOCAL };
                let mut rest = &messages[..];
                while !rest.is_empty() {
                    let (message, more) = rest.split_at(front(rest).len());
                    self.record(&mut out, micros, subtype, message);
                    rest = more;
                }
            }
            What::Session(is_up) => {
                let (from, to) = if *is_up {
                    (IDLE, ESTABLISHED)
                } else {
                    (ESTABLISHED, IDLE)
                };
                let states = [from.to_be_bytes(), to.to_be_bytes()].concat();
                self.record(&mut out, micros, STATE_CHANGE_AS4, &states);
            }
        }
        out
    }

    fn record(&self, out: &mut Vec<u8>, micros: u64, subtype: u16, what: &[u8]) {
        let two = |asn: u32| u16::try_from(asn).unwrap_or(AS_TRANS).to_be_bytes().to_vec();
        let four = |asn: u32| asn.to_be_bytes().to_vec();
        let asn = if matches!(subtype, MESSAGE | MESSAGE_LOCAL) {
            two
        } else {
            four as fn(u32) -> Vec<u8>
        };
        let (local, remote) = (self.piece.ends.local.ip(), self.piece.ends.remote.ip());
        let mut body = u32::try_from(micros % 1_000_000)
            .unwrap_or(0)
            .to_be_bytes()
            .to_vec();
        body.extend(asn(self.peer_asn));
        body.extend(asn(self.local_asn));
        // No interface.
        body.extend([0, 0]);
        let (remote, local) = (remote.to_canonical(), local.to_canonical());
        body.extend(if remote.is_ipv4() { [0, 1] } else { [0, 2] });
        for address in [remote, local] {
            match address {
                IpAddr::V4(address) => body.extend(address.octets()),
                IpAddr::V6(address) => body.extend(address.octets()),
            }
        }
        body.extend(what);
        // Until 2106, as the format has it.
        out.extend(
            u32::try_from(micros / 1_000_000)
                .unwrap_or(u32::MAX)
                .to_be_bytes(),
        );
        out.extend(BGP4MP_ET.to_be_bytes());
        out.extend(subtype.to_be_bytes());
        out.extend(u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes());
        out.extend(body);
    }
}

/// What stands for an AS that does not fit into two bytes (RFC 6793).
const AS_TRANS: u16 = 23456;

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(local: &str, remote: &str) -> Ends {
        Ends {
            local: local.parse().unwrap(),
            remote: remote.parse().unwrap(),
        }
    }

    fn keepalive() -> Vec<u8> {
        [vec![0xFF; 16], vec![0, 19, 4]].concat()
    }

    /// By hand from RFC 6396 sections 3, 4.4.2 and 4.4.3.
    #[tokio::test]
    async fn records_are_as_the_format_has_them() {
        let tap = Tap::default();
        let now = Instant::now();
        let mut capture = tap
            .open(Duration::from_secs(1), now, 65_010, 4_200_000_000)
            .unwrap();
        let v4 = ends("192.0.2.10:40000", "192.0.2.1:179");
        tap.received(&keepalive(), v4, || true);
        let one = capture.next().await.unwrap().records(1_767_225_600_000_123);
        let head = [
            &[0x69, 0x55, 0xB9, 0x00][..],
            &[0, 17, 0, 4, 0, 0, 0, 43],
            &[0, 0, 0, 123],
        ]
        .concat();
        let peers = [
            &[0xFA, 0x56, 0xEA, 0x00, 0, 0, 0xFD, 0xF2, 0, 0, 0, 1][..],
            &[192, 0, 2, 1, 192, 0, 2, 10],
        ];
        assert_eq!(one, [head, peers.concat(), keepalive()].concat());

        // Two messages in one write are two records; a two-octet session has two-octet numbers.
        let v6 = ends("[2001:db8::10]:179", "[2001:db8::1]:40000");
        tap.sent(&[keepalive(), keepalive()].concat(), v6, || false);
        let two = capture.next().await.unwrap().records(1_000_000);
        let (first, second) = two.split_at(two.len() / 2);
        assert_eq!(first, second);
        assert_eq!(first[..12], [0, 0, 0, 1, 0, 17, 0, 6, 0, 0, 0, 63]);
        assert_eq!(first[16..24], [0x5B, 0xA0, 0xFD, 0xF2, 0, 0, 0, 2]);
        assert_eq!(first.len(), 12 + 63);

        tap.session(false, v4);
        let change = capture.next().await.unwrap().records(0);
        assert_eq!(change[4..8], [0, 17, 0, 5]);
        assert_eq!(change[change.len() - 4..], [0, 6, 0, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_capture_is_alone_and_ends() {
        let tap = Tap::default();
        let v4 = ends("192.0.2.10:40000", "192.0.2.1:179");
        let lasts = Duration::from_secs(10);
        let open = || tap.open(lasts, Instant::now(), 1, 2);
        assert!(!tap.is_on());
        let mut first = open().unwrap();
        assert_eq!(open().unwrap_err(), Busy);
        for _ in 0..QUEUE + 3 {
            tap.received(&keepalive(), v4, || true);
        }
        assert_eq!(first.lost(), 3);
        assert!(first.next().await.is_some());
        tokio::time::advance(lasts).await;
        // Its time is over, whoever reads it.
        tap.received(&keepalive(), v4, || true);
        assert!(!tap.is_on());
        let second = open().unwrap();
        drop(second);
        assert!(open().is_ok(), "nobody reads the last one any more");
        let mut rest = 0;
        while first.next().await.is_some() {
            rest += 1;
        }
        assert_eq!(rest, QUEUE - 1);
    }

    #[test]
    fn what_is_no_message_is_bounded() {
        assert_eq!(front(&[0; 5]).len(), 5);
        assert_eq!(front(&vec![0xFF; 10_000]).len(), LONGEST);
        let short = [vec![0xFF; 16], vec![0, 1], vec![0; 100]].concat();
        assert_eq!(front(&short).len(), HEADER);
        assert_eq!(front(&[keepalive(), keepalive()].concat()), keepalive());
    }
}
