//! What is decided and not announced, beside what is.

use super::properties::ladders;
use super::*;

const VICTIM: &str = "203.0.113.3";

fn reported(world: &mut World, source: &str) -> EventOutcome {
    let request = EventRequest {
        top_dst_ports: vec![1000],
        confidence: Some(0.9),
        ..ban(source, VICTIM, "udp_flood")
    };
    match world.event(request).outcome {
        Outcome::Event { answer, .. } => answer.status,
        other => panic!("{other:?}"),
    }
}

/// The source "other" is enforced and starts nothing: it says the same as one on trial.
#[test]
fn who_starts_nothing_ends_no_trial() {
    let mut world = World::new(ladders());
    assert_eq!(reported(&mut world, "trial"), EventOutcome::Accepted);
    let id = world.live()[0].mitigation_id;
    assert_eq!(reported(&mut world, "other"), EventOutcome::Extended);
    assert_eq!(reported(&mut world, "trial"), EventOutcome::Extended);
    let scope = world.live()[0].scope();
    world.run(&Command::Judge(scope.clone()), Some(&scope));
    let live = world.live()[0];
    assert_eq!(
        (live.mitigation_id, live.enforced, live.claims.len()),
        (id, false, 2)
    );
    // One that could have started it makes a real one.
    assert_eq!(reported(&mut world, "once"), EventOutcome::Accepted);
    let live = world.live()[0];
    assert!(live.enforced && live.mitigation_id != id);
    world.check();
}

#[test]
fn what_is_announced_goes_on_with_one_who_starts_nothing() {
    let mut world = World::new(ladders());
    reported(&mut world, "once");
    reported(&mut world, "other");
    world.event(unban("once", VICTIM, "udp_flood"));
    let scope = world.live()[0].scope();
    world.run(&Command::Judge(scope.clone()), Some(&scope));
    assert!(world.live()[0].enforced);
}

#[test]
fn what_waits_goes_on_waiting_with_one_who_starts_nothing() {
    let mut policy = ladders();
    policy.playbooks.ordered[1].steps[0].sources = 3;
    let mut world = World::new(policy);
    assert_eq!(reported(&mut world, "once"), EventOutcome::AcceptedPending);
    let id = world.live()[0].mitigation_id;
    assert_eq!(reported(&mut world, "other"), EventOutcome::AcceptedPending);
    world.event(unban("once", VICTIM, "udp_flood"));
    assert_eq!(reported(&mut world, "other"), EventOutcome::AcceptedPending);
    let live = world.live()[0];
    assert_eq!((live.mitigation_id, live.status), (id, MitigationStatus::Pending));
    world.check();
}

#[test]
fn what_waits_on_trial_leaves_its_place_to_what_takes_it() {
    let mut policy = ladders();
    policy.quotas.per_customer = 1;
    policy.quotas.per_pop = 1;
    policy.playbooks.ordered[1].steps[0].sources = 2;
    let mut world = World::new(policy);
    assert_eq!(reported(&mut world, "trial"), EventOutcome::AcceptedPending);
    assert!(!world.live()[0].enforced);
    assert_eq!(reported(&mut world, "once"), EventOutcome::AcceptedPending);
    let live = world.live()[0];
    assert!(live.enforced && live.status == MitigationStatus::Pending);
    world.check();
}
