//! What people note down, and what they take back together.

use super::super::command::{About, AnnotateCommand, Annotation, Which, WithdrawMany};
use super::control::say;
use super::*;
use prefixd_api::control::ControlState;
use prefixd_api::ids::MitigationId;
use prefixd_api::mitigation::EndReason;
use prefixd_api::operation::Revisions;
use prefixd_api::operation::{LiveFilter, MAX_NOTES};

fn annotate(
    world: &mut World,
    id: MitigationId,
    what: Annotation,
    actor: &str,
) -> Result<Arc<Mitigation>, String> {
    about(world, id, None, what, actor)
}

fn about(
    world: &mut World,
    id: MitigationId,
    ended: Option<Arc<Mitigation>>,
    what: Annotation,
    actor: &str,
) -> Result<Arc<Mitigation>, String> {
    let command = AnnotateCommand {
        about: vec![About {
            mitigation: id,
            ended,
        }],
        like: None,
        what,
        revisions: Revisions::default(),
        actor: actor.to_owned(),
    };
    let decision = world.run(&Command::Annotate(command), None);
    match decision.outcome {
        Outcome::Many(results) => {
            let (_, result) = results.into_iter().next().unwrap();
            result.map_err(|problem| problem.code)
        }
        other => panic!("{other:?}"),
    }
}

fn note(text: &str) -> Annotation {
    Annotation::Note {
        text: Some(text.to_owned()),
        external_ref: None,
    }
}

fn flooded(victims: &[&str]) -> World {
    let mut world = World::new(policy());
    for victim in victims {
        world.event(ban("once", victim, "ntp_amplification"));
    }
    world
}

#[test]
fn who_saw_it_first_stays() {
    let mut world = flooded(&["203.0.113.3"]);
    let id = world.live()[0].mitigation_id;
    let seen = annotate(&mut world, id, Annotation::Acknowledge(true), "anna").unwrap();
    assert_eq!(
        (
            seen.acknowledged_by.as_deref(),
            seen.acknowledged_at,
            seen.revision
        ),
        (Some("anna"), Some(world.now), 2)
    );
    let again = annotate(&mut world, id, Annotation::Acknowledge(true), "bob").unwrap();
    assert_eq!(
        (again.acknowledged_by.as_deref(), again.revision),
        (Some("anna"), 2)
    );
    let back = annotate(&mut world, id, Annotation::Acknowledge(false), "bob").unwrap();
    assert_eq!((back.acknowledged_by.as_deref(), back.revision), (None, 3));
}

#[test]
fn it_is_in_the_hands_of_one() {
    let mut world = flooded(&["203.0.113.3"]);
    let id = world.live()[0].mitigation_id;
    annotate(&mut world, id, Annotation::Claim(false), "anna").unwrap();
    for what in [Annotation::Claim(false), Annotation::Release(false)] {
        assert_eq!(
            annotate(&mut world, id, what, "bob").unwrap_err(),
            "conflict.claimed"
        );
    }
    let taken = annotate(&mut world, id, Annotation::Claim(true), "bob").unwrap();
    assert_eq!(taken.claimed.as_ref().unwrap().by, "bob");
    assert!(
        annotate(&mut world, id, Annotation::Release(false), "bob")
            .unwrap()
            .claimed
            .is_none()
    );
}

#[test]
fn what_is_written_about_an_ended_one_adds_up() {
    let mut world = flooded(&["203.0.113.3"]);
    let id = world.live()[0].mitigation_id;
    world.pass(seconds(10_000));
    assert!(world.live().is_empty());
    assert_eq!(
        annotate(&mut world, id, note("x"), "anna").unwrap_err(),
        "not_found"
    );
    // As the store had it when both asked.
    let stored = {
        let mut other = flooded(&["203.0.113.3"]);
        let mut ended = Mitigation::clone(other.live()[0]);
        other.now = world.now;
        ended.mitigation_id = id;
        ended.status = prefixd_api::mitigation::MitigationStatus::Expired;
        ended.ended_at = Some(world.now);
        Arc::new(ended)
    };
    about(&mut world, id, Some(Arc::clone(&stored)), note("one"), "anna").unwrap();
    let both = about(&mut world, id, Some(stored), note("two"), "bob").unwrap();
    let texts: Vec<&str> = both.notes.iter().map(|note| note.text.as_str()).collect();
    assert_eq!(texts, ["one", "two"], "the second does not undo the first");
    assert!(world.live().is_empty(), "and nothing comes back by it");
    world.check();
}

