//! What holds for every sequence of commands where many victims become one mitigation.

use super::super::command::AdjustCommand;
use super::super::settings::Carpets;
use super::super::struck::Struck;
use super::super::{SuppressWide, WithdrawCommand};
use super::*;
use prefixd_api::ids::SuppressionId;
use prefixd_api::mitigation::EndReason;
use prefixd_api::operation::AdjustRequest;
use prefixd_api::victim::Victim;
use proptest::prelude::*;

/// One is a router's; the prefixes around it are nobody's to filter. Bolt's begin at .32.
const HOSTS: [&str; 10] = [
    "203.0.113.1",
    "203.0.113.4",
    "203.0.113.8",
    "203.0.113.9",
    "203.0.113.10",
    "203.0.113.14",
    "203.0.113.17",
    "203.0.113.30",
    "203.0.113.33",
    "203.0.113.34",
];
const VECTORS: [&str; 3] = ["udp_flood", "ntp_amplification", "icmp_flood"];
const SOURCES: [&str; 4] = ["once", "blind", "trial", "other"];

#[derive(Clone, Debug)]
enum Act {
    Ban(usize, usize, usize, Vec<u16>),
    Unban(usize, usize, usize),
    Withdraw(usize, u64),
    Create(usize, usize),
    Protect(usize),
    Unprotect(usize),
    Pass(u64),
    Judge(usize),
    Reach(Reach),
    SuppressWide(usize, bool),
    Adjust(usize, ActionType),
}

fn acts() -> impl Strategy<Value = Act> {
    let event = || (0..SOURCES.len(), 0..HOSTS.len(), 0..VECTORS.len());
    let ports = prop::collection::vec(prop::sample::select(vec![53u16, 80, 1000, 2000]), 0..4);
    prop_oneof![
        24 => (event(), ports).prop_map(|((source, host, vector), ports)| Act::Ban(source, host, vector, ports)),
        4 => event().prop_map(|(source, host, vector)| Act::Unban(source, host, vector)),
        1 => (any::<usize>(), 0u64..900).prop_map(|(which, suppress)| Act::Withdraw(which, suppress)),
        1 => (0..HOSTS.len(), 0..VECTORS.len()).prop_map(|(host, vector)| Act::Create(host, vector)),
        1 => (0..HOSTS.len()).prop_map(Act::Protect),
        1 => (0..HOSTS.len()).prop_map(Act::Unprotect),
        6 => prop_oneof![Just(0u64), 1..40u64, 40..400u64].prop_map(Act::Pass),
        1 => any::<usize>().prop_map(Act::Judge),
        3 => prop::sample::select(vec![Reach::Blocked, Reach::Coming, Reach::Told, Reach::Told]).prop_map(Act::Reach),
        1 => (0..HOSTS.len(), any::<bool>()).prop_map(|(host, of_source)| Act::SuppressWide(host, of_source)),
        1 => (any::<usize>(), prop::sample::select(vec![ActionType::Police, ActionType::Discard, ActionType::Rtbh]))
            .prop_map(|(which, action)| Act::Adjust(which, action)),
    ]
}

fn carpets() -> Policy {
    let mut policy = super::properties::ladders();
    let bounds = Carpets {
        min_hosts: 3,
        window: seconds(60),
        widest_v4: 26,
        widest_v6: 64,
    };
    policy.carpet = Some(bounds);
    policy
        .inventory
        .owners
        .insert("203.0.113.32/28".parse().unwrap(), 1);
    policy.inventory.spread_assets();
    policy.quotas = Quotas {
        per_customer: 5,
        per_pop: 7,
        global: 7,
        new_pop: 60,
        new_customer: 60,
        new_source: 60,
    };
    policy
}

