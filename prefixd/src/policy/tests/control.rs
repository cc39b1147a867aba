//! What decisions refuse while a person has stopped announcing, and what goes on all the same.

use super::super::command::SetControl;
use super::*;
use prefixd_api::control::{ControlScope, ControlState, Stop};
use prefixd_api::mitigation::{EndReason, MitigationStatus};

const OTHERS: &str = "198.51.100.3";

pub(super) fn say(world: &mut World, state: ControlState, scope: &str) -> Decision {
    let command = SetControl {
        scope: scope.parse().unwrap(),
        state,
        actor: "token:noc".to_owned(),
        reason: "INC-4711".to_owned(),
        expected_revision: None,
        said: 0,
        in_force_since: None,
    };
    world.run(&Command::Control(command), None)
}

fn refused(decision: &Decision) -> Option<&str> {
    match &decision.outcome {
        Outcome::Event { refused, .. } => refused.as_ref().map(|(guardrail, _)| guardrail.code()),
        Outcome::Refused(problem) => Some(&problem.code),
        _ => None,
    }
}

fn flood(world: &mut World, victim: &str) -> Decision {
    world.event(ban("once", victim, "ntp_amplification"))
}

fn create(world: &mut World, victim: &str) -> Decision {
    let create = asked(
        victim,
        ActionType::Police,
        &format!("dst {victim}/32 proto udp dport 53"),
    );
    world.run(&Command::Create(Box::new(create)), None)
}

#[test]
fn hold_lets_go_on_what_is_there_and_nothing_new() {
    let mut world = World::new(policy());
    flood(&mut world, "203.0.113.3");
    say(&mut world, ControlState::Hold, "pop");
    for decision in [flood(&mut world, OTHERS), create(&mut world, OTHERS)] {
        assert_eq!(refused(&decision), Some("guardrail.panic"));
    }
    let before = world.live()[0].clone();
    world.now = world.now.saturating_add(seconds(5));
    flood(&mut world, "203.0.113.3");
    assert!(
        world.live()[0].expires_at > before.expires_at,
        "its lease goes on"
    );
    // Its next step would be due on the way.
    world.pass(seconds(200));
    assert_eq!(world.live()[0].rules, before.rules, "no later step");
    world.pass(seconds(3600));
    assert!(world.live().is_empty(), "it ends on time");
    say(&mut world, ControlState::Running, "pop");
    assert_eq!(refused(&flood(&mut world, OTHERS)), None);
}

#[test]
fn rules_do_not_grow_on_hold() {
    let mut world = World::new(policy());
    let with_port = |port: u16| EventRequest {
        event_id: Some(port.to_string()),
        top_dst_ports: vec![port],
        ..ban("once", "203.0.113.3", "udp_flood")
    };
    world.event(with_port(27015));
    let before = world.live()[0].rules.clone();
    say(&mut world, ControlState::Hold, "customer:acme");
    world.event(with_port(27016));
    assert_eq!(world.live()[0].rules, before);
    say(&mut world, ControlState::Running, "customer:acme");
    world.event(with_port(27017));
    assert_ne!(world.live()[0].rules, before, "the test can fail");
}

/// The detector says the same again, and nothing that it had not said during the hold.
#[test]
fn rules_catch_up_when_a_hold_is_over() {
    let mut world = World::new(policy());
    let with_ports = |ports: &[u16]| EventRequest {
        top_dst_ports: ports.to_vec(),
        ..ban("blind", "203.0.113.3", "udp_flood")
    };
    world.event(with_ports(&[27015]));
    say(&mut world, ControlState::Hold, "pop");
    world.event(with_ports(&[27015, 30000]));
    let taken = |world: &World| world.live()[0].rules[0].matches.dst_ports.to_string();
    assert_eq!(taken(&world), "27015");
    say(&mut world, ControlState::Running, "pop");
    world.event(with_ports(&[27015, 30000]));
    assert_eq!(taken(&world), "27015,30000");
}

