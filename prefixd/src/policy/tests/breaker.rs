//! What decisions refuse while the breaker is tripped, and what goes on all the same.

use super::super::command::{ResetBreaker, Trip};
use super::*;
use prefixd_api::mitigation::{EndReason, MitigationStatus};

fn trip(world: &mut World, mitigations: Vec<prefixd_api::ids::MitigationId>) -> Decision {
    let trip = Trip {
        neighbors: vec![Arc::from("edge2"), Arc::from("edge1")],
        announced_since: world.now.saturating_sub(seconds(60)),
        mitigations,
    };
    world.run(&Command::Trip(trip), None)
}

#[test]
fn what_was_announced_is_withdrawn_and_nothing_new_begins() {
    let mut world = World::new(policy());
    world.event(ban("once", "203.0.113.3", "ntp_amplification"));
    world.event(ban("once", "203.0.113.2", "ntp_amplification"));
    let [old, new] = [world.live()[0].mitigation_id, world.live()[1].mitigation_id];
    let decision = trip(&mut world, vec![new]);
    let ended = decision.effects.iter().find_map(|effect| match effect {
        Effect::Mitigation { after, why, .. } => Some((after, why)),
        _ => None,
    });
    let (ended, why) = ended.expect("the new one ends");
    assert_eq!(
        (ended.mitigation_id, ended.status, ended.end_reason.clone()),
        (new, MitigationStatus::Withdrawn, Some(EndReason::Breaker))
    );
    assert!(why.is_some(), "its why tells of it");
    let tripped = world.state.breaker.clone().unwrap();
    assert_eq!(
        (&*tripped.neighbors, tripped.withdrawn),
        (&["edge1".to_owned(), "edge2".to_owned()][..], 1)
    );
    assert_eq!(world.live()[0].mitigation_id, old);

    // Neither a detector nor an operator begins one.
    let refused = world.event(ban("once", "203.0.113.5", "ntp_amplification"));
    let Outcome::Event {
        refused: Some((guardrail, _)),
        answer,
    } = &refused.outcome
    else {
        panic!("{:?}", refused.outcome);
    };
    assert_eq!(guardrail.code(), "guardrail.breaker");
    assert_eq!(answer.status, EventOutcome::RejectedGuardrail);
    assert!(
        matches!(refused.effects.first(), Some(Effect::Event(..))),
        "the event is stored"
    );
    let create = asked(
        "203.0.113.6",
        ActionType::Police,
        "dst 203.0.113.6/32 proto udp dport 53",
    );
    let refused = world.run(&Command::Create(Box::new(create)), None);
    let Outcome::Refused(problem) = &refused.outcome else {
        panic!("{:?}", refused.outcome);
    };
    assert_eq!(problem.code, "guardrail.breaker");

    // What is announced already is renewed, and ends.
    let before = world.live()[0].expires_at;
    world.now = world.now.saturating_add(seconds(5));
    world.event(ban("once", "203.0.113.3", "ntp_amplification"));
    assert!(world.live()[0].expires_at > before);
    assert_eq!(world.live().len(), 1);
    world.pass(seconds(3600));
    assert!(world.live().is_empty());
}

#[test]
fn rules_do_not_grow_while_it_is_tripped() {
    let mut policy = policy();
    policy.playbooks.ordered = policy.playbooks.default.take().into_iter().collect();
    let mut world = World::new(policy);
    let with_port = |port: u16| EventRequest {
        event_id: Some(port.to_string()),
        top_dst_ports: vec![port],
        ..ban("once", "203.0.113.3", "udp_flood")
    };
    world.event(with_port(27015));
    let before = world.live()[0].rules.clone();
    trip(&mut world, Vec::new());
    world.event(with_port(27016));
    assert_eq!(world.live()[0].rules, before);
    reset(&mut world);
    world.event(with_port(27017));
    assert_ne!(world.live()[0].rules, before, "the test can fail");
}

fn reset(world: &mut World) -> Decision {
    let reset = ResetBreaker {
        actor: "token:noc".to_owned(),
        reason: "fixed".to_owned(),
    };
    world.run(&Command::ResetBreaker(reset), None)
}

#[test]
fn a_person_resets_it_once() {
    let mut world = World::new(policy());
    world.event(ban("once", "203.0.113.3", "ntp_amplification"));
    let id = world.live()[0].mitigation_id;
    trip(&mut world, vec![id]);
    // Said again: neighbours and mitigations add up, the beginning stays.
    let since = world.state.breaker.clone().unwrap().tripped_at;
    world.now = world.now.saturating_add(seconds(5));
    trip(&mut world, vec![id]);
    let tripped = world.state.breaker.clone().unwrap();
    assert_eq!((tripped.tripped_at, tripped.withdrawn), (since, 1));
    assert_eq!(reset(&mut world).effects.len(), 1);
    assert!(world.state.breaker.is_none());
    assert!(reset(&mut world).effects.is_empty(), "there is nothing to reset");
    world.event(ban("once", "203.0.113.3", "ntp_amplification"));
    assert_eq!(world.live().len(), 1, "the attack is mitigated again");
}

#[test]
fn dry_run_goes_on() {
    let mut policy = policy();
    policy.mode = Mode::DryRun;
    let mut world = World::new(policy);
    trip(&mut world, Vec::new());
    world.event(ban("once", "203.0.113.3", "ntp_amplification"));
    assert_eq!(world.live().len(), 1);
}
