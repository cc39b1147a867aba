//! An operator changes what a live mitigation does.

use super::super::command::AdjustCommand;
use super::super::flows::ProtectedFlow;
use super::control::say;
use super::*;
use prefixd_api::control::ControlState;
use prefixd_api::operation::AdjustRequest;
use prefixd_api::rule::MatchRequest;
use serde_json::{Value, json};

const VICTIM: &str = "203.0.113.3";

/// Adjusts what began first.
fn adjust(world: &mut World, what: Value) -> Decision {
    let mut request: AdjustRequest = serde_json::from_value(what).unwrap();
    request.reason = "INC-4711".to_owned();
    let command = AdjustCommand {
        mitigation: world.live()[0].mitigation_id,
        request,
        actor: "token:noc".to_owned(),
    };
    world.run(&Command::Adjust(Box::new(command)), None)
}

fn with_reason(what: &Value) -> Value {
    let mut what = what.clone();
    what["reason"] = "".into();
    what
}

fn code(decision: &Decision) -> Option<&str> {
    match &decision.outcome {
        Outcome::Refused(problem) => Some(&problem.code),
        _ => None,
    }
}

fn rules(world: &World) -> Vec<String> {
    world.live()[0].rules.iter().map(ToString::to_string).collect()
}

/// A flood of one port: a police rule, and nothing for fragments.
fn flooded() -> World {
    let mut world = World::new(policy());
    world.event(EventRequest {
        top_dst_ports: vec![27015],
        ..ban("once", VICTIM, "udp_flood")
    });
    world
}

#[test]
fn what_is_named_changes_and_the_rest_stays() {
    let port = "dst 203.0.113.3/32 proto udp dport 27015";
    for (what, becomes) in [
        (
            json!({"rate_bps": 2_000_000}),
            vec![format!("{port} then police 2 Mbit/s")],
        ),
        (
            json!({"rate_pps": 1000}),
            vec![format!("{port} then police 1000 packets/s")],
        ),
        (json!({"action": "discard"}), vec![format!("{port} then discard")]),
        (
            json!({"action": "police"}),
            vec![format!("{port} then police 5 Mbit/s")],
        ),
        (
            json!({"sample": true}),
            vec![format!("{port} then police 5 Mbit/s sample")],
        ),
        (
            json!({"dst_ports": ["80-81"], "src_ports": [53]}),
            vec!["dst 203.0.113.3/32 proto udp dport 80-81 sport 53 then police 5 Mbit/s".to_owned()],
        ),
        (
            json!({"dst_ports": []}),
            vec!["dst 203.0.113.3/32 proto udp then police 5 Mbit/s".to_owned()],
        ),
        (
            json!({"protocol": 6, "action": "discard"}),
            vec!["dst 203.0.113.3/32 proto tcp dport 27015 then discard".to_owned()],
        ),
        (
            json!({"match": {"protocols": [17], "packet_lengths": ["1000-1500"]}}),
            vec!["dst 203.0.113.3/32 proto udp length 1000-1500 then police 5 Mbit/s".to_owned()],
        ),
    ] {
        let mut world = flooded();
        let before = world.live()[0].clone();
        let decision = adjust(&mut world, with_reason(&what));
        assert!(
            matches!(decision.outcome, Outcome::Changed(_)),
            "{what}: {:?}",
            decision.outcome
        );
        assert_eq!(rules(&world), becomes, "{what}");
        let after = world.live()[0];
        assert_eq!(after.revision, before.revision + 1);
        assert_eq!(
            (after.mitigation_id, after.expires_at, after.step, &after.playbook),
            (
                before.mitigation_id,
                before.expires_at,
                before.step,
                &before.playbook
            ),
            "{what}"
        );
        let Some(Effect::Mitigation { said, why, .. }) = decision.effects.last() else {
            panic!("{decision:?}");
        };
        assert_eq!(said.as_deref(), Some("INC-4711"));
        let why = why.as_ref().unwrap().explain();
        assert!(
            why.summary.contains("token:noc adjusted it (INC-4711)"),
            "{}",
            why.summary
        );
        assert_eq!(why.steps[0].code, "operator");
        world.check();
    }
}

