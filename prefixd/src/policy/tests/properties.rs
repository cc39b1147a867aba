//! What holds for every sequence of commands.

use super::super::flows::ProtectedFlow;
use super::super::{
    AdjustCommand, ConfirmCommand, ExtendCommand, PauseSource, ResetBreaker, ResumeSource, SetControl,
    SuppressCommand, SuppressWide, Trip, UndoCommand, UnsuppressCommand, WithdrawCommand,
};
use super::*;
use prefixd_api::control::ControlState;
use prefixd_api::ids::{MitigationId, SuppressionId};
use prefixd_api::operation::AdjustRequest;
use proptest::prelude::*;

const VICTIMS: [&str; 8] = [
    "203.0.113.1",
    "203.0.113.2",
    "203.0.113.3",
    "203.0.113.4",
    "198.51.100.1",
    "198.51.100.2",
    "192.0.2.1",
    "2001:db8:acce::1",
];
const VECTORS: [&str; 8] = [
    "udp_flood",
    "syn_flood",
    "ack_flood",
    "dns_amplification",
    "icmp_flood",
    "ntp_amplification",
    "unknown",
    "carrot",
];
const SOURCES: [&str; 5] = ["once", "blind", "trial", "mild", "other"];

#[derive(Clone, Debug)]
enum Act {
    Event(EventRequest, Option<i64>),
    Create(usize, usize, MitigationRequest),
    Adjust(usize, AdjustRequest),
    Withdraw(usize, Option<u64>, Option<u64>),
    Confirm(usize),
    Undo(usize),
    Extend(usize, u64),
    Protect(IpNet, Option<u64>),
    Unprotect(IpNet),
    Suppress(usize, usize, u64),
    SuppressWide(Option<IpNet>, Option<usize>, u64),
    Unsuppress(usize),
    Pause(usize, bool),
    Resume(usize),
    Control(&'static str, ControlState),
    Trip(u64),
    Reset,
    Reload(usize),
    Pass(u64),
    Judge(usize),
    Established(bool),
}

/// What a reload changes; the first has nothing changed.
const RELOADS: usize = 11;

fn prefixes() -> impl Strategy<Value = IpNet> {
    prop::sample::select(vec![
        "203.0.113.2/32",
        "203.0.113.0/30",
        "198.51.100.0/31",
        "2001:db8:acce::/64",
    ])
    .prop_map(|text| text.parse().unwrap())
}

fn acts() -> BoxedStrategy<Act> {
    acts_among(VICTIMS.len(), VECTORS.len())
}

/// Stories of all victims; of both customers' alone, which fill the quotas; and of few scopes, so that a scope is filtered
/// again and again, many sources claim it, and one victim suffers from everything at once.
fn stories() -> impl Strategy<Value = Vec<Act>> {
    prop_oneof![
        4 => prop::collection::vec(acts(), 1..60),
        1 => prop::collection::vec(acts_among(6, 3), 30..60),
        1 => prop::collection::vec(acts_among(1, VECTORS.len()), 1..60),
        3 => prop::collection::vec(acts_among(2, 1), 1..60),
        1 => lasting(),
    ]
}

/// One attack that goes on for as long as it may be filtered, or longer, before anything else happens.
fn lasting() -> impl Strategy<Value = Vec<Act>> {
    let rest = prop::collection::vec(acts_among(2, 1), 1..40);
    (prop::collection::vec(90u64..290, 2..6), rest).prop_map(|(pauses, rest)| {
        let again = pauses.into_iter().flat_map(|pause| {
            let mut request = ban(SOURCES[0], VICTIMS[0], VECTORS[0]);
            request.top_dst_ports = vec![1000];
            [Act::Event(request, None), Act::Pass(pause)]
        });
        again.chain(rest).collect()
    })
}

/// About the first so many victims and vectors.
fn acts_among(victims: usize, vectors: usize) -> BoxedStrategy<Act> {
    let request = (
        (
            0..SOURCES.len(),
            prop::option::of(0u8..3),
            prop::bool::weighted(0.4),
        ),
        (0..victims, 0..vectors),
        prop::collection::vec(
            prop::sample::select(vec![53u16, 80, 443, 1000, 2000, 3000, 40000]),
            0..12,
        ),
        (
            prop::option::of(0.0..=1.0),
            prop::option::of(0i64..20_000_000_000),
            prop::option::of(prop::sample::select(vec![1u8, 6, 17, 47])),
        ),
        prop::option::of(-400i64..20),
    )
        .prop_map(
            |((source, id, ends), (victim, vector), ports, (confidence, bps, protocol), age)| {
                let mut request = ban(SOURCES[source], VICTIMS[victim], VECTORS[vector]);
                request.event_id = id.map(|id| id.to_string());
                request.action = if ends {
                    EventAction::Unban
                } else {
                    EventAction::Ban
                };
                request.top_dst_ports = ports;
                request.confidence = confidence;
                request.bps = bps;
                request.protocol = protocol;
                Act::Event(request, age)
            },
        );
    let create = (
        (0..victims, 0..vectors),
        prop::option::of(prop::sample::select(vec![
            ActionType::Police,
            ActionType::Discard,
        ])),
        prop::option::of(0u64..10_000_000),
        prop::option::of(0u32..20_000),
        (
            prop::collection::vec(any::<u16>(), 0..10),
            prop::option::of(prop::sample::select(vec![1u8, 6, 17])),
        ),
        any::<bool>(),
    )
        .prop_map(
            |((victim, vector), action, rate, ttl, (ports, protocol), replace)| {
                let request = MitigationRequest {
                    action,
                    rate_bps: rate.map(BitsPerSecond),
                    ttl_seconds: ttl,
                    dst_ports: ports.into_iter().collect(),
                    protocol,
                    replace,
                    reason: "test".to_owned(),
                    ..MitigationRequest::default()
                };
                Act::Create(victim, vector, request)
            },
        );
    let adjust = (
        any::<usize>(),
        prop::option::of(prop::sample::select(vec![
            ActionType::Police,
            ActionType::Discard,
        ])),
        prop::option::of(0u64..10_000_000),
        prop::option::of(0u32..20_000),
        prop::option::of(prop::collection::vec(any::<u16>(), 0..10)),
        prop::option::of(prop::sample::select(vec![1u8, 6, 17])),
    )
        .prop_map(|(which, action, rate, ttl, ports, protocol)| {
            let request = AdjustRequest {
                action,
                rate_bps: rate.map(BitsPerSecond),
                ttl_seconds: ttl,
                dst_ports: ports.map(|ports| ports.into_iter().collect()),
                protocol,
                reason: "test".to_owned(),
                ..AdjustRequest::default()
            };
            Act::Adjust(which, request)
        });
    prop_oneof![
        12 => request,
        2 => create,
        2 => adjust,
        2 => (any::<usize>(), prop::option::of(0u64..2000), prop::option::of(1u64..200))
            .prop_map(|(which, suppress, confirm)| Act::Withdraw(which, suppress, confirm)),
        1 => any::<usize>().prop_map(Act::Confirm),
        2 => any::<usize>().prop_map(Act::Undo),
        2 => (any::<usize>(), prop_oneof![0u64..20_000, 30u64..14_400]).prop_map(|(which, ttl)| Act::Extend(which, ttl)),
        3 => stops(),
        1 => (prefixes(), prop::option::of(0u64..600)).prop_map(|(prefix, ttl)| Act::Protect(prefix, ttl)),
        1 => prefixes().prop_map(Act::Unprotect),
        // Mostly not so long that everything of before is over.
        5 => prop_oneof![2 => Just(0u64), 2 => 1..90u64, 3 => 90..300u64, 1 => 300..1000u64, 1 => 1000..100_000u64]
            .prop_map(Act::Pass),
        1 => any::<usize>().prop_map(Act::Judge),
        1 => any::<bool>().prop_map(Act::Established),
    ]
    .boxed()
}

/// What people stop, and let go on: the latter as often.
fn stops() -> impl Strategy<Value = Act> {
    let scopes = prop::sample::select(vec!["pop", "customer:acme", "customer:bolt", "neighbor:edge1"]);
    let states = prop::sample::select(vec![
        ControlState::Running,
        ControlState::Running,
        ControlState::Hold,
        ControlState::Panic,
    ]);
    let scope = (0..VICTIMS.len(), 0..VECTORS.len(), 1u64..900);
    let wide = (
        prop::option::of(prefixes()),
        prop::option::of(0..SOURCES.len()),
        1u64..900,
    );
    prop_oneof![
        4 => (scopes, states).prop_map(|(scope, state)| Act::Control(scope, state)),
        1 => (0u64..200).prop_map(Act::Trip),
        2 => Just(Act::Reset),
        2 => (0..SOURCES.len(), any::<bool>()).prop_map(|(source, withdraw)| Act::Pause(source, withdraw)),
        3 => (0..SOURCES.len()).prop_map(Act::Resume),
        2 => scope.prop_map(|(victim, vector, time)| Act::Suppress(victim, vector, time)),
        2 => wide.prop_map(|(prefix, source, time)| Act::SuppressWide(prefix, source, time)),
        1 => any::<usize>().prop_map(Act::Unsuppress),
        4 => (0..RELOADS).prop_map(Act::Reload),
    ]
}

/// Room for all that a story may want, so that other bounds are met before the quotas.
pub(super) const ROOMY: Quotas = Quotas {
    per_customer: 100,
    per_pop: 100,
    global: 100,
    new_pop: 100,
    new_customer: 100,
    new_source: 100,
};

/// Changes what guardrails go by; what was changed before is as it was.
fn reload(policy: &mut Policy, which: usize) {
    let mut as_it_was = super::policy();
    policy.limits = as_it_was.limits;
    policy.quotas = as_it_was.quotas;
    policy.protected.clear();
    policy.inventory.customers[0].services = std::mem::take(&mut as_it_was.inventory.customers[0].services);
    let once = as_it_was.sources.get("once").clone();
    policy.sources.named.insert("once".to_owned(), once);
    match which {
        1 => policy.protected.push(ProtectedFlow {
            name: "resolver".to_owned(),
            dst: None,
            src: Some("192.0.2.53/32".parse().unwrap()),
            protocols: [protocol::UDP].into(),
            dst_ports: Ranges::default(),
            src_ports: [53].into_iter().collect(),
        }),
        2 => policy.limits.max_ports = 2,
        3 => policy.limits.max_ttl = seconds(200),
        4 => policy.limits.min_ttl = seconds(350),
        5 => policy.sources.named.get_mut("once").unwrap().max_action = ActionType::Police,
        6 => policy.limits.max_lifetime = seconds(400),
        7 => policy.quotas.new_source = 1,
        8 => {
            policy.quotas = Quotas {
                new_customer: 1,
                ..ROOMY
            }
        }
        9 => {
            let ports = [53, 1000, 2000].into_iter();
            policy.inventory.customers[0].services[0].allowed_udp = ports.collect();
        }
        _ => policy.quotas = ROOMY,
    }
}

/// A policy with steps that go up and down, what has to be confirmed by another source, and customers of other profiles.
pub(super) fn ladders() -> Policy {
    let mut policy = policy();
    let of = |name: &str, vector: &str, steps| Playbook {
        name: name.into(),
        when: Condition {
            vector: Some(vector.to_owned()),
            ..Condition::default()
        },
        steps,
        enforce: true,
    };
    let first = Step {
        sources: 2,
        confidence_at_least: Some(0.5),
        ..step(ActionType::Police, 300)
    };
    let second = Step {
        confidence_at_least: Some(0.6),
        persistence: Some(seconds(60)),
        de_escalate_after: Some(seconds(300)),
        ..step(ActionType::Discard, 400)
    };
    policy.playbooks.ordered = vec![
        of("two", "ntp_amplification", vec![first.clone(), second.clone()]),
        of("flood", "udp_flood", vec![step(ActionType::Police, 300), second]),
        of("trial", "icmp_flood", vec![first]),
    ];
    policy.playbooks.ordered[2].enforce = false;
    policy.inventory.customers[1].profile = PolicyProfile::Strict;
    policy.inventory.has_profiles = true;
    policy.sources.named.insert(
        "other".to_owned(),
        Source {
            may_trigger: false,
            ..source(Reporting::Repeats, Visibility::PreFilter)
        },
    );
    policy
}

/// A policy that drops from the first report on.
fn harsh() -> Policy {
    let mut policy = policy();
    policy.playbooks.default.as_mut().unwrap().steps = vec![step(ActionType::Discard, 300)];
    policy
}

/// The same, and not for long.
fn brief() -> Policy {
    let mut policy = harsh();
    policy.limits.max_lifetime = seconds(400);
    policy
}

/// What people would see of a world; names, revisions and the journal apart.
#[derive(Debug, PartialEq)]
struct Seen {
    live: Vec<String>,
    claims: Vec<String>,
    counted: [(u64, u64); 3],
    suppressed: usize,
}

impl World {
    fn seen(&self) -> Seen {
        let mut live: Vec<String> = self
            .live()
            .into_iter()
            .map(|live| {
                format!(
                    "{} {} {} {:?} {:?} {} {:?} {:?} {:?}",
                    live.scope(),
                    live.status,
                    live.step,
                    live.rules,
                    live.waits_for,
                    live.enforced,
                    live.expires_at,
                    live.ends_at,
                    live.severity
                )
            })
            .collect();
        live.sort();
        let groups = self.state.groups();
        let mut claims: Vec<String> = groups
            .map(|group| format!("{} {:?} {:?}", group.scope, group.claims, group.confidence))
            .collect();
        claims.sort();
        let counts = &self.state.counts;
        Seen {
            live,
            claims,
            counted: [&counts.enforced, &counts.dry_run, &counts.pending]
                .map(|tally| (tally.pop, tally.starts.pop())),
            suppressed: self.state.suppressions.len(),
        }
    }

