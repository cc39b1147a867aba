//! What the reference knows of an attack, a mitigation and a rule.

use super::reference::{At, DAY, MAX_LIFETIME, MAX_LIFETIME_OPERATOR, QUIET};
use super::setup::SOURCES;
use super::story::VICTIMS;
use prefixd_api::ids::{MitigationId, SuppressionId};
use std::collections::{BTreeMap, BTreeSet};

/// How sure somebody is.
pub(super) type Percent = u32;

/// A part of the traffic to a victim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Piece {
    /// UDP to this port.
    Port(u16),
    /// Long replies of NTP servers.
    Ntp,
}

/// What one rule takes from its victim.
pub(super) type Taken = BTreeSet<Piece>;

/// What a mitigation takes, and what is let through of it. Zero drops.
pub(super) type Pieces = BTreeMap<Piece, u64>;

/// Its rules: what is let through as much is one.
pub(super) fn rules(pieces: &Pieces) -> Vec<(Taken, u64)> {
    let rates: BTreeSet<u64> = pieces.values().copied().collect();
    let of = |rate: u64| pieces.iter().filter(move |(_, own)| **own == rate);
    rates
        .into_iter()
        .map(|rate| (of(rate).map(|(piece, _)| *piece).collect(), rate))
        .collect()
}

/// A source, and what it calls the attack.
pub(super) type Name = (usize, Option<u8>);

#[derive(Clone, Debug)]
pub(super) struct Claim {
    pub(super) since: At,
    pub(super) lives_until: At,
    pub(super) cleared_at: Option<At>,
    pub(super) ports: BTreeSet<u16>,
    pub(super) confidence: Option<Percent>,
}

impl Claim {
    pub(super) fn is_live(&self, now: At) -> bool {
        self.cleared_at.is_none() && self.lives_until > now
    }
}

/// What is remembered of a scope.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    pub(super) claims: BTreeMap<Name, Claim>,
    pub(super) starts: Vec<At>,
    pub(super) filtered_since: Option<At>,
    /// What was filtered first since then was dry-run.
    pub(super) was_trial: bool,
    pub(super) last_ban: Option<At>,
    /// By whom, and when.
    pub(super) reports: Vec<(usize, At)>,
    /// By whom, and from when to when it was claimed by somebody who saw it, and who claims it no more.
    watched: Vec<(usize, At, At)>,
}

/// An operator's claim.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operator {
    /// Without an end it says what the mitigation does.
    pub(super) until: Option<At>,
}

#[derive(Clone, Debug)]
pub(super) struct Mitigation {
    pub(super) id: MitigationId,
    pub(super) customer: &'static str,
    pub(super) pieces: Pieces,
    /// Nothing of what is dry-run is announced.
    pub(super) is_enforced: bool,
    /// For others who say the same: nothing of it is announced.
    pub(super) is_pending: bool,
    /// When it was first to be announced, or began to wait.
    pub(super) began: At,
    pub(super) expires_at: At,
    pub(super) ends_at: Option<At>,
    pub(super) operator: Option<Operator>,
    pub(super) sources: BTreeSet<usize>,
    pub(super) ttl: At,
    pub(super) acknowledged: bool,
    pub(super) step: usize,
    pub(super) stepped_at: At,
    /// Before it counts nothing towards the next step.
    pub(super) evidence_from: At,
    /// When there was last evidence that carries the step.
    pub(super) carried_at: At,
    /// When the neighbour was first told it, and whether the daemon has seen that.
    pub(super) told: Option<(At, bool)>,
    /// It is told again before the daemon has seen that, and only the last time counts.
    pub(super) is_resent: bool,
    /// Since when a step that was not taken in its time could be.
    pub(super) late_since: Option<At>,
}

impl Mitigation {
    pub(super) fn is_pinned(&self) -> bool {
        self.operator.is_some_and(|operator| operator.until.is_none())
    }

    /// Whether this source has a say.
    pub(super) const fn hears(&self, source: usize) -> bool {
        counts(source, self.is_enforced)
    }

    pub(super) fn is_held(&self) -> bool {
        self.operator.is_some() || !self.sources.is_empty()
    }

    pub(super) const fn max_lifetime(&self) -> At {
        if self.operator.is_some() {
            MAX_LIFETIME_OPERATOR
        } else {
            MAX_LIFETIME
        }
    }

    /// To `now + ttl`, never shorter, never beyond the lifetime.
    pub(super) fn extend(&mut self, since: At, now: At, ttl: At) {
        let wanted = self.expires_at.max(now + ttl);
        let bound = (since + self.max_lifetime()).max(self.expires_at);
        self.expires_at = wanted.min(bound);
    }

    pub(super) fn end(&self) -> At {
        self.ends_at.map_or(self.expires_at, |at| at.min(self.expires_at))
    }
}

/// One of them, counted round.
pub(super) fn nth_of<K: Copy, V: Clone>(all: &BTreeMap<K, V>, nth: usize) -> Option<(K, V)> {
    let one = all.iter().nth(nth % all.len().max(1))?;
    Some((*one.0, one.1.clone()))
}

/// Nobody's bans of a target are acted on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Suppression {
    pub(super) id: SuppressionId,
    pub(super) until: At,
}

