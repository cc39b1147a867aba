//! What each neighbour was told to do with some traffic.
//!
//! The order is the one of RFC 8955 section 5.1; a router that asks in another one does otherwise (docs/vendors.md).

use super::peers::{state, state_of};
use super::{Announcer, compile};
use prefixd_api::resource::PeerState;
use prefixd_api::rule::Rule;
use prefixd_api::traffic::{NeighborTraffic, Traffic, TrafficRule, TrafficVerdict};
use prefixd_bgp::RouteStatus;
use prefixd_bgp::flowspec::{Fit, Packet};

impl Announcer {
    /// Every neighbour, in the order of the configuration.
    #[must_use]
    pub fn traffic(&self, traffic: &Traffic) -> Vec<NeighborTraffic> {
        let packet = packet_of(traffic);
        let statuses = self.speaker.peers();
        let neighbors = self.inner().neighbors.clone();
        neighbors
            .iter()
            .filter_map(|neighbor| {
                let status = statuses.iter().find(|status| status.name == neighbor.name)?;
                let routes = self.speaker.matching(&neighbor.name, &packet)?;
                let mut found = self.at_neighbor(&neighbor.name, state(status), &routes);
                if let Some(held) = self.held_words(&neighbor.name) {
                    found.summary = format!("{}; {held}", found.summary);
                }
                Some(found)
            })
            .collect()
    }

    fn at_neighbor(&self, name: &str, session: PeerState, routes: &[(RouteStatus, Fit)]) -> NeighborTraffic {
        let mut found = NeighborTraffic {
            neighbor: name.to_owned(),
            session,
            verdict: TrafficVerdict::Unmatched,
            summary: String::new(),
            effective: None,
            before: Vec::new(),
            blackhole: None,
            missing: Vec::new(),
        };
        for (route, fit) in routes {
            let rule = self.traffic_rule(name, route, fit);
            // With the session down the router was told nothing that still counts.
            if route.advertised.is_none() || session != PeerState::Established {
                found.missing.push(rule);
            } else if !route.key.family().is_flowspec() {
                found.blackhole = Some(rule);
            } else if found.effective.is_none() {
                match fit {
                    Fit::Depends(_) => found.before.push(rule),
                    Fit::Yes | Fit::No => found.effective = Some(rule),
                }
            }
        }
        found.verdict = verdict(&found);
        found.summary = summary(&found);
        found
    }

    fn traffic_rule(&self, neighbor: &str, route: &RouteStatus, fit: &Fit) -> TrafficRule {
        let (desired, mitigations, rule) = self.explain(neighbor, &route.key);
        let (standing, mut reason) = state_of(&route.delivery);
        let wanted = route.desired.as_ref().map(|desired| desired.action);
        let told_otherwise = route.advertised.filter(|told| Some(*told) != wanted);
        // What the router does is what it was told last. A rate is exact as it is wanted, not as it is on the wire.
        let does = match told_otherwise {
            Some(told) => Some(compile::told(told)),
            None => desired.map(|desired| (desired.action, desired.sample)),
        };
        let does = does.filter(|_| wanted.is_some());
        if told_otherwise.is_some() && wanted.is_some() {
            reason
                .get_or_insert_with(|| "the router still has the action that it was told before".to_owned());
        }
        let rule = rule.zip(does).map(|(rule, (action, sample))| Rule {
            action,
            sample,
            ..rule
        });
        TrafficRule {
            rule: rule.map(|rule| rule.to_string()),
            nlri: route.key.to_string(),
            afi_safi: route.key.family().to_string(),
            action: does.map(|(action, _)| action),
            state: standing,
            reason,
            until: route.desired.as_ref().map(|route| self.at(route.not_after)),
            mitigations,
            depends_on: match fit {
                Fit::Depends(on) => on.iter().map(|name| (*name).to_owned()).collect(),
                Fit::Yes | Fit::No => Vec::new(),
            },
        }
    }
}

pub(super) fn packet_of(traffic: &Traffic) -> Packet {
    Packet {
        dst: traffic.dst,
        src: traffic.src,
        protocol: traffic.proto,
        src_port: traffic.sport,
        dst_port: traffic.dport,
    }
}

fn verdict(found: &NeighborTraffic) -> TrafficVerdict {
    if found.session != PeerState::Established {
        TrafficVerdict::Unknown
    } else if !found.before.is_empty() {
        TrafficVerdict::Depends
    } else if found.effective.is_some() || found.blackhole.is_some() {
        TrafficVerdict::Matched
    } else {
        TrafficVerdict::Unmatched
    }
}

fn summary(found: &NeighborTraffic) -> String {
    let text = |rule: &TrafficRule| rule.rule.clone().unwrap_or_else(|| format!("rule {}", rule.nlri));
    let certain = match (&found.effective, &found.blackhole) {
        (Some(rule), None) => Some(text(rule)),
        (None, Some(rule)) => Some(format!("blackholed: {}", text(rule))),
        (Some(rule), Some(blackhole)) => Some(format!(
            "{}, and what passes is blackholed: {}",
            text(rule),
            text(blackhole)
        )),
        (None, None) => None,
    };
    match (&found.verdict, found.before.first()) {
        (TrafficVerdict::Unknown, _) => format!(
            "the session is {}: what the router does is not known",
            found.session
        ),
        (_, Some(first)) => format!(
            "depends on the {}: {}; else {}",
            first.depends_on.join(" and "),
            text(first),
            certain.unwrap_or_else(|| "no rule matches".to_owned())
        ),
        (_, None) => certain.unwrap_or_else(|| "no rule matches".to_owned()),
    }
}