impl World {
    fn one(&mut self, act: Act) -> Option<Decision> {
        let actor = "anna".to_owned();
        let host = |index: usize| -> Victim { HOSTS[index].parse().unwrap() };
        Some(match act {
            Act::Ban(source, host, vector, ports) => {
                let mut request = ban(SOURCES[source], HOSTS[host], VECTORS[vector]);
                request.top_dst_ports = ports;
                request.confidence = Some(0.8);
                self.event(request)
            }
            Act::Unban(source, host, vector) => {
                self.event(unban(SOURCES[source], HOSTS[host], VECTORS[vector]))
            }
            Act::Withdraw(which, suppress) => {
                let live = self.live();
                let mitigation = live.get(which % live.len().max(1))?.mitigation_id;
                let command = WithdrawCommand {
                    ids: FreshIds::new(),
                    mitigation,
                    reason: "test".to_owned(),
                    suppress: Some(seconds(suppress)),
                    confirm_within: None,
                    expected_revision: None,
                    actor,
                };
                self.run(&Command::Withdraw(command), None)
            }
            Act::Create(index, vector) => {
                let command = CreateCommand {
                    ids: FreshIds::new(),
                    victim: host(index),
                    request: MitigationRequest {
                        vector: Some(VECTORS[vector].to_owned()),
                        reason: "test".to_owned(),
                        ..MitigationRequest::default()
                    },
                    actor,
                };
                self.run(&Command::Create(Box::new(command)), None)
            }
            Act::Protect(index) => {
                let command = SafelistAdd {
                    prefix: host(index).prefix(),
                    reason: "test".to_owned(),
                    expires_at: None,
                    expect_count: None,
                    actor,
                };
                self.run(&Command::SafelistAdd(command), None)
            }
            Act::Unprotect(index) => {
                let prefix = host(index).prefix();
                self.run(&Command::SafelistRemove { prefix, actor }, None)
            }
            Act::Pass(span) => {
                self.pass(seconds(span));
                return None;
            }
            Act::Reach(reach) => {
                self.reach = reach;
                return None;
            }
            Act::SuppressWide(index, of_source) => {
                let command = SuppressWide {
                    id: SuppressionId::new(),
                    prefix: Some(host(index).prefix()),
                    vector: None,
                    source: of_source.then(|| "blind".to_owned()),
                    time: seconds(300),
                    reason: "test".to_owned(),
                    actor,
                };
                self.run(&Command::SuppressWide(command), None)
            }
            Act::Adjust(which, action) => {
                let live = self.live();
                let live = live.get(which % live.len().max(1))?;
                let request = AdjustRequest {
                    action: Some(action),
                    reason: "test".to_owned(),
                    ..AdjustRequest::default()
                };
                let command = AdjustCommand {
                    mitigation: live.mitigation_id,
                    request,
                    actor,
                };
                let scope = live.scope();
                self.run(&Command::Adjust(Box::new(command)), Some(&scope))
            }
            Act::Judge(which) => {
                let scope = self.live().get(which % self.live().len().max(1))?.scope();
                self.run(&Command::Judge(scope.clone()), Some(&scope))
            }
        })
    }

    /// Asked of what came of it, and not of the code that should have asked.
    fn check_carpets(&self, decision: &Decision, before: &State) {
        for live in self.live().into_iter().filter(|live| !live.victim_ip.is_host()) {
            let prefix = live.victim_ip.prefix();
            let acme = live.customer_id.as_deref() == Some("acme");
            assert!(prefix.prefix_len() >= 26 && live.carpet.is_some(), "{prefix}");
            let others: IpNet = "203.0.113.32/28".parse().unwrap();
            assert!(
                if acme {
                    !live.victim_ip.touches(&others)
                } else {
                    others.contains(&prefix)
                },
                "{prefix} is not all of {:?}",
                live.customer_id
            );
            for rule in live.rules.iter() {
                assert_eq!(rule.matches.dst_prefix, prefix);
                assert!(!rule.action.is_harsh(), "{rule} discards what nobody reported");
            }
            assert_ne!(live.status, MitigationStatus::Pending);
            let protected = self
                .state
                .safelist
                .keys()
                .chain(["203.0.113.4/32".parse().unwrap()].iter())
                .any(|entry| live.victim_ip.touches(entry));
            assert!(!protected, "{prefix} is over what is protected");
        }
        for effect in &decision.effects {
            let Effect::Mitigation {
                before: None, after, ..
            } = effect
            else {
                continue;
            };
            let tally = if after.enforced {
                &self.state.counts.enforced
            } else {
                &self.state.counts.dry_run
            };
            // What is to give way may stay beside each of them for a while.
            let of_many = self.live().into_iter().filter(|live| live.carpet.is_some());
            let of_many = of_many.filter(|live| live.enforced == after.enforced).count() as u64;
            if after.status.is_announced() {
                let customer = after.customer_id.as_deref().unwrap();
                assert!(tally.pop <= 7 + of_many && tally.customer(customer) <= 5 + of_many);
            }
            let Some(carpet) = &after.carpet else { continue };
            assert!(carpet.victims >= 3);
            let left_alone = before.suppressions.values().find(|one| {
                one.expires_at > self.now
                    && *one.scope.vector == *after.vector
                    && one.scope.victim.touches(&after.victim_ip.prefix())
            });
            assert!(
                left_alone.is_none(),
                "{} was to be left alone",
                left_alone.unwrap().scope
            );
            let left_alone = before.wide_suppressions.values().find(|one| {
                let is_heard = one
                    .source
                    .as_ref()
                    .is_none_or(|source| after.claims.iter().any(|claim| claim.source == *source));
                one.expires_at > self.now
                    && one.prefix.is_some_and(|prefix| after.victim_ip.touches(&prefix))
                    && is_heard
            });
            assert!(
                left_alone.is_none(),
                "{} was to be left alone",
                left_alone.unwrap()
            );
            let inside = self
                .live()
                .into_iter()
                .filter(|live| after.victim_ip.prefix().contains(&live.victim_ip.prefix()));
            assert!((carpet.replaced as usize) < inside.count(), "they end later");
        }
        self.check_given(decision);
        let struck = self.state.struck.as_ref().unwrap();
        let recounted = Struck::new(self.policy.carpet.unwrap(), self.state.groups());
        assert_eq!(
            struck.as_in_groups(),
            recounted,
            "what is counted is not what is known"
        );
    }

