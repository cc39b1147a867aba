//! The configurations that a reload changes between, for the reference and, as files, for the daemon.

use super::memory::Percent;
use super::reference::{At, SECOND};
use super::story::Vector;
use prefixd_api::config::Config;

pub(super) const CONFIGURATIONS: usize = 7;

/// What a later step needs that does not say so itself.
pub(super) const MIN_CONFIDENCE: Percent = 30;

/// A detector.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source {
    pub(super) name: &'static str,
    /// All that nobody configured are one voice.
    is_configured: bool,
    /// Who is fed by the same data is one voice.
    domain: Option<&'static str>,
    pub(super) reports_once: bool,
    pub(super) claim_ttl: At,
    /// Whether it sees the attack although it is filtered.
    pub(super) sees_what_is_filtered: bool,
    /// Of a report that does not say so.
    pub(super) confidence: Option<Percent>,
    pub(super) weight: Percent,
    pub(super) may_trigger: bool,
    /// What stands on its word alone is dry-run.
    pub(super) is_on_trial: bool,
}

const UNKNOWN: Source = Source {
    name: "netscout",
    is_configured: false,
    domain: None,
    reports_once: false,
    claim_ttl: 90 * SECOND,
    sees_what_is_filtered: true,
    confidence: None,
    weight: 100,
    may_trigger: true,
    is_on_trial: false,
};
const KNOWN: Source = Source {
    is_configured: true,
    ..UNKNOWN
};
pub(super) const SOURCES: [Source; 7] = [
    Source {
        name: "once",
        reports_once: true,
        claim_ttl: 400 * SECOND,
        confidence: Some(80),
        ..KNOWN
    },
    Source {
        name: "fastnetmon",
        domain: Some("flows"),
        ..KNOWN
    },
    Source {
        name: "probe",
        // Shorter than what is pending waits.
        claim_ttl: 45 * SECOND,
        domain: Some("flows"),
        sees_what_is_filtered: false,
        confidence: Some(90),
        weight: 50,
        ..KNOWN
    },
    Source {
        name: "scrubber",
        claim_ttl: 30 * SECOND,
        confidence: Some(60),
        weight: 50,
        may_trigger: false,
        ..KNOWN
    },
    UNKNOWN,
    Source {
        name: "arbor",
        ..UNKNOWN
    },
    Source {
        name: "newcomer",
        claim_ttl: 60 * SECOND,
        confidence: Some(70),
        is_on_trial: true,
        ..KNOWN
    },
];
/// Among the sources, for configurations that name them.
const ONCE: usize = 0;
const FASTNETMON: usize = 1;
const PROBE: usize = 2;
const SCRUBBER: usize = 3;
const NETSCOUT: usize = 4;
const ARBOR: usize = 5;
const NEWCOMER: usize = 6;

impl Source {
    /// Who speaks with it as one.
    pub(super) fn voice(&self) -> Option<&'static str> {
        self.is_configured.then(|| self.domain.unwrap_or(self.name))
    }

    fn written(&self, may_drop: bool) -> String {
        if !self.is_configured {
            return String::new();
        }
        let keys = [
            (!may_drop).then(|| ", max_action: police".to_owned()),
            self.is_on_trial.then(|| ", enforce: false".to_owned()),
            self.domain.map(|domain| format!(", domain: {domain}")),
            self.confidence
                .map(|percent| format!(", default_confidence: 0.{percent:02}")),
            (self.weight < 100).then(|| format!(", weight: 0.{:02}", self.weight)),
            (!self.sees_what_is_filtered).then(|| ", visibility: post_filter".to_owned()),
            (!self.may_trigger).then(|| ", may_trigger: false".to_owned()),
        ];
        format!(
            "  {}: {{ reporting: {}, claim_ttl_seconds: {}{} }}\n",
            self.name,
            if self.reports_once { "once" } else { "repeats" },
            self.claim_ttl / SECOND,
            keys.into_iter().flatten().collect::<String>()
        )
    }
}

