//! The network: one speaker, and a link to each router with its weather.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::sync::mpsc;
use tokio::time::{Duration, sleep};

use super::stream::{Stream, Wire};
use crate::listener::hand_over;
use crate::shared::{NeighborShared, lock};
use crate::transport::Stream as AnyStream;

pub(super) const SPEAKER: SocketAddr =
    SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 254)), 179);

/// What becomes of a new connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Weather {
    Clear,
    /// Nothing listens at the other end.
    Refused,
    /// No answer ever comes.
    Blackhole,
}

#[derive(Default)]
pub(crate) struct Net {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    links: BTreeMap<IpAddr, Link>,
    last: u64,
    accept: Option<Arc<dyn Fn(AnyStream, SocketAddr) + Send + Sync>>,
}

struct Link {
    delay: Duration,
    weather: Weather,
    wires: Vec<Arc<Wire>>,
    /// Where the router takes connections.
    router: mpsc::UnboundedSender<Stream>,
}

impl Net {
    /// A router that can be dialled; it takes its connections from the receiver.
    pub(super) fn link(&self, router: IpAddr, delay: Duration) -> mpsc::UnboundedReceiver<Stream> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let link = Link {
            delay,
            weather: Weather::Clear,
            wires: Vec::new(),
            router: sender,
        };
        lock(&self.state).links.insert(router, link);
        receiver
    }

    /// The speaker accepts connections.
    pub(crate) fn listen(
        &self,
        neighbor: impl Fn(IpAddr) -> Option<Arc<NeighborShared>> + Send + Sync + 'static,
    ) {
        let accept = move |stream, remote| hand_over(stream, remote, &neighbor);
        lock(&self.state).accept = Some(Arc::new(accept));
    }

    /// The speaker dials.
    pub(crate) async fn connect(&self, router: SocketAddr) -> io::Result<Stream> {
        let (speaker_end, router_end) = self.reach(router).await?;
        let link = self.with(router.ip(), |link| link.router.clone());
        // Fails only at the end of a story.
        let _ = link.send(router_end);
        Ok(speaker_end)
    }

    /// A router dials.
    pub(super) async fn dial(&self, router: SocketAddr) -> io::Result<Stream> {
        let (speaker_end, router_end) = self.reach(router).await?;
        let accept = lock(&self.state).accept.clone();
        let accept = accept.ok_or(io::ErrorKind::ConnectionRefused)?;
        accept(AnyStream::Simulated(speaker_end), router);
        Ok(router_end)
    }

    /// The speaker's end and the router's, after a round trip.
    async fn reach(&self, router: SocketAddr) -> io::Result<(Stream, Stream)> {
        let (delay, weather) = self.with(router.ip(), |link| (link.delay, link.weather));
        sleep(delay * 2).await;
        // It may have changed on the way.
        match weather.max(self.with(router.ip(), |link| link.weather)) {
            Weather::Clear => {}
            Weather::Refused => return Err(io::ErrorKind::ConnectionRefused.into()),
            Weather::Blackhole => return std::future::pending().await,
        }
        let mut state = lock(&self.state);
        state.last += 1;
        let (speaker_end, router_end) = Wire::pair(state.last, delay, SPEAKER, router);
        if let Some(link) = state.links.get_mut(&router.ip()) {
            link.wires.retain(|wire| Arc::strong_count(wire) > 1);
            link.wires.push(speaker_end.wire.clone());
        }
        Ok((speaker_end, router_end))
    }

    pub(super) fn set_weather(&self, router: IpAddr, weather: Weather) {
        self.with(router, |link| link.weather = weather);
    }

    /// Something happens to every connection of a router.
    pub(super) fn wires(&self, router: IpAddr, happen: impl Fn(&Wire)) {
        let wires = self.with(router, |link| link.wires.clone());
        for wire in wires {
            happen(&wire);
        }
    }

    /// Something happens to one connection.
    pub(super) fn wire(&self, router: IpAddr, id: u64, happen: impl Fn(&Wire)) {
        self.wires(router, |wire| {
            if wire.id == id {
                happen(wire);
            }
        });
    }

    /// The connections of which the speaker still holds its end.
    pub(super) fn held(&self, router: IpAddr) -> Vec<u64> {
        self.with(router, |link| {
            let held = link.wires.iter().filter(|wire| wire.speaker_holds());
            held.map(|wire| wire.id).collect()
        })
    }

    fn with<T>(&self, router: IpAddr, act: impl FnOnce(&mut Link) -> T) -> T {
        let mut state = lock(&self.state);
        act(state.links.get_mut(&router).expect("a router of this story"))
    }
}
