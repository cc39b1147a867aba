//! A small world to decide in: a policy, a state, and a clock that stops at every deadline.

mod adjust;
mod annotate;
mod breaker;
mod carpet;
mod control;
mod extend;
mod flows;
mod foresee;
mod guarded;
mod lifetime;
mod paths;
mod properties;
mod quarantine;
mod step_back;
mod suppress;
mod trial;
mod undo;

use super::inventory::{Asset, Customer, Inventory, Service};
use super::playbooks::{Condition, OnAllowedPort, Playbook, Playbooks, Step};
use super::safelist::FixedSafelist;
use super::settings::{BreakerBounds, EscalationDefaults, Limits, Policy, Quotas, Timers};
use super::sources::{Reporting, Source, Sources, Visibility};
use super::state::{State, Tally};
use super::templates::{Configured, Templates};
use super::{
    Command, CreateCommand, Decision, Effect, EventCommand, Facts, FreshIds, OfAggregate, Outcome, Reach,
    Reserved, SafelistAdd, decide, next_deadline,
};
use ipnet::IpNet;
use prefixd_api::config::inventory::PolicyProfile;
use prefixd_api::config::playbooks::Protocol;
use prefixd_api::event::{Event, EventAction, EventOutcome, EventRequest};
use prefixd_api::mitigation::Severity;
use prefixd_api::mitigation::{Mitigation, MitigationRequest, MitigationStatus, OriginKind, Scope};
use prefixd_api::rate::BitsPerSecond;
use prefixd_api::resource::{Mode, SafelistEntry, SafelistOrigin};
use prefixd_api::rule::{Action, ActionType, Match, Ranges, Rule, Set, protocol};
use prefixd_api::time::Timestamp;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

pub(super) fn seconds(count: u64) -> Duration {
    SECOND * u32::try_from(count).unwrap()
}

pub(super) fn step(action: ActionType, ttl: u64) -> Step {
    let rate_bps = BitsPerSecond(5_000_000);
    Step {
        asked: match action {
            ActionType::Discard => Action::Discard,
            _ => Action::Police { rate_bps },
        },
        sample: false,
        police_rate: BitsPerSecond(5_000_000),
        ttl: seconds(ttl),
        confidence_at_least: None,
        persistence: None,
        sources: 1,
        de_escalate_after: None,
        on_allowed_port: OnAllowedPort::Police,
        allow_host_wide: false,
        allow_rtbh: false,
        offered: false,
    }
}

pub(super) fn source(reporting: Reporting, visibility: Visibility) -> Source {
    Source {
        reporting,
        visibility,
        claim_ttl: seconds(300),
        default_confidence: Some(0.8),
        weight: 1.0,
        domain: None,
        may_trigger: true,
        max_action: ActionType::Discard,
        enforce: true,
    }
}

