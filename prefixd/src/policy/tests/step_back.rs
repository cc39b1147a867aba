//! Steps that are given up.

use super::super::command::{ExtendCommand, UndoCommand, WithdrawCommand};
use super::control::say;
use super::properties::ladders;
use super::*;
use prefixd_api::control::ControlState;

const VICTIM: &str = "203.0.113.3";

/// A flood that two sources carry to the second step together.
fn escalated(sources: u32) -> World {
    let mut policy = ladders();
    policy.sources.named.get_mut("other").unwrap().claim_ttl = seconds(200);
    let flood = &mut policy.playbooks.ordered[1];
    flood.steps[1].sources = sources;
    let mut world = World::new(policy);
    for source in ["once", "other"] {
        world.event(reported(source));
    }
    world.pass(seconds(60));
    assert_eq!(world.live()[0].step, 2);
    world
}

fn reported(source: &str) -> EventRequest {
    EventRequest {
        top_dst_ports: vec![1000],
        confidence: Some(0.9),
        ..ban(source, VICTIM, "udp_flood")
    }
}

/// Nobody looks in between.
fn stand_still(world: &mut World, span: u64) {
    world.now = world.now.saturating_add(seconds(span));
    let scope = world.live()[0].scope();
    world.run(&Command::Due(scope.clone()), Some(&scope));
}

#[test]
fn claims_carry_a_step_together_only_while_all_of_them_live_also_when_nobody_looked() {
    let mut world = escalated(2);
    let claims = &world.live()[0].claims;
    let dies = claims.iter().filter_map(|claim| claim.lives_until).min().unwrap();
    let span = dies.since(world.now).as_secs() + 50;
    stand_still(&mut world, span);
    let live = world.live()[0];
    assert_eq!((live.claims.len(), live.step), (1, 2));
    assert_eq!(live.carried_at, Some(dies));
}

#[test]
fn what_an_operator_alone_holds_matches_nothing_new() {
    let mut world = escalated(1);
    let command = ExtendCommand {
        mitigation: world.live()[0].mitigation_id,
        ttl: seconds(1500),
        reason: "INC-4711".to_owned(),
        expected_revision: None,
        actor: "token:noc".to_owned(),
    };
    world.run(&Command::Extend(command), None);
    for source in ["once", "other"] {
        world.event(unban(source, VICTIM, "udp_flood"));
    }
    let matches = |world: &World| {
        let rules = world.live()[0].rules.iter();
        rules.map(|rule| rule.matches.clone()).collect::<Vec<_>>()
    };
    let before = matches(&world);
    world.pass(seconds(300));
    let live = world.live()[0];
    assert_eq!(live.step, 1);
    assert!(
        live.rules
            .iter()
            .all(|rule| matches!(rule.action, Action::Police { .. }))
    );
    assert_eq!(matches(&world), before);
}

#[test]
fn what_was_undone_gives_its_step_up_in_the_same_time() {
    let mut world = escalated(1);
    let command = WithdrawCommand {
        ids: FreshIds::new(),
        mitigation: world.live()[0].mitigation_id,
        reason: "no attack".to_owned(),
        suppress: None,
        confirm_within: None,
        expected_revision: None,
        actor: "anna".to_owned(),
    };
    let Outcome::Withdrawn(ended) = world.run(&Command::Withdraw(command), None).outcome else {
        panic!();
    };
    for source in ["once", "other"] {
        world.event(unban(source, VICTIM, "udp_flood"));
    }
    let command = UndoCommand {
        ids: FreshIds::new(),
        ended,
        reason: "it was one".to_owned(),
        expected_revision: None,
        actor: "bob".to_owned(),
    };
    world.run(&Command::Undo(command), None);
    world.pass(seconds(299));
    assert_eq!(world.live()[0].step, 2);
    world.pass(seconds(1));
    assert_eq!(world.live()[0].step, 1);
}

/// Who may discard clears its claim, and who may only police goes on to report.
fn left_to_the_mild_one(first: Action) -> World {
    let mut policy = ladders();
    policy.playbooks.ordered[1].steps[0].asked = first;
    let mut world = World::new(policy);
    for source in ["once", "mild"] {
        world.event(reported(source));
    }
    world.pass(seconds(60));
    assert_eq!(
        (world.live()[0].step, world.live()[0].action_type),
        (2, ActionType::Discard)
    );
    world.event(unban("once", VICTIM, "udp_flood"));
    assert_eq!(world.live()[0].step, 2, "nobody has asked anything yet");
    world
}