#[test]
fn a_companion_follows_where_it_would_be_the_stricter_one() {
    let mut world = World::new(policy());
    world.event(ban("once", VICTIM, "cldap_amplification"));
    let (main, fragments) = (
        "dst 203.0.113.3/32 proto udp sport 389",
        "dst 203.0.113.3/32 proto udp fragment is-fragment",
    );
    let both =
        |one: &str, other: &str| vec![format!("{main} then {one}"), format!("{fragments} then {other}")];
    assert_eq!(rules(&world), both("police 5 Mbit/s", "police 5 Mbit/s"));
    for (what, becomes) in [
        (
            json!({"rate_bps": 2_000_000}),
            both("police 2 Mbit/s", "police 2 Mbit/s"),
        ),
        (json!({"action": "discard"}), both("discard", "police 2 Mbit/s")),
        (
            json!({"rate_bps": 9_000_000}),
            both("police 9 Mbit/s", "police 9 Mbit/s"),
        ),
        (json!({"dst_ports": [80], "action": "discard"}), {
            vec![
                format!("dst {VICTIM}/32 proto udp dport 80 sport 389 then discard"),
                format!("{fragments} then police 9 Mbit/s"),
            ]
        }),
        (
            json!({"protocol": 6}),
            vec![format!(
                "dst {VICTIM}/32 proto tcp dport 80 sport 389 then discard"
            )],
        ),
        (json!({"match": {"protocols": [17]}, "rate_bps": 3_000_000}), {
            vec![format!("dst {VICTIM}/32 proto udp then police 3 Mbit/s")]
        }),
    ] {
        let decision = adjust(&mut world, with_reason(&what));
        assert_eq!(code(&decision), None, "{what}");
        assert_eq!(rules(&world), becomes, "{what}");
        world.check();
    }
}

/// Split, a police rule would let its rate through once for each part.
#[test]
fn the_parts_of_a_discard_become_one_police_rule() {
    let mut policy = policy();
    policy.limits.max_ports = 2;
    let default = policy.playbooks.default.as_mut().unwrap();
    default.steps = vec![step(ActionType::Discard, 300)];
    let mut world = World::new(policy);
    world.event(EventRequest {
        top_dst_ports: vec![1001, 1003, 1005, 1007],
        ..ban("once", VICTIM, "udp_flood")
    });
    assert!(rules(&world).len() > 1, "{:?}", rules(&world));
    let policed = || json!({"rate_bps": 2_000_000, "reason": ""});
    let refused = adjust(&mut world, policed());
    assert_eq!(
        code(&refused),
        Some("guardrail.ports"),
        "nobody said that other ports may be policed, too"
    );
    world.policy.limits.max_ports = 8;
    assert_eq!(code(&adjust(&mut world, policed())), None);
    assert_eq!(
        rules(&world)[0],
        "dst 203.0.113.3/32 proto udp dport 1001,1003,1005,1007 then police 2 Mbit/s"
    );
}

#[test]
fn a_blackhole_comes_and_goes() {
    let mut world = World::new(policy());
    world.event(ban("once", VICTIM, "ntp_amplification"));
    assert_eq!(
        code(&adjust(&mut world, json!({"action": "rtbh", "reason": ""}))),
        None
    );
    assert_eq!(rules(&world), ["dst 203.0.113.3/32 then rtbh"]);
    let all = adjust(&mut world, json!({"action": "discard", "reason": ""}));
    assert_eq!(
        code(&all),
        Some("guardrail.impossible"),
        "a discard of everything needs a match"
    );
    let back = json!({"action": "discard", "match": {"protocols": [17], "src_ports": [123]}, "reason": ""});
    assert_eq!(code(&adjust(&mut world, back)), None);
    assert_eq!(
        rules(&world),
        ["dst 203.0.113.3/32 proto udp sport 123 then discard"]
    );
    world.check();
}

#[test]
fn from_then_on_only_a_person_changes_it() {
    let mut world = flooded();
    adjust(&mut world, json!({"rate_bps": 2_000_000, "reason": ""}));
    let pinned = rules(&world);
    world.event(EventRequest {
        top_dst_ports: vec![27016],
        ..ban("once", VICTIM, "udp_flood")
    });
    world.pass(seconds(250));
    assert_eq!(rules(&world), pinned, "neither a report nor its playbook");
    assert_eq!(world.live()[0].step, 1);
    world.event(unban("once", VICTIM, "udp_flood"));
    assert!(world.live()[0].ending_since.is_none(), "no unban ends it");
    let end = world.live()[0].expires_at;
    world.pass(end.since(world.now));
    assert!(world.live().is_empty(), "its lease does");
}

