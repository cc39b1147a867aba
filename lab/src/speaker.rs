//! A minimal BGP endpoint: it opens a session and says and hears exactly the bytes it is told.
//!
//! It has no state machine, no timers and no table. It tests the readback of [`crate::routers`], and benchmarks use
//! it as the neighbour whose socket tells when an UPDATE arrives.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Context as _, bail};
use ipnet::IpNet;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::routers::{Action, Family, Match, PacketsPerSecond, RouterRule};

const OPEN: u8 = 1;
const UPDATE: u8 = 2;
const NOTIFICATION: u8 = 3;
const KEEPALIVE: u8 = 4;

/// The AS number that stands for a four-byte one in two-byte fields (RFC 6793).
const AS_TRANS: u16 = 23456;

/// Who this endpoint says it is.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// Its AS number.
    pub asn: u32,
    /// Its BGP identifier.
    pub router_id: Ipv4Addr,
    /// The hold time it offers.
    pub hold_time_seconds: u16,
}

/// A message from the other side, without its header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// The body of an OPEN.
    Open(Vec<u8>),
    /// The body of an UPDATE.
    Update(Vec<u8>),
    /// Code, subcode and data of a NOTIFICATION.
    Notification(Vec<u8>),
    /// A KEEPALIVE.
    Keepalive,
    /// Another type, with its body.
    Other(u8, Vec<u8>),
}

/// One open session.
#[derive(Debug)]
pub struct Speaker {
    stream: TcpStream,
    identity: Identity,
    ibgp: bool,
}

impl Speaker {
    /// Connects from an address and opens the session.
    ///
    /// # Errors
    /// When the connection fails or the other side refuses the OPEN.
    pub async fn dial(from: IpAddr, to: SocketAddr, identity: Identity) -> anyhow::Result<Self> {
        let socket = if to.is_ipv4() {
            TcpSocket::new_v4()
        } else {
            TcpSocket::new_v6()
        }
        .context("create a socket")?;
        socket
            .bind(SocketAddr::new(from, 0))
            .with_context(|| format!("bind {from}"))?;
        let stream = socket
            .connect(to)
            .await
            .with_context(|| format!("connect to {to}"))?;
        Self::open(stream, identity).await
    }

    /// Opens the session on a connection, whoever dialled.
    ///
    /// # Errors
    /// When the other side refuses the OPEN or closes.
    pub async fn open(stream: TcpStream, identity: Identity) -> anyhow::Result<Self> {
        stream.set_nodelay(true).context("set TCP_NODELAY")?;
        let mut session = Self {
            stream,
            identity,
            ibgp: false,
        };
        session.send(OPEN, &open_body(identity)).await?;
        match session.next().await? {
            Message::Open(body) => session.ibgp = peer_asn(&body)? == identity.asn,
            other => bail!("the other side answered an OPEN with {other:?}"),
        }
        session.keepalive().await?;
        match session.next().await? {
            Message::Keepalive => Ok(session),
            other => bail!("the other side did not confirm the OPEN: {other:?}"),
        }
    }