    fn act(&mut self, act: Act) -> Option<Decision> {
        Some(match act {
            Act::Event(mut request, age) => {
                request.timestamp =
                    age.map(|age| Timestamp::from_micros(self.now.as_micros() + age * 1_000_000));
                self.event(request)
            }
            Act::Create(victim, vector, request) => {
                let victim = VICTIMS[victim].parse().unwrap();
                let scope = Scope {
                    victim,
                    vector: VECTORS[vector].into(),
                };
                let command = CreateCommand {
                    ids: FreshIds::new(),
                    victim,
                    request: MitigationRequest {
                        vector: Some(VECTORS[vector].to_owned()),
                        ..request
                    },
                    actor: "anna".to_owned(),
                };
                self.run(&Command::Create(Box::new(command)), Some(&scope))
            }
            Act::Adjust(which, request) => {
                let command = AdjustCommand {
                    mitigation: self.live().get(which % self.live().len().max(1))?.mitigation_id,
                    request,
                    actor: "anna".to_owned(),
                };
                self.run(&Command::Adjust(Box::new(command)), None)
            }
            Act::Withdraw(which, suppress, confirm) => {
                let mitigation = self.one_of_live(which)?;
                self.withdraw(mitigation, suppress, confirm)
            }
            Act::Confirm(which) => {
                let waiting = self.waiting();
                let command = ConfirmCommand {
                    mitigation: waiting.get(which % waiting.len().max(1))?.ended.mitigation_id,
                    expected_revision: None,
                    reason: "test".to_owned(),
                    actor: "anna".to_owned(),
                };
                self.run(&Command::Confirm(command), None)
            }
            Act::Undo(which) => {
                let command = UndoCommand {
                    ids: FreshIds::new(),
                    ended: Arc::clone(self.gone.get(which % self.gone.len().max(1))?),
                    reason: "test".to_owned(),
                    expected_revision: None,
                    actor: "anna".to_owned(),
                };
                self.run(&Command::Undo(command), None)
            }
            Act::Extend(which, ttl) => {
                let command = ExtendCommand {
                    mitigation: self.one_of_live(which)?,
                    ttl: seconds(ttl),
                    reason: "test".to_owned(),
                    expected_revision: None,
                    actor: "anna".to_owned(),
                };
                self.run(&Command::Extend(command), None)
            }
            Act::Suppress(victim, vector, time) => {
                let command = SuppressCommand {
                    id: SuppressionId::new(),
                    scope: Scope {
                        victim: VICTIMS[victim].parse().unwrap(),
                        vector: VECTORS[vector].into(),
                    },
                    time: seconds(time),
                    reason: "test".to_owned(),
                    actor: "anna".to_owned(),
                };
                self.run(&Command::Suppress(command), None)
            }
            Act::SuppressWide(prefix, source, time) => {
                let command = SuppressWide {
                    id: SuppressionId::new(),
                    prefix,
                    vector: None,
                    source: source.map(|source| SOURCES[source].to_owned()),
                    time: seconds(time),
                    reason: "test".to_owned(),
                    actor: "anna".to_owned(),
                };
                self.run(&Command::SuppressWide(command), None)
            }
            Act::Unsuppress(which) => {
                let state = &self.state;
                let of_scopes = state.suppressions.values().map(|one| one.suppression_id);
                let all: BTreeSet<_> = of_scopes.chain(state.wide_suppressions.keys().copied()).collect();
                let command = UnsuppressCommand {
                    id: *all.iter().nth(which % all.len().max(1))?,
                    actor: "anna".to_owned(),
                };
                self.run(&Command::Unsuppress(command), None)
            }
            Act::Pause(source, withdraw) => {
                let command = PauseSource {
                    source: SOURCES[source].into(),
                    withdraw,
                    expect_count: None,
                    reason: "test".to_owned(),
                    actor: "anna".to_owned(),
                };
                self.run(&Command::PauseSource(command), None)
            }
            Act::Resume(source) => {
                let command = ResumeSource {
                    source: SOURCES[source].into(),
                    reason: "test".to_owned(),
                    actor: "anna".to_owned(),
                };
                self.run(&Command::ResumeSource(command), None)
            }
            Act::Control(scope, state) => {
                let command = SetControl {
                    scope: scope.parse().unwrap(),
                    state,
                    actor: "anna".to_owned(),
                    reason: "test".to_owned(),
                    expected_revision: None,
                    said: 0,
                    in_force_since: None,
                };
                let decision = self.run(&Command::Control(command), None);
                // As the engine does: a panic ends by a new judgement.
                self.judge_all();
                decision
            }
            Act::Trip(seconds_ago) => {
                let announced_since = self.now.saturating_sub(seconds(seconds_ago));
                let announced = self
                    .live()
                    .into_iter()
                    .filter(|live| live.created_at >= announced_since);
                let trip = Trip {
                    neighbors: vec!["edge1".into(), "edge2".into()],
                    announced_since,
                    mitigations: announced.map(|live| live.mitigation_id).collect(),
                };
                self.run(&Command::Trip(trip), None)
            }
            Act::Reset => {
                let (actor, reason) = ("anna".to_owned(), "test".to_owned());
                self.run(&Command::ResetBreaker(ResetBreaker { actor, reason }), None)
            }
            Act::Reload(which) => {
                reload(&mut self.policy, which);
                self.judge_all();
                return None;
            }
            Act::Protect(prefix, ttl) => {
                let command = SafelistAdd {
                    prefix,
                    reason: "test".to_owned(),
                    expires_at: ttl.map(|ttl| self.now.saturating_add(seconds(ttl))),
                    expect_count: None,
                    actor: "anna".to_owned(),
                };
                self.run(&Command::SafelistAdd(command), None)
            }
            Act::Unprotect(prefix) => {
                let actor = "anna".to_owned();
                self.run(&Command::SafelistRemove { prefix, actor }, None)
            }
            Act::Pass(span) => {
                self.pass(seconds(span));
                return None;
            }
            Act::Judge(which) => {
                let scope = self.live().get(which % self.live().len().max(1))?.scope();
                self.run(&Command::Judge(scope.clone()), Some(&scope))
            }
            Act::Established(is) => {
                self.established = is;
                return None;
            }
        })
    }