/// One step of a playbook.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rung {
    /// Zero drops.
    pub(super) rate: u64,
    pub(super) ttl: At,
    /// How long there must have been evidence; of no meaning for the first.
    pub(super) persistence: At,
    /// Who do not share their data.
    pub(super) voices: usize,
    pub(super) confidence: Option<Percent>,
    /// How long nothing may have carried it.
    pub(super) gives_way_after: Option<At>,
}

const FIRST: Rung = Rung {
    rate: 5_000_000,
    ttl: 40 * SECOND,
    persistence: 0,
    voices: 1,
    confidence: None,
    gives_way_after: None,
};
/// Another rate in place.
const STRICTER: Rung = Rung {
    rate: 1_000_000,
    ttl: 60 * SECOND,
    persistence: 15 * SECOND,
    gives_way_after: Some(50 * SECOND),
    ..FIRST
};
const LAST: Rung = Rung {
    rate: 0,
    ttl: 45 * SECOND,
    persistence: 25 * SECOND,
    voices: 2,
    confidence: Some(70),
    gives_way_after: Some(50 * SECOND),
};
const UDP: [Rung; 3] = [FIRST, STRICTER, LAST];
/// One voice is enough to drop, if it may.
const UDP_OF_ONE: [Rung; 3] = [
    FIRST,
    STRICTER,
    Rung {
        voices: 1,
        confidence: None,
        ..LAST
    },
];
/// Nobody begins it who is not rather sure, and it goes less far.
const UDP_OF_THE_SURE: [Rung; 2] = [
    Rung {
        ttl: 35 * SECOND,
        confidence: Some(45),
        ..FIRST
    },
    STRICTER,
];
const NTP: [Rung; 1] = [Rung {
    rate: 0,
    ttl: 30 * SECOND,
    ..FIRST
}];
/// The second does the same for longer.
const NTP_OF_TWO: [Rung; 3] = [
    Rung {
        rate: 1_000_000,
        voices: 2,
        ..FIRST
    },
    Rung {
        ttl: 70 * SECOND,
        ..STRICTER
    },
    LAST,
];
const NTP_OF_THE_SURE: [Rung; 1] = [Rung {
    voices: 2,
    confidence: Some(60),
    ..NTP[0]
}];

/// How soon and how long something is done for a customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Profile {
    Strict,
    Normal,
    Relaxed,
}

impl Profile {
    /// What a step needs for such a customer.
    pub(super) fn bend(self, rung: Rung) -> Rung {
        let sure = |percent: Percent| match self {
            Self::Strict => percent.saturating_sub(10),
            Self::Normal => percent,
            // Never more than half of the way to certainty.
            Self::Relaxed => (percent + 10).min(percent.midpoint(100)),
        };
        Rung {
            confidence: rung.confidence.map(sure),
            persistence: match self {
                Self::Strict => rung.persistence / 2,
                Self::Normal => rung.persistence,
                Self::Relaxed => rung.persistence * 2,
            },
            ..rung
        }
    }

    /// How long rules stay after the last claim.
    pub(super) const fn hold_down(self, written: At) -> At {
        match self {
            Self::Strict => written * 2,
            Self::Normal | Self::Relaxed => written,
        }
    }
}

/// A customer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Customer {
    pub(super) profile: Profile,
    pub(super) is_on_trial: bool,
}

const NORMAL: Customer = Customer {
    profile: Profile::Normal,
    is_on_trial: false,
};
const STRICT: Customer = Customer {
    profile: Profile::Strict,
    ..NORMAL
};
const RELAXED: Customer = Customer {
    profile: Profile::Relaxed,
    ..NORMAL
};

/// What is done about a kind of attack.
#[derive(Clone, Copy, Debug)]
struct Playbook {
    rungs: &'static [Rung],
    is_on_trial: bool,
}

impl Playbook {
    const fn of(rungs: &'static [Rung]) -> Self {
        Self {
            rungs,
            is_on_trial: false,
        }
    }

