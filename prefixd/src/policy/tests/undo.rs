//! Withdrawals that are undone, by an operator or because nobody confirmed them.

use super::super::command::{
    About, AnnotateCommand, Annotation, ConfirmCommand, SetControl, SuppressCommand, UndoCommand,
    WithdrawCommand,
};
use super::*;
use prefixd_api::control::{BreakerTripped, ControlState};
use prefixd_api::ids::{MitigationId, SuppressionId};
use prefixd_api::mitigation::{EndReason, MitigationStatus};

fn withdraw(world: &mut World, confirm_within: Option<u64>) -> Arc<Mitigation> {
    let command = WithdrawCommand {
        ids: FreshIds::new(),
        mitigation: world.live()[0].mitigation_id,
        reason: "no attack".to_owned(),
        suppress: None,
        confirm_within: confirm_within.map(seconds),
        expected_revision: None,
        actor: "anna".to_owned(),
    };
    match world.run(&Command::Withdraw(command), None).outcome {
        Outcome::Withdrawn(ended) => ended,
        other => panic!("{other:?}"),
    }
}

fn undo(world: &mut World, ended: &Arc<Mitigation>) -> Result<Arc<Mitigation>, String> {
    let command = UndoCommand {
        ids: FreshIds::new(),
        ended: Arc::clone(ended),
        reason: "it was one".to_owned(),
        expected_revision: None,
        actor: "bob".to_owned(),
    };
    let decision = world.run(&Command::Undo(command), None);
    world.check();
    match decision.outcome {
        Outcome::Created(made) => Ok(made),
        Outcome::Refused(problem) => Err(problem.code),
        other => panic!("{other:?}"),
    }
}

fn flooded() -> World {
    let mut world = World::new(policy());
    world.event(ban("once", "203.0.113.3", "ntp_amplification"));
    world
}

#[test]
fn an_undo_is_a_successor_with_the_same_rules() {
    let mut world = flooded();
    world.pass(seconds(200));
    let before = world.live()[0].clone();
    assert_eq!(before.status, MitigationStatus::Escalated);
    let ended = withdraw(&mut world, None);
    assert_eq!(world.state.suppressions.len(), 1);
    let made = undo(&mut world, &ended).unwrap();
    assert_eq!(
        (made.previous_id, &made.rules, made.step, made.status),
        (
            Some(ended.mitigation_id),
            &before.rules,
            2,
            MitigationStatus::Escalated
        )
    );
    assert_eq!((made.enforced, made.end_reason.clone()), (true, None));
    assert!(
        world.state.suppressions.is_empty(),
        "it passes the suppression, and ends it"
    );
    assert_eq!(undo(&mut world, &ended).unwrap_err(), "conflict.exists");
    // The claim of the source lives on, and with it the mitigation.
    world.pass(seconds(100));
    assert_eq!(world.live().len(), 1);
    world.pass(seconds(10_000));
    assert!(world.live().is_empty());
}

#[test]
fn the_guardrails_judge_it_like_a_new_one() {
    let mut world = flooded();
    let ended = withdraw(&mut world, None);
    let say = |state| {
        Command::Control(SetControl {
            scope: "pop".parse().unwrap(),
            state,
            actor: "anna".to_owned(),
            reason: "test".to_owned(),
            expected_revision: None,
            said: 0,
            in_force_since: None,
        })
    };
    world.run(&say(ControlState::Hold), None);
    assert_eq!(undo(&mut world, &ended).unwrap_err(), "guardrail.panic");
    world.run(&say(ControlState::Running), None);
    world.policy.quotas.per_customer = 0;
    assert_eq!(undo(&mut world, &ended).unwrap_err(), "guardrail.quota_customer");
    world.policy.quotas.per_customer = 3;
    world.policy.safelist.add(SafelistEntry {
        prefix: "203.0.113.0/24".parse().unwrap(),
        reason: "a router".to_owned(),
        origin: SafelistOrigin::Config,
        created_by: None,
        created_at: None,
        expires_at: None,
    });
    assert_eq!(undo(&mut world, &ended).unwrap_err(), "guardrail.safelist");
    assert!(world.live().is_empty());
}

