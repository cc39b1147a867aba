//! What sources say of many victims, as claims on all of them.

use super::super::claims;
use prefixd_api::mitigation::{Claim, OriginKind};
use prefixd_api::rate::BitsPerSecond;
use std::sync::Arc;

/// What a source says of one more victim: rates add up, ports are those of all.
pub(super) fn merge(merged: &mut Vec<Arc<Claim>>, claim: &Arc<Claim>) {
    if claim.kind != OriginKind::Event {
        return;
    }
    let is_same = |known: &&mut Arc<Claim>| known.source == claim.source && known.event_id.is_none();
    let Some(known) = merged.iter_mut().find(is_same) else {
        merged.push(Arc::new(Claim {
            event_id: None,
            cleared_at: None,
            ..Claim::clone(claim)
        }));
        return;
    };
    let known = Arc::make_mut(known);
    if known.cleared_at.take().is_some() {
        *known = Claim {
            event_id: None,
            ..Claim::clone(claim)
        };
        return;
    }
    known.since = known.since.min(claim.since);
    known.last_report_at = known.last_report_at.max(claim.last_report_at);
    known.lives_until = known.lives_until.max(claim.lives_until);
    known.confidence = match (known.confidence, claim.confidence) {
        (Some(known), Some(said)) => Some(known.max(said)),
        (known, said) => known.or(said),
    };
    known.bps = sum(known.bps.map(|bps| bps.0), claim.bps.map(|bps| bps.0)).map(BitsPerSecond);
    known.pps = sum(known.pps, claim.pps);
    claims::unite(&mut known.dst_ports, &claim.dst_ports);
    claims::unite(&mut known.src_ports, &claim.src_ports);
    known.protocol = known.protocol.or(claim.protocol);
}

fn sum(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.saturating_add(other)),
        (one, other) => one.or(other),
    }
}
