//! An operator has mitigations last longer.

use super::super::command::ExtendCommand;
use super::*;
use prefixd_api::mitigation::MitigationStatus;

fn extend(world: &mut World, ttl: u64) -> Decision {
    let command = ExtendCommand {
        mitigation: world.live()[0].mitigation_id,
        ttl: seconds(ttl),
        reason: "INC-4711".to_owned(),
        expected_revision: None,
        actor: "token:noc".to_owned(),
    };
    world.run(&Command::Extend(command), None)
}

fn code(decision: &Decision) -> Option<&str> {
    match &decision.outcome {
        Outcome::Refused(problem) => Some(&problem.code),
        _ => None,
    }
}

#[test]
fn it_lasts_as_long_as_was_asked_whatever_its_sources_say() {
    let mut world = World::new(policy());
    world.event(ban("blind", "203.0.113.3", "ntp_amplification"));
    let decision = extend(&mut world, 3000);
    let Effect::Mitigation { said, why, .. } = &decision.effects[0] else {
        panic!("{decision:?}");
    };
    assert_eq!((said.as_deref(), why.is_none()), (Some("INC-4711"), true));
    let ends = world.now.saturating_add(seconds(3000));
    assert_eq!(world.live()[0].expires_at, ends);
    let answer = world.event(unban("blind", "203.0.113.3", "ntp_amplification"));
    let Outcome::Event { answer, .. } = answer.outcome else {
        panic!();
    };
    assert_eq!(
        answer.status,
        EventOutcome::ClaimCleared,
        "the operator claims it still"
    );
    world.pass(seconds(2999));
    assert_eq!(world.live().len(), 1);
    world.pass(seconds(1));
    assert!(world.live().is_empty());
}

#[test]
fn a_hold_down_that_runs_is_over() {
    let mut world = World::new(policy());
    world.event(ban("blind", "203.0.113.3", "ntp_amplification"));
    world.event(unban("blind", "203.0.113.3", "ntp_amplification"));
    assert!(world.live()[0].ending_since.is_some());
    extend(&mut world, 600);
    assert!(world.live()[0].ending_since.is_none() && world.live()[0].ends_at.is_none());
    world.pass(seconds(599));
    assert_eq!(world.live().len(), 1);
    world.pass(seconds(1));
    assert!(world.live().is_empty());
}

#[test]
fn its_step_and_its_ports_stay_its_playbooks() {
    let mut world = World::new(policy());
    let with_port = |port: u16| EventRequest {
        event_id: Some(port.to_string()),
        top_dst_ports: vec![port],
        ..ban("once", "203.0.113.3", "udp_flood")
    };
    world.event(with_port(27015));
    let before = world.live()[0].rules.clone();
    extend(&mut world, 1000);
    world.event(with_port(27016));
    assert_ne!(world.live()[0].rules, before, "a report widens it");
    world.pass(seconds(200));
    assert_eq!(
        world.live()[0].status,
        MitigationStatus::Escalated,
        "and its time comes"
    );
}

#[test]
fn when_it_is_over_the_sources_decide_again() {
    let mut world = World::new(policy());
    world.event(ban("once", "203.0.113.3", "ntp_amplification"));
    extend(&mut world, 100);
    // The claim of the source lives longer, and renews the lease.
    world.pass(seconds(150));
    assert_eq!(world.live()[0].claims.len(), 1);
    assert!(world.live()[0].ending_since.is_none());
}

#[test]
fn the_guardrails_have_a_word() {
    let mut world = World::new(policy());
    world.event(ban("once", "203.0.113.3", "ntp_amplification"));
    for ttl in [29, 14_401] {
        assert_eq!(code(&extend(&mut world, ttl)), Some("guardrail.ttl"));
    }
    let stale = ExtendCommand {
        mitigation: world.live()[0].mitigation_id,
        ttl: seconds(600),
        reason: "late".to_owned(),
        expected_revision: Some(7),
        actor: "token:noc".to_owned(),
    };
    let refused = world.run(&Command::Extend(stale), None);
    assert_eq!(code(&refused), Some("conflict.revision"));
    // A day is all there is, however often somebody asks.
    let begun = world.now;
    while !world.live().is_empty() {
        extend(&mut world, 14_400);
        world.pass(seconds(1800));
        world.check();
    }
    assert_eq!(world.now, begun.saturating_add(seconds(86_400)));
}

#[test]
fn what_fails_a_guardrail_is_not_extended() {
    let mut world = World::new(policy());
    world.event(ban("once", "203.0.113.3", "ntp_amplification"));
    world.policy.safelist.add(SafelistEntry {
        prefix: "203.0.113.3/32".parse().unwrap(),
        reason: "a router".to_owned(),
        origin: SafelistOrigin::Config,
        created_by: None,
        created_at: None,
        expires_at: None,
    });
    assert_eq!(code(&extend(&mut world, 600)), Some("guardrail.safelist"));
}

#[test]
fn a_trial_stays_one() {
    let mut world = World::new(policy());
    world.event(ban("trial", "203.0.113.3", "ntp_amplification"));
    assert!(!world.live()[0].enforced);
    extend(&mut world, 600);
    let scope = world.live()[0].scope();
    world.run(&Command::Judge(scope.clone()), Some(&scope));
    assert_eq!(world.live().len(), 1, "who extends it says nothing of the mode");
}

/// What another POP is told is what detectors say here, and not what a person added to it.
#[test]
fn what_is_offered_ends_with_the_claims_behind_it() {
    let mut policy = policy();
    policy.playbooks.any_offered = true;
    let playbook = policy.playbooks.default.as_mut().unwrap();
    playbook.steps.iter_mut().for_each(|step| step.offered = true);
    let mut world = World::new(policy);
    world.event(ban("blind", "203.0.113.3", "ntp_amplification"));
    extend(&mut world, 3000);
    let live = world.live()[0];
    let of_detector = live.claims.iter().find(|claim| claim.source == "blind");
    let claim = of_detector.unwrap().lives_until.unwrap();
    let leaves = world.live()[0].leaves_at();
    assert!(claim < leaves, "{claim} {leaves}");
    let offers = world.policy.offers(&world.state, world.now);
    let ends: Vec<_> = offers.values().map(|(_, until)| *until).collect();
    assert_eq!(ends, [claim]);
}
