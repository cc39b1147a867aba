//! Every path that keeps a rule on the routers, or puts one there, asks the same guardrails: whatever came between, and
//! whether or not it was judged since.

use super::super::command::{AdjustCommand, ExtendCommand, SetControl, UndoCommand, WithdrawCommand};
use super::super::flows::ProtectedFlow;
use super::*;
use prefixd_api::control::ControlState;
use prefixd_api::guardrail::Guardrail;
use prefixd_api::operation::AdjustRequest;

const VICTIM: &str = "203.0.113.3";

type Change = fn(&mut World);
type Path = fn(&mut World, &Mitigation) -> Decision;

/// What changes after the rules are live, and who has a word against them then.
const CHANGES: [(Guardrail, Change); 5] = [
    (Guardrail::Safelist, |world| {
        world.policy.safelist.add(SafelistEntry {
            prefix: "203.0.113.0/28".parse().unwrap(),
            reason: "routers".to_owned(),
            origin: SafelistOrigin::Config,
            created_by: None,
            created_at: None,
            expires_at: None,
        });
    }),
    (Guardrail::Ownership, |world| {
        world.policy.inventory = Inventory::default();
    }),
    (Guardrail::PrefixLength, |world| {
        world.policy.limits.min_length_v4 = 33;
    }),
    (Guardrail::ProtectedFlow, |world| {
        world.policy.protected.push(ProtectedFlow {
            name: "voice".to_owned(),
            dst: "203.0.113.0/28".parse().ok(),
            src: None,
            protocols: [protocol::UDP].into(),
            dst_ports: Ranges::default(),
            src_ports: Ranges::default(),
        });
    }),
    (Guardrail::Panic, |world| {
        let command = SetControl {
            scope: "pop".parse().unwrap(),
            state: ControlState::Panic,
            actor: "token:noc".to_owned(),
            reason: "INC-4711".to_owned(),
            expected_revision: None,
            said: 0,
            in_force_since: None,
        };
        world.run(&Command::Control(command), None);
    }),
];

fn flood() -> EventRequest {
    EventRequest {
        top_dst_ports: vec![27015],
        ..ban("once", VICTIM, "udp_flood")
    }
}

fn create(world: &mut World, replace: bool) -> Decision {
    let request = MitigationRequest {
        victim_ip: VICTIM.to_owned(),
        vector: Some("udp_flood".to_owned()),
        replace,
        reason: "now".to_owned(),
        ..MitigationRequest::default()
    };
    let command = CreateCommand {
        ids: FreshIds::new(),
        victim: VICTIM.parse().unwrap(),
        request,
        actor: "anna".to_owned(),
    };
    world.run(&Command::Create(Box::new(command)), None)
}

/// A name, and what is asked of a world with one live mitigation.
const PATHS: [(&str, Path); 7] = [
    ("report", |world, _| world.event(flood())),
    ("create", |world, _| create(world, true)),
    ("extend", |world, live| {
        let command = ExtendCommand {
            mitigation: live.mitigation_id,
            ttl: seconds(600),
            reason: "INC-4711".to_owned(),
            expected_revision: None,
            actor: "anna".to_owned(),
        };
        world.run(&Command::Extend(command), None)
    }),
    ("adjust", |world, live| {
        let request = AdjustRequest {
            rate_bps: Some(BitsPerSecond(2_000_000)),
            reason: "INC-4711".to_owned(),
            ..AdjustRequest::default()
        };
        let command = AdjustCommand {
            mitigation: live.mitigation_id,
            request,
            actor: "anna".to_owned(),
        };
        world.run(&Command::Adjust(Box::new(command)), None)
    }),
    ("deadline of a step", |world, live| {
        world.now = world.now.saturating_add(seconds(121));
        world.run(&Command::Due(live.scope()), Some(&live.scope()))
    }),
    ("deadline of a lease", |world, live| {
        world.now = live.expires_at.saturating_sub(seconds(1));
        world.run(&Command::Due(live.scope()), Some(&live.scope()))
    }),
    ("reload or start", |world, live| {
        world.run(&Command::Judge(live.scope()), Some(&live.scope()))
    }),
];

#[test]
fn no_path_keeps_or_makes_what_a_guardrail_is_against() {
    for (guardrail, change) in CHANGES {
        for (path, take) in PATHS {
            let mut world = World::new(policy());
            world.event(flood());
            let live = world.live()[0].clone();
            change(&mut world);
            let decision = take(&mut world, &live);
            assert_eq!(decision.refused, [guardrail], "{path}");
            if let Some(now) = world.live().first() {
                assert_eq!(
                    now.expires_at, live.expires_at,
                    "{path} {guardrail}: it lasts longer"
                );
                assert_eq!(
                    now.rules, live.rules,
                    "{path} {guardrail}: it does something else"
                );
            }
        }
    }
}

#[test]
fn nothing_comes_back_against_a_guardrail() {
    for (guardrail, change) in CHANGES {
        let mut world = World::new(policy());
        world.event(flood());
        let withdraw = WithdrawCommand {
            ids: FreshIds::new(),
            mitigation: world.live()[0].mitigation_id,
            reason: "test".to_owned(),
            suppress: None,
            confirm_within: None,
            expected_revision: None,
            actor: "anna".to_owned(),
        };
        let Outcome::Withdrawn(ended) = world.run(&Command::Withdraw(withdraw), None).outcome else {
            panic!("withdrawn")
        };
        change(&mut world);
        let undo = UndoCommand {
            ids: FreshIds::new(),
            ended,
            reason: "test".to_owned(),
            expected_revision: None,
            actor: "anna".to_owned(),
        };
        assert_eq!(world.run(&Command::Undo(undo), None).refused, [guardrail], "undo");
        assert_eq!(create(&mut world, false).refused, [guardrail], "create");
        assert!(world.live().is_empty());
    }
}

/// What a report begins on another's word counts against whose word it is.
#[test]
fn one_on_trial_does_not_lend_its_rate() {
    let mut world = World::new(policy());
    world.policy.quotas.new_source = 1;
    world.event(ban("once", VICTIM, "ntp_amplification"));
    let other = "203.0.113.5";
    for source in ["once", "trial"] {
        let decision = world.event(ban(source, other, "ntp_amplification"));
        let Outcome::Event { answer, .. } = &decision.outcome else {
            panic!("{:?}", decision.outcome)
        };
        assert_eq!(answer.status, EventOutcome::RejectedGuardrail, "{source}");
        assert_eq!(decision.refused, [Guardrail::RateOfChange], "{source}");
    }
    assert_eq!(world.live().len(), 1);
}
