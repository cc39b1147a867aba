//! What the routers should hold: kept beside the speaker, in bytes that are worked out here.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use rand::RngExt;
use rand::rngs::SmallRng;
use tokio::time::{Duration, Instant};

use super::router::{V4_UNICAST, V6_UNICAST};
use crate::flowspec::{
    Action, BytesPerSecond, CanonicalRule, Component, Dscp, Family, NlriKey, NumericTerm, Rule,
};
use crate::rib::Shape;
use crate::route::{Change, Priority, Route, Target};

/// Family by its number, and NLRI without its length.
pub(super) type Key = (u8, Vec<u8>);
/// The extended community of the action.
pub(super) type Community = [u8; 8];

/// What stands for an action where a route has none.
pub(super) const BLACKHOLED: Community = [0xFF; 8];

pub(super) const LOCAL_ASN: u32 = 65010;

/// The rules of a story.
pub(super) struct Wishes {
    rules: Vec<Wish>,
    by_key: BTreeMap<Key, usize>,
}

struct Wish {
    key: Key,
    rule: Arc<CanonicalRule>,
    route: Option<Route>,
    community: Community,
    /// Since when it is wished as it is.
    since: Instant,
    /// When it was taken back.
    withdrawn: Option<Instant>,
    /// How often it was wished anew.
    lives: u32,
    /// What it ever was wished as.
    past: BTreeSet<Community>,
}

impl Wish {
    fn is_alive(&self, now: Instant) -> bool {
        self.withdrawn.is_none() && self.route.as_ref().is_some_and(|route| route.not_after > now)
    }
}

impl Wishes {
    pub(super) fn new(count: usize) -> Self {
        let now = Instant::now();
        let rules: Vec<_> = (0..count).map(|n| wish(n, now)).collect();
        let by_key = rules
            .iter()
            .enumerate()
            .map(|(n, wish)| (wish.key.clone(), n))
            .collect();
        Self { rules, by_key }
    }

    pub(super) fn len(&self) -> usize {
        self.rules.len()
    }

    /// Wishes a rule with some action for some time; one that is alive may only become longer.
    pub(super) fn announce(
        &mut self,
        n: usize,
        lasts: Duration,
        keep_action: bool,
        rng: &mut SmallRng,
    ) -> Change {
        let now = Instant::now();
        let wish = &mut self.rules[n];
        let alive = wish.is_alive(now);
        let action = match &wish.route {
            _ if !wish.rule.family().is_flowspec() => Action::BLACKHOLE,
            Some(route) if alive && keep_action => route.action,
            _ => match rng.random_range(0..3) {
                0 => Action::DISCARD,
                1 => Action::police(BytesPerSecond::new(125_000.0).expect("a rate")),
                _ => Action::mark(Dscp::new(46).expect("a DSCP")),
            },
        };
        wish.lives += u32::from(!alive);
        let route = Route {
            rule: wish.rule.clone(),
            action,
            priority: Priority::new(rng.random_range(0..4)),
            not_after: now + lasts,
        };
        if !alive || wish.route.as_ref().map(|old| old.action) != Some(action) {
            wish.since = now;
        }
        wish.community = community(action);
        wish.past.insert(wish.community);
        wish.withdrawn = None;
        wish.route = Some(route.clone());
        Change::Announce {
            target: Target::All,
            route,
        }
    }

    pub(super) fn withdraw(&mut self, n: usize) -> Change {
        let wish = &mut self.rules[n];
        wish.withdrawn.get_or_insert(Instant::now());
        Change::Withdraw {
            target: Target::All,
            key: wish.rule.key().clone(),
        }
    }

    /// Everything wished now, for a neighbour that is new.
    pub(super) fn all(&self, target: &Target) -> Vec<Change> {
        let now = Instant::now();
        let alive = self.rules.iter().filter(|wish| wish.is_alive(now));
        alive
            .filter_map(|wish| wish.route.clone())
            .map(|route| Change::Announce {
                target: target.clone(),
                route,
            })
            .collect()
    }

    /// What is wished now: key, action, and since when.
    pub(super) fn desired(&self, now: Instant) -> impl Iterator<Item = (&Key, Community, Instant)> {
        self.rules
            .iter()
            .filter(move |wish| wish.is_alive(now))
            .map(|wish| (&wish.key, wish.community, wish.since))
    }

