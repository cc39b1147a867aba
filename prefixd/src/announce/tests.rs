//! The announcer against a speaker that has no sessions, and against one whose peer is another speaker.

mod shown;
mod standing;

use super::fit::Part;
use super::*;
use crate::policy::{Implicit, PeerChange, PeerWhat};
use prefixd_api::config::{Config, Profile};
use prefixd_api::control::{self, ControlScope, Stopped};
use prefixd_api::mitigation::{Delivery, EndReason, MitigationStatus, Severity};
use prefixd_api::resource::{Announcement, AnnouncementForm, PeerState};
use prefixd_api::rule::Action;
use prefixd_bgp::flowspec::{BytesPerSecond, Family};
use prefixd_bgp::{CanaryConfig, Change, HoldTime, Limits, Route, SpeakerConfig, Stop, Target};
use serde_json::json;
use std::net::{IpAddr, Ipv4Addr};
use std::slice::from_ref;
use std::time::Duration;
use tokio::time::{interval, timeout};

/// Longest wait for something that takes milliseconds on an idle machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
pub(super) const POLL: Duration = Duration::from_millis(10);
const OUR_ASN: u32 = 65010;

pub(super) fn neighbor(name: &str, address: Ipv4Addr, port: u16) -> NeighborConfig {
    NeighborConfig {
        port,
        families: [Family::Ipv4].into(),
        ..NeighborConfig::new(name, address.into(), OUR_ASN)
    }
}

pub(super) fn speaker(listen: Option<Ipv4Addr>, router_id: u8, neighbors: Vec<NeighborConfig>) -> Speaker {
    let config = SpeakerConfig {
        local_asn: OUR_ASN,
        router_id: Ipv4Addr::new(10, 0, 0, router_id),
        listen: listen
            .map(|address| (IpAddr::from(address), 0).into())
            .into_iter()
            .collect(),
        hold_time: HoldTime::from_secs(30).unwrap(),
        marker: None,
        neighbors,
    };
    Speaker::start(config).unwrap()
}

pub(super) fn named(name: &str, enforce: bool) -> Neighbor {
    Neighbor {
        name: name.into(),
        enforce,
        was_told: enforce,
        plan: NeighborPlan::default(),
        max_rules: 1000,
        reflects: false,
    }
}

/// The usual guardrails, and a customer whose service has ports of its own.
pub(super) fn policy(allowed: &str) -> Arc<Policy> {
    let settings = "pop: iad1\nmode: dry-run\nbgp: { local_asn: 65010, router_id: 10.0.0.1, listen: null }\nguardrails: { max_ports: 40 }\n";
    let inventory = format!(
        "customers:\n  - {{ customer_id: acme, name: A, prefixes: [203.0.113.0/24], services: [{{ service_id: s, name: S, allowed_ports: {{ udp: [{allowed}] }}, assets: [{{ ip: 203.0.113.1 }}] }}] }}\n"
    );
    let config = Config::from_texts(settings, &inventory, "{}").unwrap();
    Arc::new(Policy::compile(&config, &Implicit::default()))
}

pub(super) fn announcer(speaker: Speaker, neighbors: Vec<Neighbor>) -> Announcer {
    let clock = Arc::new(Clock::starting_at(Timestamp::from_micros(1_767_225_600_000_000)));
    Announcer::new(speaker, clock, neighbors, policy(""))
}

/// Two neighbours whose sessions never begin, of which the second gets no rules.
pub(super) fn two() -> Announcer {
    let discard = |last| Ipv4Addr::new(192, 0, 2, last);
    let speaker = speaker(
        None,
        1,
        vec![neighbor("a", discard(1), 179), neighbor("b", discard(2), 179)],
    );
    announcer(speaker, vec![named("a", true), named("b", false)])
}

/// A mitigation of one rule, with five minutes to live.
pub(super) fn mitigation(announcer: &Announcer, last: u8, rule: &serde_json::Value) -> Mitigation {
    let victim = Ipv4Addr::new(203, 0, 113, last);
    let now = announcer.clock.now();
    let mut rule = rule.clone();
    rule["match"]["dst_prefix"] = format!("{victim}/32").into();
    serde_json::from_value(json!({
        "mitigation_id": MitigationId::new(), "revision": 1, "status": "active", "customer_id": null,
        "service_id": null, "pop": "iad1", "victim_ip": victim, "vector": "udp_flood",
        "action_type": "police", "rate_bps": 5_000_000, "rules": [rule], "claims": [],
        "ending_since": null, "ends_at": null, "enforced": true, "external_ref": null,
        "observed": {"bps": null, "pps": null}, "previous_id": null, "playbook": null, "step": 1,
        "confidence": null, "severity": "low", "created_at": now, "updated_at": now,
        "expires_at": now.saturating_add(Duration::from_secs(300)), "ttl_seconds": 300,
        "advertised_at": null, "evidence_since": null, "evidence_at": null, "ended_at": null,
        "ended_by": null, "end_reason": null, "end_note": null,
        "origin": {"kind": "event", "actor": "token:fnm"}, "group_id": prefixd_api::ids::GroupId::new(),
        "triggering_event_id": null, "last_event_id": null, "acknowledged_at": null,
        "acknowledged_by": null, "why_summary": "",
    }))
    .unwrap()
}

