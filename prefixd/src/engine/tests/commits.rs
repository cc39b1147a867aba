//! One commit is under way, the next batch is decided on top of it: who is told what, and when.

use super::*;
use crate::engine::Reload;
use futures_util::FutureExt;

on_both_stores!(what_is_on_its_way_is_told_and_announced_by_nobody
                a_replay_of_what_is_being_committed_is_told_after_it
                a_culprit_fails_alone_and_what_was_decided_on_top_survives
                a_failed_commit_takes_what_was_decided_on_top_along
                a_commit_in_doubt_that_did_not_happen_is_refused
                a_commit_in_doubt_that_happened_is_told
                who_cannot_be_told_is_told_that_nothing_is_known
                whoever_waits_for_an_engine_that_is_gone_hears_that_nothing_is_known
                a_reload_is_a_barrier
                a_reload_that_cannot_be_recorded_changes_nothing
                the_store_is_found_to_work_again_by_itself);

async fn what_is_on_its_way_is_told_and_announced_by_nobody(place: Place) {
    let mut bench = Bench::new(place).await;
    let mut first = bench.ban(10);
    bench.decide().await;
    let mut second = bench.ban(11);
    bench.decide().await;
    assert!(bench.engine.commit.is_some() && bench.engine.draft.is_some());
    assert!(waits(&mut first) && waits(&mut second));
    assert!(bench.live().is_empty() && bench.announced().is_empty());

    bench.committed().await;
    assert_eq!(told(&mut first), accepted());
    assert!(waits(&mut second));
    assert_eq!((bench.live(), bench.announced()), ([10].into(), [10].into()));

    bench.committed().await;
    assert_eq!(told(&mut second), accepted());
    assert_eq!(bench.announced(), [10, 11].into());
    bench.assert_durable().await;
}

fn named(last: u8) -> Command {
    event(EventRequest {
        event_id: Some("fnm-1".into()),
        timestamp: Some(Timestamp::wall_clock().saturating_sub(Duration::from_secs(1))),
        ..report(last)
    })
}

/// The command again, as a detector that got no answer sends it.
fn again(command: &Command) -> Command {
    let Command::Event(command) = command else {
        panic!("{command:?}")
    };
    let mut command = command.clone();
    command.ids = FreshIds::new();
    Command::Event(command)
}

async fn a_replay_of_what_is_being_committed_is_told_after_it(place: Place) {
    let mut bench = Bench::new(place).await;
    let command = named(10);
    let mut first = bench.ask(command.clone());
    bench.decide().await;
    let mut replay = bench.ask(again(&command));
    bench.decide().await;
    assert!(waits(&mut first) && waits(&mut replay));
    bench.committed().await;
    let head = bench.handle.snapshot().head;
    assert_eq!(told(&mut first), accepted());
    bench.finish().await;
    assert_eq!(told(&mut replay), Ok((EventOutcome::Accepted, true)));
    assert_eq!(bench.handle.snapshot().head, head, "a replay writes nothing");
    bench.assert_durable().await;

    // The first did not happen, so the second is no replay of it.
    let command = event(EventRequest {
        event_id: Some("fnm-2".into()),
        timestamp: Some(Timestamp::wall_clock()),
        ..report(11)
    });
    bench.break_store().await;
    let mut first = bench.ask(command.clone());
    bench.decide().await;
    let mut second = bench.ask(again(&command));
    bench.decide().await;
    bench.committed().await;
    assert_eq!(told(&mut first), failed(&SubmitError::Store));
    assert_eq!(told(&mut second), failed(&SubmitError::Store));
    bench.mend_store().await;
    let mut third = bench.ask(again(&command));
    bench.finish().await;
    assert_eq!(told(&mut third), accepted(), "a failed attempt burns no key");
}