#[test]
fn a_hold_down_is_over_and_a_lease_counts_from_now() {
    let mut world = flooded();
    world.event(unban("once", VICTIM, "udp_flood"));
    assert!(world.live()[0].ends_at.is_some());
    adjust(&mut world, json!({"ttl_seconds": 40, "reason": ""}));
    let live = world.live()[0];
    assert!(live.ends_at.is_none() && live.ending_since.is_none());
    assert_eq!(
        live.expires_at,
        world.now.saturating_add(seconds(40)),
        "shorter than it was"
    );
    world.pass(seconds(39));
    assert_eq!(world.live().len(), 1);
    world.pass(seconds(1));
    assert!(world.live().is_empty());
}

#[test]
fn every_guardrail_refuses_on_this_path() {
    for (what, refused) in [
        (json!({"ttl_seconds": 29}), "guardrail.ttl"),
        (json!({"ttl_seconds": 14_401}), "guardrail.ttl"),
        (
            json!({"dst_ports": [1, 3, 5, 7, 9, 11, 13, 15, 17]}),
            "guardrail.ports",
        ),
        (json!({"protocol": 47}), "guardrail.ports"),
        (
            json!({"match": {"protocols": [17], "packet_lengths": ["9000-9300"]}}),
            "guardrail.packet_length",
        ),
        (json!({"rate_bps": 999_999}), "guardrail.impossible"),
        (
            json!({"action": "discard", "dst_ports": []}),
            "guardrail.impossible",
        ),
        (
            json!({"action": "discard", "match": {"protocols": [6], "tcp_flags": "ack"}}),
            "guardrail.impossible",
        ),
        (
            json!({"action": "redirect_ip", "next_hop": "203.0.113.9"}),
            "guardrail.impossible",
        ),
        (json!({"action": "rtbh", "sample": true}), "guardrail.impossible"),
        (json!({"action": "redirect_vrf"}), "request.field"),
    ] {
        let mut world = flooded();
        let before = rules(&world);
        let decision = adjust(&mut world, with_reason(&what));
        assert_eq!(code(&decision), Some(refused), "{what}");
        assert!(decision.effects.is_empty() && rules(&world) == before, "{what}");
    }
}

#[test]
fn what_the_world_has_against_it_refuses_as_well() {
    let change = || json!({"rate_bps": 2_000_000, "reason": ""});
    let mut safelisted = flooded();
    safelisted.policy.safelist.add(SafelistEntry {
        prefix: "203.0.113.0/28".parse().unwrap(),
        reason: "routers".to_owned(),
        origin: SafelistOrigin::Config,
        created_by: None,
        created_at: None,
        expires_at: None,
    });
    assert_eq!(
        code(&adjust(&mut safelisted, change())),
        Some("guardrail.safelist")
    );

    let mut disowned = flooded();
    disowned.policy.inventory = Inventory::default();
    assert_eq!(
        code(&adjust(&mut disowned, change())),
        Some("guardrail.ownership")
    );

    let mut narrow = flooded();
    narrow.policy.limits.min_length_v4 = 33;
    assert_eq!(
        code(&adjust(&mut narrow, change())),
        Some("guardrail.prefix_length")
    );

    let mut protected = flooded();
    protected.policy.protected.push(ProtectedFlow {
        name: "resolver".to_owned(),
        dst: None,
        src: "192.0.2.53/32".parse().ok(),
        protocols: [protocol::UDP].into(),
        dst_ports: Ranges::default(),
        src_ports: [53].into_iter().collect(),
    });
    let caught = adjust(
        &mut protected,
        json!({"src_ports": [53], "dst_ports": [], "reason": ""}),
    );
    assert_eq!(code(&caught), Some("guardrail.protected_flow"));

    let mut held = flooded();
    say(&mut held, ControlState::Hold, "customer:acme");
    assert_eq!(code(&adjust(&mut held, change())), Some("guardrail.panic"));
    let lease = json!({"ttl_seconds": 100, "reason": ""});
    assert_eq!(code(&adjust(&mut held, lease)), None, "a lease announces nothing");

    let mut old = flooded();
    old.policy.limits.max_lifetime_operator = Duration::ZERO;
    let lease = json!({"ttl_seconds": 100, "reason": ""});
    assert_eq!(code(&adjust(&mut old, lease)), Some("guardrail.lifetime"));
}