/// Two customers, a safelisted host in one of them, small quotas, two steps.
pub(super) fn policy() -> Policy {
    let mut inventory = Inventory::default();
    inventory.customers = vec![customer("acme", true), customer("bolt", false)];
    for (prefix, index) in [
        ("203.0.113.0/24", 0),
        ("2001:db8:acce::/48", 0),
        ("198.51.100.0/24", 1),
    ] {
        inventory.owners.insert(prefix.parse().unwrap(), index);
    }
    for (host, client_udp) in [("203.0.113.1/32", true), ("203.0.113.2/32", false)] {
        let asset = Asset {
            customer: 0,
            service: 0,
            client_udp,
        };
        inventory.add_asset(host.parse().unwrap(), asset);
    }
    inventory.spread_assets();
    let mut safelist = FixedSafelist::default();
    safelist.add(SafelistEntry {
        prefix: "203.0.113.4/32".parse().unwrap(),
        reason: "a router".to_owned(),
        origin: SafelistOrigin::Config,
        created_by: None,
        created_at: None,
        expires_at: None,
    });
    let named = [
        ("once", source(Reporting::Once, Visibility::PreFilter)),
        ("blind", source(Reporting::Repeats, Visibility::PostFilter)),
        (
            "trial",
            Source {
                enforce: false,
                ..source(Reporting::Once, Visibility::PreFilter)
            },
        ),
        (
            "mild",
            Source {
                max_action: ActionType::Police,
                ..source(Reporting::Repeats, Visibility::PreFilter)
            },
        ),
    ];
    Policy {
        pop: "iad1".into(),
        mode: Mode::Enforced,
        limits: Limits {
            min_ttl: seconds(30),
            max_ttl: seconds(1800),
            max_ttl_operator: seconds(14400),
            max_lifetime: seconds(3600),
            max_lifetime_operator: seconds(86400),
            min_length_v4: 32,
            min_length_v6: 128,
            max_ports: 8,
            max_packet_length: 9216,
            min_police_bps: 1_000_000,
            require_owned: true,
        },
        breaker: BreakerBounds {
            neighbors_lost: 2,
            window: seconds(60),
        },
        quotas: Quotas {
            per_customer: 3,
            per_pop: 5,
            global: 6,
            new_pop: 6,
            new_customer: 5,
            new_source: 4,
        },
        carpet: None,
        timers: Timers {
            window: seconds(300),
            quiet: seconds(300),
            hold_down: seconds(60),
            suppress: seconds(900),
            max_event_age: seconds(300),
        },
        escalation: EscalationDefaults {
            enabled: true,
            min_persistence: seconds(120),
            min_confidence: 0.7,
        },
        sources: Sources {
            default: source(Reporting::Repeats, Visibility::PreFilter),
            named: named.map(|(name, source)| (name.to_owned(), source)).into(),
        },
        inventory,
        safelist,
        playbooks: Playbooks {
            ordered: Vec::new(),
            default: Some(Playbook {
                name: "default".into(),
                when: Condition::default(),
                steps: vec![step(ActionType::Police, 300), step(ActionType::Discard, 300)],
                enforce: true,
            }),
            any_offered: false,
        },
        templates: Templates::default(),
        protected: Vec::new(),
        fallback_police: BitsPerSecond(10_000_000),
    }
}

fn customer(id: &str, serves: bool) -> Customer {
    let dns = Service {
        id: "dns".into(),
        name: "DNS".to_owned(),
        allowed_tcp: [53].into_iter().collect(),
        allowed_udp: [53].into_iter().collect(),
    };
    Customer {
        id: id.into(),
        name: id.to_uppercase(),
        profile: PolicyProfile::Normal,
        link: Some(BitsPerSecond(10_000_000_000)),
        services: serves.then_some(dns).into_iter().collect(),
        enforce: true,
    }
}

/// Of two rules that differ in ports alone, no port is in both with different actions: the encoding decides which of
/// them a router takes. A rule on ports comes before one without, so that one must be the milder.
fn not_in_the_way(rule: &Rule, other: &Rule) {
    let shape = |rule: &Rule| Match {
        dst_ports: Ranges::default(),
        ..rule.matches.clone()
    };
    if shape(rule) != shape(other) || rule.action == other.action {
        return;
    }
    let (ports, others) = (&rule.matches.dst_ports, &other.matches.dst_ports);
    let fine = match (ports.is_empty(), others.is_empty()) {
        (false, false) => ports.minus(others) == *ports,
        (true, false) => other.action.is_stricter_than(rule.action),
        (false, true) => rule.action.is_stricter_than(other.action),
        (true, true) => false,
    };
    assert!(fine, "{rule} and {other} are in each other's way");
}

/// A state under a policy, at a time.
pub(super) struct World {
    pub(super) state: State,
    pub(super) policy: Policy,
    pub(super) now: Timestamp,
    /// Whether routers get rules at once.
    pub(super) established: bool,
    pub(super) reserved: Option<Reserved>,
    /// How far neighbours are with what is over many.
    pub(super) reach: Reach,
    /// Whether each decision is checked against the guardrails.
    guarded: bool,
    /// What ended lately, oldest first.
    gone: Vec<Arc<Mitigation>>,
}

impl World {
    pub(super) fn new(policy: Policy) -> Self {
        let mut state = State::default();
        state.count_victims(&policy);
        Self {
            state,
            policy,
            now: Timestamp::from_micros(1_700_000_000_000_000),
            established: true,
            reserved: None,
            reach: Reach::Told,
            guarded: false,
            gone: Vec::new(),
        }
    }

    /// The same world, for something else to happen in it.
    pub(super) fn again(&self) -> Self {
        Self {
            state: self.state.clone(),
            policy: policy(),
            gone: Vec::new(),
            ..*self
        }
    }