async fn a_culprit_fails_alone_and_what_was_decided_on_top_survives(place: Place) {
    let mut bench = Bench::new(place).await;
    let mut before = bench.ban(9);
    bench.finish().await;
    assert_eq!(told(&mut before), accepted());
    // The scope of .11 is taken in the database by what this engine has not read.
    let (id, victim) = if bench.is_sqlite() {
        ("randomblob(16)", "X'CB00710B'")
    } else {
        ("gen_random_uuid()", "'\\xCB00710B'::bytea")
    };
    let taken = format!(
        "INSERT INTO mitigations SELECT {id}, pop, live, status, customer_id, service_id, af, {victim}, vector, \
         action_type, acknowledged, created_at, ended_at, body, why, why_event FROM mitigations"
    );
    bench.execute(taken.leak()).await;

    let mut batch = [10, 11, 12].map(|last| bench.ban(last));
    bench.decide().await;
    let mut later = bench.ban(13);
    bench.decide().await;
    bench.committed().await;
    assert!(
        batch.iter_mut().all(waits) && waits(&mut later),
        "all are decided again"
    );
    bench.finish().await;
    let [first, culprit, third] = &mut batch;
    assert_eq!(told(first), accepted());
    assert_eq!(told(culprit), failed(&SubmitError::Defect));
    assert_eq!(told(third), accepted());
    assert_eq!(told(&mut later), accepted());
    assert_eq!(bench.live(), [9, 10, 12, 13].into());
    assert_eq!(bench.announced(), [9, 10, 12, 13].into());
    let freed = format!("DELETE FROM mitigations WHERE victim = {victim}");
    bench.execute(freed.leak()).await;
    bench.assert_durable().await;
    let mut again = bench.ban(11);
    bench.finish().await;
    assert_eq!(told(&mut again), accepted());
}

async fn a_failed_commit_takes_what_was_decided_on_top_along(place: Place) {
    fails(place, None).await;
}

async fn a_commit_in_doubt_that_did_not_happen_is_refused(place: Place) {
    fails(place, Some(CommitError::Unknown("the line is dead".to_owned()))).await;
}

async fn fails(place: Place, hears: Option<CommitError>) {
    let mut bench = Bench::new(place).await;
    bench.break_store().await;
    let mut first = bench.ban(10);
    bench.decide().await;
    let mut second = bench.ban(11);
    bench.decide().await;
    let mut third = bench.ban(12);
    match hears {
        Some(hears) => bench.hears(hears).await,
        None => bench.committed().await,
    }
    for caller in [&mut first, &mut second, &mut third] {
        assert_eq!(told(caller), failed(&SubmitError::Store));
    }
    assert!(bench.engine.draft.is_none() && bench.engine.commit.is_none());
    assert!(bench.live().is_empty() && bench.announced().is_empty());
    assert!(bench.handle.snapshot().store_failing_since.is_some());

    bench.mend_store().await;
    let mut again = bench.ban(11);
    bench.finish().await;
    assert_eq!(told(&mut again), accepted());
    assert_eq!(bench.announced(), [11].into());
    assert!(bench.handle.snapshot().store_failing_since.is_none());
    bench.assert_durable().await;
}

async fn a_commit_in_doubt_that_happened_is_told(place: Place) {
    let mut bench = Bench::new(place).await;
    let mut first = bench.ban(10);
    bench.decide().await;
    let mut second = bench.ban(11);
    bench.decide().await;
    bench
        .hears(CommitError::Unknown("the line is dead".to_owned()))
        .await;
    assert_eq!(told(&mut first), accepted(), "the journal's end says so");
    assert!(waits(&mut second));
    bench.finish().await;
    assert_eq!(told(&mut second), accepted());
    assert_eq!(bench.announced(), [10, 11].into());
    assert!(bench.handle.snapshot().store_failing_since.is_none());
    bench.assert_durable().await;
}

