//! The adapter: the only module that names the types of `rustbgpd-wire` and `rustbgpd-fsm`.
//!
//! Both crates are pinned to one version and move together (docs/adr/0001). Everything here is pure: bytes in, own
//! types out, or the reverse.

mod fsm;
mod inbound;
mod message;
mod nlri;
mod unicast;
mod update;

pub(crate) use fsm::{Fsm, FsmConfig, FsmEvent, FsmOutput, Negotiated};
pub(crate) use inbound::InboundRoutes;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use message::keepalive;
pub(crate) use message::{Inbound, Notification, RefreshSubtype, frame, route_refresh, shutdown_text};
pub(crate) use nlri::{decode_rules, encode_rule};
pub(crate) use unicast::encode_host;
pub(crate) use update::{AttributeSet, Packer, SessionKind, end_of_rib};

use crate::flowspec::Family;

/// The largest message that is sent or accepted. Extended messages (RFC 8654) are not offered: one UPDATE over this
/// size resets some routers.
pub(crate) const MAX_MESSAGE: usize = 4096;
/// The header of every message (RFC 4271 section 4.1).
pub(crate) const HEADER: usize = 19;

fn afi(family: Family) -> rustbgpd_wire::Afi {
    match family {
        Family::Ipv4 | Family::Ipv4Unicast => rustbgpd_wire::Afi::Ipv4,
        Family::Ipv6 | Family::Ipv6Unicast => rustbgpd_wire::Afi::Ipv6,
    }
}

fn safi(family: Family) -> rustbgpd_wire::Safi {
    if family.is_flowspec() {
        rustbgpd_wire::Safi::FlowSpec
    } else {
        rustbgpd_wire::Safi::Unicast
    }
}

fn family((afi, safi): (rustbgpd_wire::Afi, rustbgpd_wire::Safi)) -> Option<Family> {
    match (afi, safi) {
        (rustbgpd_wire::Afi::Ipv4, rustbgpd_wire::Safi::FlowSpec) => Some(Family::Ipv4),
        (rustbgpd_wire::Afi::Ipv6, rustbgpd_wire::Safi::FlowSpec) => Some(Family::Ipv6),
        (rustbgpd_wire::Afi::Ipv4, rustbgpd_wire::Safi::Unicast) => Some(Family::Ipv4Unicast),
        (rustbgpd_wire::Afi::Ipv6, rustbgpd_wire::Safi::Unicast) => Some(Family::Ipv6Unicast),
        _ => None,
    }
}
