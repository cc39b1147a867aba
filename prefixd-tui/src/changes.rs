//! Withdrawals on their way: every one is sent, unknown or refused until its outcome is known.

use crate::panel::Target;
use prefixd_api::ids::MitigationId;
use prefixd_api::mitigation::{Mitigation, WithdrawRequest};
use std::collections::BTreeMap;

/// How often a withdrawal follows a mitigation that changes under it without changing what it does.
const MAX_RESENDS: u32 = 3;

/// A withdrawal and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    target: Target,
    request: WithdrawRequest,
    resends: u32,
    state: State,
}

#[derive(Clone, Debug, PartialEq)]
enum State {
    Sent,
    /// Contact broke before the answer came.
    Unknown,
    /// The mitigation is being read to learn the outcome.
    Checking,
    /// It changed meanwhile; it is being read to see whether it matters.
    Comparing,
    Failed(String),
}

/// What a row shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown<'a> {
    Withdrawing,
    Unknown,
    Failed(&'a str),
}

/// All withdrawals without a good outcome.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changes {
    open: BTreeMap<MitigationId, Change>,
    withdrawn: usize,
    refused: usize,
}

/// What follows from reading a mitigation again.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Next {
    Nothing,
    /// Send it again, for the revision that is there now.
    Send(WithdrawRequest),
}

impl Changes {
    /// A request goes out.
    pub(crate) fn send(&mut self, target: Target, request: WithdrawRequest) {
        self.open.insert(
            target.id,
            Change {
                target,
                request,
                resends: 0,
                state: State::Sent,
            },
        );
    }

    /// What the row of a mitigation shows about its withdrawal.
    pub(crate) fn shown(&self, id: MitigationId) -> Option<Shown<'_>> {
        self.open.get(&id).map(|change| match &change.state {
            State::Sent | State::Comparing => Shown::Withdrawing,
            State::Unknown | State::Checking => Shown::Unknown,
            State::Failed(reason) => Shown::Failed(reason),
        })
    }

    /// Whether a withdrawal of this one has no outcome yet.
    pub(crate) fn is_open(&self, id: MitigationId) -> bool {
        self.shown(id)
            .is_some_and(|shown| !matches!(shown, Shown::Failed(_)))
    }

    /// How many have no outcome yet.
    pub(crate) fn open(&self) -> usize {
        self.open
            .values()
            .filter(|change| !matches!(change.state, State::Failed(_)))
            .count()
    }

    /// The ones whose outcome nobody knows.
    pub(crate) fn unknown(&self) -> impl Iterator<Item = &Target> {
        self.open
            .values()
            .filter(|change| matches!(change.state, State::Unknown | State::Checking))
            .map(|change| &change.target)
    }

    /// It is withdrawn.
    pub(crate) fn done(&mut self, id: MitigationId) {
        if self.open.remove(&id).is_some() {
            self.withdrawn += 1;
        }
    }

    /// Nobody knows whether the request arrived.
    pub(crate) fn lost(&mut self, id: MitigationId) {
        self.set(id, State::Unknown);
    }

    /// The daemon refused.
    pub(crate) fn failed(&mut self, id: MitigationId, reason: String) {
        if self.open.contains_key(&id) {
            self.refused += 1;
        }
        self.set(id, State::Failed(reason));
    }

    /// The revision was not the one the person saw: true when the mitigation has to be read to compare.
    pub(crate) fn changed_meanwhile(&mut self, id: MitigationId) -> bool {
        let follow = self
            .open
            .get(&id)
            .is_some_and(|change| change.resends < MAX_RESENDS);
        if follow {
            self.set(id, State::Comparing);
        } else {
            self.failed(id, "it changes too often; look at it and try again".to_owned());
        }
        follow
    }

    /// Starts to learn the outcome of every lost request. They are read before anything else.
    pub(crate) fn check_unknown(&mut self) -> Vec<MitigationId> {
        let mut ids = Vec::new();
        for (id, change) in &mut self.open {
            if change.state == State::Unknown {
                change.state = State::Checking;
                ids.push(*id);
            }
        }
        ids
    }

    /// Reading did not work either.
    pub(crate) fn check_failed(&mut self, id: MitigationId) {
        if let Some(change) = self.open.get_mut(&id)
            && matches!(change.state, State::Checking | State::Comparing)
        {
            change.state = State::Unknown;
        }
    }

    /// The mitigation as the daemon has it now.
    pub(crate) fn seen(&mut self, now: &Mitigation) -> Next {
        let id = now.mitigation_id;
        let Some(change) = self.open.get_mut(&id) else {
            return Next::Nothing;
        };
        if !now.status.is_live() {
            self.done(id);
            return Next::Nothing;
        }
        match change.state {
            State::Sent | State::Unknown | State::Failed(_) => Next::Nothing,
            State::Checking => {
                self.failed(
                    id,
                    "the request was lost before the daemon took it; try again".to_owned(),
                );
                Next::Nothing
            }
            State::Comparing if change.target.still_does_what_was_shown(now) => {
                change.resends += 1;
                change.state = State::Sent;
                change.request.expected_revision = Some(now.revision);
                Next::Send(change.request.clone())
            }
            State::Comparing => {
                self.failed(
                    id,
                    "it does something else now; look at it and try again".to_owned(),
                );
                Next::Nothing
            }
        }
    }

    /// Forgets refusals that have been read.
    pub(crate) fn forget_failed(&mut self) {
        self.open
            .retain(|_, change| !matches!(change.state, State::Failed(_)));
    }

    /// Once all outcomes are known: how many were withdrawn and how many refused, counted once.
    pub(crate) fn take_summary(&mut self) -> Option<(usize, usize)> {
        if self.open() > 0 || self.withdrawn + self.refused == 0 {
            return None;
        }
        Some((
            std::mem::take(&mut self.withdrawn),
            std::mem::take(&mut self.refused),
        ))
    }

    fn set(&mut self, id: MitigationId, state: State) {
        if let Some(change) = self.open.get_mut(&id) {
            change.state = state;
        }
    }
}