#[test]
fn a_panic_ends_what_it_is_about() {
    for (scope, left) in [("pop", 0), ("customer:acme", 1), ("neighbor:edge1", 2)] {
        let mut world = World::new(policy());
        flood(&mut world, "203.0.113.3");
        flood(&mut world, OTHERS);
        say(&mut world, ControlState::Panic, scope);
        let scopes: Vec<Scope> = world.live().iter().map(|live| live.scope()).collect();
        for scope in &scopes {
            let judged = world.run(&Command::Judge(scope.clone()), Some(scope));
            for effect in &judged.effects {
                let Effect::Mitigation { after, why, .. } = effect else {
                    panic!("{effect:?}");
                };
                assert_eq!(
                    (after.status, &after.end_reason, after.ended_by.as_deref()),
                    (
                        MitigationStatus::Withdrawn,
                        &Some(EndReason::Panic),
                        Some("token:noc")
                    )
                );
                assert!(after.why_summary.contains("INC-4711") && why.is_some());
            }
        }
        assert_eq!(world.live().len(), left, "{scope}");
        let again = [
            flood(&mut world, "203.0.113.5"),
            create(&mut world, "203.0.113.6"),
        ];
        let refuses = scope != "neighbor:edge1";
        for decision in again {
            assert_eq!(
                refused(&decision),
                refuses.then_some("guardrail.panic"),
                "{scope}"
            );
        }
    }
}

#[test]
fn what_is_said_twice_is_in_force_since_the_first_time() {
    let mut world = World::new(policy());
    let begun = world.now;
    say(&mut world, ControlState::Panic, "pop");
    world.now = world.now.saturating_add(seconds(5));
    assert_eq!(say(&mut world, ControlState::Panic, "pop").effects.len(), 1);
    let stopped = world.state.stopped.get(&ControlScope::Pop).cloned().unwrap();
    assert_eq!((stopped.state, stopped.set_at), (Stop::Panic, begun));
    say(&mut world, ControlState::Hold, "pop");
    let stopped = world.state.stopped.get(&ControlScope::Pop).cloned().unwrap();
    assert_eq!((stopped.state, stopped.set_at), (Stop::Hold, world.now));
    assert_eq!(say(&mut world, ControlState::Running, "pop").effects.len(), 1);
    assert!(say(&mut world, ControlState::Running, "pop").effects.is_empty());
}

#[test]
fn dry_run_and_withdrawing_go_on() {
    let mut dry = policy();
    dry.mode = Mode::DryRun;
    let mut world = World::new(dry);
    say(&mut world, ControlState::Panic, "pop");
    flood(&mut world, "203.0.113.3");
    assert_eq!(world.live().len(), 1);
    let mut world = World::new(policy());
    flood(&mut world, "203.0.113.3");
    say(&mut world, ControlState::Hold, "pop");
    let id = world.live()[0].mitigation_id;
    world.run(&withdraw(id), None);
    assert!(world.live().is_empty());
}

fn withdraw(mitigation: prefixd_api::ids::MitigationId) -> Command {
    Command::Withdraw(super::super::command::WithdrawCommand {
        ids: FreshIds::new(),
        mitigation,
        reason: "over".to_owned(),
        suppress: None,
        confirm_within: None,
        expected_revision: None,
        actor: "token:noc".to_owned(),
    })
}

/// The rules stay as they are, and neighbours without FlowSpec would get a blackhole all the same.
#[test]
fn a_blackhole_is_something_new_whatever_the_rules() {
    let giving_up = |steps: [bool; 2]| {
        let mut policy = policy();
        policy.sources.named.get_mut("once").unwrap().max_action = ActionType::Rtbh;
        policy.playbooks.default.as_mut().unwrap().steps = steps
            .map(|allow_rtbh| Step {
                allow_rtbh,
                ..step(ActionType::Discard, 300)
            })
            .into();
        policy
    };
    for stopped in [true, false] {
        let mut world = World::new(giving_up([false, true]));
        flood(&mut world, "203.0.113.3");
        let before = world.live()[0].clone();
        assert!(!before.allow_rtbh);
        if stopped {
            say(&mut world, ControlState::Hold, "pop");
        }
        world.pass(seconds(200));
        let live = world.live()[0].clone();
        assert_eq!(live.rules, before.rules);
        assert_eq!(
            (live.step, live.allow_rtbh),
            if stopped { (1, false) } else { (2, true) }
        );

        let mut world = World::new(giving_up([false, false]));
        flood(&mut world, "203.0.113.3");
        if stopped {
            say(&mut world, ControlState::Hold, "pop");
        }
        world.policy = giving_up([true, true]);
        let mut create = asked("203.0.113.3", ActionType::Discard, "dst 203.0.113.3/32");
        create.request = MitigationRequest {
            vector: Some("ntp_amplification".to_owned()),
            replace: true,
            reason: "INC-4711".to_owned(),
            ..MitigationRequest::default()
        };
        let decision = world.run(&Command::Create(Box::new(create)), None);
        assert_eq!(refused(&decision), stopped.then_some("guardrail.panic"));
        assert_eq!(world.live()[0].rules, before.rules);
        assert_eq!(world.live()[0].allow_rtbh, !stopped);
    }
}