    /// How important a rule is, as it was wished last.
    pub(super) fn priority(&self, key: &Key) -> Option<Priority> {
        let route = self.rules[*self.by_key.get(key)?].route.as_ref()?;
        Some(route.priority)
    }

    /// The key of a rule.
    pub(super) fn key(&self, n: usize) -> Key {
        self.rules[n].key.clone()
    }

    /// Whether the rule was ever wished so.
    pub(super) fn was_wished(&self, key: &Key, as_what: &Community) -> bool {
        let wish = self.by_key.get(key).map(|n| &self.rules[*n]);
        wish.is_some_and(|wish| wish.past.contains(as_what))
    }

    /// What kind of rule it is, as it is wished.
    pub(super) fn kind(&self, key: &Key) -> Option<Shape> {
        let route = self.rules[*self.by_key.get(key)?].route.as_ref()?;
        Some(Shape::of(&route.rule, route.action))
    }

    /// Whether a rule has come to its end within this time.
    pub(super) fn has_just_ended(&self, now: Instant, within: Duration) -> bool {
        let ends = |wish: &Wish| wish.route.as_ref().map(|route| route.not_after);
        let is_just = |end: Instant| end <= now && now < end + within;
        self.rules.iter().filter_map(ends).any(is_just)
    }

    /// How often the rule was announced after it was gone.
    pub(super) fn lives(&self, key: &Key) -> u32 {
        self.by_key.get(key).map_or(0, |n| self.rules[*n].lives)
    }

    /// How the speaker names it.
    pub(super) fn nlri(&self, key: &Key) -> Option<&NlriKey> {
        let n = self.by_key.get(key)?;
        Some(self.rules[*n].rule.key())
    }

    /// Since when a rule is not wished any more; `None` while it is, an error for one that never was.
    pub(super) fn gone_since(&self, key: &Key, now: Instant) -> Result<Option<Instant>, String> {
        let never = || format!("{key:02x?} was never announced");
        let wish = self.by_key.get(key).map(|n| &self.rules[*n]).ok_or_else(never)?;
        let not_after = wish
            .route
            .as_ref()
            .map(|route| route.not_after)
            .ok_or_else(never)?;
        let end = wish
            .withdrawn
            .map_or(not_after, |withdrawn| withdrawn.min(not_after));
        Ok((!wish.is_alive(now)).then_some(end))
    }
}

/// Two of five are FlowSpec of IPv4, the others one of each family.
fn wish(n: usize, now: Instant) -> Wish {
    let low = u16::try_from(n).expect("a small pool");
    let v4 = Ipv4Addr::from(0xCB00_7100 + u32::from(low));
    let v6 = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, low);
    let (key, rule) = match n % 5 {
        2 => (
            (2, flowspec_bytes(&[1, 128, 0], &v6.octets())),
            flowspec(Family::Ipv6, v6.into()),
        ),
        3 => ((V4_UNICAST, v4.octets().to_vec()), Rule::host_route(v4.into())),
        4 => ((V6_UNICAST, v6.octets().to_vec()), Rule::host_route(v6.into())),
        _ => (
            (1, flowspec_bytes(&[1, 32], &v4.octets())),
            flowspec(Family::Ipv4, v4.into()),
        ),
    };
    Wish {
        key,
        rule: Arc::new(rule.canonical().expect("a plain rule")),
        route: None,
        community: [0; 8],
        since: now,
        withdrawn: None,
        lives: 0,
        past: BTreeSet::new(),
    }
}

/// The destination, and UDP.
fn flowspec_bytes(head: &[u8], victim: &[u8]) -> Vec<u8> {
    [head, victim, &[3, 0x81, 17]].concat()
}

fn flowspec(family: Family, victim: IpAddr) -> Rule {
    Rule {
        family,
        components: vec![
            Component::Protocol(vec![NumericTerm::equal(17)]),
            Component::DestinationPrefix(victim.into()),
        ],
    }
}

pub(super) fn community(action: Action) -> Community {
    let [_, _, high, low] = LOCAL_ASN.to_be_bytes();
    if action == Action::BLACKHOLE {
        BLACKHOLED
    } else if action == Action::DISCARD {
        [0x80, 6, high, low, 0, 0, 0, 0]
    } else if action == Action::mark(Dscp::new(46).expect("a DSCP")) {
        [0x80, 9, 0, 0, 0, 0, 0, 46]
    } else {
        let [a, b, c, d] = 125_000.0_f32.to_be_bytes();
        [0x80, 6, high, low, a, b, c, d]
    }
}