    pub(super) fn run(&mut self, command: &Command, scope: Option<&Scope>) -> Decision {
        self.state.advance(self.now);
        let advertised_at = |live: Option<&Arc<Mitigation>>| {
            live.filter(|live| self.established && live.enforced && live.status.is_announced())
                .map(|live| live.created_at)
        };
        let facts = Facts {
            advertised_at: advertised_at(scope.and_then(|scope| self.state.mitigation_of(scope))),
            established: self.established,
            lost: None,
            reserved: self.reserved,
            aggregate: OfAggregate {
                advertised_at: advertised_at(scope.and_then(|scope| self.state.aggregate_over(scope))),
                reach: self.reach,
            },
        };
        let before = self.state.clone();
        let decision = decide(&self.state, &self.policy, command, self.now, &facts);
        self.state.apply(&decision.effects);
        for effect in &decision.effects {
            if let Effect::Mitigation { after, .. } = effect
                && !after.status.is_live()
            {
                self.gone.push(Arc::clone(after));
            }
        }
        self.gone.drain(..self.gone.len().saturating_sub(16));
        if self.guarded {
            self.check_guardrails(command, &decision, &before);
        }
        decision
    }

    pub(super) fn event(&mut self, request: EventRequest) -> Decision {
        let event = Event::try_from(request).unwrap();
        let scope = Scope {
            victim: event.victim,
            vector: event.vector.as_str().into(),
        };
        let command = EventCommand {
            ids: FreshIds::new(),
            seen_at: event.timestamp,
            event,
            actor: "token:test".to_owned(),
        };
        self.run(&Command::Event(Box::new(command)), Some(&scope))
    }

    /// Scopes that something is known of.
    pub(super) fn scopes(&self) -> BTreeSet<Scope> {
        let state = &self.state;
        let others = state.suppressions.keys().chain(state.unconfirmed.keys());
        state.scopes().chain(others).cloned().collect()
    }

    pub(super) fn next(&self) -> Option<(Timestamp, Scope)> {
        let due = |scope: Scope| next_deadline(&self.state, &self.policy, &scope).map(|at| (at, scope));
        self.scopes().into_iter().filter_map(due).min()
    }

    /// Lets time pass; every deadline is met when it comes. Panics when one does not move on.
    pub(super) fn pass(&mut self, span: Duration) {
        let until = self.now.saturating_add(span);
        let mut stuck = 0;
        while let Some((at, scope)) = self.next().filter(|(at, _)| *at <= until) {
            stuck = if at > self.now { 0 } else { stuck + 1 };
            // Many may be due in one moment.
            let moves_on = stuck < 20 || stuck < 20 + self.scopes().len();
            assert!(moves_on, "the deadline of {scope} at {at} does not move on");
            self.now = self.now.max(at);
            self.run(&Command::Due(scope.clone()), Some(&scope));
        }
        self.now = until;
    }

    pub(super) fn live(&self) -> Vec<&Mitigation> {
        self.state.mitigations.values().map(|live| &**live).collect()
    }

    /// What must hold whatever happened.
    pub(super) fn check(&self) {
        for live in self.live() {
            let scope = live.scope();
            assert_eq!(live.waits_for.is_some(), live.status == MitigationStatus::Pending);
            let deadline = next_deadline(&self.state, &self.policy, &scope).expect("a live rule has an end");
            assert!(
                deadline <= live.expires_at,
                "{scope}: {deadline} is after {}",
                live.expires_at
            );
            assert_eq!(
                self.state.mitigation_of(&scope).map(|of| of.mitigation_id),
                Some(live.mitigation_id)
            );
            assert!(!live.rules.is_empty());
            for (index, rule) in live.rules.iter().enumerate() {
                for other in &live.rules[index + 1..] {
                    not_in_the_way(rule, other);
                }
            }
            assert!(live.ends_at.is_none_or(|at| at <= live.expires_at));
            let operator = live.claims.iter().any(|claim| claim.kind == OriginKind::Operator);
            for rule in live.rules.iter().filter(|rule| rule.action == Action::Discard) {
                let owner = self.policy.inventory.owner(live.victim_ip);
                let allowed =
                    owner.map_or_else(Ranges::default, |owner| owner.allowed(&rule.matches.protocols));
                assert!(
                    operator || allowed.minus(&rule.matches.dst_ports) == allowed,
                    "{rule} drops the service's own ports"
                );
            }
            let group = self.state.group(&scope).expect("a live mitigation has its group");
            assert!(group.claims.len() <= super::claims::MAX_CLAIMS);
            if live.status == MitigationStatus::Pending {
                assert!(live.advertised_at.is_none() && live.ending_since.is_none());
                continue;
            }
            let since = group.filtered_since.expect("its lifetime is counted");
            let most = if operator {
                self.policy.limits.max_lifetime_operator
            } else {
                self.policy.limits.max_lifetime
            };
            assert!(
                live.expires_at <= since.saturating_add(most),
                "{scope} outlives its lifetime"
            );
        }
        assert_eq!(self.state.live_scopes().count(), self.state.mitigations.len());
        self.recount(&self.state.counts.enforced, true);
        self.recount(&self.state.counts.dry_run, false);
        let pending = self
            .live()
            .iter()
            .filter(|live| !live.status.is_announced())
            .count();
        assert_eq!(self.state.counts.pending.pop, pending as u64);
        assert_eq!(self.state.counts.waiting.all(), pending as u64);
    }