/// A withdrawal that is undone.
#[derive(Clone, Debug)]
pub(super) struct PutBack {
    pub(super) ended: Mitigation,
    pub(super) at: At,
    pub(super) successor: MitigationId,
    /// What the withdrawal would have suppressed by; said again it has another name.
    pub(super) suppression: SuppressionId,
}

impl Memory {
    /// Whether a claim died.
    pub(super) fn forget_dead(&mut self, now: At) -> bool {
        let watched = &mut self.watched;
        let mut died = false;
        self.claims.retain(|(source, _), claim| match claim.cleared_at {
            Some(cleared) => cleared + DAY > now,
            None if claim.lives_until > now => true,
            None => {
                if SOURCES[*source].sees_what_is_filtered {
                    watched.push((*source, claim.since, claim.lives_until));
                }
                died = true;
                false
            }
        });
        died
    }

    /// A source says that it claims nothing of this name any more.
    pub(super) fn clear(&mut self, name: Name, now: At, seen_at: At) {
        let known = self.claims.get(&name).filter(|claim| claim.is_live(now));
        let seen = known.filter(|_| SOURCES[name.0].sees_what_is_filtered);
        self.watched.extend(seen.map(|claim| (name.0, claim.since, now)));
        let claim = self.claims.entry(name).or_insert(Claim {
            since: now,
            lives_until: At::MAX,
            cleared_at: None,
            ports: BTreeSet::new(),
            confidence: None,
        });
        claim.cleared_at = claim.cleared_at.max(Some(seen_at));
    }

    pub(super) fn live(&self, now: At) -> impl Iterator<Item = (&Name, &Claim)> + Clone {
        self.claims.iter().filter(move |(_, claim)| claim.is_live(now))
    }

    /// The claims that hold what is announced, or what is not.
    pub(super) fn counting(&self, enforced: bool, now: At) -> impl Iterator<Item = (&Name, &Claim)> + Clone {
        self.live(now)
            .filter(move |((source, _), _)| counts(*source, enforced))
    }

    pub(super) fn holding(&self, enforced: bool, now: At) -> BTreeSet<usize> {
        let names = self.counting(enforced, now);
        names.map(|((source, _), _)| *source).collect()
    }

    pub(super) fn ports(&self, enforced: bool, now: At) -> BTreeSet<u16> {
        let claims = self.counting(enforced, now);
        claims.flat_map(|(_, claim)| &claim.ports).copied().collect()
    }

    pub(super) fn is_held_by_one_that_reports_once(&self, enforced: bool, now: At) -> bool {
        let mut holding = self.holding(enforced, now).into_iter();
        holding.any(|source| SOURCES[source].reports_once)
    }

    /// From when to when there was evidence without a longer gap, lastly, of what began then.
    pub(super) fn evidence(&self, of: &Mitigation, now: At) -> Option<(At, At)> {
        let (enforced, began) = (of.is_enforced, of.began);
        let live = self.counting(enforced, now);
        let seen = live.filter(|((source, _), _)| SOURCES[*source].sees_what_is_filtered);
        let watched = self.watched.iter().filter(|(by, ..)| counts(*by, enforced));
        let reports = self.reports.iter().filter(|(by, _)| counts(*by, enforced));
        let mut spans: Vec<(At, At)> = seen
            .map(|(_, claim)| (claim.since, now))
            .chain(watched.map(|(_, from, until)| (*from, *until)))
            .chain(reports.map(|(_, at)| (*at, *at)))
            .filter(|(_, until)| *until >= began)
            .collect();
        spans.sort_unstable();
        spans.into_iter().reduce(|all, next| {
            if next.0 - all.1 > QUIET {
                next
            } else {
                (all.0, all.1.max(next.1))
            }
        })
    }
}

/// A source on trial has no say about what is announced.
const fn counts(source: usize, enforced: bool) -> bool {
    !enforced || !SOURCES[source].is_on_trial
}

pub(super) fn is_in(prefix: usize, victim: usize) -> bool {
    let last = VICTIMS[victim][3];
    VICTIMS[victim][0] == 203 && if prefix == 0 { last == 10 } else { last >= 128 }
}

/// The NLRI of what is taken from a victim (RFC 8955 section 4.2.2), in hexadecimal.
pub(super) fn nlri(victim: usize, taken: &Taken) -> String {
    let mut bytes = vec![1, 32];
    bytes.extend(VICTIMS[victim]);
    bytes.extend([3, 0x81, 17]);
    if taken.contains(&Piece::Ntp) {
        bytes.extend([6, 0x81, 123, 10, 0x83, 100]);
    } else {
        bytes.push(5);
    }
    for (place, piece) in taken.iter().enumerate() {
        let last = if place + 1 == taken.len() { 0x80 } else { 0 };
        let Piece::Port(port) = piece else { continue };
        match u8::try_from(*port) {
            Ok(short) => bytes.extend([last | 0x01, short]),
            Err(_) => {
                bytes.push(last | 0x11);
                bytes.extend(port.to_be_bytes());
            }
        }
    }
    let components: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{:02x}{components}", bytes.len())
}
