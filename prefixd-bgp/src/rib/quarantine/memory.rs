//! What outlives the process: parked rules and shapes as plain data, and back. And the shape of a rule as a text.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use tokio::time::{Duration, Instant};

use super::{MAX_PARKED, MAX_RECORDS, Parked, Quarantine, Record};
use crate::canary::RememberedKinds;
use crate::flowspec::{Action, CanonicalRule, Effect, Family, NlriKey, Redirect};
use crate::rib::RememberedBound;

/// What two rules have in common that a router would refuse for the same reason. It is written as text and read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shape {
    family: Family,
    /// One bit for each component type.
    components: u16,
    /// By class: routers differ in what they take per component and in bytes.
    operators: u8,
    bytes: u8,
    effect: Kind,
}

/// An action without its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Kind {
    Discard,
    RateBytes,
    RatePackets,
    VrfAs2,
    VrfAs4,
    VrfIpv4,
    NextHop,
    Mark,
    Blackhole,
}

impl Kind {
    const ALL: [(Self, &'static str); 9] = [
        (Self::Discard, "discard"),
        (Self::RateBytes, "rate-bytes"),
        (Self::RatePackets, "rate-packets"),
        (Self::VrfAs2, "vrf-as2"),
        (Self::VrfAs4, "vrf-as4"),
        (Self::VrfIpv4, "vrf-ipv4"),
        (Self::NextHop, "next-hop"),
        (Self::Mark, "mark"),
        (Self::Blackhole, "blackhole"),
    ];

    fn of(effect: Effect) -> Self {
        match effect {
            Effect::Discard => Self::Discard,
            Effect::RateBytes(_) => Self::RateBytes,
            Effect::RatePackets(_) => Self::RatePackets,
            Effect::Redirect(Redirect::VrfAs2 { .. }) => Self::VrfAs2,
            Effect::Redirect(Redirect::VrfAs4 { .. }) => Self::VrfAs4,
            Effect::Redirect(Redirect::VrfIpv4 { .. }) => Self::VrfIpv4,
            Effect::Redirect(Redirect::NextHop { .. }) => Self::NextHop,
            Effect::Mark(_) => Self::Mark,
            Effect::Blackhole => Self::Blackhole,
        }
    }

    fn name(self) -> &'static str {
        let found = Self::ALL.iter().find(|(kind, _)| *kind == self);
        found.map_or("", |(_, name)| name)
    }
}

impl Shape {
    pub(crate) fn of(rule: &CanonicalRule, action: Action) -> Self {
        let class = |value: usize, bounds: &[usize]| {
            u8::try_from(bounds.partition_point(|bound| *bound < value)).unwrap_or(u8::MAX)
        };
        let (_, operators) = rule.widest_component();
        Self {
            family: rule.family(),
            components: rule.types(),
            operators: class(operators, &[2, 5]),
            bytes: class(rule.key().component_bytes(), &[63, 239]),
            effect: Kind::of(action.effect()),
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            family,
            components,
            operators,
            bytes,
            effect,
        } = self;
        write!(
            f,
            "{family} {components:04x} {operators} {bytes} {}",
            effect.name()
        )
    }
}

/// A text is no [`Shape`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the shape of a rule")]
pub struct NotAShape(pub String);

impl FromStr for Shape {
    type Err = NotAShape;

    fn from_str(text: &str) -> Result<Self, NotAShape> {
        let words: Vec<&str> = text.split(' ').collect();
        let parse = || {
            let [family, components, operators, bytes, effect] = words[..] else {
                return None;
            };
            Some(Self {
                family: family.parse().ok()?,
                components: u16::from_str_radix(components, 16).ok()?,
                operators: operators.parse().ok()?,
                bytes: bytes.parse().ok()?,
                effect: Kind::ALL.iter().find(|(_, name)| *name == effect)?.0,
            })
        };
        parse().ok_or_else(|| NotAShape(text.to_owned()))
    }
}

/// What one router ended sessions over, for the process that comes after this one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remembered {
    /// The hold time of the session that was lost last: how long the router must be watched for silence.
    pub hold: Duration,
    /// Rules that are parked, and that were: each time is for longer.
    pub rules: Vec<RememberedRule>,
    /// Shapes of which no rule is told.
    pub shapes: Vec<(Shape, Arc<Parked>)>,
    /// What it and the neighbours that are like it have found out of new kinds of rules; none if it tries nothing for
    /// others.
    pub kinds: Option<RememberedKinds>,
    /// How many rules it takes, if it has ended a session over their number.
    pub bound: Option<RememberedBound>,
}

/// One of [`Remembered`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RememberedRule {
    /// The rule.
    pub key: NlriKey,
    /// What it has in common with others.
    pub shape: Shape,
    /// Since when, until when and why.
    pub parked: Arc<Parked>,
    /// Whether it is parked; otherwise it was released, and is only remembered.
    pub held: bool,
}

impl Quarantine {
    /// Counts the changes of what [`Quarantine::remembered`] tells.
    pub(in crate::rib) fn version(&self) -> u64 {
        self.version
    }

    /// In a lasting order.
    pub(in crate::rib) fn remembered(&self) -> Remembered {
        let rule = |(key, record): (&NlriKey, &Record)| RememberedRule {
            key: key.clone(),
            shape: record.shape,
            parked: record.parked.clone(),
            held: record.held,
        };
        let mut rules: Vec<_> = self.records.iter().map(rule).collect();
        rules.sort_by(|one, other| one.key.cmp(&other.key));
        let shapes = self.shapes.iter();
        let mut shapes: Vec<_> = shapes.map(|(shape, parked)| (*shape, parked.clone())).collect();
        shapes.sort_by_key(|(shape, _)| shape.to_string());
        Remembered {
            hold: self.hold,
            rules,
            shapes,
            kinds: None,
            bound: None,
        }
    }