    fn recount(&self, tally: &Tally, enforced: bool) {
        let live: Vec<_> = self
            .live()
            .into_iter()
            .filter(|live| live.enforced == enforced && live.status.is_announced())
            .collect();
        assert_eq!(tally.pop, live.len() as u64);
        let mut customers: HashMap<&str, u64> = HashMap::new();
        for live in &live {
            *customers
                .entry(live.customer_id.as_deref().unwrap_or_default())
                .or_default() += 1;
            let mut of_victim = self.state.of_victim(live.victim_ip);
            assert!(
                of_victim.any(|one| one.mitigation_id == live.mitigation_id),
                "{}",
                live.scope()
            );
        }
        assert_eq!(tally.customers.len(), customers.len());
        assert!(customers.iter().all(|(id, count)| tally.customer(id) == *count));
        let horizon = self.now.saturating_sub(seconds(60));
        let recent = live.iter().filter(|live| live.created_at > horizon).count() as u64;
        assert!(
            tally.starts.pop() >= recent,
            "live beginnings of the last minute are counted"
        );
    }
}

pub(super) fn ban(source: &str, victim: &str, vector: &str) -> EventRequest {
    EventRequest {
        source: source.to_owned(),
        victim_ip: victim.to_owned(),
        vector: vector.to_owned(),
        ..EventRequest::default()
    }
}

pub(super) fn unban(source: &str, victim: &str, vector: &str) -> EventRequest {
    EventRequest {
        action: EventAction::Unban,
        ..ban(source, victim, vector)
    }
}

/// The mitigation is read, its group is not: it still ends when its lease does, or its hold-down.
#[test]
fn without_its_group_a_mitigation_ends_all_the_same() {
    for (ends, span) in [(false, 300), (true, 60)] {
        let mut world = World::new(policy());
        world.event(ban("once", "203.0.113.3", "ntp_amplification"));
        if ends {
            world.event(unban("once", "203.0.113.3", "ntp_amplification"));
        }
        assert_eq!(world.live().len(), 1);
        world.state.lose_groups();
        world.pass(seconds(span) - Duration::from_micros(1));
        assert_eq!(world.live().len(), 1);
        world.pass(Duration::from_micros(1));
        assert!(world.live().is_empty());
        assert!(world.next().is_none());
    }
}

/// The store keeps one live mitigation in a scope, so a second would be refused there each time.
#[test]
fn where_the_store_holds_what_cannot_be_read_nothing_begins() {
    let mut world = World::new(policy());
    world.state.unreadable.insert(Scope {
        victim: "203.0.113.3".parse().unwrap(),
        vector: "ntp_amplification".into(),
    });
    let told = world.event(ban("once", "203.0.113.3", "ntp_amplification"));
    let Outcome::Event {
        answer,
        refused: None,
    } = told.outcome
    else {
        panic!("{:?}", told.outcome)
    };
    assert_eq!(answer.status, EventOutcome::AcceptedPending);
    assert!(answer.reason.contains("cannot be read"), "{}", answer.reason);
    let create = CreateCommand {
        ids: FreshIds::new(),
        victim: "203.0.113.3".parse().unwrap(),
        request: MitigationRequest {
            vector: Some("ntp_amplification".to_owned()),
            reason: "now".to_owned(),
            ..MitigationRequest::default()
        },
        actor: "anna".to_owned(),
    };
    let told = world.run(&Command::Create(Box::new(create)), None);
    let Outcome::Refused(problem) = told.outcome else {
        panic!("{:?}", told.outcome)
    };
    assert_eq!(problem.code, "conflict.exists");
    assert!(world.live().is_empty());
    world.event(ban("once", "203.0.113.2", "ntp_amplification"));
    assert_eq!(world.live().len(), 1);
}

