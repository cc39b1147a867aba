//! How long a scope may be filtered, over all its mitigations until it has been quiet.

use super::super::command::SetControl;
use super::*;
use prefixd_api::control::ControlState;

const VICTIM: &str = "203.0.113.3";

fn told(decision: &Decision) -> EventOutcome {
    match &decision.outcome {
        Outcome::Event { answer, .. } => answer.status.clone(),
        other => panic!("{other:?}"),
    }
}

fn say(world: &mut World, state: ControlState) {
    let command = SetControl {
        scope: "pop".parse().unwrap(),
        state,
        actor: "token:noc".to_owned(),
        reason: "INC-4711".to_owned(),
        expected_revision: None,
        said: 0,
        in_force_since: None,
    };
    world.run(&Command::Control(command), None);
}

/// A detector that goes on reporting would otherwise be refused for as long as it does.
#[test]
fn an_attack_after_a_quiet_time_counts_anew_also_when_its_first_report_is_refused() {
    let mut world = World::new(policy());
    let flood = || ban("blind", VICTIM, "ntp_amplification");
    assert_eq!(told(&world.event(flood())), EventOutcome::Accepted);
    world.event(unban("blind", VICTIM, "ntp_amplification"));
    world.pass(seconds(7200));
    assert!(world.live().is_empty());
    say(&mut world, ControlState::Hold);
    assert_eq!(told(&world.event(flood())), EventOutcome::RejectedGuardrail);
    say(&mut world, ControlState::Running);
    world.pass(seconds(10));
    assert_eq!(told(&world.event(flood())), EventOutcome::Accepted);
}

#[test]
fn reports_without_a_quiet_time_do_not_pass_it() {
    let mut world = World::new(policy());
    let mut ended = None;
    for _ in 0..500 {
        let decision = world.event(ban("blind", VICTIM, "ntp_amplification"));
        if told(&decision) == EventOutcome::RejectedGuardrail {
            ended = Some(world.now);
            break;
        }
        world.pass(seconds(60));
    }
    assert!(ended.is_some(), "it is filtered for ever");
    assert!(world.live().is_empty());
}

/// The question of 3 a.m. is why the rule is there, not why its lease goes on.
#[test]
fn a_renewed_lease_and_a_step_that_waits_leave_the_decision_as_the_explanation() {
    let mut policy = policy();
    if let Some(once) = policy.sources.named.get_mut("once") {
        once.claim_ttl = seconds(2000);
    }
    let mut world = World::new(policy);
    let mut why = None;
    let mut step = |decision: &Decision| {
        for effect in &decision.effects {
            match effect {
                Effect::Mitigation { why: Some(trace), .. } => why = Some(trace.explain()),
                Effect::Event(event, trace) if event.mitigation_id.is_some() => why = Some(trace.explain()),
                _ => {}
            }
        }
        why.clone()
    };
    let mut explained = step(&world.event(ban("once", VICTIM, "ntp_amplification"))).unwrap();
    let (mut renewed, mut escalated) = (0, 0);
    let end = world.now.saturating_add(seconds(1000));
    while let Some((at, scope)) = world.next().filter(|(at, _)| *at <= end) {
        world.now = world.now.max(at);
        let before = (world.live()[0].expires_at, world.live()[0].step);
        let now = step(&world.run(&Command::Due(scope.clone()), Some(&scope))).unwrap();
        let after = (world.live()[0].expires_at, world.live()[0].step);
        if after.1 > before.1 {
            escalated += 1;
            let codes: Vec<_> = now.steps.iter().map(|step| step.code.as_str()).collect();
            assert!(
                codes.contains(&"rules") && codes.contains(&"escalated"),
                "{codes:?}"
            );
            explained = now;
        } else {
            renewed += usize::from(after.0 > before.0);
            assert_eq!(now, explained, "at {at}");
        }
    }
    assert!(escalated == 1 && renewed > 1, "{escalated} {renewed}");
}

/// Judging again follows a change of the policy, but a deadline must not count on it.
#[test]
fn a_deadline_asks_the_guardrails_itself() {
    let mut world = World::new(policy());
    world.event(ban("once", VICTIM, "ntp_amplification"));
    let mut safelist = FixedSafelist::default();
    safelist.add(SafelistEntry {
        prefix: "203.0.113.3/32".parse().unwrap(),
        reason: "a resolver".to_owned(),
        origin: SafelistOrigin::Config,
        created_by: None,
        created_at: None,
        expires_at: None,
    });
    world.policy.safelist = safelist;
    let scope = world.live()[0].scope();
    world.now = next_deadline(&world.state, &world.policy, &scope).unwrap();
    let decision = world.run(&Command::Due(scope.clone()), Some(&scope));
    assert!(world.live().is_empty(), "its lease is not renewed");
    let ended = decision.effects.iter().find_map(|effect| match effect {
        Effect::Mitigation { after, .. } => after.end_reason.clone(),
        _ => None,
    });
    assert_eq!(ended, Some(prefixd_api::mitigation::EndReason::Safelisted));
    assert_eq!(decision.refused, [prefixd_api::guardrail::Guardrail::Safelist]);
}

/// A step that a guardrail keeps from being taken is counted, and so is everything that one ends.
#[test]
fn what_guardrails_refuse_is_said_with_the_decision_whoever_asked() {
    use prefixd_api::guardrail::Guardrail;
    let mut world = World::new(policy());
    let refused = world.event(ban("once", "203.0.113.4", "ntp_amplification"));
    assert_eq!(refused.refused, [Guardrail::Safelist]);
    for victim in ["203.0.113.3", "203.0.113.5"] {
        assert_eq!(world.event(ban("once", victim, "ntp_amplification")).refused, []);
    }
    let protect = SafelistAdd {
        prefix: "203.0.113.0/29".parse().unwrap(),
        reason: "routers".to_owned(),
        expires_at: None,
        expect_count: None,
        actor: "anna".to_owned(),
    };
    let added = world.run(&Command::SafelistAdd(protect), None);
    assert_eq!(added.refused, [Guardrail::Safelist; 2], "each that ended by it");
}

/// A router with a session that has not taken the rule stops nothing.
#[test]
fn what_no_router_has_after_a_while_matters_more() {
    let severity = |advertised: bool, lost: bool, after: u64| {
        let mut world = World::new(policy());
        world.event(ban("once", VICTIM, "udp_flood"));
        world.now = world.now.saturating_add(seconds(after));
        let live = world.live()[0].clone();
        let facts = Facts {
            advertised_at: advertised.then_some(live.created_at),
            established: true,
            lost: lost.then_some(live.mitigation_id),
            ..Facts::default()
        };
        let command = EventCommand {
            ids: FreshIds::new(),
            seen_at: None,
            event: Event::try_from(ban("once", VICTIM, "udp_flood")).unwrap(),
            actor: "token:test".to_owned(),
        };
        let again = Command::Event(Box::new(command));
        let decision = decide(&world.state, &world.policy, &again, world.now, &facts);
        world.state.apply(&decision.effects);
        world.live()[0].severity
    };
    assert_eq!(severity(true, false, 20), Severity::Low);
    assert_eq!(severity(false, false, 5), Severity::Low, "it may be on its way");
    assert_eq!(severity(false, false, 20), Severity::Medium);
    assert_eq!(severity(true, true, 1), Severity::Medium, "a router had it");
}
