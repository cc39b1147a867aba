//! A neighbour on a loopback socket that opens a session and then reads as it is told.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::Context as _;
use lab::speaker::{Identity, Message, Speaker};
use prefixd_bgp::NeighborConfig;
use tokio::net::{TcpListener, TcpSocket};

use crate::ASN;

pub(crate) struct Peer {
    listener: TcpListener,
    name: &'static str,
}

impl Peer {
    pub(crate) fn bind(name: &'static str) -> anyhow::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((IpAddr::V4(lab::net::own_loopback()), 0).into())?;
        let listener = socket.listen(4)?;
        Ok(Self { listener, name })
    }

    pub(crate) fn neighbor(&self) -> anyhow::Result<NeighborConfig> {
        let address = self.listener.local_addr()?;
        Ok(NeighborConfig {
            port: address.port(),
            ..NeighborConfig::new(self.name, address.ip(), ASN)
        })
    }

    /// Opens the session that the speaker dials.
    pub(crate) async fn session(&self) -> anyhow::Result<Speaker> {
        let (stream, _) = self.listener.accept().await.context("nobody dialled")?;
        let identity = Identity {
            asn: ASN,
            router_id: Ipv4Addr::new(10, 255, 0, 9),
            hold_time_seconds: 90,
        };
        Speaker::open(stream, identity).await
    }
}

/// Reads and answers until the session ends; each UPDATE goes to `seen`.
pub(crate) async fn read(mut session: Speaker, mut seen: impl FnMut(&[u8])) -> anyhow::Result<()> {
    loop {
        match session.next().await? {
            Message::Update(body) => seen(&body),
            Message::Keepalive => session.keepalive().await?,
            _ => {}
        }
    }
}