/// What flags a configured vector may have is checked with the file; here nothing gets by.
#[test]
fn established_connections_are_never_discarded() {
    for (flags, protocol, refused) in [
        ("ack", protocol::TCP, true),
        ("ack&!syn", protocol::TCP, true),
        ("!syn", protocol::TCP, true),
        ("syn", protocol::UDP, true),
        ("syn&!ack", protocol::TCP, false),
        ("rst", protocol::TCP, false),
    ] {
        let mut world = World::new(policy());
        let configured = Configured {
            protocol: Protocol::Number(protocol),
            dst_ports: Ranges::default(),
            src_ports: Ranges::default(),
            tcp_flags: Some(flags.parse().unwrap()),
            packet_lengths: Ranges::default(),
            fragment: None,
            src_prefix: None,
            ports: Ranges::default(),
            icmp_types: Set::new(),
            icmp_codes: Set::new(),
            dscp: Set::new(),
            flow_labels: prefixd_api::rule::FlowLabels::default(),
            max_action: ActionType::Discard,
        };
        world
            .policy
            .templates
            .configured
            .insert("flags".to_owned(), configured);
        world.policy.playbooks.default = Some(Playbook {
            name: "hard".into(),
            when: Condition::default(),
            steps: vec![step(ActionType::Discard, 300)],
            enforce: true,
        });
        world.event(ban("once", "203.0.113.3", "flags"));
        assert_eq!(world.live().is_empty(), refused, "{flags}");
    }
}

/// Who asks why a mitigation is as it is, gets the decision that made it so, not the one it began with.
#[test]
fn a_change_of_rules_or_an_end_carries_its_own_trace() {
    let changes = |decision: &Decision| -> Vec<Option<(String, String)>> {
        let told = |effect: &Effect| match effect {
            Effect::Mitigation { why, .. } => Some(
                why.as_ref()
                    .map(|why| (why.explain().outcome, why.explain().summary)),
            ),
            _ => None,
        };
        decision.effects.iter().filter_map(told).collect()
    };
    let mut world = World::new(policy());
    let mut report = ban("once", "203.0.113.3", "udp_flood");
    report.top_dst_ports = vec![1000];
    assert_eq!(changes(&world.event(report.clone())), [None], "its event has it");
    assert_eq!(changes(&world.event(report.clone())), [None], "only the lease");
    report.top_dst_ports = vec![2000];
    let told = world.event(report);
    let [Some((outcome, _))] = &changes(&told)[..] else {
        panic!("{told:?}")
    };
    assert_eq!(outcome, "extended");
    let shared = told.effects.iter().any(|effect| match effect {
        Effect::Event(_, why) => told
            .effects
            .iter()
            .any(|other| matches!(other, Effect::Mitigation { why: Some(its), .. } if Arc::ptr_eq(its, why))),
        _ => false,
    });
    assert!(shared, "it is stored once");
    assert!(world.live()[0].why_summary.contains("1000,2000"));
    let told = world.event(unban("once", "203.0.113.3", "udp_flood"));
    assert!(matches!(&changes(&told)[..], [Some((outcome, _))] if outcome == "ending"));
    let protect = SafelistAdd {
        prefix: "203.0.113.3/32".parse().unwrap(),
        reason: "ours".to_owned(),
        expires_at: None,
        expect_count: None,
        actor: "anna".to_owned(),
    };
    let told = world.run(&Command::SafelistAdd(protect), None);
    let [Some((outcome, summary))] = &changes(&told)[..] else {
        panic!("{told:?}")
    };
    assert_eq!(outcome, "withdrawn");
    assert!(summary.contains("ours"), "{summary}");
}