    /// Goes on from what a process before this one knew. The clock may have been set back since: nothing lasts longer
    /// from now than the longest parking.
    pub(in crate::rib) fn restore(&mut self, remembered: Remembered, now: Instant) {
        let bounded = |parked: Arc<Parked>| {
            let until = parked.until.min(now + MAX_PARKED);
            Arc::new(Parked {
                until,
                since: parked.since.min(until),
                ..Parked::clone(&parked)
            })
        };
        self.hold = self.hold.max(remembered.hold);
        let counts = |rule: &RememberedRule| rule.parked.until + MAX_PARKED > now;
        for rule in remembered.rules.into_iter().filter(counts).take(MAX_RECORDS) {
            let RememberedRule {
                key,
                shape,
                parked,
                held,
            } = rule;
            let record = Record {
                parked: bounded(parked),
                shape,
                held,
            };
            self.records.entry(key).or_insert(record);
        }
        for (shape, parked) in remembered.shapes {
            self.shapes.entry(shape).or_insert_with(|| bounded(parked));
        }
        self.version += 1;
    }

    /// Nothing is suspected or parked any more.
    pub(in crate::rib) fn forget(&mut self) {
        let knew = !self.records.is_empty() || !self.shapes.is_empty();
        *self = Self {
            version: self.version + u64::from(knew),
            ..Self::default()
        };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::key;
    use super::*;
    use crate::status::Loss;

    fn shape() -> impl Strategy<Value = Shape> {
        let kind = prop::sample::select(Kind::ALL.map(|(kind, _)| kind).to_vec());
        let family = prop::sample::select(Family::ALL.to_vec());
        (family, any::<u16>(), any::<u8>(), any::<u8>(), kind).prop_map(
            |(family, components, operators, bytes, effect)| Shape {
                family,
                components,
                operators,
                bytes,
                effect,
            },
        )
    }

    proptest! {
        #[test]
        fn a_shape_comes_back_from_its_text(shape in shape()) {
            prop_assert_eq!(shape.to_string().parse(), Ok(shape));
        }

        #[test]
        fn no_text_panics(text in "[a-z0-9 -]{0,40}") {
            let _ = text.parse::<Shape>();
        }
    }

    fn parked(now: Instant, seconds: u64, times: u32) -> Arc<Parked> {
        Arc::new(Parked {
            since: now,
            until: now + Duration::from_secs(seconds),
            times,
            why: Loss::ConnectionLost {
                detail: "reset".to_owned(),
            },
            by_shape: false,
        })
    }

    #[test]
    fn what_is_restored_is_what_was_remembered_and_lasts_no_longer_than_a_day() {
        let now = Instant::now();
        let shape: Shape = "ipv4-flowspec 002a 2 0 discard".parse().unwrap();
        let rule = |n, parked: &Arc<Parked>, held| RememberedRule {
            key: key(n),
            shape,
            parked: parked.clone(),
            held,
        };
        let (short, long) = (parked(now, 60, 1), parked(now, 10 * 86_400, 3));
        let remembered = Remembered {
            hold: Duration::from_secs(30),
            rules: vec![rule(1, &short, true), rule(2, &short, false)],
            shapes: vec![(shape, short.clone())],
            kinds: None,
            bound: None,
        };
        let mut quarantine = Quarantine::default();
        quarantine.restore(remembered.clone(), now);
        assert_eq!(quarantine.remembered(), remembered);
        assert_eq!(quarantine.parked(), [(key(1), short.clone())]);
        assert_eq!(quarantine.next_release(), Some(short.until));
        // It is known better here.
        let again = Remembered {
            rules: vec![rule(1, &long, false), rule(3, &long, true)],
            ..Remembered::default()
        };
        quarantine.restore(again, now);
        let held: Vec<_> = quarantine.parked().into_iter().map(|(key, _)| key).collect();
        assert_eq!(held, [key(1), key(3)]);
        let all = quarantine.remembered().rules;
        assert_eq!(all[2].parked.until, now + MAX_PARKED);
        assert_eq!(all[2].parked.times, 3);
    }

    #[test]
    fn each_change_has_a_version_and_nothing_else_does() {
        let now = Instant::now();
        let mut quarantine = Quarantine::default();
        quarantine.forget();
        assert!(!quarantine.release(None, None) && !quarantine.release_due(now));
        assert_eq!(quarantine.version(), 0);
        let one = Remembered {
            rules: vec![RememberedRule {
                key: key(1),
                shape: "ipv4-flowspec 002a 2 0 discard".parse().unwrap(),
                parked: parked(now, 60, 1),
                held: true,
            }],
            ..Remembered::default()
        };
        let mut versions = vec![0];
        quarantine.restore(one.clone(), now);
        versions.push(quarantine.version());
        assert!(quarantine.release(None, Some(&key(1))));
        versions.push(quarantine.version());
        quarantine.forget();
        versions.push(quarantine.version());
        quarantine.restore(one, now);
        versions.push(quarantine.version());
        assert!(quarantine.release_due(now + Duration::from_secs(60)));
        versions.push(quarantine.version());
        assert!(
            versions.is_sorted_by(|before, after| before < after),
            "{versions:?}"
        );
    }
}
