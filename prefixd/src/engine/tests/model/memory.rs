//! What the reference knows of an attack, a mitigation and a rule.

use super::reference::{At, DAY, MAX_LIFETIME, MAX_LIFETIME_OPERATOR};
use super::story::{SOURCES, VICTIMS};
use prefixd_api::ids::{MitigationId, SuppressionId};
use std::collections::{BTreeMap, BTreeSet};

/// What a rule takes from its victim.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Taken {
    /// UDP to these ports.
    Ports(BTreeSet<u16>),
    /// Long replies of NTP servers.
    Ntp,
}

/// A source, and what it calls the attack.
pub(super) type Name = (usize, Option<u8>);

#[derive(Clone, Debug)]
pub(super) struct Claim {
    pub(super) since: At,
    pub(super) lives_until: At,
    pub(super) cleared_at: Option<At>,
    pub(super) ports: BTreeSet<u16>,
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
    pub(super) last_ban: Option<At>,
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
    pub(super) taken: Taken,
    /// Zero drops.
    pub(super) rate: u64,
    pub(super) expires_at: At,
    pub(super) ends_at: Option<At>,
    pub(super) operator: Option<Operator>,
    pub(super) sources: BTreeSet<usize>,
    pub(super) ttl: At,
    pub(super) acknowledged: bool,
}

impl Mitigation {
    pub(super) fn is_pinned(&self) -> bool {
        self.operator.is_some_and(|operator| operator.until.is_none())
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
pub(super) fn nth_of<K: Copy, V: Copy>(all: &BTreeMap<K, V>, nth: usize) -> Option<(K, V)> {
    let one = all.iter().nth(nth % all.len().max(1))?;
    Some((*one.0, *one.1))
}

/// Nobody's bans of a target are acted on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Suppression {
    pub(super) id: SuppressionId,
    pub(super) until: At,
}

/// A withdrawal that is undone.
#[derive(Clone, Copy, Debug)]
pub(super) struct PutBack {
    pub(super) at: At,
    pub(super) successor: MitigationId,
}

impl Memory {
    pub(super) fn forget_dead(&mut self, now: At) {
        self.claims.retain(|_, claim| match claim.cleared_at {
            Some(cleared) => cleared + DAY > now,
            None => claim.lives_until > now,
        });
    }

    pub(super) fn holding(&self, now: At) -> BTreeSet<usize> {
        let live = self.claims.iter().filter(|(_, claim)| claim.is_live(now));
        live.map(|((source, _), _)| *source).collect()
    }

    pub(super) fn ports(&self, now: At) -> BTreeSet<u16> {
        let live = self.claims.values().filter(|claim| claim.is_live(now));
        live.flat_map(|claim| &claim.ports).copied().collect()
    }

    pub(super) fn is_held_by_one_that_reports_once(&self, now: At) -> bool {
        self.holding(now).iter().any(|source| SOURCES[*source] == "once")
    }
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
    match taken {
        Taken::Ports(ports) => {
            bytes.push(5);
            for (place, port) in ports.iter().enumerate() {
                let last = if place + 1 == ports.len() { 0x80 } else { 0 };
                match u8::try_from(*port) {
                    Ok(short) => bytes.extend([last | 0x01, short]),
                    Err(_) => {
                        bytes.push(last | 0x11);
                        bytes.extend(port.to_be_bytes());
                    }
                }
            }
        }
        Taken::Ntp => bytes.extend([6, 0x81, 123, 10, 0x83, 100]),
    }
    let components: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{:02x}{components}", bytes.len())
}