/// It has no rules, and a hold would give it those that are older than the hold.
#[test]
fn a_neighbour_in_panic_cannot_be_held() {
    let mut world = World::new(policy());
    say(&mut world, ControlState::Panic, "neighbor:edge1");
    let told = say(&mut world, ControlState::Hold, "neighbor:edge1");
    assert_eq!(refused(&told), Some("conflict.panic"));
    let scope = ControlScope::Neighbor("edge1".to_owned());
    assert_eq!(world.state.stopped[&scope].state, Stop::Panic);
    say(&mut world, ControlState::Running, "neighbor:edge1");
    assert_eq!(
        refused(&say(&mut world, ControlState::Hold, "neighbor:edge1")),
        None
    );
}

/// To go back a step is to announce something else: on hold it waits, and is looked at again.
#[test]
fn on_hold_a_step_stays_and_gives_way_afterwards() {
    let report = |confidence: f64| EventRequest {
        confidence: Some(confidence),
        top_dst_ports: vec![1000],
        ..ban("once", "203.0.113.3", "udp_flood")
    };
    let mut world = World::new(super::properties::ladders());
    world.event(report(0.9));
    world.pass(seconds(100));
    assert_eq!(world.live()[0].step, 2);
    world.event(report(0.1));
    say(&mut world, ControlState::Hold, "pop");
    world.pass(seconds(200));
    world.event(report(0.1));
    world.pass(seconds(150));
    assert_eq!(world.live()[0].step, 2, "due, and on hold");
    say(&mut world, ControlState::Running, "pop");
    world.pass(seconds(31));
    assert_eq!(world.live()[0].step, 1);
    world.check();
}

#[test]
fn what_is_said_of_something_else_than_what_was_read_is_refused() {
    let mut world = World::new(policy());
    let at = |world: &mut World, state, expected_revision| {
        world.pass(seconds(1));
        let command = SetControl {
            scope: "customer:acme".parse().unwrap(),
            state,
            actor: "token:noc".to_owned(),
            reason: "INC-4711".to_owned(),
            expected_revision: Some(expected_revision),
            said: 0,
            in_force_since: None,
        };
        let decision = world.run(&Command::Control(command), None);
        refused(&decision).map(str::to_owned)
    };
    let revision = |world: &World| {
        world
            .state
            .stopped
            .values()
            .next()
            .map(|stopped| stopped.revision)
    };
    let stale = Some("conflict.revision".to_owned());
    assert_eq!(at(&mut world, ControlState::Hold, 1), stale, "nothing is stopped");
    assert_eq!(revision(&world), None);
    assert_eq!(at(&mut world, ControlState::Hold, 0), None);
    let first = revision(&world).unwrap();
    assert_eq!(at(&mut world, ControlState::Running, 0), stale);
    assert_eq!(
        at(&mut world, ControlState::Hold, first),
        None,
        "said again, by others perhaps"
    );
    let second = revision(&world).unwrap();
    assert_ne!(first, second);
    assert_eq!(at(&mut world, ControlState::Running, first), stale);
    assert_eq!(at(&mut world, ControlState::Running, second), None);
    // Lifted and said again: it is not what was read.
    assert_eq!(at(&mut world, ControlState::Hold, 0), None);
    assert_eq!(at(&mut world, ControlState::Running, second), stale);
}