/// Nothing was reported of it since it was made, so that nothing else recorded it.
#[test]
fn a_withdrawal_says_that_routers_had_it() {
    let mut world = flooded();
    let live = world.live()[0].clone();
    assert_eq!(live.advertised_at, None);
    let command = WithdrawCommand {
        ids: FreshIds::new(),
        mitigation: live.mitigation_id,
        reason: "no attack".to_owned(),
        suppress: None,
        confirm_within: Some(seconds(60)),
        expected_revision: None,
        actor: "anna".to_owned(),
    };
    let decision = world.run(&Command::Withdraw(command), Some(&live.scope()));
    let Outcome::Withdrawn(ended) = decision.outcome else {
        panic!("{:?}", decision.outcome);
    };
    assert_eq!(ended.advertised_at, Some(live.created_at));
    let waits = world.state.unconfirmed.values().next().unwrap();
    assert_eq!(waits.ended, *ended);
}

#[test]
fn what_expired_is_not_put_back() {
    let mut world = flooded();
    let live = Arc::new(world.live()[0].clone());
    assert_eq!(undo(&mut world, &live).unwrap_err(), "conflict.exists");
    world.pass(seconds(10_000));
    let mut expired = Mitigation::clone(&live);
    expired.status = MitigationStatus::Expired;
    assert_eq!(
        undo(&mut world, &Arc::new(expired)).unwrap_err(),
        "conflict.ended"
    );
}

#[test]
fn what_nobody_confirms_comes_back_on_time() {
    let mut world = flooded();
    let ended = withdraw(&mut world, Some(300));
    assert_eq!(ended.confirm_by, Some(world.now.saturating_add(seconds(300))));
    // What is written meanwhile is not lost.
    let note = AnnotateCommand {
        about: vec![About {
            mitigation: ended.mitigation_id,
            ended: Some(Arc::clone(&ended)),
        }],
        like: None,
        what: Annotation::Acknowledge(true),
        revisions: std::collections::BTreeMap::new(),
        actor: "bob".to_owned(),
    };
    world.run(&Command::Annotate(note), None);
    let waits = world.state.unconfirmed.values().next().unwrap();
    assert_eq!(waits.ended.acknowledged_by.as_deref(), Some("bob"));
    world.pass(seconds(299));
    assert!(world.live().is_empty());
    world.pass(seconds(1));
    let back = world.live()[0].clone();
    assert_eq!(
        (back.previous_id, back.origin.actor.as_str(), &back.rules),
        (Some(ended.mitigation_id), "prefixd", &ended.rules)
    );
    assert!(world.state.unconfirmed.is_empty() && world.state.suppressions.is_empty());
    world.check();
}

#[test]
fn what_is_confirmed_stays_away() {
    let mut world = flooded();
    let ended = withdraw(&mut world, Some(300));
    let confirm = || {
        Command::Confirm(ConfirmCommand {
            mitigation: ended.mitigation_id,
            expected_revision: None,
            reason: "the link is fine".to_owned(),
            actor: "bob".to_owned(),
        })
    };
    let decision = world.run(&confirm(), None);
    let Outcome::Changed(confirmed) = &decision.outcome else {
        panic!("{decision:?}");
    };
    assert_eq!(
        (confirmed.confirm_by, confirmed.revision),
        (None, ended.revision + 1)
    );
    world.pass(seconds(600));
    assert!(world.live().is_empty());
    let Outcome::Refused(problem) = world.run(&confirm(), None).outcome else {
        panic!();
    };
    assert_eq!(problem.code, "not_found");
}

#[test]
fn what_may_not_come_back_says_why() {
    let mut world = flooded();
    let ended = withdraw(&mut world, Some(300));
    world.policy.quotas.per_pop = 0;
    let until = world.now.saturating_add(seconds(300));
    world.now = until;
    let scope = ended.scope();
    let decision = world.run(&Command::Due(scope.clone()), Some(&scope));
    let told = decision.effects.iter().find_map(|effect| match effect {
        Effect::Mitigation { after, .. } => Some(after),
        _ => None,
    });
    let told = told.expect("the ended one says so");
    assert_eq!(told.end_reason, Some(EndReason::Operator));
    assert!(told.notes[0].text.contains("not put back"), "{:?}", told.notes);
    assert!(told.confirm_by.is_none() && world.state.unconfirmed.is_empty());
    assert!(world.live().is_empty());
}