fn outcome(decision: &Decision) -> EventOutcome {
    match &decision.outcome {
        Outcome::Event { answer, .. } => answer.status.clone(),
        other => panic!("{other:?}"),
    }
}

const POLICE: Action = Action::Police {
    rate_bps: BitsPerSecond(5_000_000),
};

#[test]
fn a_step_that_nobody_left_may_ask_for_goes_back_at_the_next_report() {
    let mut world = left_to_the_mild_one(POLICE);
    let matches = |world: &World| {
        let rules = world.live()[0].rules.iter();
        rules.map(|rule| rule.matches.clone()).collect::<Vec<_>>()
    };
    let (id, matched) = (world.live()[0].mitigation_id, matches(&world));
    assert_eq!(outcome(&world.event(reported("mild"))), EventOutcome::Extended);
    let live = world.live()[0];
    assert_eq!((live.mitigation_id, live.step), (id, 1));
    assert_eq!(
        (live.action_type, live.status),
        (ActionType::Police, MitigationStatus::Active)
    );
    assert_eq!(matches(&world), matched);
    let said =
        "step 2 goes back to step 1: of those who hold it, mild may ask for police at most, not discard";
    assert_eq!(&*live.why_summary, said);
    // It does not come to it again, however long it lasts.
    for _ in 0..5 {
        world.pass(seconds(60));
        world.event(reported("mild"));
    }
    assert_eq!(world.live()[0].step, 1);
    world.check();
}

#[test]
fn a_step_that_nobody_left_may_ask_for_ends_where_there_is_none_before_it() {
    let mut world = left_to_the_mild_one(Action::Discard);
    let decision = world.event(reported("mild"));
    assert_eq!(outcome(&decision), EventOutcome::RejectedGuardrail);
    assert!(world.live().is_empty());
}

#[test]
fn whoever_may_ask_for_a_step_keeps_it_by_its_report() {
    let mut world = left_to_the_mild_one(POLICE);
    let decision = world.event(reported("other"));
    assert_eq!(outcome(&decision), EventOutcome::Extended);
    assert_eq!(world.live()[0].step, 2);
}

/// A start, or a reload.
#[test]
fn a_step_that_nobody_left_may_ask_for_goes_back_when_it_is_judged() {
    let mut world = left_to_the_mild_one(POLICE);
    let scope = world.live()[0].scope();
    world.run(&Command::Judge(scope.clone()), Some(&scope));
    assert_eq!(
        (world.live()[0].step, world.live()[0].action_type),
        (1, ActionType::Police)
    );
    world.check();

    let mut world = left_to_the_mild_one(Action::Discard);
    world.run(&Command::Judge(scope.clone()), Some(&scope));
    assert!(world.live().is_empty());
}

/// Police in the place of a discard is something new, and nothing new is announced: but what ended now could not begin again.
#[test]
fn on_hold_a_step_that_nobody_left_may_ask_for_waits() {
    let mut world = left_to_the_mild_one(POLICE);
    say(&mut world, ControlState::Hold, "pop");
    let decision = world.event(reported("mild"));
    assert_eq!(outcome(&decision), EventOutcome::Extended);
    assert_eq!(world.live()[0].step, 2);
    say(&mut world, ControlState::Running, "pop");
    world.event(reported("mild"));
    assert_eq!(world.live()[0].step, 1);
}

#[test]
fn a_step_back_names_each_source_once() {
    let mut world = left_to_the_mild_one(POLICE);
    let id = |number| Some(format!("flow {number}"));
    world.event(reported("once"));
    for number in 0..3 {
        world.event(EventRequest {
            event_id: id(number),
            ..reported("mild")
        });
    }
    world.event(unban("once", VICTIM, "udp_flood"));
    world.event(reported("mild"));
    let live = world.live()[0];
    assert_eq!((live.step, live.claims.len()), (1, 4));
    let said =
        "step 2 goes back to step 1: of those who hold it, mild may ask for police at most, not discard";
    assert_eq!(&*live.why_summary, said);
}