    fn one_of_live(&self, which: usize) -> Option<MitigationId> {
        let live = self.live();
        Some(live.get(which % live.len().max(1))?.mitigation_id)
    }

    fn judge_all(&mut self) {
        for scope in self.state.live_scopes().cloned().collect::<Vec<_>>() {
            self.run(&Command::Judge(scope.clone()), Some(&scope));
        }
    }

    /// Everything that people stopped goes on.
    fn let_go_on(&mut self) {
        for scope in ["pop", "customer:acme", "customer:bolt", "neighbor:edge1"] {
            self.act(Act::Control(scope, ControlState::Running));
        }
        self.act(Act::Reset);
    }

    fn withdraw(
        &mut self,
        mitigation: MitigationId,
        suppress: Option<u64>,
        confirm_within: Option<u64>,
    ) -> Decision {
        let command = WithdrawCommand {
            ids: FreshIds::new(),
            mitigation,
            reason: "test".to_owned(),
            suppress: suppress.map(seconds),
            confirm_within: confirm_within.map(seconds),
            expected_revision: None,
            actor: "anna".to_owned(),
        };
        self.run(&Command::Withdraw(command), None)
    }
}

proptest! {
    // As many as it takes for the guardrails that are met last to be skipped once, if they were.
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases * 8, ..ProptestConfig::default() })]

    #[test]
    fn guardrails_and_counters_hold_for_any_sequence(
        acts in stories(), of in prop::sample::select(vec![policy as fn() -> Policy, ladders, harsh, brief]),
        dry in prop::bool::weighted(0.1), roomy in prop::bool::weighted(0.3), begins_with in prop::option::of(0..RELOADS),
    ) {
        let mut policy = of();
        if let Some(which) = begins_with {
            reload(&mut policy, which);
        }
        if roomy {
            policy.quotas = ROOMY;
        }
        if dry {
            policy.mode = Mode::DryRun;
        }
        let mut world = World::new(policy);
        world.guarded = true;
        for act in acts {
            world.act(act);
            world.check();
            world.check_stops();
        }
        // Left alone, everything ends and nothing is remembered for ever.
        world.let_go_on();
        world.pass(seconds(10 * 86_400));
        prop_assert!(world.live().is_empty());
        prop_assert!(world.scopes().is_empty(), "{:?}", world.scopes());
    }

}