pub(super) fn police() -> serde_json::Value {
    json!({"match": {"protocols": [17], "dst_ports": ["27015"]}, "action_type": "police", "rate_bps": 5_000_000})
}

pub(super) fn state(mitigations: &[Mitigation]) -> State {
    let mut state = State::default();
    for mitigation in mitigations {
        state.restore(Arc::new(mitigation.clone()));
    }
    state
}

pub(super) fn held(announcer: &Announcer, name: &str) -> Vec<Route> {
    let mut routes = announcer.speaker.desired(name).unwrap();
    routes.sort_by_key(|route| route.rule.key().to_string());
    routes
}

pub(super) fn ids(mitigations: &[Mitigation]) -> impl Iterator<Item = MitigationId> {
    mitigations.iter().map(|mitigation| mitigation.mitigation_id)
}

#[tokio::test]
async fn what_is_changed_behind_its_back_is_counted_and_repaired() {
    let announcer = two();
    let two = [1, 2].map(|last| mitigation(&announcer, last, &police()));
    let state = state(&two);
    announcer.project(&state, ids(&two));
    let (before, none) = (held(&announcer, "a"), held(&announcer, "b"));
    assert_eq!((before.len(), none.len()), (2, 0), "b is not enforced");

    let to_a = || Target::Neighbor("a".into());
    let stranger = {
        let other = mitigation(&announcer, 3, &police());
        Route {
            rule: Arc::new(compile::canonical(&other.rules[0].matches).unwrap()),
            action: compile::action(other.rules[0].action, other.rules[0].sample).unwrap(),
            priority: before[0].priority,
            not_after: before[0].not_after,
        }
    };
    let changes = [
        Change::Withdraw {
            target: to_a(),
            key: before[0].rule.key().clone(),
        },
        Change::Announce {
            target: to_a(),
            route: stranger.clone(),
        },
        Change::Announce {
            target: to_a(),
            route: Route {
                action: prefixd_bgp::flowspec::Action::police(
                    BytesPerSecond::from_bits_per_second(9_000_000).unwrap(),
                ),
                ..before[1].clone()
            },
        },
        Change::Announce {
            target: Target::Neighbor("b".into()),
            route: stranger,
        },
    ];
    announcer.speaker.apply(changes).unwrap();
    let mut feed = announcer.ephemeral().subscribe();
    let found = announcer.reconcile(&state);
    assert_eq!(
        found,
        Drift {
            desired: 2,
            missing: 2,
            unexplained: 2
        }
    );
    assert!(matches!(
        feed.try_recv(),
        Ok(FeedBody::DriftDetected {
            missing: 2,
            unexplained: 2
        })
    ));
    let actions = |routes: &[Route]| -> Vec<_> {
        let one = |route: &Route| (route.rule.key().clone(), route.action);
        routes.iter().map(one).collect()
    };
    assert_eq!(actions(&held(&announcer, "a")), actions(&before));
    assert!(held(&announcer, "b").is_empty());
    let settled = Drift {
        desired: 2,
        ..Drift::default()
    };
    assert_eq!(announcer.reconcile(&state), settled);
    assert!(feed.try_recv().is_err(), "nothing more to tell");
}

#[tokio::test]
async fn what_has_ended_without_its_removal_is_unexplained() {
    let announcer = two();
    let two = [1, 2].map(|last| mitigation(&announcer, last, &police()));
    announcer.project(&state(&two), ids(&two));
    let found = announcer.reconcile(&state(&two[..1]));
    assert_eq!((found.desired, found.missing, found.unexplained), (1, 0, 1));
    assert_eq!(held(&announcer, "a").len(), 1);
}

/// Several to a victim, told apart by their port.
fn many(announcer: &Announcer, count: u16) -> Vec<Mitigation> {
    (0..count)
        .map(|n| {
            let mut rule = police();
            rule["match"]["dst_ports"] = json!([(n / 200 + 1).to_string()]);
            let last = u8::try_from(n % 200).unwrap();
            Mitigation {
                vector: format!("v{}", n / 200).into(),
                ..mitigation(announcer, last, &rule)
            }
        })
        .collect()
}