/// It happened, and the store does not say so for a while: "nothing was done" would not be true.
async fn who_cannot_be_told_is_told_that_nothing_is_known(place: Place) {
    let mut bench = Bench::new(place).await;
    let caller = bench.ban(10);
    bench.decide().await;
    let _ = outcome(&mut bench.engine.commit).await;
    bench.execute("ALTER TABLE journal RENAME TO away").await;
    let connection = bench.connection.clone();
    let doubt = bench
        .engine
        .committed(Err(CommitError::Unknown("the line is dead".to_owned())));
    let heard = async {
        let told = caller.await.unwrap();
        execute(&connection, "ALTER TABLE away RENAME TO journal").await;
        told
    };
    let (settled, told) = tokio::join!(doubt, heard);
    settled.unwrap();
    assert!(matches!(told, Err(SubmitError::Unknown)), "{told:?}");
    assert_eq!(bench.announced(), [10].into());
    bench.assert_durable().await;
}

/// A configuration whose safelist covers .8 to .15.
fn covering(bench: &Bench) -> Box<Reload> {
    let settings = format!("{SETTINGS}safelist: {{ prefixes: [203.0.113.8/29] }}\n");
    let config = Config::from_texts(&settings, INVENTORY, PLAYBOOKS).unwrap();
    Box::new(Reload {
        subject: "config".to_owned(),
        keyed: None,
        policy: Arc::new(Policy::compile(&config, &Implicit::default())),
        settings: bench.engine.parts.settings,
        neighbors: Vec::new(),
        announce: Vec::new(),
        told: "{}".to_owned(),
        expect_count: None,
    })
}

impl Bench {
    fn reload(&mut self) -> oneshot::Receiver<Result<u64, SubmitError>> {
        let (reply, told) = oneshot::channel();
        let next = covering(self);
        let actor = "anna".to_owned();
        let request = Request::Reload { next, actor, reply };
        self.engine.waiting.push_back(request);
        told
    }
}

async fn whoever_waits_for_an_engine_that_is_gone_hears_that_nothing_is_known(place: Place) {
    let Bench { engine, handle, .. } = Bench::new(place).await;
    let mut asked = Box::pin(handle.submit(named(10)));
    assert!((&mut asked).now_or_never().is_none());
    drop(engine);
    let outcome = asked.await;
    assert!(matches!(outcome, Err(SubmitError::Lost)), "{outcome:?}");
    // The next one finds nobody who could have done anything.
    let outcome = handle.submit(named(11)).await;
    assert!(matches!(outcome, Err(SubmitError::Stopping)), "{outcome:?}");
}

async fn a_reload_is_a_barrier(place: Place) {
    let mut bench = Bench::new(place).await;
    let mut before = bench.ban(10);
    let mut reload = bench.reload();
    let mut after = bench.ban(11);
    bench.decide().await;
    assert_eq!(told(&mut before), accepted(), "by the old configuration");
    let head = reload.try_recv().unwrap().unwrap();
    assert_eq!(head, bench.handle.snapshot().head);
    assert!(waits(&mut after));
    bench.finish().await;
    assert_eq!(
        told(&mut after),
        Ok((EventOutcome::RejectedGuardrail, false)),
        "by the new one"
    );
    assert!(bench.live().is_empty(), "what the new one forbids is withdrawn");
    bench.assert_durable().await;
}

async fn a_reload_that_cannot_be_recorded_changes_nothing(place: Place) {
    let mut bench = Bench::new(place).await;
    bench.break_store().await;
    let mut reload = bench.reload();
    bench.decide().await;
    assert!(matches!(reload.try_recv(), Ok(Err(SubmitError::Store))));
    bench.mend_store().await;
    let mut ban = bench.ban(10);
    bench.finish().await;
    assert_eq!(told(&mut ban), accepted(), "the old configuration is in force");
    bench.assert_durable().await;
}

async fn the_store_is_found_to_work_again_by_itself(place: Place) {
    let mut bench = Bench::new(place).await;
    bench.break_store().await;
    let mut refused = bench.ban(10);
    bench.finish().await;
    assert_eq!(told(&mut refused), failed(&SubmitError::Store));
    assert!(bench.handle.snapshot().store_failing_since.is_some());
    bench.mend_store().await;
    bench.engine.tick().await.unwrap();
    assert!(bench.handle.snapshot().store_failing_since.is_none());
}
