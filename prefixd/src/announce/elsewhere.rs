//! What mitigations of other POPs do with some traffic.
//!
//! It is what was decided there, in the order of RFC 8955 section 5.1. In which form each neighbour there takes it, and whether
//! it has it, only the daemon there knows.

use super::beside::{self, Beside, Reach};
use super::fit::Part;
use super::groups::Compiled;
use super::is_announced;
use super::traffic::packet_of;
use crate::store::OtherPop;
use prefixd_api::ids::MitigationId;
use prefixd_api::mitigation::Mitigation;
use prefixd_api::time::Timestamp;
use prefixd_api::traffic::{PopRule, PopTraffic, Traffic, TrafficVerdict};
use prefixd_api::victim::Victim;
use prefixd_bgp::flowspec::{Fit, Packet};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Each of these POPs, with what its mitigations of the victim do; what is over by `now` has left the routers there.
#[must_use]
pub fn traffic_elsewhere(
    pops: &[OtherPop],
    mitigations: &[Mitigation],
    traffic: &Traffic,
    now: Timestamp,
) -> Vec<PopTraffic> {
    let packet = packet_of(traffic);
    let at = |pop: &OtherPop| {
        let is_there = |one: &&Mitigation| one.pop == pop.name && is_announced(one) && one.leaves_at() > now;
        at_pop(
            pop,
            &mitigations.iter().filter(is_there).collect::<Vec<_>>(),
            &packet,
        )
    };
    pops.iter().map(at).collect()
}

fn at_pop(pop: &OtherPop, mitigations: &[&Mitigation], packet: &Packet) -> PopTraffic {
    let mut found = PopTraffic {
        pop: pop.name.clone(),
        verdict: TrafficVerdict::Unmatched,
        summary: String::new(),
        effective: None,
        before: Vec::new(),
        blackhole: None,
    };
    let compiled: Vec<(Victim, MitigationId, Arc<Compiled>)> = mitigations
        .iter()
        .map(|one| {
            let compiled = Arc::new(Compiled::as_decided(&one.rules));
            (one.victim_ip, one.mitigation_id, compiled)
        })
        .collect();
    // As the daemon there does: rules of one victim are compared, not those of a host with what is over its prefix.
    let victims: BTreeSet<Victim> = mitigations.iter().map(|one| one.victim_ip).collect();
    let of_each: Vec<Vec<Beside<'_>>> = victims
        .iter()
        .map(|victim| {
            let of_it = compiled.iter().filter(|(of, _, _)| of == victim);
            beside::all(of_it.map(|(_, id, compiled)| (*id, compiled)), |_, _| {
                Reach::There
            })
        })
        .collect();
    let mut sent: Vec<(MitigationId, &Part)> = Vec::new();
    for all in &of_each {
        let parts = all
            .iter()
            .flat_map(|one| one.parts().iter().map(|part| (one.mitigation, part)));
        sent.extend(
            parts.filter(|(_, part)| beside::keeps_back(part, all, Reach::There, &|_, _| false).is_none()),
        );
    }
    sent.sort_by(|(_, one), (_, other)| {
        let (key, after) = (one.canonical.key(), other.canonical.key());
        let order = key.family().cmp(&after.family());
        order.then_with(|| key.precedence(after))
    });
    let by_id: HashMap<MitigationId, &Mitigation> =
        mitigations.iter().map(|one| (one.mitigation_id, *one)).collect();
    // Several may want one NLRI: the strictest of them counts.
    for same in sent.chunk_by(|(_, one), (_, other)| one.canonical.key() == other.canonical.key()) {
        let Some(((_, first), others)) = same.split_first() else {
            continue;
        };
        let fit = first.canonical.fit(packet);
        if fit == Fit::No {
            continue;
        }
        let stricter =
            |strictest: &Part, part: &Part| part.rule.action.is_stricter_than(strictest.rule.action);
        let strictest = others.iter().fold(*first, |strictest, (_, part)| {
            if stricter(strictest, part) {
                part
            } else {
                strictest
            }
        });
        let owners: Vec<&Mitigation> = same.iter().filter_map(|(id, _)| by_id.get(id).copied()).collect();
        let rule = PopRule {
            rule: strictest.rule.to_string(),
            action: strictest.rule.action,
            until: owners.iter().map(|one| one.leaves_at()).max(),
            advertised_at: owners.iter().filter_map(|one| one.advertised_at).min(),
            mitigations: owners.iter().map(|one| one.mitigation_id).collect(),
            depends_on: match &fit {
                Fit::Depends(on) => on.iter().map(|name| (*name).to_owned()).collect(),
                Fit::Yes | Fit::No => Vec::new(),
            },
        };
        if !first.canonical.key().family().is_flowspec() {
            found.blackhole = Some(rule);
        } else if found.effective.is_none() {
            if rule.depends_on.is_empty() {
                found.effective = Some(rule);
            } else {
                found.before.push(rule);
            }
        }
    }
    found.verdict = verdict(&found);
    found.summary = summary(&found);
    if !pop.runs {
        // Its routers forget its rules with the sessions.
        found.verdict = TrafficVerdict::Unknown;
        found.summary = format!(
            "no daemon runs this POP now, so its routers need not have its rules; decided: {}",
            found.summary
        );
    }
    found
}

fn verdict(found: &PopTraffic) -> TrafficVerdict {
    if !found.before.is_empty() {
        TrafficVerdict::Depends
    } else if found.effective.is_some() || found.blackhole.is_some() {
        TrafficVerdict::Matched
    } else {
        TrafficVerdict::Unmatched
    }
}

fn summary(found: &PopTraffic) -> String {
    let told = |rule: &PopRule| match rule.advertised_at {
        Some(_) => rule.rule.clone(),
        None => format!("{} (no neighbour there was seen to have it yet)", rule.rule),
    };
    let certain = match (&found.effective, &found.blackhole) {
        (Some(rule), None) => told(rule),
        (None, Some(rule)) => format!("blackholed: {}", told(rule)),
        (Some(rule), Some(blackhole)) => {
            format!(
                "{}, and what passes is blackholed: {}",
                told(rule),
                told(blackhole)
            )
        }
        (None, None) => "no rule matches".to_owned(),
    };
    match found.before.first() {
        Some(first) => {
            let on = first.depends_on.join(" and ");
            format!("depends on the {on}: {}; else {certain}", told(first))
        }
        None => certain,
    }
}

#[cfg(test)]
mod tests;