#[tokio::test]
async fn what_changes_between_the_steps_of_a_comparison_is_no_drift() {
    let announcer = two();
    let all = many(&announcer, 1_800);
    announcer.project(&state(&all[..1_600]), ids(&all[..1_600]));
    let (mut sweep, mut steps) = (Sweep::default(), 0);
    let mut live = 0..1_600;
    // Each step is preceded by the end of ten and the beginning of ten.
    loop {
        let now = state(&all[live.clone()]);
        if announcer.reconcile_step(&now, &mut sweep) {
            break;
        }
        steps += 1;
        let next = live.start + 10..(live.end + 10).min(all.len());
        let changed = all[live.start..next.start].iter().chain(&all[live.end..next.end]);
        let changed: Vec<_> = changed.map(|one| one.mitigation_id).collect();
        announcer.project(&state(&all[next.clone()]), changed.into_iter());
        live = next;
    }
    assert!(steps > 6, "{steps}");
    assert_eq!((sweep.found().missing, sweep.found().unexplained), (0, 0));
    assert_eq!(held(&announcer, "a").len(), live.len());
}

#[tokio::test]
async fn steps_repair_what_the_whole_does() {
    let announcer = two();
    let all = many(&announcer, 1_200);
    announcer.project(&state(&all), ids(&all));
    // A hundred ended and nobody said so; three were taken away behind its back.
    let now = state(&all[100..]);
    let keys: Vec<_> = [200, 700, 1_199]
        .map(|n| {
            compile::canonical(&all[n].rules[0].matches)
                .unwrap()
                .key()
                .clone()
        })
        .into();
    let taken = keys.iter().map(|key| Change::Withdraw {
        target: Target::All,
        key: key.clone(),
    });
    announcer.speaker.apply(taken).unwrap();
    let mut sweep = Sweep::default();
    while !announcer.reconcile_step(&now, &mut sweep) {}
    assert_eq!(
        sweep.found(),
        Drift {
            desired: 1_100,
            missing: 3,
            unexplained: 100
        }
    );
    assert_eq!(held(&announcer, "a").len(), 1_100);
    assert_eq!(announcer.reconcile(&now).missing, 0);
}

#[tokio::test]
async fn an_extension_that_was_missed_is_caught_up() {
    let announcer = two();
    let mut one = [mitigation(&announcer, 1, &police())];
    announcer.project(&state(&one), ids(&one));
    let end = held(&announcer, "a")[0].not_after;
    let longer = Duration::from_secs(120);
    one[0].expires_at = one[0].expires_at.saturating_add(longer);
    announcer.reconcile(&state(&one));
    let moved = held(&announcer, "a")[0].not_after - end;
    assert!(
        moved > longer - SAME_END && moved < longer + SAME_END,
        "{moved:?}"
    );
}

#[tokio::test]
async fn operators_come_before_severity_and_a_change_of_it_is_no_drift() {
    let announcer = two();
    let mut one = [mitigation(&announcer, 1, &police())];
    announcer.project(&state(&one), ids(&one));
    let mut priorities = vec![held(&announcer, "a")[0].priority];
    for severity in [Severity::Critical, Severity::Low] {
        one[0].severity = severity;
        if severity == Severity::Low {
            let at = one[0].created_at;
            one[0].claims = serde_json::from_value(json!([{
                "source": "operator", "event_id": null, "kind": "operator", "since": at, "last_report_at": at,
                "lives_until": null, "confidence": null, "bps": null, "pps": null,
            }]))
            .unwrap();
        }
        assert_eq!(announcer.reconcile(&state(&one)).missing, 0);
        priorities.push(held(&announcer, "a")[0].priority);
    }
    assert!(priorities.is_sorted_by(|low, high| low < high), "{priorities:?}");
}

#[tokio::test]
async fn what_is_over_or_not_enforced_is_never_announced() {
    let announcer = two();
    let mut over = mitigation(&announcer, 1, &police());
    over.expires_at = announcer.clock.now();
    let mut held_down = mitigation(&announcer, 2, &police());
    held_down.ends_at = Some(announcer.clock.now());
    let mut dry = mitigation(&announcer, 3, &police());
    dry.enforced = false;
    let mut ended = mitigation(&announcer, 4, &police());
    ended.status = MitigationStatus::Withdrawn;
    ended.end_reason = Some(EndReason::Operator);
    let all = [over, held_down, dry, ended];
    let state = state(&all);
    announcer.project(&state, ids(&all));
    assert_eq!(announcer.reconcile(&state), Drift::default());
    assert!(held(&announcer, "a").is_empty());
}

#[tokio::test]
async fn a_rule_no_router_may_be_told_is_intended_and_unsupported() {
    let announcer = two();
    let all_ports = json!({"match": {"protocols": [17], "dst_ports": ["0-65535"]}, "action_type": "discard"});
    let one = [mitigation(&announcer, 1, &all_ports)];
    let state = state(&one);
    announcer.project(&state, ids(&one));
    let counts = announcer.rule_counts();
    assert_eq!((counts.intended, counts.announced), (1, 0));
    let delivery = announcer.deliveries().of(&one[0]);
    assert_eq!(delivery.unsupported, 1, "a alone gets rules");
    let told = announcer.announcements(&one[0], []);
    assert!(
        told[0]
            .reason
            .as_deref()
            .unwrap_or_default()
            .contains("a guardrail refuses it"),
        "{told:?}"
    );
    announcer.hold_back(one[0].mitigation_id);
    assert_eq!(announcer.rule_counts().intended, 0);
}