    /// Nothing gives way but to what every neighbour was told, and that takes all that it took.
    fn check_given(&self, decision: &Decision) {
        for effect in &decision.effects {
            let Effect::Mitigation { after: ended, .. } = effect else {
                continue;
            };
            if ended.end_reason != Some(EndReason::Aggregated) {
                continue;
            }
            assert_eq!(self.reach, Reach::Told);
            let over = self.state.aggregate_over(&ended.scope()).unwrap();
            assert_eq!(over.enforced, ended.enforced);
            for rule in ended.rules.iter() {
                let mut wider = over.rules.iter();
                assert!(
                    wider.any(|wide| crate::policy::covers(&wide.matches, &rule.matches)),
                    "{rule} is let through"
                );
                assert!(!rule.action.is_harsh(), "{rule} discarded");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases * 3 / 4, ..ProptestConfig::default() })]

    #[test]
    fn no_aggregate_passes_by_a_guardrail_whatever_happens(acts in prop::collection::vec(acts(), 1..80)) {
        let mut world = World::new(carpets());
        for act in acts {
            let before = world.state.clone();
            if let Some(decision) = world.one(act) {
                world.check_carpets(&decision, &before);
            }
            world.check();
        }
        world.pass(seconds(10 * 86_400));
        prop_assert!(world.live().is_empty());
        prop_assert!(world.scopes().is_empty(), "{:?}", world.scopes());
    }
}

fn bans(world: &mut World, hosts: &[&str]) {
    for host in hosts {
        let mut report = ban("blind", host, "udp_flood");
        report.bps = Some(1_000_000_000);
        world.event(report);
    }
}

/// Three victims of one prefix; the aggregate that is in the place of their own.
fn aggregated(world: &mut World) -> Mitigation {
    bans(world, &["203.0.113.8", "203.0.113.9", "203.0.113.10"]);
    assert_eq!(world.live().len(), 3, "their own stay until their next report");
    bans(world, &["203.0.113.8", "203.0.113.9"]);
    let live = world.live();
    assert_eq!(live.len(), 1, "{live:?}");
    live[0].clone()
}

#[test]
fn it_says_whom_it_filters_besides() {
    let mut world = World::new(carpets());
    let made = aggregated(&mut world);
    assert_eq!(made.victim_ip.to_string(), "203.0.113.8/30");
    let carpet = made.carpet.unwrap();
    assert_eq!((carpet.victims, carpet.bystanders, carpet.replaced), (3, 1, 2));
    assert_eq!(made.observed.bps, Some(BitsPerSecond(3_000_000_000)), "together");
    assert!(
        made.why_summary
            .starts_with("3 addresses of 203.0.113.8/30 are attacked"),
        "{}",
        made.why_summary
    );
}

