//! Neighbours that hand the rules on.

use super::super::settings::{Bgp, NeighborRole};
use super::Report;

pub(super) fn check(bgp: &Bgp, report: &mut Report) {
    report.each("neighbors", &bgp.neighbors, |report, neighbor| {
        let reflects = neighbor.role == NeighborRole::RouteReflector;
        report.require(
            "role",
            !reflects || neighbor.peer_asn == bgp.local_asn,
            "is route_reflector, which reflects what it hears by iBGP: peer_asn must be our AS",
        );
    });
}
