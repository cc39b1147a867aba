//! Withdrawals that wait to be confirmed, over a restart.

use super::super::restore::restore;
use super::*;
use crate::policy::{ConfirmCommand, State, WithdrawCommand};
use crate::store::Loaded;
use prefixd_api::ids::MitigationId;
use prefixd_api::mitigation::MitigationStatus;

impl Bench {
    /// An operator takes the one live mitigation back; the detector may say at once that it is wrong.
    async fn withdraw(&mut self) -> MitigationId {
        let mitigation = *self.engine.state.mitigations.keys().next().unwrap();
        let _told = self.ask(Command::Withdraw(WithdrawCommand {
            ids: FreshIds::new(),
            mitigation,
            reason: "no attack".to_owned(),
            suppress: Some(Duration::ZERO),
            confirm_within: Some(Duration::from_secs(3600)),
            expected_revision: None,
            actor: "token:noc".to_owned(),
        }));
        self.finish().await;
        assert!(self.live().is_empty());
        mitigation
    }

    async fn banned(&mut self, last: u8) {
        let _told = self.ban(last);
        self.finish().await;
        assert_eq!(self.live(), [last].into());
    }

    async fn stored(&self) -> Loaded {
        self.engine.parts.store.load(POP, self.clock.now()).await.unwrap()
    }

    /// How many withdrawals wait after a start with what was stored.
    fn waiting(&self, loaded: Loaded) -> usize {
        let mut state = State::default();
        restore(&mut state, loaded, self.clock.now());
        state.unconfirmed.len()
    }
}

on_both_stores!(
    a_restart_puts_nothing_back_that_another_took_the_place_of
    a_restart_puts_back_what_only_something_pending_came_after
);

const OF_TWO: &str = "
playbooks:
  - name: udp
    match: { vector: udp_flood }
    steps: [{ action: police, rate_bps: 5000000, ttl_seconds: 300, require_sources: 2 }]
";

async fn a_restart_puts_back_what_only_something_pending_came_after(place: Place) {
    let mut bench = Bench::with(place, SETTLED, OF_TWO).await;
    let _made = bench.create(300);
    bench.finish().await;
    bench.withdraw().await;
    bench.banned(10).await;
    let loaded = bench.stored().await;
    assert_eq!(loaded.mitigations[0].status, MitigationStatus::Pending);
    assert_eq!(bench.waiting(loaded), 1);
}

async fn a_restart_puts_nothing_back_that_another_took_the_place_of(place: Place) {
    let mut bench = Bench::new(place).await;
    bench.banned(10).await;
    bench.withdraw().await;
    let first = bench.stored().await.unconfirmed;
    assert_eq!(first.len(), 1);
    bench.banned(10).await;
    let mut loaded = bench.stored().await;
    assert_eq!(loaded.unconfirmed, []);
    // Had a row been left, a start would not act on it: another is live, or began since.
    loaded.unconfirmed.clone_from(&first);
    assert_eq!(bench.waiting(loaded), 0);
    let second = bench.withdraw().await;
    assert_eq!(bench.waiting(bench.stored().await), 1, "the newest waits");
    let mut loaded = bench.stored().await;
    loaded.unconfirmed.clone_from(&first);
    assert_eq!(bench.waiting(loaded), 0);
    let _told = bench.ask(Command::Confirm(ConfirmCommand {
        mitigation: second,
        expected_revision: None,
        reason: "over".to_owned(),
        actor: "token:noc".to_owned(),
    }));
    bench.finish().await;
    let loaded = bench.stored().await;
    assert_eq!(loaded.unconfirmed, []);
    assert_eq!(bench.waiting(loaded), 0);
    bench.assert_durable().await;
}