/// The state is kept by the groups, so nothing is forgotten and nothing is told twice.
#[test]
fn a_restart_goes_on_with_it() {
    let mut world = World::new(carpets());
    let made = aggregated(&mut world);
    let mut after = World::new(carpets());
    after.now = world.now;
    for group in world.state.groups() {
        after.state.restore_group(Arc::clone(group));
    }
    after.state.restore(Arc::new(made.clone()));
    after.state.count_victims(&after.policy);
    let goes_on = after.event(ban("blind", "203.0.113.11", "udp_flood"));
    assert!(
        matches!(&goes_on.outcome, Outcome::Event { answer, .. } if answer.mitigation_id == Some(made.mitigation_id)),
        "{:?}",
        goes_on.outcome
    );
    assert_eq!(after.live().len(), 1);
}

#[test]
fn a_victim_under_it_cannot_be_suppressed_alone() {
    let mut world = World::new(carpets());
    let made = aggregated(&mut world);
    let command = super::super::SuppressCommand {
        id: prefixd_api::ids::SuppressionId::new(),
        scope: Scope {
            victim: "203.0.113.9".parse().unwrap(),
            vector: "udp_flood".into(),
        },
        time: seconds(600),
        reason: "test".to_owned(),
        actor: "anna".to_owned(),
    };
    let refused = world.run(&Command::Suppress(command), None);
    assert!(
        matches!(&refused.outcome, Outcome::Refused(problem) if problem.detail.contains(&made.mitigation_id.to_string()))
    );
}

/// Nothing that is filtered at it now may be lost for what it would not be told.
#[test]
fn while_a_neighbour_is_held_each_is_by_itself() {
    use super::super::command::SetControl;
    use prefixd_api::control::ControlState;
    let mut world = World::new(carpets());
    let hold = SetControl {
        scope: "neighbor:edge1".parse().unwrap(),
        state: ControlState::Hold,
        actor: "token:noc".to_owned(),
        reason: "INC-4711".to_owned(),
        said: 0,
        in_force_since: None,
        expected_revision: None,
    };
    world.run(&Command::Control(hold), None);
    bans(&mut world, &["203.0.113.8", "203.0.113.9", "203.0.113.10"]);
    assert!(world.live().iter().all(|live| live.victim_ip.is_host()));
    assert_eq!(world.live().len(), 3);
}

/// A service around the prefix and one inside of it: the ports of both are kept out.
#[test]
fn services_around_and_inside_are_known_together() {
    let mut policy = carpets();
    for prefix in ["203.0.113.0/24", "203.0.113.9/32"] {
        let asset = Asset {
            customer: 0,
            service: 0,
            client_udp: true,
        };
        policy.inventory.add_asset(prefix.parse().unwrap(), asset);
    }
    policy.inventory.spread_assets();
    let services = |prefix: &str| {
        let many = Victim::network(prefix.parse().unwrap()).unwrap();
        policy.inventory.owner(many).unwrap().services().count()
    };
    assert!(services("203.0.113.8/29") >= 2);
    assert_eq!(services("203.0.113.16/29"), 1);
}

/// It is about addresses that nobody reported, so nobody discards what they get by the way.
#[test]
fn an_operator_does_not_discard_for_all_of_them() {
    let mut world = World::new(carpets());
    let made = aggregated(&mut world);
    let mut adjust = |action, rate_bps| {
        let request = AdjustRequest {
            action: Some(action),
            rate_bps,
            reason: "test".to_owned(),
            ..AdjustRequest::default()
        };
        let command = AdjustCommand {
            mitigation: made.mitigation_id,
            request,
            actor: "anna".to_owned(),
        };
        world
            .run(&Command::Adjust(Box::new(command)), Some(&made.scope()))
            .outcome
    };
    for harsh in [ActionType::Discard, ActionType::Rtbh] {
        let refused = adjust(harsh, None);
        assert!(
            matches!(&refused, Outcome::Refused(problem) if problem.code == "guardrail.impossible"),
            "{refused:?}"
        );
    }
    let milder = adjust(ActionType::Police, Some(BitsPerSecond(50_000_000)));
    assert!(matches!(milder, Outcome::Changed(_)), "{milder:?}");
}