/// Nobody named the port, so nobody asked for the service's own to be dropped.
#[test]
fn the_services_own_port_is_dropped_only_by_name() {
    let mut world = World::new(policy());
    world.event(EventRequest {
        top_dst_ports: vec![53],
        ..ban("once", "203.0.113.2", "udp_flood")
    });
    assert_eq!(
        rules(&world)[0],
        "dst 203.0.113.2/32 proto udp dport 53 then police 5 Mbit/s"
    );
    for unnamed in [
        json!({"action": "discard", "reason": ""}),
        json!({"action": "discard", "protocol": 17, "reason": ""}),
        json!({"action": "discard", "src_ports": [123], "reason": ""}),
    ] {
        let refused = adjust(&mut world, unnamed.clone());
        assert_eq!(code(&refused), Some("guardrail.impossible"), "{unnamed}");
    }
    let named = json!({"action": "discard", "dst_ports": [53], "reason": ""});
    assert_eq!(code(&adjust(&mut world, named)), None);
}

#[test]
fn it_is_refused_where_there_is_nothing_to_adjust() {
    let mut world = flooded();
    let stale = json!({"rate_bps": 2_000_000, "expected_revision": 7, "reason": ""});
    assert_eq!(code(&adjust(&mut world, stale)), Some("conflict.revision"));
    let command = AdjustCommand {
        mitigation: prefixd_api::ids::MitigationId::new(),
        request: AdjustRequest::default(),
        actor: "token:noc".to_owned(),
    };
    let unknown = world.run(&Command::Adjust(Box::new(command)), None);
    assert_eq!(code(&unknown), Some("not_found"));

    let mut pending = World::new(policy());
    pending.policy.playbooks.default.as_mut().unwrap().steps[0].sources = 2;
    pending.event(ban("once", VICTIM, "ntp_amplification"));
    let change = json!({"rate_bps": 2_000_000, "reason": ""});
    assert_eq!(code(&adjust(&mut pending, change)), Some("conflict.pending"));
}

/// It is on no router, and is not brought there by the way.
#[test]
fn a_trial_is_not_enforced_by_an_adjustment() {
    let mut world = World::new(policy());
    world.event(ban("trial", VICTIM, "ntp_amplification"));
    let change = || json!({"rate_bps": 2_000_000, "reason": ""});
    assert_eq!(code(&adjust(&mut world, change())), Some("guardrail.impossible"));
    // Of a customer on trial it stays one.
    let mut world = World::new(policy());
    world.policy.inventory.customers[0].enforce = false;
    world.event(ban("once", VICTIM, "ntp_amplification"));
    assert_eq!(code(&adjust(&mut world, change())), None);
    assert!(!world.live()[0].enforced);
    let scope = world.live()[0].scope();
    world.run(&Command::Judge(scope.clone()), Some(&scope));
    assert_eq!(world.live().len(), 1);
}

/// A permission that its step gave is not the operator's.
#[test]
fn a_blackhole_instead_is_no_part_of_what_an_operator_says() {
    let mut policy = policy();
    let default = policy.playbooks.default.as_mut().unwrap();
    default.steps = vec![Step {
        allow_rtbh: true,
        ..step(ActionType::Discard, 300)
    }];
    policy.sources.named.get_mut("once").unwrap().max_action = ActionType::Rtbh;
    let mut world = World::new(policy);
    world.event(ban("once", VICTIM, "ntp_amplification"));
    assert!(world.live()[0].allow_rtbh);
    adjust(&mut world, json!({"ttl_seconds": 100, "reason": ""}));
    assert!(world.live()[0].allow_rtbh, "nothing was said of the rules");
    let matches: MatchRequest =
        serde_json::from_value(json!({"protocols": [17], "src_ports": [123]})).unwrap();
    adjust(&mut world, json!({"match": matches, "reason": ""}));
    assert!(!world.live()[0].allow_rtbh);
}
