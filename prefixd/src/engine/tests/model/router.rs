//! The neighbour: it takes whatever it is told, so that rules are advertised and steps may follow.

use super::super::Bench;
use lab::speaker::{Identity, Speaker};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;

const IDENTITY: Identity = Identity {
    asn: 65001,
    router_id: Ipv4Addr::new(192, 0, 2, 1),
    hold_time_seconds: u16::MAX,
};
/// The most that passes at once; a part of the hold time.
pub(super) const SPEAKS_EVERY: Duration = Duration::from_secs(15_000);
/// Of the wall clock, as the story's stands still meanwhile.
const PATIENCE: Duration = Duration::from_secs(30);

/// Lets the neighbour open its session where it may, and be told all that there is to tell; one that is disabled loses it.
pub(super) async fn is_told_all(bench: &Bench) {
    let speaker = bench.announcer.speaker();
    let edge = || speaker.peer("edge").unwrap();
    let give_up = Instant::now() + PATIENCE;
    let mut dialled = None;
    loop {
        let counts = speaker.counts("edge").unwrap();
        let is_established = speaker.is_established("edge");
        if edge().admin.is_disabled() {
            if !is_established {
                break;
            }
        } else if is_established {
            if counts.dirty == 0 && counts.advertised == counts.desired {
                break;
            }
        } else if dialled.as_ref().is_none_or(tokio::task::JoinHandle::is_finished) {
            dialled = Some(tokio::spawn(listen(speaker.local_addrs()[0])));
        }
        assert!(
            Instant::now() < give_up,
            "the neighbour is not told: {:?}",
            edge()
        );
        tokio::task::yield_now().await;
    }
}

/// Time passes for long, and the neighbour says in time that it is there.
pub(super) async fn keeps_its_session(bench: &Bench) {
    tokio::time::advance(SPEAKS_EVERY).await;
    let speaker = bench.announcer.speaker();
    let heard = || speaker.peer("edge").unwrap().received.keepalive;
    let (before, give_up) = (heard(), Instant::now() + PATIENCE);
    while speaker.is_established("edge") && heard() == before {
        assert!(Instant::now() < give_up, "the neighbour is not heard");
        tokio::task::yield_now().await;
    }
}

/// Until the session ends, by whoever's will.
async fn listen(speaker: SocketAddr) -> std::io::Result<()> {
    let us = Ipv4Addr::LOCALHOST.into();
    let session = Speaker::dial(us, speaker, IDENTITY).await;
    let (mut reads, mut writes) = session.map_err(std::io::Error::other)?.into_stream().into_split();
    let mut heard = tokio::io::sink();
    let speaks = async {
        let mut message = [0xff; 19];
        message[16..].copy_from_slice(&[0, 19, 4]);
        loop {
            // Timers ring on whole milliseconds.
            tokio::time::sleep(SPEAKS_EVERY - Duration::from_secs(1)).await;
            writes.write_all(&message).await?;
        }
    };
    tokio::select! {
        end = tokio::io::copy(&mut reads, &mut heard) => end.map(|_| ()),
        end = speaks => end,
    }
}