/// Whoever wants an address left alone wants it of what is over it, too.
#[test]
fn a_suppression_of_a_part_or_of_what_is_around_keeps_it_from_being_made() {
    let cases = [
        ("203.0.113.9/32", None, 0),
        ("203.0.113.0/24", Some("other"), 1),
        ("203.0.113.10/31", Some("blind"), 0),
        ("203.0.113.12/30", None, 1),
    ];
    for (prefix, source, made) in cases {
        let mut world = World::new(carpets());
        let command = SuppressWide {
            id: SuppressionId::new(),
            prefix: Some(prefix.parse().unwrap()),
            vector: None,
            source: source.map(str::to_owned),
            time: seconds(600),
            reason: "test".to_owned(),
            actor: "anna".to_owned(),
        };
        bans(&mut world, &["203.0.113.8", "203.0.113.9"]);
        world.run(&Command::SuppressWide(command.clone()), None);
        bans(&mut world, &["203.0.113.11"]);
        let of_many = world.live().iter().filter(|live| live.carpet.is_some()).count();
        assert_eq!(of_many, made, "{prefix} {source:?}");
    }
    let mut world = World::new(carpets());
    aggregated(&mut world);
    let around = SuppressWide {
        id: SuppressionId::new(),
        prefix: Some("203.0.113.10/31".parse().unwrap()),
        vector: None,
        source: None,
        time: seconds(600),
        reason: "test".to_owned(),
        actor: "anna".to_owned(),
    };
    let suppressed = world.run(&Command::SuppressWide(around), None);
    assert!(
        matches!(suppressed.outcome, Outcome::WideSuppressed { live: 1, .. }),
        "it is about the aggregate over these addresses, too"
    );
}

/// What is over many stands at the other neighbours, so it goes on there; at the one that is not told it each has its own,
/// as far as the quotas go, and nobody is left without.
#[test]
fn what_one_neighbour_is_not_told_goes_on_at_the_others() {
    let mut policy = carpets();
    policy.quotas.per_customer = 3;
    let mut world = World::new(policy);
    let made = aggregated(&mut world);
    world.reach = Reach::Blocked;
    let hosts = ["203.0.113.8", "203.0.113.9", "203.0.113.10", "203.0.113.11"];
    // Twice as long as a claim lives without a report.
    for _ in 0..40 {
        world.pass(seconds(30));
        for host in hosts {
            let told = world.event(ban("blind", host, "udp_flood"));
            assert!(
                matches!(&told.outcome, Outcome::Event { answer, .. }
                    if matches!(answer.status, EventOutcome::Accepted | EventOutcome::Extended)),
                "{host}: {:?}",
                told.outcome
            );
        }
    }
    let live = world.live();
    let of_many = live.iter().find(|live| live.mitigation_id == made.mitigation_id);
    assert_eq!(of_many.map(|live| live.victim_ip), Some(made.victim_ip));
    assert_eq!(live.len(), 3, "and two of their own beside it: {live:?}");
    world.reach = Reach::Told;
    bans(&mut world, &hosts);
    assert_eq!(world.live().len(), 1, "then they give way again");
}

/// The neighbours were told what it was, and not yet what it is.
#[test]
fn nothing_gives_way_to_what_the_same_report_changes() {
    let mut world = World::new(carpets());
    let report = |world: &mut World, host: &str, port: u16| {
        let mut report = ban("blind", host, "udp_flood");
        report.top_dst_ports = vec![port];
        world.event(report);
    };
    for host in [8, 9, 10, 8, 9] {
        report(&mut world, &format!("203.0.113.{host}"), 1000);
    }
    let [made] = world.live()[..] else {
        panic!("one for all: {:?}", world.live());
    };
    let made = made.clone();
    world.reach = Reach::Blocked;
    report(&mut world, "203.0.113.10", 1000);
    world.reach = Reach::Told;
    report(&mut world, "203.0.113.10", 2000);
    let many = |world: &World| Mitigation::clone(&world.state.mitigations[&made.mitigation_id]);
    assert_ne!(many(&world).rules, made.rules, "another port");
    assert_eq!(world.live().len(), 2, "{:?}", world.live());
    report(&mut world, "203.0.113.10", 2000);
    assert_eq!(world.live(), [&many(&world)]);
}