fn hold(world: &mut World, state: ControlState) {
    let command = SetControl {
        scope: "pop".parse().unwrap(),
        state,
        actor: "anna".to_owned(),
        reason: "test".to_owned(),
        expected_revision: None,
        said: 0,
        in_force_since: None,
    };
    world.run(&Command::Control(command), None);
}

/// An operator makes another one in the scope of [`flooded`].
fn make_another(world: &mut World) -> Decision {
    let mut create = asked(
        "203.0.113.3",
        ActionType::Police,
        "dst 203.0.113.3/32 proto udp sport 123",
    );
    create.request.vector = Some("ntp_amplification".to_owned());
    let decision = world.run(&Command::Create(Box::new(create)), None);
    assert!(matches!(decision.outcome, Outcome::Created(_)), "{decision:?}");
    decision
}

fn confirmed(decision: &Decision) -> Vec<MitigationId> {
    let ids = decision.effects.iter().filter_map(|effect| match effect {
        Effect::Confirmed { mitigation, .. } => Some(*mitigation),
        _ => None,
    });
    ids.collect()
}

/// Whoever withdraws for good means it, whatever waited in the scope before.
#[test]
fn what_another_took_the_place_of_never_comes_back() {
    for confirm_within in [None, Some(300)] {
        let mut world = flooded();
        let first = withdraw(&mut world, Some(3600));
        let decision = make_another(&mut world);
        assert_eq!(confirmed(&decision), [first.mitigation_id], "its row goes too");
        let told = world.state.newest(first.mitigation_id, Some(&first)).unwrap();
        assert_eq!(told.confirm_by, None, "it no longer promises to come back");
        let why = decision.effects.iter().rev().find_map(|effect| match effect {
            Effect::Mitigation {
                why: Some(_), after, ..
            } => Some(after.mitigation_id),
            _ => None,
        });
        assert_eq!(
            why,
            Some(world.live()[0].mitigation_id),
            "the new one is explained"
        );
        world.pass(seconds(60));
        let second = withdraw(&mut world, confirm_within);
        if confirm_within.is_some() {
            let confirm = ConfirmCommand {
                mitigation: second.mitigation_id,
                expected_revision: None,
                reason: "over".to_owned(),
                actor: "bob".to_owned(),
            };
            world.run(&Command::Confirm(confirm), None);
        }
        assert!(world.state.unconfirmed.is_empty());
        world.pass(seconds(800));
        assert_eq!(world.state.suppressions.len(), 1, "nothing ends it early");
        world.pass(seconds(10_000));
        assert!(world.live().is_empty());
    }
}

#[test]
fn a_ban_or_an_undo_takes_the_place_as_well() {
    let mut world = flooded();
    let oldest = withdraw(&mut world, None);
    undo(&mut world, &oldest).unwrap();
    let waiting = withdraw(&mut world, Some(3600));
    undo(&mut world, &oldest).unwrap();
    assert!(world.state.unconfirmed.is_empty());
    let told = world.state.newest(waiting.mitigation_id, None).unwrap();
    assert_eq!(told.confirm_by, None);

    let waiting = withdraw(&mut world, Some(3600));
    world.pass(seconds(901));
    let decision = world.event(ban("once", "203.0.113.3", "ntp_amplification"));
    assert_eq!(confirmed(&decision), [waiting.mitigation_id]);
    assert_eq!(world.live().len(), 1);
    assert!(world.state.unconfirmed.is_empty());
}

#[test]
fn a_confirmation_is_about_one_of_them() {
    let mut world = flooded();
    let ended = withdraw(&mut world, Some(300));
    let about = |mitigation| Effect::Confirmed {
        scope: ended.scope(),
        mitigation,
    };
    world.state.apply(&[about(MitigationId::new())]);
    assert_eq!(world.state.unconfirmed.len(), 1);
    world.state.apply(&[about(ended.mitigation_id)]);
    assert!(world.state.unconfirmed.is_empty());
}

