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