proptest! {

    /// Removing needs nothing that adding needs.
    #[test]
    fn removing_works_under_any_configuration(acts in prop::collection::vec(acts(), 1..40), plain in any::<bool>()) {
        let mut world = World::new(if plain { policy() } else { ladders() });
        for act in acts {
            world.act(act);
        }
        world.policy.inventory = Inventory::default();
        world.policy.playbooks = Playbooks::default();
        world.policy.sources.named.clear();
        world.policy.quotas = Quotas { per_customer: 0, per_pop: 0, global: 0, new_pop: 0, new_customer: 0, new_source: 0 };
        world.policy.safelist.add(SafelistEntry {
            prefix: "192.0.0.0/2".parse().unwrap(),
            reason: String::new(),
            origin: SafelistOrigin::Implicit,
            created_by: None,
            created_at: None,
            expires_at: None,
        });
        world.policy.timers.hold_down = Duration::ZERO;
        let live: Vec<_> = world.live().into_iter().cloned().collect();
        for (index, live) in live.iter().enumerate() {
            let operator = live.claims.iter().any(|claim| claim.kind == OriginKind::Operator);
            if index % 2 == 0 || operator {
                let decision = world.withdraw(live.mitigation_id, None, None);
                prop_assert!(matches!(decision.outcome, Outcome::Withdrawn(_)), "{:?}", decision.outcome);
            } else {
                let claims = world.state.group(&live.scope()).unwrap().claims.clone();
                for claim in claims {
                    let mut request = unban(&claim.source, &live.victim_ip.to_string(), &live.vector);
                    request.event_id = claim.event_id.as_deref().map(str::to_owned);
                    world.event(request);
                }
                world.run(&Command::Due(live.scope()), Some(&live.scope()));
            }
            // A hold-down that ran before runs on.
            let left = world.state.mitigation_of(&live.scope());
            prop_assert!(left.is_none_or(|left| live.ending_since.is_some() && left.ends_at == live.ends_at));
            world.check();
        }
        world.pass(seconds(3600));
        prop_assert!(world.live().is_empty());
    }

    /// A replay is answered from what is stored. Were it decided again, it would change nothing.
    #[test]
    fn a_replay_decided_again_changes_nothing(acts in prop::collection::vec(acts(), 1..40), plain in any::<bool>()) {
        let mut world = World::new(if plain { policy() } else { ladders() });
        for act in acts {
            let again = matches!(act, Act::Event(..)).then(|| act.clone());
            world.act(act);
            let seen = world.seen();
            if let Some(act) = again {
                world.act(act);
                prop_assert_eq!(world.seen(), seen);
            }
        }
    }

    /// Events of different victims do not see each other while quotas are not reached, in whatever order they come.
    #[test]
    fn the_order_of_independent_events_is_no_matter(
        acts in prop::collection::vec(acts(), 1..40), plain in any::<bool>(), pause in 0u64..400,
    ) {
        let events: Vec<(String, Act)> = acts
            .into_iter()
            .filter_map(|act| match &act {
                Act::Event(request, _) => Some((request.victim_ip.clone(), act)),
                _ => None,
            })
            .collect();
        let end = |events: &[(String, Act)]| {
            let mut policy = if plain { policy() } else { ladders() };
            policy.quotas = Quotas {
                per_customer: 1000, per_pop: 1000, global: 1000, new_pop: 1000, new_customer: 1000, new_source: 1000,
            };
            let mut world = World::new(policy);
            for (_, act) in events {
                world.act(act.clone());
            }
            world.pass(seconds(pause));
            world.seen()
        };
        let mut by_victim = events.clone();
        // Stable: the order of a victim's own events stays.
        by_victim.sort_by(|one, other| one.0.cmp(&other.0));
        prop_assert_eq!(end(&events), end(&by_victim));
    }

    /// Scopes of different victims do not see each other while quotas are not reached.
    #[test]
    fn independent_scopes_commute(ports in prop::collection::vec(1u16..100, 0..5), pause in 0u64..200) {
        let attack = |world: &mut World, victim: &str| {
            let mut request = ban("once", victim, "udp_flood");
            request.top_dst_ports = ports.clone();
            world.event(request);
        };
        let end = |order: [&str; 2]| {
            let mut world = World::new(policy());
            for victim in order {
                attack(&mut world, victim);
            }
            world.pass(seconds(pause));
            let mut seen: Vec<_> = world.live().into_iter().map(|live| (live.victim_ip, live.rules.clone(), live.step, live.expires_at)).collect();
            seen.sort_by_key(|one| one.0);
            seen
        };
        prop_assert_eq!(end(["203.0.113.2", "198.51.100.2"]), end(["198.51.100.2", "203.0.113.2"]));
    }
}