    const fn on_trial(rungs: &'static [Rung]) -> Self {
        Self {
            rungs,
            is_on_trial: true,
        }
    }
}

/// What differs from one configuration to the next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setup {
    pub(super) per_customer: usize,
    pub(super) per_pop: usize,
    pub(super) escalates: bool,
    /// The daemon's mode, which only a start changes.
    pub(super) is_dry_run: bool,
    acme: Customer,
    beta: Option<Customer>,
    /// Sources that may ask for a rate and for nothing stricter; of those that nobody configured all or none.
    mild: &'static [usize],
    udp: Playbook,
    ntp: Playbook,
}

impl Setup {
    pub(super) const fn of(configuration: usize) -> Self {
        let base = Self {
            per_customer: 3,
            per_pop: 5,
            escalates: true,
            is_dry_run: false,
            acme: NORMAL,
            beta: Some(NORMAL),
            mild: &[FASTNETMON],
            udp: Playbook::of(&UDP),
            ntp: Playbook::of(&NTP_OF_TWO),
        };
        match configuration {
            0 => base,
            1 => Self {
                acme: STRICT,
                beta: None,
                mild: &[ONCE, FASTNETMON, SCRUBBER],
                ntp: Playbook::of(&NTP_OF_THE_SURE),
                ..base
            },
            2 => Self {
                escalates: false,
                beta: Some(Customer {
                    is_on_trial: true,
                    ..RELAXED
                }),
                udp: Playbook::of(&UDP_OF_THE_SURE),
                ntp: Playbook::of(&NTP),
                ..base
            },
            3 => Self {
                per_customer: 1,
                per_pop: 2,
                beta: Some(STRICT),
                mild: &[],
                ..base
            },
            4 => Self {
                acme: RELAXED,
                mild: &[ONCE, FASTNETMON, PROBE, NETSCOUT, ARBOR, NEWCOMER],
                udp: Playbook::of(&UDP_OF_ONE),
                ..base
            },
            5 => Self {
                acme: Customer {
                    is_on_trial: true,
                    ..STRICT
                },
                beta: Some(RELAXED),
                udp: Playbook::of(&UDP_OF_ONE),
                ..base
            },
            _ => Self {
                acme: STRICT,
                udp: Playbook::of(&UDP_OF_ONE),
                ntp: Playbook::on_trial(&NTP_OF_TWO),
                ..base
            },
        }
    }

    pub(super) const fn in_mode(self, is_dry_run: bool) -> Self {
        Self { is_dry_run, ..self }
    }

    pub(super) fn customer(&self, name: &str) -> Option<Customer> {
        if name == "acme" {
            Some(self.acme)
        } else {
            self.beta
        }
    }

    pub(super) fn may_drop(&self, source: usize) -> bool {
        !self.mild.contains(&source)
    }

    const fn playbook(&self, vector: Vector) -> Option<&Playbook> {
        match vector {
            Vector::Udp => Some(&self.udp),
            Vector::Ntp => Some(&self.ntp),
            Vector::Manual => None,
        }
    }

    pub(super) fn is_playbook_on_trial(&self, vector: Vector) -> bool {
        self.playbook(vector).is_some_and(|playbook| playbook.is_on_trial)
    }

