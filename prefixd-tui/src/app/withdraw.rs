//! Withdrawing: from the panel to the known outcome.

use super::{App, Modal, Screen, requests};
use crate::changes::Next;
use crate::event::{Effect, Failure, Request};
use crate::panel::WithdrawPanel;
use crate::theme::Meaning;
use prefixd_api::ids::MitigationId;
use prefixd_api::mitigation::Mitigation;
use prefixd_api::problem::Code;

/// Targets that are read again when the panel opens; beyond these, the feed alone keeps them current.
const READ_AGAIN: usize = 50;

impl App {
    /// Opens the panel about the marked rows, or the one under the cursor.
    pub(super) fn open_withdraw(&mut self) -> Vec<Effect> {
        let marked = matches!(self.screen, Screen::List) && !self.list.marks.is_empty();
        let targets: Vec<&Mitigation> = self.withdrawable().collect();
        if targets.is_empty() {
            let words = if marked || self.current().is_some() {
                "it has ended, or is being withdrawn"
            } else {
                "nothing is selected"
            };
            self.say(Meaning::Warn, format!("nothing to withdraw: {words}"));
            return Vec::new();
        }
        let again: Vec<_> = targets
            .iter()
            .take(READ_AGAIN)
            .map(|row| Request::One(row.mitigation_id))
            .collect();
        let panel = WithdrawPanel::new(targets, marked, self.store.announced());
        self.modal = Modal::Withdraw(Box::new(panel));
        requests(again)
    }

    /// The confirming key.
    pub(super) fn confirm(&mut self) -> Vec<Effect> {
        let Modal::Withdraw(panel) = &mut self.modal else {
            return Vec::new();
        };
        let Ok(orders) = panel.confirm(self.now.uptime) else {
            return Vec::new();
        };
        self.modal = Modal::None;
        self.changes.forget_failed();
        self.flash = None;
        let mut wanted = Vec::new();
        for (target, request) in orders {
            self.list.marks.remove(&target.id);
            wanted.push(Request::Withdraw(target.id, request.clone()));
            self.changes.send(target, request);
        }
        requests(wanted)
    }

    /// The daemon answered, or did not.
    pub(super) fn withdrawn(
        &mut self,
        id: MitigationId,
        result: Result<Box<Mitigation>, Failure>,
    ) -> Vec<Effect> {
        let failure = match &result {
            Ok(_) => None,
            Err(failure) => Some(failure.clone()),
        };
        let answer = self.heard(result);
        let mut wanted = None;
        match failure {
            None => {
                self.changes.done(id);
                if let Some(mitigation) = answer {
                    self.store.insert(*mitigation);
                    self.unsettled = true;
                }
            }
            Some(Failure::Unreachable(_)) => self.changes.lost(id),
            Some(Failure::NotSent(words)) => {
                self.changes.failed(id, format!("not sent: {words}"));
                self.list.marks.insert(id);
            }
            Some(Failure::Refused { code, .. }) if code == Code::ConflictRevision.as_str() => {
                wanted = self.changes.changed_meanwhile(id).then_some(Request::One(id));
            }
            Some(Failure::Refused { code, .. }) if code == Code::ConflictEnded.as_str() => {
                self.changes.done(id);
                wanted = Some(Request::One(id));
            }
            Some(Failure::Refused { detail, .. } | Failure::Unauthorized(detail)) => {
                self.changes.failed(id, detail);
                // Marked again, so that `w` tries the refused ones and only those.
                self.list.marks.insert(id);
            }
        }
        self.summarize();
        requests(wanted)
    }

    /// A mitigation that was read again tells how a withdrawal without an answer went.
    pub(super) fn resolve(&mut self, now: &Mitigation) -> Vec<Effect> {
        let next = self.changes.seen(now);
        self.summarize();
        match next {
            Next::Nothing => Vec::new(),
            Next::Send(request) => requests([Request::Withdraw(now.mitigation_id, request)]),
        }
    }

    /// The same, when the feed told it.
    pub(super) fn follow_change(&mut self, id: MitigationId) -> Vec<Effect> {
        match self.store.get(id) {
            Some(now) if !now.status.is_live() => {
                self.changes.seen(now);
                self.summarize();
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    /// Says once how all of them went.
    fn summarize(&mut self) {
        if let Some((withdrawn, refused)) = self.changes.take_summary() {
            if refused == 0 {
                self.say(Meaning::Ok, format!("ok: {withdrawn} withdrawn"));
            } else {
                self.say(
                    Meaning::Down,
                    format!("{withdrawn} withdrawn, {refused} FAILED: they are marked, w tries again"),
                );
            }
        }
    }
}
