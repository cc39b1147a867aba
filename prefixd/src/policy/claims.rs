//! Claims: a source's word that the attack goes on.

use super::command::EventCommand;
use super::reason::Reason;
use super::settings::Policy;
use super::sources::{Source, Visibility, Voice};
use super::templates::Reported;
use super::trace::Notes;
use prefixd_api::event::{MAX_EVENT_PORTS, pop_of_source};
use prefixd_api::mitigation::{Claim, Group, Mitigation, Observed, OriginKind};
use prefixd_api::name::Name;
use prefixd_api::time::Timestamp;
use std::sync::Arc;
use std::time::Duration;

/// Claims a group keeps. When it is full the one that counts least makes room: a cleared one, else the one that
/// would die first. Its lease is not shortened; only its unban finds nothing any more.
pub(super) const MAX_CLAIMS: usize = 64;
/// How long a cleared claim is remembered, because a ban older than its unban could still arrive. Events older
/// than this are refused at the edge.
pub(super) const CLEARED_KEPT: Duration = Duration::from_secs(24 * 3600);
/// The source of an operator's claim.
const OPERATOR: &str = "operator";

/// What the group knows more after a report.
pub(super) struct Held {
    /// Ports, protocol or size that were not known before.
    pub(super) widens: bool,
}

pub(super) fn is_live(claim: &Claim, now: Timestamp) -> bool {
    claim.cleared_at.is_none() && claim.lives_until.is_none_or(|until| until > now)
}

/// Claims of a group that hold a mitigation. A source that is not enforced holds only what is not announced.
pub(super) fn holding<'g>(
    policy: &'g Policy,
    group: &'g Group,
    enforced: bool,
    now: Timestamp,
) -> impl Iterator<Item = &'g Arc<Claim>> {
    group
        .claims
        .iter()
        .filter(move |claim| is_live(claim, now) && (!enforced || policy.sources.get(&claim.source).enforce))
}

/// The source that a beginning counts against, of claims whose first one asks: not the one that reports when that is not
/// enforced, and what is announced stands on another's word.
pub(super) fn asking(claims: &[Arc<Claim>]) -> Option<&Name> {
    claims.first().map(|claim| &claim.source)
}

/// How many different sources hold these claims.
pub(super) fn source_count<'c>(claims: impl IntoIterator<Item = &'c Arc<Claim>>) -> usize {
    let mut names: Vec<&str> = claims
        .into_iter()
        .filter(|claim| claim.kind == OriginKind::Event)
        .map(|claim| claim.source.as_str())
        .collect();
    names.sort_unstable();
    names.dedup();
    names.len()
}

/// Per voice the highest weighted confidence of its sources; over the voices, the probability that not all of
/// them are wrong. None when no claim says how sure it is.
pub(super) fn confidence<'c>(
    policy: &Policy,
    claims: impl IntoIterator<Item = &'c Arc<Claim>>,
) -> Option<f64> {
    let mut voices: Vec<(Voice<'_>, f64)> = Vec::new();
    // An operator's word is no measurement, and no source may borrow the name.
    for claim in claims.into_iter().filter(|claim| claim.kind == OriginKind::Event) {
        let source = policy.sources.get(&claim.source);
        let Some(own) = claim.confidence.or(source.default_confidence) else {
            continue;
        };
        let weighted = (own * source.weight).clamp(0.0, 1.0);
        let voice = policy.sources.voice(&claim.source);
        match voices.iter_mut().find(|(known, _)| *known == voice) {
            Some((_, best)) => *best = best.max(weighted),
            None => voices.push((voice, weighted)),
        }
    }
    (!voices.is_empty()).then(|| not_all_wrong(voices.into_iter().map(|(_, value)| value)))
}

/// Rounded to a billionth: a single voice of 0.45 meets a threshold of 0.45, and it does not matter who spoke first.
fn not_all_wrong(voices: impl Iterator<Item = f64>) -> f64 {
    const PARTS: f64 = 1e9;
    let doubt: f64 = voices.map(|value| 1.0 - value).product();
    ((1.0 - doubt) * PARTS).round() / PARTS
}

/// What these claims report of the attack, together, in whatever order they come: where they differ on the protocol, the
/// first one who said one counts.
pub(super) fn reported<'c>(claims: impl IntoIterator<Item = &'c Arc<Claim>>) -> Reported {
    let mut reported = Reported::default();
    let (mut dst, mut src) = (Vec::new(), Vec::new());
    let mut first: Option<&Claim> = None;
    for claim in claims {
        dst.extend_from_slice(&claim.dst_ports);
        src.extend_from_slice(&claim.src_ports);
        if claim.protocol.is_some() && first.is_none_or(|first| name(claim) < name(first)) {
            first = Some(claim);
        }
    }
    reported.protocol = first.and_then(|claim| claim.protocol);
    reported.dst_ports = dst.into_iter().collect();
    reported.src_ports = src.into_iter().collect();
    reported
}