    /// From the first; nothing is done by itself under the name of operators.
    pub(super) fn rungs(&self, vector: Vector) -> &'static [Rung] {
        self.playbook(vector).map_or(&[], |playbook| playbook.rungs)
    }

    /// The step of this number, from 1.
    pub(super) fn rung(&self, vector: Vector, number: usize) -> Option<&'static Rung> {
        self.rungs(vector).get(number.checked_sub(1)?)
    }

    /// As it is written in files.
    pub(super) fn written(&self, pop: &str) -> Config {
        let sources = SOURCES.iter().enumerate();
        let sources = sources.map(|(place, source)| source.written(self.may_drop(place)));
        let settings = SETTINGS
            .replace("{POP}", pop)
            .replace("{MODE}", if self.is_dry_run { "dry-run" } else { "enforced" })
            .replace("{CUSTOMER}", &self.per_customer.to_string())
            .replace("{PER_POP}", &self.per_pop.to_string())
            .replace("{ESCALATES}", &self.escalates.to_string())
            .replace(
                "{UNKNOWN}",
                if self.may_drop(NETSCOUT) {
                    "discard"
                } else {
                    "police"
                },
            )
            .replace("{SOURCES}", &sources.collect::<String>());
        let acme = self.acme.written("acme", "203.0.113.0/25");
        let beta = self.beta.map(|beta| beta.written("beta", "203.0.113.128/25"));
        let inventory = format!("customers:\n{acme}{}", beta.unwrap_or_default());
        let mut playbooks = "playbooks:\n".to_owned();
        for (vector, playbook) in [(Vector::Udp, self.udp), (Vector::Ntp, self.ntp)] {
            let (name, enforce) = (vector.name(), !playbook.is_on_trial);
            playbooks += &format!(
                "  - name: {name}\n    match: {{ vector: {name} }}\n    enforce: {enforce}\n    steps:\n"
            );
            playbooks.extend(playbook.rungs.iter().map(Rung::written));
        }
        Config::from_texts(&settings, &inventory, &playbooks).unwrap()
    }
}

impl Customer {
    fn written(self, name: &str, prefix: &str) -> String {
        let profile = match self.profile {
            Profile::Strict => "strict",
            Profile::Normal => "normal",
            Profile::Relaxed => "relaxed",
        };
        format!(
            "  - {{ customer_id: {name}, name: {name}, prefixes: [{prefix}], link_bps: 10000000000, services: [], \
             policy_profile: {profile}, enforce: {} }}\n",
            !self.is_on_trial
        )
    }
}

impl Rung {
    fn written(&self) -> String {
        let action = match self.rate {
            0 => "action: discard".to_owned(),
            rate => format!("action: police, rate_bps: {rate}"),
        };
        let seconds = |key: &str, time: At| format!(", {key}: {}", time / SECOND);
        let persistence = Some(self.persistence).filter(|time| *time > 0);
        let confidence = self
            .confidence
            .map(|percent| format!(", require_confidence_at_least: 0.{percent:02}"));
        let keys = [
            Some(seconds("ttl_seconds", self.ttl)),
            persistence.map(|time| seconds("require_persistence_seconds", time)),
            (self.voices > 1).then(|| format!(", require_sources: {}", self.voices)),
            confidence,
            self.gives_way_after
                .map(|time| seconds("de_escalate_after_seconds", time)),
        ];
        format!(
            "      - {{ {action}{} }}\n",
            keys.into_iter().flatten().collect::<String>()
        )
    }
}

const SETTINGS: &str = "
pop: {POP}
mode: {MODE}
http: { socket: null, auth: { mode: none } }
bgp:
  local_asn: 65010
  router_id: 10.255.0.1
  listen: null
  marker_large_community: \"65010:8955:1\"
  neighbors: [{ name: edge, address: 192.0.2.1, peer_asn: 65001, profile: bird }]
sources:
  default: { reporting: repeats, claim_ttl_seconds: 90, max_action: {UNKNOWN} }
{SOURCES}guardrails:
  min_ttl_seconds: 1
  max_ttl_seconds: 300
  max_ttl_operator_seconds: 300
  max_lifetime_seconds: 600
  max_lifetime_operator_seconds: 1200
quotas:
  max_active_per_customer: {CUSTOMER}
  max_active_per_pop: {PER_POP}
  max_new_per_minute: { pop: 1000, customer: 1000, source: 1000 }
timers:
  hold_down_seconds: 10
  quiet_period_seconds: 40
  correlation_window_seconds: 60
  max_event_age_seconds: 60
escalation: { enabled: {ESCALATES}, min_persistence_seconds: 15, min_confidence: 0.3 }
";