fn plan(profile: Profile, operators_per_component: usize) -> NeighborPlan {
    NeighborPlan {
        families: [Family::Ipv4].into(),
        profile,
        limits: Limits {
            operators_per_component,
            nlri_bytes: 239,
            ..Limits::default()
        },
    }
}

/// Three neighbours whose sessions never begin; two take five operators, the third many.
pub(super) fn three() -> (Announcer, Vec<NeighborConfig>, Vec<Neighbor>) {
    let few = plan(Profile::Generic, 5);
    let many = plan(Profile::Bird, 32);
    let neighbors: Vec<Neighbor> = [("a", &few), ("b", &few), ("c", &many)]
        .map(|(name, plan)| Neighbor {
            plan: plan.clone(),
            ..named(name, true)
        })
        .into();
    let configs = configs(&neighbors);
    let speaker = speaker(None, 1, configs.clone());
    (announcer(speaker, neighbors.clone()), configs, neighbors)
}

pub(super) fn configs(neighbors: &[Neighbor]) -> Vec<NeighborConfig> {
    let config = |(last, of): (u8, &Neighbor)| NeighborConfig {
        limits: of.plan.limits,
        ..neighbor(&of.name, Ipv4Addr::new(192, 0, 2, last), 179)
    };
    (1..).zip(neighbors).map(config).collect()
}

pub(super) fn seven_ports(action: &str) -> serde_json::Value {
    let rate = (action == "police").then_some(5_000_000);
    let mut rule = json!({"match": {"protocols": [17], "dst_ports": [10, 30, 31, 50, 70, 90, 110]}, "action_type": action});
    if let Some(rate) = rate {
        rule["rate_bps"] = rate.into();
    }
    rule
}

/// The matches that a neighbour holds, without the destination.
fn matches(announcer: &Announcer, name: &str) -> Vec<String> {
    let inner = announcer.inner();
    let group = inner.group_of(name).unwrap();
    let mut texts: Vec<String> = held(announcer, name)
        .iter()
        .map(|route| {
            let key = route.rule.key();
            let mut parts = group.fitted().flat_map(|fitted| fitted.parts.iter());
            let part = parts.find(|part: &&Part| part.canonical.key() == key);
            part.map_or_else(
                || "(of before)".to_owned(),
                |part| part.rule.matches.dst_ports.to_string(),
            )
        })
        .collect();
    texts.sort();
    texts
}

#[tokio::test]
async fn each_neighbour_gets_what_it_takes_and_says_so() {
    let (announcer, ..) = three();
    let two = [
        mitigation(&announcer, 1, &seven_ports("discard")),
        mitigation(&announcer, 2, &seven_ports("police")),
    ];
    announcer.project(&state(&two), ids(&two));
    assert_eq!(announcer.inner().groups.len(), 2, "a and b share one");
    let whole = "10,30-31,50,70,90,110";
    for name in ["a", "b"] {
        assert_eq!(
            matches(&announcer, name),
            ["10,30-31,50,70", "10-50,70,90,110", "90,110"]
        );
    }
    assert_eq!(matches(&announcer, "c"), [whole, whole]);
    let told = |of: &Mitigation| -> Vec<_> {
        let one = |told: Announcement| (told.neighbor, told.form.to_string(), told.part, told.parts);
        announcer.announcements(of, []).into_iter().map(one).collect()
    };
    let split = |name: &str, part| (name.to_owned(), "split".to_owned(), part, 2);
    let alone = |name: &str, form: &str| (name.to_owned(), form.to_owned(), 1, 1);
    assert_eq!(
        told(&two[0]),
        [
            split("a", 1),
            split("a", 2),
            split("b", 1),
            split("b", 2),
            alone("c", "exact")
        ]
    );
    assert_eq!(
        told(&two[1]),
        [alone("a", "widened"), alone("b", "widened"), alone("c", "exact")]
    );
    let widened = &announcer.announcements(&two[1], [])[0];
    assert!(widened.original.contains(whole) && !widened.rule.contains(whole));
    assert!(widened.warning.as_deref().unwrap().contains("widened to"));
    let peer = &announcer.peers()[0];
    let forms: Vec<_> = peer.rules_by_form.values().copied().collect();
    assert_eq!(forms, [0, 0, 0, 1, 1], "exact, refused, rtbh, split, widened");
    let counts = announcer.rule_counts();
    assert_eq!((counts.intended, counts.announced), (2, 2));
    announcer.hold_back(two[0].mitigation_id);
    assert_eq!((held(&announcer, "a").len(), held(&announcer, "c").len()), (1, 1));
}