#[test]
fn a_confirmation_of_another_revision_is_refused() {
    let mut world = flooded();
    let ended = withdraw(&mut world, Some(300));
    let mut confirm = ConfirmCommand {
        mitigation: ended.mitigation_id,
        expected_revision: Some(ended.revision + 1),
        reason: "over".to_owned(),
        actor: "bob".to_owned(),
    };
    let Outcome::Refused(problem) = world.run(&Command::Confirm(confirm.clone()), None).outcome else {
        panic!("it was taken");
    };
    assert_eq!(problem.code, "conflict.revision");
    assert_eq!(world.state.unconfirmed.len(), 1, "it still waits");
    confirm.expected_revision = Some(ended.revision);
    world.run(&Command::Confirm(confirm), None);
    assert!(world.state.unconfirmed.is_empty());
}

/// A policy whose last step lets neighbours without FlowSpec have a blackhole.
fn giving_up() -> Policy {
    let mut policy = policy();
    policy.sources.named.get_mut("once").unwrap().max_action = ActionType::Rtbh;
    last_step(&mut policy).allow_rtbh = true;
    policy
}

fn last_step(policy: &mut Policy) -> &mut Step {
    policy
        .playbooks
        .default
        .as_mut()
        .unwrap()
        .steps
        .last_mut()
        .unwrap()
}

#[test]
fn a_blackhole_comes_back_only_where_it_is_still_allowed() {
    for (allowed, max_action, back) in [
        (true, ActionType::Rtbh, true),
        (false, ActionType::Rtbh, false),
        (true, ActionType::Discard, false),
    ] {
        for confirm_within in [None, Some(600)] {
            let mut world = World::new(giving_up());
            world.event(ban("once", "203.0.113.3", "ntp_amplification"));
            world.pass(seconds(200));
            assert!(world.live()[0].allow_rtbh);
            let ended = withdraw(&mut world, confirm_within);
            // No claim of the source is left by then.
            world.pass(seconds(599));
            last_step(&mut world.policy).allow_rtbh = allowed;
            world.policy.sources.named.get_mut("once").unwrap().max_action = max_action;
            match confirm_within {
                None => drop(undo(&mut world, &ended).unwrap()),
                Some(_) => world.pass(seconds(1)),
            }
            assert_eq!(world.live()[0].allow_rtbh, back, "{allowed} {max_action:?}");
        }
    }
}

#[test]
fn nothing_comes_back_by_itself_that_its_sources_may_not_ask_for() {
    let mut world = flooded();
    world.pass(seconds(200));
    let ended = withdraw(&mut world, Some(600));
    let lowered = world.policy.sources.named.get_mut("once").unwrap();
    lowered.max_action = ActionType::Police;
    world.pass(seconds(600));
    assert!(world.live().is_empty());
    let told = world.state.newest(ended.mitigation_id, None).unwrap();
    assert!(told.notes[0].text.contains("not put back"), "{:?}", told.notes);
    // A person may ask for it.
    undo(&mut world, &told).unwrap();
}

#[test]
fn what_passes_is_waited_for() {
    type Change = fn(&mut World, bool);
    let stop: Change = |world, begins| {
        let state = if begins {
            ControlState::Hold
        } else {
            ControlState::Running
        };
        hold(world, state);
    };
    let trip: Change = |world, begins| {
        let tripped = BreakerTripped {
            tripped_at: world.now,
            neighbors: Vec::new(),
            announced_since: world.now,
            withdrawn: 0,
        };
        world.state.breaker = begins.then(|| Arc::new(tripped));
    };
    let rate: Change = |world, begins| world.policy.quotas.new_pop = if begins { 0 } else { 6 };
    for change in [stop, trip, rate] {
        let mut world = flooded();
        let ended = withdraw(&mut world, Some(300));
        change(&mut world, true);
        world.pass(seconds(1000));
        assert!(world.live().is_empty());
        assert_eq!(world.state.unconfirmed.len(), 1, "it waits");
        let told = world.state.newest(ended.mitigation_id, None).unwrap();
        let waits = world.state.unconfirmed.values().next().unwrap();
        assert_eq!(told.confirm_by, Some(waits.put_back_at), "it says when");
        assert_eq!(waits.ended, *told);
        let [note] = &told.notes[..] else {
            panic!("it is said once: {:?}", told.notes);
        };
        assert!(note.text.contains("not put back yet"), "{}", note.text);
        change(&mut world, false);
        world.pass(seconds(60));
        assert_eq!(world.live()[0].previous_id, Some(ended.mitigation_id));
        assert!(world.state.unconfirmed.is_empty());
        world.check();
    }
}

