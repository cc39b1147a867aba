//! The speaker ends and is started again, in every way, and at last ends for good.

use std::collections::BTreeMap;

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use tokio::time::{Duration, Instant, sleep_until};

use super::super::check::{Check, is_calm};
use super::super::wishes::{Community, Key};
use super::{Act, SECOND, World, speaker};
use crate::canary::RememberedKinds;
use crate::flowspec::Family;
use crate::route::Target;
use crate::speaker::Stop;

/// What a stop may take.
const STOPS: Duration = Duration::from_secs(10);

/// The last start of the speaker but the first.
pub(in crate::sim) struct Restarted {
    pub(in crate::sim) at: Instant,
    /// Not all that was wished could be restored.
    pub(in crate::sim) incomplete: bool,
    pub(in crate::sim) opened: bool,
    /// For each router what it held, and until when it may keep it without us. None where it keeps nothing, or where
    /// something else happens as well.
    pub(in crate::sim) kept: Vec<Option<(BTreeMap<Key, Community>, Instant)>>,
}

/// How the speaker leaves a router for good.
pub(in crate::sim) struct Left {
    /// Without a word.
    pub(in crate::sim) silent: bool,
    /// How long the router keeps the rules.
    pub(in crate::sim) keeps: Option<Duration>,
}

/// How it ends.
#[derive(Debug, Clone, Copy)]
enum Ending {
    Killed,
    Restart,
    Withdraw,
}

impl World {
    /// Ends the speaker and starts another, which opens its sessions after a while. One that has not yet is left alone.
    pub(super) async fn restart(&mut self) {
        if self.restarted.as_ref().is_some_and(|last| !last.opened) {
            return;
        }
        let ending = *[Ending::Killed, Ending::Restart, Ending::Withdraw]
            .choose(&mut self.rng)
            .unwrap_or(&Ending::Killed);
        let incomplete = self.rng.random_bool(0.2);
        self.log.say(&format!(
            "the speaker ends: {ending:?}{}",
            if incomplete {
                "; not all will be restored"
            } else {
                ""
            }
        ));
        let text = || "an upgrade".to_owned();
        match ending {
            Ending::Killed => {}
            Ending::Restart => self.shut_down(Stop::Restart { text: text() }).await,
            Ending::Withdraw => self.shut_down(Stop::Withdraw { text: text() }).await,
        }
        let jitter = SmallRng::seed_from_u64(self.rng.random());
        let names = self.sides.iter().map(|side| side.config.name.clone());
        let remembered = names.filter_map(|name| Some((self.speaker.remembered(&name)?.1, name)));
        let remembered: Vec<_> = remembered.collect();
        self.speaker = speaker(self.hold_time, &self.sides, &self.net, jitter);
        for side in self.sides.iter().filter(|side| side.configured && !side.enabled) {
            // It is configured.
            let _ = self.speaker.disable(&side.config.name, "maintenance");
        }
        let kinds: Vec<_> = remembered
            .iter()
            .filter_map(|(remembered, _)| remembered.kinds.clone())
            .collect();
        for router in &self.routers {
            let known = remembered.iter().find(|(_, name)| *name == router.plan.name);
            let bound = known.and_then(|(remembered, _)| remembered.bound.as_ref());
            let families = bound.into_iter().flat_map(|bound| &bound.families);
            let number = |family: &Family| u8::try_from(family.index() + 1).expect("four families");
            router.state().promised = families.map(|(family, rules)| (number(family), *rules)).collect();
        }
        for (remembered, name) in remembered {
            let _ = self.speaker.remember(&name, remembered);
        }
        let mut restored = self.wishes.all(&Target::All);
        if incomplete {
            restored.truncate(restored.len() / 2);
        }
        self.apply(restored);
        let at = Instant::now();
        let is_kept = !incomplete && !matches!(ending, Ending::Withdraw);
        let kept = (0..self.routers.len()).map(|r| self.kept(r, &kinds, at).filter(|_| is_kept));
        self.restarted = Some(Restarted {
            at,
            incomplete,
            opened: false,
            kept: kept.collect(),
        });
        let open_at = if self.rng.random() {
            self.acts += 1;
            (
                at + Duration::from_millis(self.rng.random_range(1..5_000)),
                self.acts,
            )
        } else {
            self.some_time()
        };
        self.undo.insert(open_at, Act::Open);
    }

    /// What a router holds that nothing else happens to, until when. What it holds beside something new that waits goes, and
    /// what it has instead of something that did more while another tries the kind.
    fn kept(
        &self,
        r: usize,
        kinds: &[RememberedKinds],
        at: Instant,
    ) -> Option<(BTreeMap<Key, Community>, Instant)> {
        let state = self.routers[r].state();
        let side = &self.sides[r];
        if !is_calm(side, &state, at) || state.connections() != 1 {
            return None;
        }
        let keeps = state.session.as_ref()?.keeps?;
        let name = &self.routers[r].plan.name;
        let tries = |kinds: &RememberedKinds, kind| {
            let mut tried = kinds.tried.iter();
            tried.any(|tried| tried.kind == kind && tried.first == *name)
        };
        let goes_out = |key: &Key| {
            let (nlri, kind) = (self.wishes.nlri(key), self.wishes.kind(key));
            let parked = kinds.iter().flat_map(|kinds| &kinds.parked);
            let mut elsewhere = parked.filter(|(_, first)| first != name);
            let is_known = |kind| {
                kinds
                    .iter()
                    .any(|kinds| kinds.kept.contains(&kind) || tries(kinds, kind))
            };
            kinds.is_empty()
                || kind.is_some_and(is_known) && !elsewhere.any(|(parked, _)| Some(parked) == nlri)
        };
        let mut table = state.table.clone();
        table.retain(|key, _| goes_out(key));
        Some((table, at + keeps))
    }

    pub(super) fn open(&mut self) {
        let Some(restarted) = &mut self.restarted else {
            return;
        };
        restarted.opened = true;
        if restarted.incomplete {
            self.speaker.open_incomplete();
            // Somebody asks for the rest again.
            self.apply(self.wishes.all(&Target::All));
        } else {
            self.speaker.open();
        }
    }

    async fn shut_down(&self, stop: Stop) {
        let unfinished = self.speaker.shutdown(stop, STOPS).await;
        self.log.say(&format!("unfinished: {unfinished:?}"));
    }

    /// Both kinds of stop. Who agreed to keep the rules over a restart has them until its time is over.
    pub(super) async fn end(&mut self, check: &Check) -> Result<(), String> {
        let leaves = self.rng.random();
        let stop = if leaves {
            Stop::Restart {
                text: "the end".into(),
            }
        } else {
            Stop::Withdraw {
                text: "the end".into(),
            }
        };
        self.log.say(&format!("stop: {stop:?}"));
        let now = Instant::now();
        let mut left = Vec::new();
        for router in &self.routers {
            let mut state = router.state();
            state.last_notification = None;
            let agreed = state.session.as_ref().filter(|session| leaves && session.agreed);
            left.push(Left {
                silent: agreed.is_some(),
                keeps: agreed.and_then(|session| session.keeps),
            });
        }
        let unfinished = self.speaker.shutdown(stop, STOPS).await;
        sleep_until(Instant::now() + 2 * SECOND).await;
        check.stopped(self, &unfinished, &left, now)?;
        let longest = left.iter().filter_map(|left| left.keeps).max();
        sleep_until(Instant::now() + longest.unwrap_or_default()).await;
        check.nothing_is_left(self)
    }
}