#[tokio::test]
async fn a_port_of_the_service_is_kept_out_also_when_a_reload_adds_it() {
    let (announcer, configs, neighbors) = three();
    let one = [mitigation(&announcer, 1, &seven_ports("police"))];
    let state = state(&one);
    announcer.project(&state, ids(&one));
    assert_eq!(matches(&announcer, "a"), ["10-50,70,90,110"]);
    announcer
        .reconfigure(configs.clone(), neighbors.clone(), policy("40"), &state)
        .unwrap();
    assert_eq!(matches(&announcer, "a"), ["(of before)", "10-31,50-90,110"]);
    announcer
        .reconfigure(configs, neighbors, policy("20,40,80,100"), &state)
        .unwrap();
    let told = announcer.announcements(&one[0], []);
    assert_eq!(told[0].form, AnnouncementForm::Refused);
    assert!(
        told[0]
            .reason
            .as_deref()
            .unwrap()
            .contains("ports of the service")
    );
    assert_eq!(announcer.deliveries().of(&one[0]).unsupported, 2);
    assert_eq!(announcer.peers()[0].rules_unsupported, 1);
}

#[tokio::test]
async fn a_neighbour_that_takes_otherwise_keeps_its_rules_until_the_new_ones_are_there() {
    let (announcer, _, mut neighbors) = three();
    let one = [mitigation(&announcer, 1, &seven_ports("discard"))];
    let state = state(&one);
    announcer.project(&state, ids(&one));
    let lease = held(&announcer, "b")[0].not_after;
    neighbors[1].plan = neighbors[2].plan.clone();
    let mut feed = announcer.ephemeral().subscribe();
    announcer
        .reconfigure(configs(&neighbors), neighbors.clone(), policy(""), &state)
        .unwrap();
    assert_eq!(
        matches(&announcer, "b"),
        ["(of before)", "(of before)", "10,30-31,50,70,90,110"]
    );
    let soon: Vec<bool> = held(&announcer, "b")
        .iter()
        .map(|route| lease - route.not_after > Duration::from_secs(60))
        .collect();
    assert_eq!(
        soon.iter().filter(|soon| **soon).count(),
        2,
        "the old ones end in a moment"
    );
    assert_eq!(matches(&announcer, "a").len(), 2, "untouched");
    let drift = announcer.reconcile(&state);
    assert_eq!(
        (drift.missing, drift.unexplained),
        (0, 0),
        "they are meant to be there"
    );
    assert!(feed.try_recv().is_err(), "nothing drifted");

    // Back again, and without rules at last.
    neighbors[1].plan = neighbors[0].plan.clone();
    announcer
        .reconfigure(configs(&neighbors), neighbors.clone(), policy(""), &state)
        .unwrap();
    assert_eq!(announcer.inner().groups.len(), 2);
    let current = |texts: Vec<String>| texts.into_iter().filter(|text| text != "(of before)").count();
    assert_eq!(current(matches(&announcer, "b")), 2);
    neighbors[1].enforce = false;
    announcer
        .reconfigure(configs(&neighbors), neighbors, policy(""), &state)
        .unwrap();
    assert!(held(&announcer, "b").is_empty(), "at once");
}

/// Two speakers on addresses of their own; the second takes the part of the router.
#[tokio::test]
async fn a_session_that_comes_or_goes_tells_how_its_mitigations_stand() {
    let (ours, theirs) = (Ipv4Addr::new(127, 41, 7, 1), Ipv4Addr::new(127, 41, 7, 2));
    let router = speaker(
        Some(theirs),
        2,
        vec![NeighborConfig {
            passive: true,
            ..neighbor("prefixd", ours, 179)
        }],
    );
    let port = router.local_addrs()[0].port();
    let speaker = speaker(
        None,
        1,
        vec![
            NeighborConfig {
                local_address: Some(ours.into()),
                ..neighbor("router", theirs, port)
            },
            neighbor("idle", Ipv4Addr::new(192, 0, 2, 9), 179),
        ],
    );
    let announcer = Arc::new(announcer(
        speaker,
        vec![named("router", true), named("idle", false)],
    ));
    let two = [1, 2].map(|last| mitigation(&announcer, last, &police()));
    announcer.project(&state(&two), ids(&two));
    let mut feed = announcer.ephemeral().subscribe();
    // What the projection owes is told before the session.
    let nowhere = Delivery::default();
    assert_eq!(told(&announcer, &mut feed, 2).await, [nowhere; 2]);

    let watching = Arc::clone(&announcer);
    let watch = tokio::spawn(async move { watching.watch_sessions().await });
    router.open();
    announcer.speaker.open();
    assert_eq!(
        session(&mut feed).await,
        ("router".to_owned(), PeerState::Established)
    );
    let there = Delivery {
        established: 1,
        advertised: 1,
        unsupported: 0,
    };
    assert_eq!(told(&announcer, &mut feed, 2).await, [there; 2]);

    let order = |what| PeerChange {
        neighbor: "router".into(),
        what,
        actor: "token:noc".to_owned(),
        reason: "line card".to_owned(),
    };
    let disabled = PeerDisabled {
        neighbor: "router".to_owned(),
        reason: "line card".to_owned(),
        disabled_by: "token:noc".to_owned(),
        disabled_at: announcer.clock.now(),
    };
    announcer.obey(&order(PeerWhat::Disabled(disabled.into())));
    assert_eq!(
        session(&mut feed).await,
        ("router".to_owned(), PeerState::Disabled)
    );
    assert_eq!(told(&announcer, &mut feed, 2).await, [nowhere; 2]);
    announcer.obey(&order(PeerWhat::Enabled));
    for state in [PeerState::Connect, PeerState::Established] {
        assert_eq!(session(&mut feed).await, ("router".to_owned(), state));
    }
    assert_eq!(told(&announcer, &mut feed, 2).await, [there; 2]);

    router
        .shutdown(
            Stop::Withdraw {
                text: "maintenance".to_owned(),
            },
            PATIENCE,
        )
        .await;
    assert_eq!(session(&mut feed).await, ("router".to_owned(), PeerState::Idle));
    assert_eq!(told(&announcer, &mut feed, 2).await, [nowhere; 2]);
    watch.abort();
}

