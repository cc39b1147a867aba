//! Undoing a withdrawal: a successor with the same rules, through all guardrails. An operator asks for it, or nobody
//! confirmed the withdrawal in time.

use super::claims;
use super::command::{ConfirmCommand, UndoCommand};
use super::effect::{Decision, Effect, MitigationEvent, Outcome};
use super::evidence;
use super::guard::Subject;
use super::inventory::Owner;
use super::lease;
use super::plan::{set_rules, texts};
use super::reason::Reason;
use super::step_back;
use super::turn::{Turn, at_revision, refused, refused_with};
use crate::journal::DAEMON;
use prefixd_api::control::Stop;
use prefixd_api::ids::{GroupId, MitigationId, SuppressionId};
use prefixd_api::mitigation::{
    Claim, EndReason, Group, Mitigation, MitigationStatus, Note, Origin, OriginKind, Scope, Suppression,
};
use prefixd_api::problem::{Code, Problem};
use prefixd_api::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// When what could not be put back is tried again.
const AGAIN: Duration = Duration::from_secs(60);

/// A withdrawal that is undone unless a person confirms it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Unconfirmed {
    /// What was withdrawn.
    pub ended: Mitigation,
    /// When it is undone.
    pub put_back_at: Timestamp,
    /// The name of the successor.
    pub successor: MitigationId,
    /// The name of its group, if there is none by then.
    pub group: GroupId,
    /// What the withdrawal keeps the scope's bans from acting by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suppression: Option<SuppressionId>,
}

impl Unconfirmed {
    /// Whether this was said after the withdrawal.
    fn precedes(&self, suppression: &Suppression) -> bool {
        match self.suppression {
            Some(_) => !self.made(suppression),
            None => self.ended.ended_at.is_none_or(|at| suppression.created_at > at),
        }
    }

    /// Whether the withdrawal made this suppression: one that is said again has another name.
    fn made(&self, suppression: &Suppression) -> bool {
        self.suppression == Some(suppression.suppression_id)
    }
}

/// How a successor comes about.
struct Undone<'a> {
    successor: MitigationId,
    group: GroupId,
    actor: &'a str,
    because: String,
    /// Nobody asks: the deadline of this came.
    by_itself: Option<&'a Unconfirmed>,
}