fn name(claim: &Claim) -> (Timestamp, &str, Option<&str>) {
    (claim.since, &claim.source, claim.event_id.as_deref())
}

/// Raises the highest rates seen.
pub(super) fn observe(observed: &mut Observed, claim: &Claim) {
    observed.bps = observed.bps.max(claim.bps);
    observed.pps = observed.pps.max(claim.pps);
}

/// The claim an event speaks of: by its id, or the source's one without.
pub(super) fn find<'g>(group: &'g Group, command: &EventCommand) -> Option<&'g Arc<Claim>> {
    group.claims.iter().find(|claim| is_of(claim, command))
}

fn is_of(claim: &Claim, command: &EventCommand) -> bool {
    claim.source == command.event.source && claim.event_id.as_deref() == command.event.external_id.as_deref()
}

/// Opens or refreshes the claim of a ban.
pub(super) fn hold(
    group: &mut Group,
    command: &EventCommand,
    source: &Source,
    now: Timestamp,
    trace: &mut Notes,
) -> Held {
    let event = &command.event;
    let lives_until = Some(now.saturating_add(source.claim_ttl));
    let known = group
        .claims
        .iter()
        .position(|claim| is_of(claim, command) && claim.cleared_at.is_none());
    let index = if let Some(index) = known {
        index
    } else {
        group.claims.retain(|claim| !is_of(claim, command));
        make_room(group, trace);
        group.claims.push(Arc::new(Claim {
            source: event.source.as_str().into(),
            event_id: event.external_id.as_deref().map(Into::into),
            kind: OriginKind::Event,
            since: now,
            last_report_at: now,
            lives_until,
            cleared_at: None,
            confidence: source.default_confidence,
            bps: None,
            pps: None,
            dst_ports: Box::default(),
            src_ports: Box::default(),
            protocol: None,
        }));
        group.claims.len() - 1
    };
    let claim = Arc::make_mut(&mut group.claims[index]);
    claim.last_report_at = now;
    claim.lives_until = lives_until;
    claim.confidence = event.confidence.or(claim.confidence);
    let louder = event.bps > claim.bps;
    claim.bps = claim.bps.max(event.bps);
    claim.pps = claim.pps.max(event.pps);
    let mut widens = known.is_none() || louder;
    widens |= unite(&mut claim.dst_ports, &event.dst_ports);
    widens |= unite(&mut claim.src_ports, &event.src_ports);
    if event.protocol.is_some() && claim.protocol != event.protocol {
        claim.protocol = event.protocol;
        widens = true;
    }
    group.last_event_at = now;
    group.last_ban_at = Some(now);
    trace.note(Reason::ClaimHeld {
        source: event.source.clone(),
        event_id: event.external_id.clone(),
        new: known.is_none(),
        lives_until,
        live_claims: group.claims.iter().filter(|claim| is_live(claim, now)).count(),
    });
    Held { widens }
}

/// Adds ports that are not there yet, up to as many as one event may carry.
pub(super) fn unite(known: &mut Box<[u16]>, more: &[u16]) -> bool {
    let mut all = known.to_vec();
    for port in more {
        if all.len() < MAX_EVENT_PORTS && !all.contains(port) {
            all.push(*port);
        }
    }
    let widens = all.len() > known.len();
    if widens {
        *known = all.into();
    }
    widens
}

fn make_room(group: &mut Group, trace: &mut Notes) {
    if group.claims.len() < MAX_CLAIMS {
        return;
    }
    let least = group
        .claims
        .iter()
        .enumerate()
        .min_by_key(|(_, claim)| (claim.cleared_at.is_none(), claim.cleared_at, claim.lives_until))
        .map(|(index, _)| index);
    if let Some(index) = least {
        let claim = group.claims.remove(index);
        trace.note(Reason::ClaimForgotten {
            source: claim.source.to_string(),
            event_id: claim.event_id.as_deref().map(str::to_owned),
            max_claims: MAX_CLAIMS,
        });
    }
}

