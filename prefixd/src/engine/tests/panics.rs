//! A decision that panics costs its own command alone.

use super::*;
use crate::engine::batch::{Batch, Work};
use crate::journal::Head;
use crate::policy::SafelistAdd;
use crate::policy::{Decision, Effect, Outcome, State};
use crate::store::tests::fixture::{Attack, START, host};
use prefixd_api::mitigation::{EndReason, MitigationStatus, Scope};
use prefixd_api::resource::{SafelistEntry, SafelistOrigin};

fn protect(prefix: &str) -> Decision {
    let entry = SafelistEntry {
        prefix: prefix.parse().unwrap(),
        reason: "a router".to_owned(),
        origin: SafelistOrigin::Api,
        created_by: Some("anna".to_owned()),
        created_at: Some(START),
        expires_at: None,
    };
    Decision {
        outcome: Outcome::Settled,
        effects: vec![Effect::SafelistAdded(Arc::new(entry))],
        refused: Vec::new(),
    }
}

fn work(command: Command) -> (Work, Told) {
    let (reply, told) = oneshot::channel();
    let reply = Some(Reply::Plain(reply));
    (Work { command, reply }, told)
}

#[test]
fn the_others_of_its_batch_are_committed_and_the_journal_has_no_gap() {
    let head = Head {
        seq: 41,
        hash: [7; 32],
    };
    let mut batch = Batch::new(&State::default(), POP.into(), head, START);
    let mut callers = Vec::new();
    for (index, last) in [10, 11, 12].into_iter().enumerate() {
        let (work, told) = work(ban(last));
        let is_sound = batch.decide_by(work, |state, _, _| {
            assert_eq!(state.safelist.len(), index.min(1), "it sees what came before");
            assert!(last != 11, "a defect");
            protect(&format!("203.0.113.{last}/32"))
        });
        assert_eq!(is_sound, last != 11);
        callers.push(told);
    }
    let sealed = batch.seal();
    assert_eq!(sealed.working.safelist.len(), 2);
    let entries = &sealed.content.entries;
    assert_eq!(
        entries.iter().map(|entry| entry.seq).collect::<Vec<_>>(),
        [42, 43]
    );
    assert_eq!(
        (entries[0].previous_hash, entries[1].previous_hash),
        (head.hash, entries[0].hash)
    );
    assert_eq!((sealed.head.seq, sealed.head.hash), (43, entries[1].hash));
    for item in sealed.items {
        item.answer(43);
    }
    let told: Vec<_> = callers.iter_mut().map(|told| told.try_recv().unwrap()).collect();
    assert!(matches!(told[..], [Ok(_), Err(SubmitError::Defect), Ok(_)]));
}

#[test]
fn a_rule_that_cannot_be_judged_ends() {
    let attack = Attack::new(host(1), "udp_flood", START);
    let mut state = State::default();
    state.restore(Arc::clone(&attack.mitigation));
    let judge = |state: &State, panics: bool| {
        let mut batch = Batch::new(state, POP.into(), Head::default(), START);
        let command = Command::Judge(Scope {
            victim: attack.mitigation.victim_ip,
            vector: "udp_flood".into(),
        });
        let work = Work { command, reply: None };
        batch.decide_by(work, |_, _, _| {
            assert!(!panics, "a defect");
            Decision {
                outcome: Outcome::Settled,
                effects: Vec::new(),
                refused: Vec::new(),
            }
        });
        batch.seal()
    };
    assert_eq!(judge(&state, false).working.mitigations.len(), 1);
    let sealed = judge(&state, true);
    assert!(sealed.working.mitigations.is_empty());
    let [Effect::Mitigation { after, .. }] = &sealed.content.effects[..] else {
        panic!("{:?}", sealed.content.effects)
    };
    assert_eq!(
        (after.status, after.end_reason.clone()),
        (MitigationStatus::Withdrawn, Some(EndReason::Defect))
    );
    assert_eq!(sealed.content.entries.len(), 1, "and the journal says so");
}

on_both_stores! {
    a_defect_is_counted_and_costs_its_command_alone
}

async fn a_defect_is_counted_and_costs_its_command_alone(place: Place) {
    let mut bench = Bench::new(place).await;
    bench.engine.start().await.unwrap();
    let config = Config::from_texts(SETTINGS, INVENTORY, PLAYBOOKS).unwrap();
    let policy = Policy::compile(&config, &Implicit::default());
    bench.engine.parts.policy = Arc::new(policy.broken());
    let metrics = Arc::clone(&bench.engine.parts.metrics);
    assert_eq!(metrics.defects.get(), 0);
    let mut caller = bench.ban(10);
    let mut other = bench.ask(Command::SafelistAdd(SafelistAdd {
        prefix: "203.0.113.11/32".parse().unwrap(),
        reason: "a router".to_owned(),
        expires_at: None,
        expect_count: None,
        actor: "token:noc".to_owned(),
    }));
    bench.finish().await;
    assert_eq!(told(&mut caller), failed(&SubmitError::Defect));
    assert!(other.try_recv().unwrap().is_ok(), "it was in the same batch");
    assert_eq!(metrics.defects.get(), 1);
    bench.assert_durable().await;

    bench.engine.parts.policy = Arc::new(Policy::compile(&config, &Implicit::default()));
    let mut again = bench.ban(10);
    bench.finish().await;
    assert_eq!(told(&mut again), accepted(), "and the engine goes on");
    assert_eq!(metrics.defects.get(), 1);
}