/// Two routers that are alike, so that one is told what is new for the other; of addresses of this net.
pub(super) fn alike(net: u8) -> (Arc<Announcer>, Vec<Speaker>) {
    let ours = Ipv4Addr::new(127, 41, net, 1);
    let alike = CanaryConfig {
        group: "alike".into(),
        wait: Duration::from_secs(3600),
    };
    let (mut routers, mut neighbors) = (Vec::new(), Vec::new());
    for (name, last) in [("a", 2), ("b", 3)] {
        let theirs = Ipv4Addr::new(127, 41, net, last);
        let passive = NeighborConfig {
            passive: true,
            ..neighbor("prefixd", ours, 179)
        };
        let router = speaker(Some(theirs), last, vec![passive]);
        neighbors.push(NeighborConfig {
            local_address: Some(ours.into()),
            canary: Some(alike.clone()),
            ..neighbor(name, theirs, router.local_addrs()[0].port())
        });
        router.open();
        routers.push(router);
    }
    let speaker = speaker(None, 1, neighbors);
    let announcer = announcer(speaker, vec![named("a", true), named("b", true)]);
    (Arc::new(announcer), routers)
}

type Feed = broadcast::Receiver<FeedBody>;

/// The next change of a session.
async fn session(feed: &mut Feed) -> (String, PeerState) {
    loop {
        let next = timeout(PATIENCE, feed.recv()).await.expect("a session changes");
        if let FeedBody::PeerChanged { neighbor, state, .. } = next.unwrap() {
            return (neighbor, state);
        }
    }
}

/// Ticks, as the engine does once a second, until so many deliveries were told.
async fn told(announcer: &Announcer, feed: &mut Feed, count: usize) -> Vec<Delivery> {
    let mut deliveries = Vec::new();
    let ticking = async {
        let mut ticks = interval(POLL);
        while deliveries.len() < count {
            ticks.tick().await;
            announcer.tell_deliveries();
            while let Ok(body) = feed.try_recv() {
                if let FeedBody::DeliveryChanged { delivery, .. } = body {
                    deliveries.push(delivery);
                }
            }
        }
    };
    timeout(PATIENCE, ticking).await.expect("deliveries are told");
    deliveries
}

pub(super) fn stopped(announcer: &Announcer, name: &str, state: prefixd_api::control::Stop) -> Stops {
    let stopped = Stopped {
        scope: prefixd_api::control::ControlScope::Neighbor(name.to_owned()),
        state,
        reason: "INC-4711".to_owned(),
        set_by: "token:noc".to_owned(),
        set_at: announcer.clock.now(),
        revision: 7,
        recorded: true,
    };
    [(name.into(), Arc::new(stopped))].into()
}

pub(super) type Stops = BTreeMap<Arc<str>, Arc<Stopped>>;

