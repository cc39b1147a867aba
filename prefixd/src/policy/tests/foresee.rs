//! What withdrawing would come to.

use super::super::command::WithdrawCommand;
use super::super::{Foreseen, foresee_withdrawal};
use super::*;

fn foresee(world: &World, suppress: Option<u64>) -> Foreseen {
    let command = WithdrawCommand {
        ids: FreshIds::new(),
        mitigation: world.live()[0].mitigation_id,
        reason: "preview".to_owned(),
        suppress: suppress.map(seconds),
        confirm_within: None,
        expected_revision: None,
        actor: "anna".to_owned(),
    };
    foresee_withdrawal(
        &world.state,
        &world.policy,
        &command,
        world.now,
        &Facts::default(),
    )
    .unwrap()
}

#[test]
fn the_next_report_brings_it_back_unless_it_is_suppressed() {
    let mut world = World::new(policy());
    world.event(ban("once", "203.0.113.3", "ntp_amplification"));
    let back = |foreseen: &Foreseen| {
        let told = |reports: &[prefixd_api::preview::NextReport]| {
            reports
                .iter()
                .map(|one| (one.outcome.clone(), one.comes_back))
                .collect::<Vec<_>>()
        };
        (told(&foreseen.next), told(&foreseen.later))
    };
    let at_once = foresee(&world, Some(0));
    assert_eq!(at_once.suppressed_until, None);
    assert_eq!(back(&at_once), (vec![(EventOutcome::Accepted, true)], vec![]));
    // Its claim lives 300 s.
    let soon = foresee(&world, Some(100));
    assert_eq!(
        soon.suppressed_until,
        Some(world.now.saturating_add(seconds(100)))
    );
    assert_eq!(
        back(&soon),
        (
            vec![(EventOutcome::Suppressed, false)],
            vec![(EventOutcome::Accepted, true)]
        )
    );
    let late = foresee(&world, Some(1000));
    assert_eq!(back(&late), (vec![(EventOutcome::Suppressed, false)], vec![]));
    assert_eq!(world.live().len(), 1, "nothing was done");
    // A guardrail would keep it away.
    world.policy.quotas.per_pop = 0;
    assert_eq!(
        back(&foresee(&world, Some(0))).0,
        [(EventOutcome::RejectedGuardrail, false)]
    );
}

#[test]
fn what_is_left_is_told() {
    let mut world = World::new(policy());
    world.event(ban("once", "203.0.113.3", "ntp_amplification"));
    world.event(ban("once", "203.0.113.5", "ntp_amplification"));
    assert!(
        foresee(&world, None).cover.is_empty(),
        "another address is no cover"
    );
    let all_udp = asked("203.0.113.3", ActionType::Police, "dst 203.0.113.3/32 proto udp");
    world.run(&Command::Create(Box::new(all_udp)), None);
    let cover = foresee(&world, None).cover;
    assert_eq!(cover.len(), 1);
    assert!(cover[0].takes_all, "{cover:?}");
    assert!(foresee(&world, None).live.claims.len() == 1);
}
