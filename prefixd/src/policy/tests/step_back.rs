//! Steps that are given up.

use super::super::command::{AdjustCommand, ExtendCommand, UndoCommand, WithdrawCommand};
use super::super::effect::MitigationEvent;
use super::control::say;
use super::properties::ladders;
use super::*;
use prefixd_api::control::ControlState;
use prefixd_api::operation::AdjustRequest;

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
    extend(&mut world);
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

fn extend(world: &mut World) -> Decision {
    let command = ExtendCommand {
        mitigation: world.live()[0].mitigation_id,
        ttl: seconds(1500),
        reason: "INC-4711".to_owned(),
        expected_revision: None,
        actor: "token:noc".to_owned(),
    };
    world.run(&Command::Extend(command), None)
}

/// Who has it last longer says nothing of what it does: no sooner and no later than a report would it go back.
#[test]
fn what_is_extended_goes_back_as_by_a_report() {
    let mut world = left_to_the_mild_one(POLICE);
    let ends = world.now.saturating_add(seconds(1500));
    let decision = extend(&mut world);
    let [Effect::Mitigation { what, said, why, .. }] = &decision.effects[..] else {
        panic!("{decision:?}");
    };
    assert_eq!(
        (*what, said.as_deref(), why.is_some()),
        (MitigationEvent::Deescalated, Some("INC-4711"), true)
    );
    let live = world.live()[0];
    assert_eq!(
        (live.step, live.action_type, live.expires_at),
        (1, ActionType::Police, ends)
    );
    world.check();
}

#[test]
fn on_hold_what_is_extended_waits_with_its_step() {
    let mut world = left_to_the_mild_one(POLICE);
    say(&mut world, ControlState::Hold, "pop");
    let ends = world.now.saturating_add(seconds(1500));
    extend(&mut world);
    let live = world.live()[0];
    assert_eq!((live.step, live.expires_at), (2, ends));
}

#[test]
fn what_nobody_left_may_ask_for_on_any_step_is_not_extended() {
    let mut world = left_to_the_mild_one(Action::Discard);
    let before = world.live()[0].clone();
    let Outcome::Refused(problem) = extend(&mut world).outcome else {
        panic!();
    };
    assert_eq!(problem.code, "guardrail.source_action");
    assert_eq!(*world.live()[0], before);
}

/// The operator says what it does, so that nobody else is asked about it.
#[test]
fn what_nobody_left_may_ask_for_can_be_adjusted() {
    let mut world = left_to_the_mild_one(POLICE);
    let command = AdjustCommand {
        mitigation: world.live()[0].mitigation_id,
        request: AdjustRequest {
            action: Some(ActionType::Police),
            rate_bps: Some(BitsPerSecond(20_000_000)),
            reason: "INC-4711".to_owned(),
            ..AdjustRequest::default()
        },
        actor: "token:noc".to_owned(),
    };
    let decision = world.run(&Command::Adjust(Box::new(command)), None);
    assert!(matches!(decision.outcome, Outcome::Changed(_)), "{decision:?}");
    world.event(reported("mild"));
    assert_eq!(world.live()[0].rate_bps, Some(BitsPerSecond(20_000_000)));
}

/// What is pending was left to one who may not ask for it, and is reported by one who may.
#[test]
fn what_is_pending_is_judged_with_the_report_that_comes() {
    let mut policy = ladders();
    let flood = &mut policy.playbooks.ordered[1];
    (flood.steps[0].asked, flood.steps[0].sources) = (Action::Discard, 3);
    let mut world = World::new(policy);
    for source in ["once", "mild"] {
        assert_eq!(
            outcome(&world.event(reported(source))),
            EventOutcome::AcceptedPending
        );
    }
    world.event(unban("once", VICTIM, "udp_flood"));
    assert_eq!(world.live()[0].claims.len(), 1);
    let id = world.live()[0].mitigation_id;
    assert_eq!(
        outcome(&world.event(reported("once"))),
        EventOutcome::AcceptedPending
    );
    assert_eq!(world.live()[0].mitigation_id, id);
    // By the mild one alone it is refused.
    world.event(unban("once", VICTIM, "udp_flood"));
    assert_eq!(
        outcome(&world.event(reported("mild"))),
        EventOutcome::RejectedGuardrail
    );
    assert!(world.live().is_empty());
}
