//! Steps that may give the address up where a neighbour has no FlowSpec (`allow_rtbh`): combinations that could never
//! have that effect are mistakes, because somebody counts on it.

use super::super::playbooks::{PlaybookMatch, Playbooks, Step, Vector};
use super::super::settings::{AfiSafi, Neighbor, Settings};
use super::{BUILT_IN, NEVER_DISCARDED, Report};
use crate::rule::ActionType;

/// Vectors whose template never discards by itself, so that there is nothing to fall back from.
const POLICED: [&str; 2] = ["gre_flood", "manual"];
/// The entry of `sources` for those that have none.
const DEFAULT_SOURCE: &str = "default";

pub(super) fn steps(
    steps: &[Step],
    wanted: &PlaybookMatch,
    playbooks: &Playbooks,
    settings: &Settings,
    report: &mut Report,
) {
    let told = settings.bgp.neighbors.iter().any(takes_blackholes_alone);
    report.each("steps", steps, |report, step| {
        if !step.allow_rtbh {
            return;
        }
        report.require(
            "allow_rtbh",
            step.action == ActionType::Discard,
            format!("belongs to discard, not to {}", step.action),
        );
        if let Some(name) = &wanted.vector {
            vector(name, playbooks.vectors.get(name), report);
        }
        source(wanted.source.as_deref(), settings, report);
        if !told {
            report.warn(
                "allow_rtbh",
                "is true, but every neighbour with a unicast family and rtbh has FlowSpec of that family too: nothing is given up",
            );
        }
    });
}

fn vector(name: &str, configured: Option<&Vector>, report: &mut Report) {
    let is_policed = POLICED.contains(&name) || NEVER_DISCARDED.contains(&name) || !BUILT_IN.contains(&name);
    match configured {
        Some(vector) => report.require(
            "allow_rtbh",
            vector.max_action >= ActionType::Rtbh,
            format!("needs max_action: rtbh in vectors.{name}, which says {}", vector.max_action),
        ),
        None => report.require(
            "allow_rtbh",
            !is_policed,
            format!("is true for {name:?}, which is policed whatever a step says: nobody knows whether it is an attack"),
        ),
    }
}

fn source(name: Option<&str>, settings: &Settings, report: &mut Report) {
    let default = settings.sources.get(DEFAULT_SOURCE).cloned().unwrap_or_default();
    let may = |max: ActionType| max >= ActionType::Rtbh;
    match name {
        Some(name) => {
            let max = settings
                .sources
                .get(name)
                .map_or(default.max_action, |source| source.max_action);
            report.require(
                "allow_rtbh",
                may(max),
                format!("needs max_action: rtbh of source {name:?}, which has {max}"),
            );
        }
        None if !may(default.max_action)
            && !settings.sources.values().any(|source| may(source.max_action)) =>
        {
            report.warn(
                "allow_rtbh",
                "is true, but no source has max_action: rtbh: only what operators ask for is blackholed instead",
            );
        }
        None => {}
    }
}

/// Whether there is a family in which the neighbour can be told of blackholes and of nothing else.
fn takes_blackholes_alone(neighbor: &Neighbor) -> bool {
    let has = |family| neighbor.afi_safi.contains(&family);
    let v4 = has(AfiSafi::Ipv4Unicast) && !has(AfiSafi::Ipv4Flowspec);
    let v6 = has(AfiSafi::Ipv6Unicast) && !has(AfiSafi::Ipv6Flowspec);
    neighbor.enforce && neighbor.rtbh.is_some() && (v4 || v6)
}
