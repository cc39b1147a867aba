//! Prefixes and sources whose bans are stored and not acted on.

use super::super::command::{SuppressWide, UnsuppressCommand};
use super::*;
use crate::policy::WithdrawCommand;
use prefixd_api::ids::SuppressionId;
use prefixd_api::mitigation::WideSuppression;

const VICTIM: &str = "203.0.113.9";
const OTHER: &str = "203.0.113.70";

/// What is suppressed for ten minutes: prefix, vector, source.
type What = (Option<&'static str>, Option<&'static str>, Option<&'static str>);

fn suppress(world: &mut World, (prefix, vector, source): What) -> (Arc<WideSuppression>, u64) {
    let command = SuppressWide {
        id: SuppressionId::new(),
        prefix: prefix.map(|text| text.parse().unwrap()),
        vector: vector.map(str::to_owned),
        source: source.map(str::to_owned),
        time: seconds(600),
        reason: "game night".to_owned(),
        actor: "token:noc".to_owned(),
    };
    match world.run(&Command::SuppressWide(command), None).outcome {
        Outcome::WideSuppressed { suppression, live } => (suppression, live),
        other => panic!("{other:?}"),
    }
}

fn reported(world: &mut World, source: &str, victim: &str, vector: &str) -> (EventOutcome, String) {
    match world.event(ban(source, victim, vector)).outcome {
        Outcome::Event { answer, .. } => (answer.status, answer.reason),
        other => panic!("{other:?}"),
    }
}

#[test]
fn bans_of_what_is_suppressed_begin_nothing() {
    let net = Some("203.0.113.0/26");
    for (what, source, victim, vector, is_suppressed) in [
        ((net, None, None), "once", VICTIM, "ntp_amplification", true),
        ((net, None, None), "once", OTHER, "ntp_amplification", false),
        (
            (net, Some("ntp_amplification"), None),
            "once",
            VICTIM,
            "ntp_amplification",
            true,
        ),
        (
            (net, Some("ntp_amplification"), None),
            "once",
            VICTIM,
            "udp_flood",
            false,
        ),
        ((net, None, Some("once")), "once", VICTIM, "udp_flood", true),
        ((net, None, Some("once")), "blind", VICTIM, "udp_flood", false),
        ((net, None, Some("once")), "once", OTHER, "udp_flood", false),
        ((None, None, Some("once")), "once", OTHER, "udp_flood", true),
        ((None, None, Some("once")), "blind", OTHER, "udp_flood", false),
        (
            (None, Some("udp_flood"), Some("once")),
            "once",
            OTHER,
            "udp_flood",
            true,
        ),
        (
            (None, Some("udp_flood"), Some("once")),
            "once",
            OTHER,
            "ntp_amplification",
            false,
        ),
        (
            (Some("2001:db8:acce::/48"), None, None),
            "once",
            "2001:db8:acce::1",
            "udp_flood",
            true,
        ),
        (
            (Some("2001:db8:acce::/48"), None, None),
            "once",
            VICTIM,
            "udp_flood",
            false,
        ),
    ] {
        let mut world = World::new(policy());
        suppress(&mut world, what);
        let (outcome, reason) = reported(&mut world, source, victim, vector);
        let expected = if is_suppressed {
            EventOutcome::Suppressed
        } else {
            EventOutcome::Accepted
        };
        assert_eq!(outcome, expected, "{what:?} {source} {victim} {vector}: {reason}");
        assert_eq!(world.live().is_empty(), is_suppressed);
        if is_suppressed {
            assert!(
                reason.contains("token:noc suppressed") && reason.contains("game night"),
                "{reason}"
            );
        }
    }
}

#[test]
fn it_ends_to_the_microsecond_and_its_end_is_recorded() {
    let mut world = World::new(policy());
    let (made, _) = suppress(&mut world, (Some("203.0.113.0/26"), None, None));
    let end = made.expires_at;
    world.now = Timestamp::from_micros(end.as_micros() - 1);
    let early = world.run(&Command::Lapsed, None);
    assert!(early.effects.is_empty());
    assert_eq!(
        reported(&mut world, "once", VICTIM, "udp_flood").0,
        EventOutcome::Suppressed
    );
    world.now = end;
    assert_eq!(
        reported(&mut world, "once", VICTIM, "udp_flood").0,
        EventOutcome::Accepted,
        "also before the end is recorded"
    );
    let over = world.run(&Command::Lapsed, None);
    assert!(
        matches!(&over.effects[..], [Effect::WideUnsuppressed { actor, .. }] if actor == crate::journal::DAEMON)
    );
    assert!(world.state.wide_suppressions.is_empty());
    assert!(world.run(&Command::Lapsed, None).effects.is_empty());
}

#[test]
fn a_person_ends_it_once() {
    let mut world = World::new(policy());
    let (made, _) = suppress(&mut world, (None, None, Some("once")));
    let end = Command::Unsuppress(UnsuppressCommand {
        id: made.suppression_id,
        actor: "token:noc".to_owned(),
    });
    assert!(matches!(world.run(&end, None).outcome, Outcome::Unsuppressed));
    assert_eq!(
        reported(&mut world, "once", VICTIM, "udp_flood").0,
        EventOutcome::Accepted
    );
    let again = world.run(&end, None);
    assert!(matches!(&again.outcome, Outcome::Refused(problem) if problem.code == "not_found"));
}

#[test]
fn said_again_of_the_same_the_last_word_counts() {
    let mut world = World::new(policy());
    let what = (Some("203.0.113.0/26"), Some("udp_flood"), None);
    let (first, _) = suppress(&mut world, what);
    world.now = world.now.saturating_add(seconds(300));
    let (second, _) = suppress(&mut world, what);
    suppress(&mut world, (Some("203.0.113.0/26"), None, None));
    let kept: Vec<_> = world.state.wide_suppressions.keys().copied().collect();
    assert_eq!(kept.len(), 2);
    assert!(kept.contains(&second.suppression_id) && !kept.contains(&first.suppression_id));
}

#[test]
fn there_are_never_so_many_that_each_ban_waits_for_them() {
    let mut world = World::new(policy());
    for last in 0..100 {
        let prefix: &'static str = Box::leak(format!("203.0.113.{last}/32").into_boxed_str());
        suppress(&mut world, (Some(prefix), None, None));
    }
    let command = SuppressWide {
        id: SuppressionId::new(),
        prefix: None,
        vector: None,
        source: Some("once".to_owned()),
        time: seconds(600),
        reason: "one more".to_owned(),
        actor: "token:noc".to_owned(),
    };
    let refused = world.run(&Command::SuppressWide(command.clone()), None);
    assert!(matches!(&refused.outcome, Outcome::Refused(problem) if problem.code == "request.field"));
    suppress(&mut world, (Some("203.0.113.7/32"), None, None));
    world.now = world.now.saturating_add(seconds(601));
    let made = world.run(&Command::SuppressWide(command), None);
    assert!(
        matches!(made.outcome, Outcome::WideSuppressed { .. }),
        "those that are over take no place"
    );
}

#[test]
fn what_is_live_goes_on_and_is_counted() {
    let mut world = World::new(policy());
    world.event(ban("once", VICTIM, "ntp_amplification"));
    let before = world.live()[0].expires_at;
    let net = Some("203.0.113.0/26");
    for (what, live) in [
        ((net, None, None), 1),
        ((net, Some("udp_flood"), None), 0),
        ((None, None, Some("once")), 1),
        ((None, None, Some("blind")), 0),
        ((Some("198.51.100.0/24"), None, None), 0),
    ] {
        assert_eq!(suppress(&mut world.again(), what).1, live, "{what:?}");
    }
    suppress(&mut world, (net, None, None));
    world.now = world.now.saturating_add(seconds(60));
    let (outcome, _) = reported(&mut world, "once", VICTIM, "ntp_amplification");
    assert_eq!(
        outcome,
        EventOutcome::Extended,
        "as after a withdrawal, reports attach to it"
    );
    assert!(world.live()[0].expires_at > before);
    assert_eq!(
        reported(&mut world, "once", VICTIM, "udp_flood").0,
        EventOutcome::Suppressed
    );
}

/// Otherwise a detector that is wrong about a prefix would hold what others began.
#[test]
fn a_source_that_is_suppressed_holds_nothing_and_takes_back_what_it_may() {
    let mut world = World::new(policy());
    world.event(ban("once", VICTIM, "ntp_amplification"));
    suppress(&mut world, (None, None, Some("blind")));
    let (outcome, _) = reported(&mut world, "blind", VICTIM, "ntp_amplification");
    assert_eq!(outcome, EventOutcome::Suppressed);
    assert_eq!(world.live()[0].claims.len(), 1);
    suppress(&mut world, (None, None, Some("once")));
    let cleared = world.event(unban("once", VICTIM, "ntp_amplification"));
    let Outcome::Event { answer, .. } = cleared.outcome else {
        panic!()
    };
    assert_eq!(answer.status, EventOutcome::Ending, "removing needs nothing");
}

/// It would begin by the next report, which is what nobody wants.
#[test]
fn what_is_pending_is_not_confirmed_by_what_is_suppressed() {
    let mut world = World::new(policy());
    world.policy.playbooks.default.as_mut().unwrap().steps[0].sources = 2;
    world.event(ban("once", VICTIM, "ntp_amplification"));
    assert_eq!(world.live()[0].status, MitigationStatus::Pending);
    suppress(&mut world, (Some("203.0.113.0/26"), None, None));
    let (outcome, _) = reported(&mut world, "blind", VICTIM, "ntp_amplification");
    assert_eq!(outcome, EventOutcome::Suppressed);
    assert_eq!(world.live()[0].status, MitigationStatus::Pending);
    world.pass(seconds(400));
    assert!(world.live().is_empty());
}

#[test]
fn what_is_on_trial_is_not_exchanged_for_what_is_enforced() {
    let mut world = World::new(policy());
    world.event(ban("trial", VICTIM, "ntp_amplification"));
    suppress(&mut world, (Some("203.0.113.0/26"), None, None));
    let (outcome, _) = reported(&mut world, "once", VICTIM, "ntp_amplification");
    assert_eq!(outcome, EventOutcome::Suppressed);
    assert!(world.live().iter().all(|live| !live.enforced));
    assert_eq!(
        reported(&mut world, "trial", VICTIM, "ntp_amplification").0,
        EventOutcome::Suppressed,
        "the enforced source claims it still, so that this would exchange it, too"
    );
}

/// Nor does the daemon put back in it what nobody confirmed, before it is over.
#[test]
fn what_nobody_confirmed_waits_for_its_end() {
    let mut world = World::new(policy());
    reported(&mut world, "once", VICTIM, "udp_flood");
    let command = WithdrawCommand {
        ids: FreshIds::new(),
        mitigation: world.live()[0].mitigation_id,
        reason: "no attack".to_owned(),
        suppress: None,
        confirm_within: Some(seconds(60)),
        expected_revision: None,
        actor: "anna".to_owned(),
    };
    world.run(&Command::Withdraw(command), None);
    suppress(&mut world, (Some("203.0.113.0/26"), None, None));
    world.pass(seconds(599));
    assert!(world.live().is_empty());
    world.pass(seconds(62));
    assert_eq!(world.live().len(), 1);
    world.check();
}

#[test]
fn operators_pass_it() {
    let mut world = World::new(policy());
    suppress(&mut world, (Some("203.0.113.0/26"), None, None));
    let create = asked(
        VICTIM,
        ActionType::Police,
        "dst 203.0.113.9/32 proto udp sport 123",
    );
    let made = world.run(&Command::Create(Box::new(create)), None);
    assert!(matches!(made.outcome, Outcome::Created(_)));
    world.check();
}

#[test]
fn the_end_of_an_entry_of_the_safelist_is_recorded_once() {
    let mut world = World::new(policy());
    let protect = SafelistAdd {
        prefix: "203.0.113.3/32".parse().unwrap(),
        reason: "a resolver".to_owned(),
        expires_at: Some(world.now.saturating_add(seconds(100))),
        expect_count: None,
        actor: "anna".to_owned(),
    };
    world.run(&Command::SafelistAdd(protect), None);
    world.now = world.now.saturating_add(seconds(99));
    assert!(world.run(&Command::Lapsed, None).effects.is_empty());
    world.now = world.now.saturating_add(seconds(1));
    let over = world.run(&Command::Lapsed, None);
    assert!(matches!(&over.effects[..], [Effect::SafelistForgotten { .. }]));
    assert!(world.state.safelist.is_empty());
    assert!(world.run(&Command::Lapsed, None).effects.is_empty());
}
