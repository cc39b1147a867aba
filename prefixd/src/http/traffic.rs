//! Are we dropping this?

use super::elsewhere::{self, Asked};
use super::extract::{Query, ok};
use super::{App, Failure};
use axum::extract::State;
use axum::response::Response;
use prefixd_api::problem::Problem;
use prefixd_api::rule::protocol;
use prefixd_api::traffic::{Traffic, TrafficAnswer};
use prefixd_bgp::flowspec::Packet;
use std::net::IpAddr;

/// What each neighbour was told to do with some traffic: the first rule that matches it, in the order of RFC 8955
/// section 5.1. The more is said of the traffic, the more certain is the answer.
#[utoipa::path(get, path = "/v1/match", tag = "questions", params(
    ("dst" = String, Query, description = "The address it goes to"),
    ("src" = Option<String>, Query, description = "The address it comes from"),
    ("proto" = Option<String>, Query, description = "icmp, tcp, udp, gre, icmpv6 or a number"),
    ("sport" = Option<u16>, Query, description = "The port it comes from"),
    ("dport" = Option<u16>, Query, description = "The port it goes to"),
    ("pop" = Option<String>, Query, description = "Another POP to ask about besides, or all"),
), responses((status = 200, body = TrafficAnswer), (status = 400, body = Problem)))]
pub(super) async fn matching(State(app): State<App>, mut query: Query) -> Result<Response, Failure> {
    let traffic = traffic(&mut query)?;
    let asked = Asked::of(query.text("pop")?);
    query.finish()?;
    let (elsewhere, elsewhere_unknown) = elsewhere::traffic(&app, asked, &traffic).await?;
    ok(&TrafficAnswer {
        at: app.clock.now(),
        neighbors: app.announcer.traffic(&traffic),
        elsewhere,
        elsewhere_unknown,
        traffic,
    })
}

fn traffic(query: &mut Query) -> Result<Traffic, Failure> {
    let Some(dst) = address(query, "dst")? else {
        return Err(Failure::field("dst", "is missing: which address does it go to?"));
    };
    let src = address(query, "src")?;
    if let Some(src) = src
        && src.is_ipv4() != dst.is_ipv4()
    {
        return Err(Failure::field(
            "src",
            format!("{src} and {dst} are not of one family"),
        ));
    }
    let proto = query.text("proto")?;
    let proto = proto
        .map(|text| protocol::parse(&text).map_err(|error| Failure::field("proto", error)))
        .transpose()?;
    let (sport, dport) = (
        query.number("sport", 0..=u16::MAX)?,
        query.number("dport", 0..=u16::MAX)?,
    );
    if let Some(number) = proto
        && !Packet::has_ports(number)
        && let Some((field, _)) = [("sport", sport), ("dport", dport)]
            .into_iter()
            .find(|(_, port)| port.is_some())
    {
        let name = protocol::name(number);
        return Err(Failure::field(
            field,
            format!("is said, and {name} has no ports; leave it out"),
        ));
    }
    Ok(Traffic {
        dst,
        src,
        proto,
        sport,
        dport,
    })
}

/// An address; an IPv4-mapped one is the IPv4 address that routers see.
fn address(query: &mut Query, key: &'static str) -> Result<Option<IpAddr>, Failure> {
    let Some(text) = query.text(key)? else {
        return Ok(None);
    };
    let address: Result<IpAddr, _> = text.parse();
    let wrong = || {
        Failure::field(
            key,
            format!("{text:?} is no address such as 203.0.113.10 or 2001:db8::1"),
        )
    };
    address
        .map(|address| Some(address.to_canonical()))
        .map_err(|_| wrong())
}
