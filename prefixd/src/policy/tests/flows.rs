//! Flows that no rule may catch, on every path.

use super::super::flows::ProtectedFlow;
use super::*;
use prefixd_api::mitigation::EndReason;

/// Answers of a resolver of ours.
fn resolver() -> ProtectedFlow {
    ProtectedFlow {
        name: "resolver".to_owned(),
        dst: None,
        src: "192.0.2.53/32".parse().ok(),
        protocols: [protocol::UDP].into(),
        dst_ports: Ranges::default(),
        src_ports: [53].into_iter().collect(),
    }
}

fn protecting() -> World {
    let mut policy = policy();
    policy.protected.push(resolver());
    World::new(policy)
}

fn code(decision: &Decision) -> Option<&str> {
    match &decision.outcome {
        Outcome::Event { refused, .. } => refused.as_ref().map(|(guardrail, _)| guardrail.code()),
        Outcome::Refused(problem) => Some(&problem.code),
        _ => None,
    }
}

#[test]
fn neither_a_detector_nor_an_operator_makes_a_rule_that_catches_one() {
    let mut world = protecting();
    let reflected = world.event(ban("once", "203.0.113.3", "dns_amplification"));
    assert_eq!(code(&reflected), Some("guardrail.protected_flow"));
    for (rule, refused) in [
        ("dst 203.0.113.6/32 proto udp", true),
        ("dst 203.0.113.6/32 src 192.0.2.0/24 proto udp sport 53", true),
        ("dst 203.0.113.6/32 src 198.51.100.0/24 proto udp sport 53", false),
    ] {
        let create = asked("203.0.113.6", ActionType::Police, rule);
        let decision = world.run(&Command::Create(Box::new(create)), None);
        assert_eq!(
            code(&decision),
            refused.then_some("guardrail.protected_flow"),
            "{rule}"
        );
    }
    let other = world.event(ban("once", "203.0.113.3", "ntp_amplification"));
    assert_eq!(code(&other), None, "what does not touch it goes on");
}

#[test]
fn a_flow_that_is_protected_later_ends_the_rule_that_catches_it() {
    let mut world = World::new(policy());
    world.event(ban("once", "203.0.113.3", "dns_amplification"));
    world.event(ban("once", "203.0.113.3", "ntp_amplification"));
    world.policy.protected.push(resolver());
    let scopes: Vec<Scope> = world.live().iter().map(|live| live.scope()).collect();
    let mut ended = Vec::new();
    for scope in &scopes {
        let decision = world.run(&Command::Judge(scope.clone()), Some(scope));
        ended.extend(decision.effects.iter().filter_map(|effect| match effect {
            Effect::Mitigation { after, .. } => after.end_reason.clone(),
            _ => None,
        }));
    }
    assert_eq!(ended, [EndReason::from("guardrail.protected_flow")]);
    assert_eq!(world.live().len(), 1);
}

/// Fragments carry no ports, so a companion could never be beside a flow that is protected by its port.
#[test]
fn a_companion_gives_way_to_one() {
    let mut policy = policy();
    policy.protected.push(ProtectedFlow {
        dst_ports: [5060].into_iter().collect(),
        src_ports: Ranges::default(),
        src: None,
        ..resolver()
    });
    let mut world = World::new(policy);
    let decision = world.event(EventRequest {
        top_dst_ports: vec![27015],
        bps: Some(9_000_000_000),
        ..ban("once", "203.0.113.3", "udp_flood")
    });
    assert_eq!(code(&decision), None);
    assert!(
        world.live()[0]
            .rules
            .iter()
            .all(|rule| rule.matches.fragment.is_none())
    );
    let Effect::Event(_, why) = &decision.effects[0] else {
        panic!("{decision:?}");
    };
    let steps = why.explain().steps;
    assert!(steps.iter().any(|step| step.code == "companion_left_out"));
    // Where fragments are the attack, there is nothing else to take.
    let fragments = world.event(ban("once", "203.0.113.5", "fragment_flood"));
    assert_eq!(code(&fragments), Some("guardrail.protected_flow"));
}

/// It was policed without the port; the report that names it would widen the rule over the flow.
#[test]
fn a_live_rule_does_not_widen_over_one() {
    let mut policy = policy();
    let game = ProtectedFlow {
        dst_ports: [27016].into_iter().collect(),
        src_ports: Ranges::default(),
        src: None,
        ..resolver()
    };
    policy.protected.push(game);
    let mut world = World::new(policy);
    let with_port = |port: u16| EventRequest {
        event_id: Some(port.to_string()),
        top_dst_ports: vec![port],
        ..ban("once", "203.0.113.3", "udp_flood")
    };
    world.event(with_port(27015));
    let before = world.live()[0].rules.clone();
    world.event(with_port(27016));
    assert_eq!(world.live()[0].rules, before);
    world.event(with_port(27014));
    assert_eq!(
        world.live()[0].rules,
        before,
        "nor with more that would be fine alone"
    );
}