/// The clock was an hour ahead and was set back while the daemon was down.
#[test]
fn a_clock_that_was_set_back_over_a_restart_holds_nothing_up() {
    let mut world = World::new(policy());
    for last in 1..=2 {
        world.event(ban("once", &format!("203.0.113.{last}"), "ntp_amplification"));
    }
    let event = |world: &World, request: EventRequest| EventRequest {
        timestamp: Some(world.now),
        ..request
    };
    let end = event(&world, unban("once", "203.0.113.1", "ntp_amplification"));
    world.event(end);
    world.now = world.now.saturating_sub(seconds(3600));
    let again = event(&world, ban("once", "203.0.113.1", "ntp_amplification"));
    let stale = world.event(again.clone());
    assert!(
        matches!(stale.outcome, Outcome::Event { answer, .. } if answer.status == EventOutcome::AcceptedStale)
    );

    world.state.catch_up(world.now);
    world.now = world.now.saturating_add(seconds(61));
    world.state.advance(world.now);
    assert_eq!(world.state.counts.enforced.starts.pop(), 0);
    let again = event(&world, again);
    let told = world.event(again);
    assert!(
        matches!(&told.outcome, Outcome::Event { answer, .. } if answer.status == EventOutcome::Extended),
        "{:?}",
        told.outcome
    );
}

/// What an operator asks for by a whole match: taken as it is, or refused with the reason.
#[test]
fn a_whole_match_is_taken_or_refused() {
    for (victim, action, matches, refusal) in [
        (
            "203.0.113.3",
            ActionType::Discard,
            "src 198.51.100.0/24 proto tcp tcp-flags syn&!ack,rst",
            None,
        ),
        (
            "203.0.113.3",
            ActionType::Discard,
            "proto udp port 53 length 1000-1500 dscp 46",
            None,
        ),
        (
            "203.0.113.3",
            ActionType::Discard,
            "proto icmp icmp-type 5 icmp-code 0,1",
            None,
        ),
        (
            "203.0.113.3",
            ActionType::Discard,
            "fragment first-fragment&!last-fragment",
            None,
        ),
        ("203.0.113.3", ActionType::Police, "", None),
        (
            "203.0.113.3",
            ActionType::Discard,
            "",
            Some("guardrail.impossible"),
        ),
        (
            "203.0.113.3",
            ActionType::Discard,
            "proto udp dscp 0",
            Some("guardrail.impossible"),
        ),
        (
            "203.0.113.3",
            ActionType::Discard,
            "src 0.0.0.0/1 proto udp",
            Some("guardrail.impossible"),
        ),
        (
            "203.0.113.3",
            ActionType::Discard,
            "proto tcp tcp-flags ack&psh",
            Some("guardrail.impossible"),
        ),
        (
            "203.0.113.3",
            ActionType::Discard,
            "fragment !is-fragment",
            Some("guardrail.impossible"),
        ),
        (
            "203.0.113.3",
            ActionType::Discard,
            "proto icmp icmp-type 3,8",
            Some("guardrail.impossible"),
        ),
        (
            "203.0.113.3",
            ActionType::Police,
            "flow-label 7",
            Some("guardrail.impossible"),
        ),
        (
            "203.0.113.3",
            ActionType::Police,
            "src 2001:db8::/32",
            Some("guardrail.impossible"),
        ),
        (
            "203.0.113.3",
            ActionType::Police,
            "proto icmp icmp-code 0",
            Some("guardrail.impossible"),
        ),
        (
            "203.0.113.3",
            ActionType::Police,
            "proto udp dport 53 fragment is-fragment",
            Some("guardrail.impossible"),
        ),
        (
            "203.0.113.3",
            ActionType::Police,
            "port 53",
            Some("guardrail.ports"),
        ),
        (
            "203.0.113.3",
            ActionType::Police,
            "proto udp length 9000-9300",
            Some("guardrail.packet_length"),
        ),
    ] {
        let mut world = World::new(policy());
        let told = world.run(&Command::Create(Box::new(asked(victim, action, matches))), None);
        match (told.outcome, refusal) {
            (Outcome::Created(made), None) => {
                let shown = format!("dst {victim}/32 {matches}");
                assert_eq!(made.rules[0].matches.to_string(), shown.trim());
            }
            (Outcome::Refused(problem), Some(code)) => assert_eq!(problem.code, code, "{matches}"),
            (outcome, _) => panic!("{matches}: {outcome:?}"),
        }
    }
}