/// Nothing of it was announced, so nothing can be put back: neither by a person nor because nobody confirmed it.
#[test]
fn what_was_pending_is_never_put_back() {
    let mut world = World::new(super::properties::ladders());
    world.event(ban("once", "203.0.113.3", "ntp_amplification"));
    assert_eq!(world.live()[0].status, MitigationStatus::Pending);
    let ended = withdraw(&mut world, Some(300));
    assert_eq!(ended.status, MitigationStatus::Withdrawn);
    assert_eq!(undo(&mut world, &ended), Err("conflict.ended".to_owned()));
    assert_eq!(world.state.suppressions.len(), 1);
    world.pass(seconds(300));
    assert!(world.live().is_empty() && world.state.unconfirmed.is_empty());
    assert!(world.state.suppressions.is_empty(), "its victim is heard again");
}

/// A withdrawal that nobody stands by leaves nobody without cover for the time of its suppression.
#[test]
fn the_victim_of_what_is_not_put_back_is_heard_again() {
    let mut world = flooded();
    withdraw(&mut world, Some(300));
    world.policy.quotas.per_customer = 0;
    world.pass(seconds(300));
    assert!(world.live().is_empty() && world.state.unconfirmed.is_empty());
    assert!(world.state.suppressions.is_empty());
    world.policy.quotas.per_customer = 3;
    world.event(ban("once", "203.0.113.3", "ntp_amplification"));
    assert_eq!(world.live().len(), 1);
    world.check();
}

/// Nothing is put back over a later word, and that word stays.
#[test]
fn what_was_suppressed_again_since_is_not_put_back_before_that_is_over() {
    for (later, actor) in [(100, "bob"), (0, "anna")] {
        let mut world = flooded();
        let ended = withdraw(&mut world, Some(300));
        let again = SuppressCommand {
            id: SuppressionId::new(),
            scope: ended.scope(),
            time: seconds(1000),
            reason: "a test of the customer's".to_owned(),
            actor: actor.to_owned(),
        };
        world.pass(seconds(later));
        world.run(&Command::Suppress(again.clone()), None);
        world.pass(seconds(999));
        assert!(world.live().is_empty());
        assert_eq!(world.state.suppressions[&ended.scope()].suppression_id, again.id);
        let told = world.state.newest(ended.mitigation_id, None).unwrap();
        let [note] = &told.notes[..] else {
            panic!("it is said once: {:?}", told.notes);
        };
        assert!(
            note.text.contains("not put back yet") && note.text.contains(actor),
            "{}",
            note.text
        );
        world.pass(seconds(62));
        assert_eq!(world.live()[0].previous_id, Some(ended.mitigation_id));
        world.check();
    }
}

/// It did not keep it from being announced: a person wanted it beside that.
#[test]
fn what_was_suppressed_before_is_put_back_all_the_same() {
    let mut world = World::new(policy());
    let scope = Scope {
        victim: "203.0.113.3".parse().unwrap(),
        vector: "ntp_amplification".into(),
    };
    let before = SuppressCommand {
        id: SuppressionId::new(),
        scope: scope.clone(),
        time: seconds(10_000),
        reason: "a test of the customer's".to_owned(),
        actor: "carl".to_owned(),
    };
    world.run(&Command::Suppress(before), None);
    let request = MitigationRequest {
        victim_ip: "203.0.113.3".to_owned(),
        vector: Some("ntp_amplification".to_owned()),
        ttl_seconds: Some(3_000),
        dst_ports: [123].into_iter().collect(),
        protocol: Some(17),
        reason: "it is one".to_owned(),
        ..MitigationRequest::default()
    };
    let create = CreateCommand {
        ids: FreshIds::new(),
        victim: scope.victim,
        request,
        actor: "anna".to_owned(),
    };
    world.run(&Command::Create(Box::new(create)), None);
    let withdraw = WithdrawCommand {
        ids: FreshIds::new(),
        mitigation: world.live()[0].mitigation_id,
        reason: "no attack".to_owned(),
        suppress: Some(seconds(0)),
        confirm_within: Some(seconds(60)),
        expected_revision: None,
        actor: "anna".to_owned(),
    };
    world.pass(seconds(1));
    world.run(&Command::Withdraw(withdraw), None);
    assert!(world.live().is_empty());
    world.pass(seconds(60));
    assert_eq!(world.live().len(), 1);
    world.check();
}