/// Nothing new, but neither what nobody wants or allows any more; and no opening where the attack goes on.
#[tokio::test]
async fn a_neighbour_on_hold_gets_nothing_new_and_keeps_cover() {
    let announcer = twins();
    let hold = stopped(&announcer, "b", prefixd_api::control::Stop::Hold);
    let rule = |ports: &[&str], action: &str| match action {
        "police" => {
            json!({"match": {"protocols": [17], "dst_ports": ports}, "action_type": action, "rate_bps": 5_000_000})
        }
        _ => json!({"match": {"protocols": [17], "dst_ports": ports}, "action_type": action}),
    };
    let seven = ["1", "3", "5", "7", "9", "11", "13"];
    let (discard, police) = (
        compile::action(Action::Discard, false),
        rule(&["27015"], "police"),
    );
    let discard = discard.unwrap();
    let policed = mitigation(&announcer, 1, &police).rules[0].action;
    let policed = compile::action(policed, false).unwrap();
    // (before, after, what stays of it does)
    let cases = [
        (rule(&["27015"], "discard"), police.clone(), vec![policed]),
        (
            rule(&["27015"], "discard"),
            rule(&["27015-27016"], "police"),
            vec![policed],
        ),
        (police, rule(&["27015"], "discard"), vec![policed]),
        (
            rule(&["27015-27016"], "discard"),
            rule(&["27015"], "discard"),
            vec![],
        ),
        (
            rule(&["27015-27016"], "discard"),
            rule(&["27015"], "police"),
            vec![],
        ),
        (
            rule(&["27015"], "discard"),
            rule(&["27015-27016"], "discard"),
            vec![discard],
        ),
        // Two parts there; policed, each would let the whole rate through.
        (rule(&seven, "discard"), rule(&seven, "police"), vec![discard; 2]),
    ];
    for (before, after, stays) in cases {
        let one = mitigation(&announcer, 1, &before);
        announcer.stop_neighbors(Stops::new(), &State::default());
        announcer.project(&state(from_ref(&one)), ids(from_ref(&one)));
        let had = held(&announcer, "b");
        announcer.stop_neighbors(hold.clone(), &state(from_ref(&one)));
        let changed = Mitigation {
            rules: mitigation(&announcer, 1, &after).rules,
            ..one.clone()
        };
        let now = state(from_ref(&changed));
        announcer.project(&now, ids(from_ref(&changed)));
        // What goes stays for the moment of every change.
        let moment = announcer.clock.now().saturating_add(OVERLAP + SAME_END);
        let moment = announcer.clock.instant_of(moment);
        let mut has = held(&announcer, "b");
        has.retain(|route| route.not_after > moment);
        let actions: Vec<_> = has.iter().map(|route| route.action).collect();
        assert_eq!(actions, stays, "{before} {after}");
        assert!(
            has.iter()
                .all(|route| had.iter().any(|had| had.rule == route.rule))
        );
        assert_eq!(announcer.reconcile(&now).missing, 0);
        // Once it is let go it gets what the other has.
        announcer.stop_neighbors(Stops::new(), &now);
        let wants = |name: &str| {
            let mut routes = held(&announcer, name);
            routes.retain(|route| route.not_after > moment);
            let what = |route: &Route| (route.rule.key().clone(), route.action);
            routes.iter().map(what).collect::<Vec<_>>()
        };
        assert_eq!(wants("b"), wants("a"), "{before} {after}");
        announcer.hold_back(one.mitigation_id);
    }
}

/// Two neighbours that take the same.
fn twins() -> Announcer {
    let discard = |last| Ipv4Addr::new(192, 0, 2, last);
    let speaker = speaker(
        None,
        1,
        vec![neighbor("a", discard(1), 179), neighbor("b", discard(2), 179)],
    );
    announcer(speaker, vec![named("a", true), named("b", true)])
}

#[tokio::test]
async fn a_neighbour_in_panic_has_no_rules_and_gets_them_back() {
    let announcer = twins();
    let two = [1, 2].map(|last| mitigation(&announcer, last, &police()));
    let state = state(&two);
    announcer.project(&state, ids(&two[..1]));
    announcer.stop_neighbors(
        stopped(&announcer, "b", prefixd_api::control::Stop::Panic),
        &state,
    );
    announcer.project(&state, ids(&two[1..]));
    assert_eq!((held(&announcer, "a").len(), held(&announcer, "b").len()), (2, 0));
    assert!(
        !announcer.enforces("b"),
        "it is not lost by rules that it does not get"
    );
    let told = announcer.announcements(&two[0], []);
    let b = told.iter().find(|told| told.neighbor == "b").unwrap();
    assert_eq!(b.state, prefixd_api::resource::AnnouncementState::Refused);
    assert!(b.reason.as_ref().unwrap().contains("INC-4711"), "{b:?}");
    assert_eq!(
        announcer.reconcile(&state),
        Drift {
            desired: 2,
            ..Drift::default()
        }
    );
    announcer.stop_neighbors(Stops::new(), &state);
    let keys = |name: &str| {
        let routes = held(&announcer, name).into_iter();
        routes.map(|route| route.rule.key().clone()).collect::<Vec<_>>()
    };
    assert_eq!(keys("b"), keys("a"));
}