    /// The connection of the session, for who reads or writes it otherwise.
    #[must_use]
    pub fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// Sends a KEEPALIVE.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn keepalive(&mut self) -> anyhow::Result<()> {
        self.send(KEEPALIVE, &[]).await
    }

    /// Announces one rule. It goes out as written: order and widths are not mended.
    ///
    /// # Errors
    /// When the rule has no prefix, does not fit, or the connection is gone.
    pub async fn announce(&mut self, rule: &RouterRule) -> anyhow::Result<()> {
        let family = rule.family().context("a rule without prefixes has no family")?;
        let mut attributes = attribute(0x80, 14, &{
            let mut reach = family.afi().to_be_bytes().to_vec();
            reach.extend([133, 0, 0]);
            reach.extend(nlri(&rule.matches)?);
            reach
        })?;
        attributes.extend(attribute(0x40, 1, &[0])?);
        if self.ibgp {
            attributes.extend(attribute(0x40, 2, &[])?);
            attributes.extend(attribute(0x40, 5, &100_u32.to_be_bytes())?);
        } else {
            let mut path = vec![2, 1];
            path.extend(self.identity.asn.to_be_bytes());
            attributes.extend(attribute(0x40, 2, &path)?);
        }
        let communities = rule.communities.iter().flatten();
        let bytes = communities
            .flat_map(|(high, low)| [high.to_be_bytes(), low.to_be_bytes()])
            .flatten()
            .collect::<Vec<_>>();
        attributes.extend(attribute(0xc0, 8, &bytes)?);
        let bytes = rule
            .actions
            .iter()
            .map(|action| extended_community(action, self.identity.asn))
            .collect::<anyhow::Result<Vec<_>>>()?
            .concat();
        attributes.extend(attribute(0xc0, 16, &bytes)?);
        let large = rule.large_communities.iter().flatten();
        let bytes = large
            .flat_map(|(a, b, c)| [*a, *b, *c])
            .flat_map(u32::to_be_bytes)
            .collect::<Vec<_>>();
        attributes.extend(attribute(0xc0, 32, &bytes)?);
        self.update(&attributes).await
    }

    /// Withdraws one rule.
    ///
    /// # Errors
    /// When the match has no prefix, does not fit, or the connection is gone.
    pub async fn withdraw(&mut self, family: Family, matches: &Match) -> anyhow::Result<()> {
        let mut unreach = family.afi().to_be_bytes().to_vec();
        unreach.push(133);
        unreach.extend(nlri(matches)?);
        self.update(&attribute(0x80, 15, &unreach)?).await
    }

    /// The next message, when it has arrived whole.
    ///
    /// # Errors
    /// When the connection is gone or what comes is not BGP.
    pub async fn next(&mut self) -> anyhow::Result<Message> {
        let mut header = [0; 19];
        self.stream
            .read_exact(&mut header)
            .await
            .context("read a BGP header")?;
        let (marker, rest) = header.split_at(16);
        let [high, low, kind] = *rest else {
            bail!("a header of another size")
        };
        let length = u16::from_be_bytes([high, low]);
        let body = length
            .checked_sub(19)
            .filter(|_| marker.iter().all(|byte| *byte == 0xff));
        let body = body.with_context(|| format!("not a BGP header: {header:02x?}"))?;
        let mut body = vec![0; body.into()];
        self.stream
            .read_exact(&mut body)
            .await
            .context("read a BGP message")?;
        Ok(match kind {
            OPEN => Message::Open(body),
            UPDATE => Message::Update(body),
            NOTIFICATION => Message::Notification(body),
            KEEPALIVE => Message::Keepalive,
            other => Message::Other(other, body),
        })
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn raw(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.stream.write_all(bytes).await.context("send bytes")
    }

    async fn update(&mut self, attributes: &[u8]) -> anyhow::Result<()> {
        let mut body = vec![0, 0];
        body.extend(
            u16::try_from(attributes.len())
                .context("attributes too long")?
                .to_be_bytes(),
        );
        body.extend(attributes);
        self.send(UPDATE, &body).await
    }

    async fn send(&mut self, kind: u8, body: &[u8]) -> anyhow::Result<()> {
        let mut message = vec![0xff; 16];
        message.extend(
            u16::try_from(body.len() + 19)
                .context("message too long")?
                .to_be_bytes(),
        );
        message.push(kind);
        message.extend(body);
        self.stream
            .write_all(&message)
            .await
            .context("send a BGP message")
    }
}

fn open_body(identity: Identity) -> Vec<u8> {
    let mut capabilities = vec![1, 4, 0, 1, 0, 133, 1, 4, 0, 2, 0, 133, 65, 4];
    capabilities.extend(identity.asn.to_be_bytes());
    let mut body = vec![4];
    body.extend(u16::try_from(identity.asn).unwrap_or(AS_TRANS).to_be_bytes());
    body.extend(identity.hold_time_seconds.to_be_bytes());
    body.extend(identity.router_id.octets());
    let length = capabilities.len() as u8;
    body.extend([length + 2, 2, length]);
    body.extend(capabilities);
    body
}

/// The AS number of an OPEN: that of its four-byte capability (RFC 6793) when it has one.
fn peer_asn(open: &[u8]) -> anyhow::Result<u32> {
    let short = match open {
        [_, high, low, ..] => u16::from_be_bytes([*high, *low]),
        _ => bail!("an OPEN of {} bytes", open.len()),
    };
    let mut parameters = open.get(10..).unwrap_or_default();
    while let [kind, length, rest @ ..] = parameters {
        let (value, after) = rest
            .split_at_checked((*length).into())
            .context("a parameter longer than the OPEN")?;
        let mut capabilities = if *kind == 2 { value } else { &[] };
        while let [code, length, rest @ ..] = capabilities {
            let (value, after) = rest
                .split_at_checked((*length).into())
                .context("a capability longer than the OPEN")?;
            if let (65, [a, b, c, d]) = (*code, value) {
                return Ok(u32::from_be_bytes([*a, *b, *c, *d]));
            }
            capabilities = after;
        }
        parameters = after;
    }
    Ok(short.into())
}