fn asked(victim: &str, action: ActionType, matches: &str) -> CreateCommand {
    CreateCommand {
        ids: FreshIds::new(),
        victim: victim.parse().unwrap(),
        request: MitigationRequest {
            action: Some(action),
            rate_bps: (action == ActionType::Police).then_some(BitsPerSecond(5_000_000)),
            ttl_seconds: Some(300),
            matches: Some(Box::new(matches.parse().unwrap())),
            reason: "ticket".to_owned(),
            ..MitigationRequest::default()
        },
        actor: "anna".to_owned(),
    }
}

/// What an operator asks routers to do: taken as it is, or refused with the reason.
#[test]
fn every_action_is_taken_or_refused() {
    for (fields, shown) in [
        (r#""action":"mark","dscp":46"#, Ok("mark 46")),
        (r#""rate_pps":1000"#, Ok("police 1000 packets/s")),
        (
            r#""action":"police","rate_bps":5000000,"sample":true"#,
            Ok("police 5 Mbit/s sample"),
        ),
        (
            r#""action":"redirect_vrf","route_target":"65010:100""#,
            Ok("redirect vrf 65010:100"),
        ),
        (
            r#""action":"redirect_ip","next_hop":"192.0.2.9","copy":true"#,
            Ok("redirect to 192.0.2.9 copy"),
        ),
        (r#""action":"discard","sample":true"#, Ok("discard sample")),
        (
            r#""action":"redirect_ip","next_hop":"203.0.113.77""#,
            Err("guardrail.impossible"),
        ),
        (
            r#""action":"redirect_ip","next_hop":"2001:db8:ffff::9""#,
            Err("guardrail.impossible"),
        ),
        (
            r#""action":"redirect_ip","next_hop":"127.0.0.1""#,
            Err("guardrail.impossible"),
        ),
        (r#""rate_pps":1"#, Err("guardrail.impossible")),
        (r#""action":"mark""#, Err("request.field")),
        (r#""action":"redirect_vrf""#, Err("request.field")),
    ] {
        let mut world = World::new(policy());
        let request = format!(
            r#"{{"victim_ip":"203.0.113.3","ttl_seconds":300,"reason":"ticket","match":{{"protocols":[17],"src_ports":[53]}},{fields}}}"#
        );
        let command = CreateCommand {
            ids: FreshIds::new(),
            victim: "203.0.113.3".parse().unwrap(),
            request: serde_json::from_str(&request).unwrap(),
            actor: "anna".to_owned(),
        };
        let told = world.run(&Command::Create(Box::new(command)), None);
        match (told.outcome, shown) {
            (Outcome::Created(made), Ok(shown)) => {
                let text = made.rules[0].to_string();
                assert_eq!(
                    text,
                    format!("dst 203.0.113.3/32 proto udp sport 53 then {shown}")
                );
                let severity = match made.action_type {
                    ActionType::RedirectVrf | ActionType::RedirectIp | ActionType::Discard => {
                        Severity::Medium
                    }
                    ActionType::Mark | ActionType::Police => Severity::Low,
                    ActionType::Rtbh => Severity::Critical,
                };
                assert!(made.severity >= severity, "{fields}: {}", made.severity);
            }
            (Outcome::Refused(problem), Err(code)) => {
                assert_eq!(problem.code, code, "{fields}: {}", problem.detail);
            }
            (outcome, _) => panic!("{fields}: {outcome:?}"),
        }
    }
}

/// A step that redirects is capped like one that discards: where the template polices, it polices.
#[test]
fn a_redirecting_step_never_takes_more_than_the_template_lets_it() {
    let scrub = Action::RedirectIp {
        next_hop: "192.0.2.9".parse().unwrap(),
        copy: false,
    };
    for (vector, kind) in [
        ("ntp_amplification", ActionType::RedirectIp),
        ("ack_flood", ActionType::Police),
        ("gre_flood", ActionType::Police),
    ] {
        let mut world = World::new(policy());
        world.policy.playbooks.ordered.clear();
        world.policy.playbooks.default = Some(Playbook {
            name: "scrub".into(),
            when: Condition::default(),
            steps: vec![Step {
                asked: scrub,
                ..step(ActionType::Discard, 300)
            }],
            enforce: true,
        });
        world.event(ban("once", "203.0.113.3", vector));
        let live = world.live();
        assert_eq!(live[0].action_type, kind, "{vector}");
    }
}