impl Turn<'_> {
    pub(super) fn undo(mut self, command: &UndoCommand) -> Decision {
        let ended = self
            .state
            .newest(command.ended.mitigation_id, Some(&command.ended))
            .unwrap_or_else(|| Arc::clone(&command.ended));
        if let Err(problem) = self.may_undo(&ended, command.expected_revision) {
            return refused(*problem);
        }
        self.trace.note(Reason::OperatorAsked {
            actor: command.actor.clone(),
            reason: command.reason.clone(),
        });
        let undone = Undone {
            successor: command.ids.mitigation,
            group: command.ids.group,
            actor: &command.actor,
            because: format!(
                "{} undid the end of {} ({})",
                command.actor, ended.mitigation_id, command.reason
            ),
            by_itself: None,
        };
        match self.succeed(&ended, &undone) {
            Ok((group, next)) => {
                if ended.confirm_by.is_some() {
                    self.waits_no_longer(&ended, &command.actor, &command.reason);
                }
                self.take_place(&ended.scope(), ended.mitigation_id, &command.actor);
                let made = self.begin_again(&ended, group, next, &command.actor);
                self.settle(Outcome::Created(made), "accepted")
            }
            Err(reason) => self.refuse(reason),
        }
    }

    fn may_undo(&self, ended: &Arc<Mitigation>, expected_revision: Option<u64>) -> Result<(), Box<Problem>> {
        at_revision(ended, expected_revision)?;
        let scope = ended.scope();
        if let Some(live) = self.state.mitigation_of(&scope)
            && (live.status != MitigationStatus::Pending || live.mitigation_id == ended.mitigation_id)
        {
            let detail = if live.mitigation_id == ended.mitigation_id {
                format!("{} is live: there is nothing to undo", live.mitigation_id)
            } else {
                format!("{} holds {scope} already", live.mitigation_id)
            };
            return Err(Box::new(Problem::new(Code::ConflictExists, detail)));
        }
        if ended.waits_for.is_some() {
            return Err(Box::new(Problem::new(
                Code::ConflictEnded,
                "it was pending, so that nothing was announced that could be put back; make a new one",
            )));
        }
        if ended.status != MitigationStatus::Withdrawn {
            return Err(Box::new(Problem::new(
                Code::ConflictEnded,
                format!(
                    "it {}: only what was withdrawn can be put back; make a new one",
                    ended.status
                ),
            )));
        }
        Ok(())
    }

    pub(super) fn confirm(mut self, command: &ConfirmCommand) -> Decision {
        let waiting = self.state.unconfirmed.values();
        let Some(waits) = waiting
            .map(Arc::clone)
            .find(|waits| waits.ended.mitigation_id == command.mitigation)
        else {
            return refused_with(
                Code::NotFound,
                "no withdrawal of it waits to be confirmed: it was confirmed, undone, or never asked to be",
            );
        };
        let known = Arc::new(waits.ended.clone());
        let ended = self
            .state
            .newest(known.mitigation_id, Some(&known))
            .unwrap_or(known);
        if let Err(problem) = at_revision(&ended, command.expected_revision) {
            return refused(*problem);
        }
        let ended = self.waits_no_longer(&ended, &command.actor, &command.reason);
        self.done(Outcome::Changed(ended))
    }

    /// Nobody confirmed it in time. Where a guardrail keeps it from coming back, it says so.
    pub(super) fn put_back(mut self, waits: &Unconfirmed) -> Decision {
        let known = Arc::new(waits.ended.clone());
        let ended = self
            .state
            .newest(known.mitigation_id, Some(&known))
            .unwrap_or(known);
        let undone = Undone {
            successor: waits.successor,
            group: waits.group,
            actor: DAEMON,
            because: format!(
                "nobody confirmed the withdrawal of {} by {}",
                ended.mitigation_id, waits.put_back_at
            ),
            by_itself: Some(waits),
        };
        let result = match self.may_undo(&ended, None) {
            Ok(()) => match self.succeed(&ended, &undone) {
                Err(reason) if passes(&reason) => {
                    self.put_off(&ended, waits, &reason);
                    return self.settle(Outcome::Settled, "put off");
                }
                result => result.map_err(|reason| reason.to_string()),
            },
            Err(problem) => Err(problem.detail),
        };
        match result {
            Ok((group, next)) => {
                self.waits_no_longer(&ended, DAEMON, &undone.because);
                self.begin_again(&ended, group, next, DAEMON);
            }
            Err(why) => {
                let note = Note {
                    at: self.now,
                    by: DAEMON.to_owned(),
                    text: format!("nobody confirmed the withdrawal, and it is not put back: {why}"),
                };
                let with_note = Mitigation {
                    notes: ended.notes.iter().cloned().chain([note]).collect(),
                    ..Mitigation::clone(&ended)
                };
                self.confirmed(&ended);
                self.heard_again(waits);
                let after = Mitigation {
                    confirm_by: None,
                    ..with_note
                };
                self.change(MitigationEvent::Noted, DAEMON, Some(&ended), after);
            }
        }
        self.settle(Outcome::Settled, "settled")
    }

    /// It is tried again soon, as often as it takes. The mitigation says why once, and always when.
    fn put_off(&mut self, ended: &Arc<Mitigation>, waits: &Unconfirmed, why: &Reason) {
        let says = "nobody confirmed the withdrawal, and it is not put back yet";
        let said = |note: &Note| note.by == DAEMON && note.text.starts_with(says);
        let put_back_at = self.now.saturating_add(AGAIN);
        let mut next = Mitigation::clone(ended);
        next.confirm_by = Some(put_back_at);
        let what = if next.notes.iter().any(said) {
            MitigationEvent::Updated
        } else {
            let note = Note {
                at: self.now,
                by: DAEMON.to_owned(),
                text: format!("{says}: {why}. It is tried again every minute until it is confirmed"),
            };
            next.notes = next.notes.iter().cloned().chain([note]).collect();
            MitigationEvent::Noted
        };
        let next = self.change(what, DAEMON, Some(ended), next);
        self.effects.push(Effect::Unconfirmed(Arc::new(Unconfirmed {
            ended: Mitigation::clone(&next),
            put_back_at,
            ..waits.clone()
        })));
    }

    fn confirmed(&mut self, ended: &Mitigation) {
        self.effects.push(Effect::Confirmed {
            scope: ended.scope(),
            mitigation: ended.mitigation_id,
        });
    }

    fn waits_no_longer(&mut self, ended: &Arc<Mitigation>, actor: &str, words: &str) -> Arc<Mitigation> {
        self.confirmed(ended);
        let known = self
            .state
            .newest(ended.mitigation_id, Some(ended))
            .unwrap_or_else(|| Arc::clone(ended));
        let after = Mitigation {
            confirm_by: None,
            ..Mitigation::clone(&known)
        };
        self.change_by_operator(MitigationEvent::Updated, actor, words, &known, after)
    }

    /// Something else happens in the scope by a later decision: what waits there to be put back waits no longer, or it
    /// would come back over what was decided since. Said before the change that does it, which the trace explains.
    pub(super) fn take_place(&mut self, scope: &Scope, of_itself: MitigationId, actor: &str) {
        if let Some(waits) = self.state.unconfirmed.get(scope)
            && waits.ended.mitigation_id != of_itself
        {
            let ended = Arc::new(waits.ended.clone());
            let words = "another one took its place: it is not put back";
            self.waits_no_longer(&ended, actor, words);
        }
    }

    /// The successor, and the group with it. Whatever a new mitigation has to pass, it passes.
    fn succeed(&mut self, ended: &Mitigation, undone: &Undone<'_>) -> Result<(Group, Mitigation), Reason> {
        let victim = ended.victim_ip;
        let owner: Option<Owner<'_>> = self.policy.inventory.owner(victim);
        self.guard_scope(victim, &ended.vector)?;
        // But for the withdrawal's own, a suppression is somebody's later word.
        if let Some(waits) = undone.by_itself
            && let Some(suppressed) = self.suppressed_since(waits)
        {
            return Err(suppressed);
        }
        let clear = self.guard_destination(victim, owner)?;
        self.trace.note(clear);
        let within = self.guard_rules(&ended.rules, owner)?;
        self.trace.note(within);
        let pinned = lease::is_pinned(ended);
        if !pinned {
            self.guard_allowed(&ended.rules, owner)?;
        }
        let limits = &self.policy.limits;
        let ttl = Duration::from_secs(ended.ttl_seconds.into())
            .max(limits.min_ttl)
            .min(limits.max_ttl_operator);
        let trial = self.policy.trial_of_rules(ended, owner);
        self.note_trial(trial);
        let enforced = ended.enforced && trial.is_none();
        let mut group = self.open_group(&ended.scope(), undone.group);
        // Whoever still reports it holds it; the operator does for one lease at least.
        let mut holding: Vec<Arc<Claim>> = claims::holding(self.policy, &group, enforced, self.now)
            .cloned()
            .collect();
        let until = (!pinned).then(|| self.now.saturating_add(ttl));
        holding.insert(0, claims::operators(self.now, until));
        // What it stood on. A person may ask for what its sources may not; the daemon asks for nothing by itself.
        let stood_on: Vec<Arc<Claim>> = ended.claims.iter().chain(&holding).cloned().collect();
        let asking = if undone.by_itself.is_some() {
            &stood_on
        } else {
            &holding
        };
        self.guard_sources(&ended.rules, asking)?;
        self.guard_new(Subject {
            victim,
            owner,
            enforced,
            source: None,
            frees: 0,
            replaces: None,
        })?;
        let mut next = Mitigation {
            mitigation_id: undone.successor,
            revision: 1,
            status: if ended.step > 1 {
                MitigationStatus::Escalated
            } else {
                MitigationStatus::Active
            },
            customer_id: owner.map(|owner| owner.customer.id.clone()),
            service_id: owner
                .and_then(|owner| owner.service)
                .map(|service| service.id.clone()),
            confidence: claims::confidence(self.policy, &holding),
            claims: holding.into(),
            ending_since: None,
            ends_at: None,
            enforced,
            previous_id: Some(ended.mitigation_id),
            created_at: self.now,
            promoted_at: None,
            updated_at: self.now,
            expires_at: self.now,
            advertised_at: None,
            evidence_since: None,
            evidence_at: None,
            carried_at: None,
            waits_for: None,
            ended_at: None,
            ended_by: None,
            end_reason: None,
            end_note: None,
            origin: Origin {
                kind: OriginKind::Operator,
                actor: undone.actor.into(),
            },
            group_id: group.group_id,
            acknowledged_at: None,
            acknowledged_by: None,
            claimed: None,
            notes: Box::default(),
            confirm_by: None,
            why_summary: format!("{}: {}", undone.because, texts(&ended.rules).join("; ")).into(),
            ..ended.clone()
        };
        let last_ban_at = group.last_ban_at;
        self.start_lease(&mut next, &mut group, last_ban_at, ttl)?;
        set_rules(&mut next, ended.rules.to_vec());
        let judged = Mitigation {
            claims: stood_on.into(),
            ..next.clone()
        };
        if self.has_lost_rtbh(&judged) {
            next.allow_rtbh = false;
            self.trace.note(Reason::RtbhNotAllowed {
                because: "the configuration does not allow it any more".into(),
            });
        }
        evidence::witness(self.policy, &mut next, self.now, false);
        next.carried_at = step_back::carried_from(self.policy, &next, self.now);
        next.severity = self.severity(&next, owner);
        self.trace.note(Reason::Rules {
            rules: texts(&next.rules),
        });
        Ok((group, next))
    }

    /// Why nothing begins by itself in the scope of what was withdrawn, apart from the withdrawal.
    fn suppressed_since(&self, waits: &Unconfirmed) -> Option<Reason> {
        let scope = waits.ended.scope();
        match self.state.suppressions.get(&scope) {
            Some(one) if waits.precedes(one) => self.suppressed(&scope),
            Some(_) | None => self.suppressed_by_prefix(&scope),
        }
    }

    /// Nobody stands by the withdrawal, and what it took away does not come back by itself: the next report is acted on.
    fn heard_again(&mut self, waits: &Unconfirmed) {
        let scope = waits.ended.scope();
        let suppression = self.state.suppressions.get(&scope);
        if suppression.is_some_and(|one| waits.made(one)) {
            self.effects.push(Effect::Unsuppressed {
                scope,
                actor: DAEMON.to_owned(),
            });
        }
    }

    /// The suppression of the withdrawal goes with it, and what was only pending gives way.
    fn begin_again(
        &mut self,
        ended: &Mitigation,
        group: Group,
        next: Mitigation,
        actor: &str,
    ) -> Arc<Mitigation> {
        let scope = ended.scope();
        if self.state.suppressions.contains_key(&scope) {
            self.effects.push(Effect::Unsuppressed {
                scope,
                actor: actor.to_owned(),
            });
        }
        if let Some(pending) = self.state.mitigation_of(&ended.scope()) {
            let because = format!("{} is put back, which waits for nobody", ended.mitigation_id);
            let over = Mitigation::clone(pending);
            self.end(pending, over, EndReason::Uncorroborated, actor, because);
        }
        self.change_group(group);
        self.change(MitigationEvent::Created, actor, None, next)
    }
}

/// Whether what is refused may be granted soon, without anybody changing what was asked. Panic is none: who says it
/// wants nothing of before back.
fn passes(reason: &Reason) -> bool {
    matches!(
        reason,
        Reason::RateOfChange { .. }
            | Reason::BreakerTripped { .. }
            | Reason::Suppressed { .. }
            | Reason::SuppressedWide { .. }
            | Reason::Stopped {
                state: Stop::Hold,
                ..
            }
    )
}