/// With extended length always: one shape less. Empty attributes (AS_PATH apart) are left out.
fn attribute(flags: u8, kind: u8, value: &[u8]) -> anyhow::Result<Vec<u8>> {
    const AS_PATH: u8 = 2;
    if value.is_empty() && kind != AS_PATH {
        return Ok(Vec::new());
    }
    let mut bytes = vec![flags | 0x10, kind];
    bytes.extend(
        u16::try_from(value.len())
            .context("attribute too long")?
            .to_be_bytes(),
    );
    bytes.extend(value);
    Ok(bytes)
}

fn nlri(matches: &Match) -> anyhow::Result<Vec<u8>> {
    let mut body = Vec::new();
    for (kind, net) in [(1, matches.destination), (2, matches.source)] {
        if let Some(net) = net {
            body.extend([kind, net.prefix_len()]);
            let bytes = usize::from(net.prefix_len().div_ceil(8));
            match net {
                IpNet::V4(net) => body.extend(&net.network().octets()[..bytes]),
                IpNet::V6(net) => {
                    body.push(0);
                    body.extend(&net.network().octets()[..bytes]);
                }
            }
        }
    }
    for (component, terms) in &matches.components {
        body.push(*component as u8);
        for (index, term) in terms.iter().enumerate() {
            let end = if index + 1 == terms.len() { 0x80 } else { 0 };
            let and = if term.and { 0x40 } else { 0 };
            let (size, skip) = match term.value {
                0..=0xff => (0x00, 7),
                0x100..=0xffff => (0x10, 6),
                0x1_0000..=0xffff_ffff => (0x20, 4),
                _ => (0x30, 0),
            };
            body.push(end | and | size | term.op.to_wire());
            body.extend(&term.value.to_be_bytes()[skip..]);
        }
    }
    let length = u8::try_from(body.len()).ok().filter(|length| *length < 240);
    let mut bytes = vec![length.context("this speaker encodes rules of less than 240 bytes")?];
    bytes.extend(body);
    Ok(bytes)
}

fn extended_community(action: &Action, asn: u32) -> anyhow::Result<[u8; 8]> {
    let rate = |rate: f32| {
        let ([a, b], [c, d, e, f]) = ((asn as u16).to_be_bytes(), rate.to_be_bytes());
        [0x80, 0x06, a, b, c, d, e, f]
    };
    Ok(match *action {
        Action::Discard => rate(0.0),
        Action::Police(bytes_per_second) => rate(bytes_per_second.0),
        Action::Traffic { terminal, sample } => [
            0x80,
            0x07,
            0,
            0,
            0,
            0,
            0,
            u8::from(terminal) | (u8::from(sample) << 1),
        ],
        Action::RedirectAs2 { asn, number } => {
            let ([a, b], [c, d, e, f]) = (asn.to_be_bytes(), number.to_be_bytes());
            [0x80, 0x08, a, b, c, d, e, f]
        }
        Action::Mark(dscp) => [0x80, 0x09, 0, 0, 0, 0, 0, dscp],
        Action::RedirectAs4 { asn, number } => {
            let ([a, b, c, d], [e, f]) = (asn.to_be_bytes(), number.to_be_bytes());
            [0x82, 0x08, a, b, c, d, e, f]
        }
        Action::RedirectIpv4 { address, number } => {
            let ([a, b, c, d], [e, f]) = (address.octets(), number.to_be_bytes());
            [0x81, 0x08, a, b, c, d, e, f]
        }
        Action::RedirectTo {
            address: IpAddr::V4(address),
            copy,
        } => {
            let [a, b, c, d] = address.octets();
            [0x01, 0x0c, a, b, c, d, 0, u8::from(copy)]
        }
        Action::RedirectTo {
            address: IpAddr::V6(_),
            ..
        } => bail!("an IPv6 next hop is no community of eight bytes"),
        Action::PolicePackets(PacketsPerSecond(rate)) => {
            let [a, b, c, d] = (rate as f32).to_be_bytes();
            [0x80, 0x0c, 0, 0, a, b, c, d]
        }
        Action::Raw(community) => community.to_be_bytes(),
    })
}