/// The name is not in what was kept before it was.
#[test]
fn what_was_withdrawn_before_suppressions_were_named_is_put_back() {
    let mut world = flooded();
    withdraw(&mut world, Some(60));
    let waits = world.state.unconfirmed.values().next().unwrap();
    let mut kept = serde_json::to_value(&**waits).unwrap();
    kept.as_object_mut().unwrap().remove("suppression").unwrap();
    let waits = Arc::new(serde_json::from_value(kept).unwrap());
    world.state.apply(&[Effect::Unconfirmed(waits)]);
    world.pass(seconds(60));
    assert_eq!(world.live().len(), 1);
}

/// Claims that died while nobody looked say nothing of what begins then.
#[test]
fn what_is_put_back_later_is_not_as_sure_as_it_was() {
    let mut world = flooded();
    withdraw(&mut world, Some(100_000));
    let scope = world.state.unconfirmed.keys().next().unwrap().clone();
    world.now = world.now.saturating_add(seconds(100_000));
    world.run(&Command::Due(scope.clone()), Some(&scope));
    assert_eq!(world.live().len(), 1);
    let group = world.state.group(&scope).unwrap();
    assert_eq!((group.claims.len(), group.confidence), (0, None));
}

/// The playbook asks for two sources from now on.
fn two_sources(world: &mut World) {
    let playbook = world.policy.playbooks.default.as_mut().unwrap();
    playbook.steps[0].sources = 2;
}

#[test]
fn what_is_pending_takes_no_place_until_it_is_announced() {
    let mut world = flooded();
    let waiting = withdraw(&mut world, Some(3600));
    two_sources(&mut world);
    world.pass(seconds(901));
    let decision = world.event(ban("once", "203.0.113.3", "ntp_amplification"));
    assert_eq!(world.live()[0].status, MitigationStatus::Pending);
    assert!(confirmed(&decision).is_empty(), "nothing filters the victim yet");
    assert_eq!(world.state.unconfirmed.len(), 1);
    let decision = world.event(ban("blind", "203.0.113.3", "ntp_amplification"));
    assert_eq!(world.live()[0].status, MitigationStatus::Active);
    assert_eq!(confirmed(&decision), [waiting.mitigation_id]);
    assert!(world.state.unconfirmed.is_empty());
}

#[test]
fn what_is_put_back_or_undone_comes_before_what_is_pending() {
    for by_hand in [false, true] {
        let mut world = flooded();
        let ended = withdraw(&mut world, Some(1000));
        two_sources(&mut world);
        world.pass(seconds(901));
        world.event(ban("once", "203.0.113.3", "ntp_amplification"));
        let pending = world.live()[0].clone();
        assert_eq!(pending.status, MitigationStatus::Pending);
        if by_hand {
            undo(&mut world, &ended).unwrap();
        } else {
            world.pass(seconds(100));
        }
        let live = world.live();
        assert_eq!(live.len(), 1);
        assert_eq!(
            (live[0].status, live[0].previous_id, live[0].promoted_at),
            (MitigationStatus::Active, Some(ended.mitigation_id), None)
        );
        assert!(world.state.unconfirmed.is_empty());
    }
}

/// Nobody has to look at it first: what is claimed is evidence from its beginning on, and says how sure it is.
#[test]
fn what_is_undone_stands_on_what_is_claimed_now() {
    let reported = |source: &str, confidence: f64| EventRequest {
        confidence: Some(confidence),
        ..ban(source, "203.0.113.3", "ntp_amplification")
    };
    for on_trial in [false, true] {
        let mut policy = policy();
        policy.playbooks.default.as_mut().unwrap().enforce = !on_trial;
        let mut world = World::new(policy);
        world.event(reported("once", 0.1));
        let ended = withdraw(&mut world, None);
        world.event(reported("other", 0.9));
        let made = undo(&mut world, &ended).unwrap();
        assert_eq!((made.enforced, made.confidence), (!on_trial, Some(0.91)));
        world.pass(seconds(120));
        assert_eq!(world.live()[0].step, 2, "on trial: {on_trial}");
    }
}