#[test]
fn notes_are_bounded_and_tickets_replaced() {
    let mut world = flooded(&["203.0.113.3"]);
    let id = world.live()[0].mitigation_id;
    for _ in 0..MAX_NOTES {
        annotate(&mut world, id, note("x"), "anna").unwrap();
    }
    assert_eq!(
        annotate(&mut world, id, note("x"), "anna").unwrap_err(),
        "request.field"
    );
    let ticket = |name: &str| Annotation::Note {
        text: None,
        external_ref: Some(name.to_owned()),
    };
    annotate(&mut world, id, ticket("INC-1"), "anna").unwrap();
    let named = annotate(&mut world, id, ticket("INC-2"), "anna").unwrap();
    assert_eq!(
        (named.external_ref.as_deref(), named.notes.len()),
        (Some("INC-2"), MAX_NOTES)
    );
}

fn withdraw(world: &mut World, which: Which) -> Result<Vec<Option<String>>, String> {
    let command = WithdrawMany {
        which,
        revisions: Revisions::default(),
        ids: std::iter::repeat_with(FreshIds::new).take(10).collect(),
        confirm_within: None,
        reason: "misfire".to_owned(),
        suppress: None,
        actor: "anna".to_owned(),
    };
    let decision = world.run(&Command::WithdrawMany(command), None);
    for effect in &decision.effects {
        if let Effect::Mitigation { after, why, .. } = effect {
            assert_eq!(after.end_reason, Some(EndReason::Operator));
            let why = why.as_ref().expect("each says why").explain();
            let codes: Vec<_> = why.steps.iter().map(|step| step.code.as_str()).collect();
            assert_eq!(codes, ["operator", "suppressed_until"]);
            assert!(why.steps[0].text.contains("anna") && why.steps[0].text.contains("misfire"));
        }
    }
    match decision.outcome {
        Outcome::Many(results) => Ok(results
            .into_iter()
            .map(|(_, result)| result.err().map(|problem| problem.code))
            .collect()),
        Outcome::Refused(problem) => Err(problem.code),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_filter_takes_what_it_was_expected_to_take() {
    let like = |victims: &str| {
        Box::new(LiveFilter {
            victim_prefix: Some(victims.parse().unwrap()),
            source: Some("once".to_owned()),
            ..LiveFilter::default()
        })
    };
    let mut world = flooded(&["203.0.113.3", "203.0.113.5", "198.51.100.3"]);
    let wrong = withdraw(&mut world, Which::Like(like("203.0.113.0/24"), 3));
    assert_eq!(wrong.unwrap_err(), "conflict.expect_count");
    assert_eq!(world.live().len(), 3, "nothing was withdrawn");
    let done = withdraw(&mut world, Which::Like(like("203.0.113.0/24"), 2));
    assert_eq!(done.unwrap(), [None, None]);
    assert_eq!(world.live().len(), 1);
    assert_eq!(world.state.suppressions.len(), 2);
    assert_eq!(
        withdraw(&mut world, Which::Like(like("203.0.113.0/24"), 0)).unwrap(),
        []
    );
}

#[test]
fn names_are_judged_one_by_one() {
    let mut world = flooded(&["203.0.113.3"]);
    let ids = vec![MitigationId::new(), world.live()[0].mitigation_id];
    let done = withdraw(&mut world, Which::Named(ids)).unwrap();
    assert_eq!(done, [Some("not_found".to_owned()), None]);
    assert!(world.live().is_empty());
}

#[test]
fn of_several_only_those_that_are_as_they_were_read_are_changed() {
    let mut world = flooded(&["203.0.113.3", "203.0.113.5", "198.51.100.3"]);
    let live: Vec<Mitigation> = world.live().into_iter().cloned().collect();
    let [one, other, third] = &live[..] else {
        panic!("three: {live:?}")
    };
    let revisions = Revisions::from([
        (one.mitigation_id, one.revision),
        (other.mitigation_id, other.revision + 1),
    ]);
    let ids = [one, other, third].map(|live| live.mitigation_id);
    let about = |mitigation| About {
        mitigation,
        ended: None,
    };
    let command = AnnotateCommand {
        about: ids.map(about).into(),
        like: None,
        what: Annotation::Acknowledge(true),
        revisions: revisions.clone(),
        actor: "anna".to_owned(),
    };
    let codes = |decision: Decision| match decision.outcome {
        Outcome::Many(results) => results
            .into_iter()
            .map(|(_, result)| result.err().map(|problem| problem.code))
            .collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    let stale = Some("conflict.revision".to_owned());
    let told = codes(world.run(&Command::Annotate(command), None));
    assert_eq!(told, [None, stale.clone(), None]);
    // Acknowledging was a change: what was read before it is stale now.
    let command = WithdrawMany {
        which: Which::Named(ids.into()),
        revisions,
        ids: std::iter::repeat_with(FreshIds::new).take(3).collect(),
        confirm_within: None,
        reason: "misfire".to_owned(),
        suppress: None,
        actor: "anna".to_owned(),
    };
    let told = codes(world.run(&Command::WithdrawMany(command), None));
    assert_eq!(told, [stale.clone(), stale, None]);
    assert_eq!(world.live().len(), 2);
}

/// The routers have the rules, and the first look at the step comes at its time.
#[test]
fn a_note_puts_no_step_off() {
    let mut world = flooded(&["203.0.113.3"]);
    let id = world.live()[0].mitigation_id;
    world.pass(seconds(119));
    annotate(&mut world, id, note("what is this?"), "anna").unwrap();
    assert_eq!(world.live()[0].step, 1);
    world.pass(seconds(1));
    assert_eq!(world.live()[0].step, 2);
}

#[test]
fn notes_do_not_keep_a_step_that_was_held_up_from_being_looked_at() {
    let mut world = flooded(&["203.0.113.3"]);
    let id = world.live()[0].mitigation_id;
    say(&mut world, ControlState::Hold, "pop");
    world.pass(seconds(125));
    say(&mut world, ControlState::Running, "pop");
    for _ in 0..2 {
        annotate(&mut world, id, note("still there"), "anna").unwrap();
        world.pass(seconds(10));
    }
    assert_eq!(world.live()[0].step, 1);
    annotate(&mut world, id, note("still there"), "anna").unwrap();
    world.pass(seconds(5));
    assert_eq!(world.live()[0].step, 2);
}

/// Who claims it goes on saying so, although nobody has looked for longer than a pause of the evidence may be.
#[test]
fn a_note_after_long_puts_no_step_off() {
    for enforced in [false, true] {
        let mut policy = policy();
        policy.sources.named.get_mut("once").unwrap().claim_ttl = seconds(1500);
        let playbook = policy.playbooks.default.as_mut().unwrap();
        playbook.enforce = enforced;
        playbook.steps[0].ttl = seconds(900);
        playbook.steps[1].persistence = Some(seconds(600));
        let mut world = World::new(policy);
        for _ in 0..2 {
            world.event(ban("once", "203.0.113.3", "ntp_amplification"));
            world.pass(seconds(5));
        }
        let id = world.live()[0].mitigation_id;
        world.pass(seconds(400));
        annotate(&mut world, id, note("what is this?"), "anna").unwrap();
        world.pass(seconds(180));
        assert_eq!(world.live()[0].step, 1, "enforced: {enforced}");
        world.pass(seconds(15));
        assert_eq!(world.live()[0].step, 2, "enforced: {enforced}");
    }
}