/// Clears the claim of an unban; whether it was live. An unknown one is remembered as cleared, so that a ban
/// that was overtaken by its unban has no effect.
pub(super) fn clear(
    group: &mut Group,
    command: &EventCommand,
    seen_at: Timestamp,
    now: Timestamp,
    trace: &mut Notes,
) -> bool {
    group.last_event_at = now;
    if let Some(claim) = group.claims.iter_mut().find(|claim| is_of(claim, command)) {
        let was_live = is_live(claim, now);
        let claim = Arc::make_mut(claim);
        claim.cleared_at = claim.cleared_at.max(Some(seen_at));
        return was_live;
    }
    make_room(group, trace);
    group.claims.push(Arc::new(Claim {
        source: command.event.source.as_str().into(),
        event_id: command.event.external_id.as_deref().map(Into::into),
        kind: OriginKind::Event,
        since: now,
        last_report_at: now,
        lives_until: None,
        cleared_at: Some(seen_at),
        confidence: None,
        bps: None,
        pps: None,
        dst_ports: Box::default(),
        src_ports: Box::default(),
        protocol: None,
    }));
    false
}

/// Drops claims that died, and cleared ones too old to matter; whether there were any.
pub(super) fn settle(group: &mut Group, now: Timestamp) -> bool {
    let before = group.claims.len();
    group.claims.retain(|claim| match claim.cleared_at {
        Some(cleared) => cleared.saturating_add(CLEARED_KEPT) > now,
        None => is_live(claim, now),
    });
    before != group.claims.len()
}

/// The operator's claims of a mitigation, which no event and no unban ends.
pub(super) fn of_operators(mitigation: &Mitigation, now: Timestamp) -> impl Iterator<Item = &Arc<Claim>> {
    mitigation
        .claims
        .iter()
        .filter(move |claim| claim.kind == OriginKind::Operator && is_live(claim, now))
}

/// An operator's claim in place of any before it, and what else is claimed; without an end it ends with the lease.
pub(super) fn with_operators(
    claims: &[Arc<Claim>],
    now: Timestamp,
    lives_until: Option<Timestamp>,
) -> Box<[Arc<Claim>]> {
    let others = claims.iter().filter(|claim| claim.kind != OriginKind::Operator);
    std::iter::once(operators(now, lives_until))
        .chain(others.cloned())
        .collect()
}

/// An operator's claim; without an end it ends with the lease.
pub(super) fn operators(now: Timestamp, lives_until: Option<Timestamp>) -> Arc<Claim> {
    Arc::new(Claim {
        source: OPERATOR.into(),
        event_id: None,
        kind: OriginKind::Operator,
        since: now,
        last_report_at: now,
        lives_until,
        cleared_at: None,
        confidence: None,
        bps: None,
        pps: None,
        dst_ports: Box::default(),
        src_ports: Box::default(),
        protocol: None,
    })
}

/// Whether a detector of this POP reports it, and not only another POP.
pub(super) fn seen_here(claims: &[Arc<Claim>]) -> bool {
    claims.iter().any(|claim| pop_of_source(&claim.source).is_none())
}

/// Whether a source sees the attack although it is filtered. Another POP sees what comes in there: its word keeps what is done
/// here, and is no evidence for doing more of it. It is also said again as long as it stands, whatever was seen since.
pub(super) fn witnesses(policy: &Policy, claim: &Claim) -> bool {
    claim.kind == OriginKind::Event
        && pop_of_source(&claim.source).is_none()
        && policy.sources.get(&claim.source).visibility == Visibility::PreFilter
}

#[cfg(test)]
mod tests {
    use super::not_all_wrong;

    /// As a threshold is compared: to the last bit.
    #[track_caller]
    fn is_exactly(voices: &[f64], expected: f64) {
        let mut orders = [voices.to_vec(), voices.to_vec()];
        orders[1].reverse();
        for order in orders {
            assert_eq!(not_all_wrong(order.into_iter()).to_bits(), expected.to_bits());
        }
    }

    #[test]
    fn what_voices_say_together_is_what_a_person_would_write() {
        is_exactly(&[0.45], 0.45);
        is_exactly(&[0.3, 0.5], 0.65);
        is_exactly(&[0.3, 0.9], 0.93);
        is_exactly(&[0.3, 0.8], 0.86);
        is_exactly(&[0.2, 0.5, 0.9], 0.96);
        is_exactly(&[0.0], 0.0);
        is_exactly(&[1.0, 0.7], 1.0);
    }
}