#[tokio::test]
async fn a_neighbour_on_hold_keeps_what_it_has_until_that_ends() {
    let announcer = twins();
    let wider = || json!({"match": {"protocols": [17], "dst_ports": ["27015-27016"]}, "action_type": "police", "rate_bps": 5_000_000});
    let mut all = [1, 2, 3].map(|last| mitigation(&announcer, last, &police()));
    // Made after the hold began, as the clock tells.
    all[2].created_at = all[2].created_at.saturating_add(Duration::from_secs(5));
    let mut now = state(&all[..2]);
    announcer.project(&now, ids(&all[..2]));
    let before = held(&announcer, "b");
    announcer.stop_neighbors(stopped(&announcer, "b", prefixd_api::control::Stop::Hold), &now);
    assert_eq!(held(&announcer, "b"), before, "the hold itself changes nothing");
    // One more, and one that widens.
    let widened = Mitigation {
        rules: mitigation(&announcer, 1, &wider()).rules,
        ..all[0].clone()
    };
    now.restore(Arc::new(all[2].clone()));
    now.apply(&[crate::policy::Effect::Mitigation {
        what: crate::policy::MitigationEvent::Updated,
        actor: "token:noc".to_owned(),
        before: Some(Arc::new(all[0].clone())),
        after: Arc::new(widened),
        said: None,
        why: None,
    }]);
    announcer.project(&now, ids(&all));
    let keys = |name: &str| {
        let routes = held(&announcer, name);
        routes
            .iter()
            .map(|route| route.rule.key().clone())
            .collect::<Vec<_>>()
    };
    let had: Vec<_> = before.iter().map(|route| route.rule.key().clone()).collect();
    assert_eq!(keys("b"), had);
    assert_eq!(
        held(&announcer, "a").len(),
        4,
        "the old one a moment beside the wider one"
    );
    let drift = announcer.reconcile(&now);
    assert_eq!((drift.missing, drift.unexplained), (0, 0));
    // What ends leaves it.
    announcer.hold_back(all[1].mitigation_id);
    assert_eq!(keys("b").len(), 1);
    // After a start it gets what was made before it was held.
    let again = twins();
    again.stop_neighbors(
        stopped(&announcer, "b", prefixd_api::control::Stop::Hold),
        &State::default(),
    );
    again.reconcile(&now);
    assert_eq!((held(&again, "a").len(), held(&again, "b").len()), (3, 2));
    announcer.stop_neighbors(Stops::new(), &now);
    let keys_of = |name: &str| keys(name).into_iter().collect::<BTreeSet<_>>();
    assert!(
        keys_of("b").is_superset(
            &keys_of("a")
                .into_iter()
                .filter(|key| !had.contains(key))
                .collect()
        )
    );
}

/// Who has it last longer says nothing of what it does: it displaces no other rule.
#[tokio::test]
async fn an_extension_makes_no_rule_more_important() {
    let (announcer, claim) = (two(), |lives_until: serde_json::Value| {
        json!([{"source": "operator", "event_id": null, "kind": "operator", "since": "2026-01-01T00:00:00Z",
            "last_report_at": "2026-01-01T00:00:00Z", "lives_until": lives_until, "cleared_at": null, "confidence": null, "bps": null, "pps": null,
            "dst_ports": [], "src_ports": [], "protocol": null}])
    });
    let reported = mitigation(&announcer, 10, &police());
    let with = |lives_until| Mitigation {
        claims: serde_json::from_value(claim(lives_until)).unwrap(),
        ..reported.clone()
    };
    let now = json!(announcer.clock.now());
    let priority = super::groups::priority;
    assert_eq!(priority(&with(now)), priority(&reported));
    assert!(priority(&with(serde_json::Value::Null)) > priority(&reported));
}

/// It was decided before the hold, and is new to the neighbour all the same. So it is after a restart.
#[tokio::test]
async fn what_was_pending_when_a_neighbour_was_held_is_not_announced_to_it() {
    let announcer = two();
    let begun = announcer.clock.now();
    let after = |seconds| begun.saturating_add(Duration::from_secs(seconds));
    let before = mitigation(&announcer, 1, &police());
    let pending = Mitigation {
        status: MitigationStatus::Pending,
        ..mitigation(&announcer, 2, &police())
    };
    let hold = BTreeMap::from([(
        Arc::from("a"),
        Arc::new(Stopped {
            scope: ControlScope::Neighbor("a".into()),
            state: control::Stop::Hold,
            reason: "test".into(),
            set_by: "anna".into(),
            set_at: after(1),
            revision: 1,
            recorded: true,
        }),
    )]);
    let two_live = [before.clone(), pending.clone()];
    announcer.project(&state(&two_live), ids(&two_live));
    assert_eq!(held(&announcer, "a").len(), 1);
    announcer.stop_neighbors(hold.clone(), &state(&two_live));
    let promoted = Mitigation {
        status: MitigationStatus::Active,
        promoted_at: Some(after(2)),
        ..pending
    };
    let both = [before, promoted];
    announcer.project(&state(&both), ids(&both));
    assert_eq!(held(&announcer, "a").len(), 1, "nothing new");

    let again = two();
    again.stop_neighbors(hold, &state(&[]));
    again.project(&state(&both), ids(&both));
    assert_eq!(held(&again, "a").len(), 1, "nothing new after a restart either");
}
