//! What people note down about mitigations, live or ended: seen, said, in hand. It changes nothing that they do, so no
//! guardrail has a word.

use super::command::{About, AnnotateCommand, Annotation};
use super::effect::{Decision, Effect, MitigationEvent, One, Outcome};
use super::turn::{Turn, at_revision, refused};
use super::undo::Unconfirmed;
use prefixd_api::mitigation::{Claimed, Mitigation, Note};
use prefixd_api::operation::MAX_NOTES;
use prefixd_api::problem::{Code, FieldError, Problem};
use std::sync::Arc;

impl Turn<'_> {
    pub(super) fn annotate(mut self, command: &AnnotateCommand) -> Decision {
        let meant: Vec<About> = match &command.like {
            None => command.about.clone(),
            Some((filter, expected)) => match self.like(filter, *expected) {
                Ok(live) => live.into_iter().map(About::live).collect(),
                Err(problem) => return refused(*problem),
            },
        };
        let results: Vec<One> = meant
            .iter()
            .map(|about| (about.mitigation, self.annotate_one(command, about)))
            .collect();
        self.done(Outcome::Many(results))
    }

    fn annotate_one(
        &mut self,
        command: &AnnotateCommand,
        about: &About,
    ) -> Result<Arc<Mitigation>, Box<Problem>> {
        let Some(known) = self.state.newest(about.mitigation, about.ended.as_ref()) else {
            let detail = format!("no mitigation is called {}", about.mitigation);
            return Err(Box::new(Problem::new(Code::NotFound, detail)));
        };
        at_revision(&known, command.revisions.get(&about.mitigation).copied())?;
        let mut next = Mitigation::clone(&known);
        let what = self.write(command, &mut next)?;
        if next == *known {
            return Ok(known);
        }
        let after = self.change(what, &command.actor, Some(&known), next);
        let waits = self.state.unconfirmed.get(&after.scope());
        if let Some(waits) = waits.filter(|waits| waits.ended.mitigation_id == after.mitigation_id) {
            // What is put back must not lose what was written since.
            let waits = Unconfirmed {
                ended: Mitigation::clone(&after),
                ..Unconfirmed::clone(waits)
            };
            let at = self.effects.len() - 1;
            self.effects.insert(at, Effect::Unconfirmed(Arc::new(waits)));
        }
        Ok(after)
    }

    /// What is so already stays as it was said first.
    fn write(
        &self,
        command: &AnnotateCommand,
        next: &mut Mitigation,
    ) -> Result<MitigationEvent, Box<Problem>> {
        let actor = &command.actor;
        match &command.what {
            Annotation::Acknowledge(true) => {
                if next.acknowledged_at.is_none() {
                    next.acknowledged_at = Some(self.now);
                    next.acknowledged_by = Some(actor.as_str().into());
                }
                Ok(MitigationEvent::Acknowledged)
            }
            Annotation::Acknowledge(false) => {
                next.acknowledged_at = None;
                next.acknowledged_by = None;
                Ok(MitigationEvent::Acknowledged)
            }
            Annotation::Note { text, external_ref } => {
                if text.is_some() && next.notes.len() >= MAX_NOTES {
                    let message = format!("there are {MAX_NOTES} notes already; write it into the ticket");
                    let problem = Problem::new(Code::RequestField, format!("text: {message}"));
                    return Err(Box::new(
                        problem.with_errors(vec![FieldError::new("text", message)]),
                    ));
                }
                let note = text.iter().map(|text| Note {
                    at: self.now,
                    by: actor.clone(),
                    text: text.clone(),
                });
                next.notes = next.notes.iter().cloned().chain(note).collect();
                if let Some(external_ref) = external_ref {
                    next.external_ref = Some(external_ref.into());
                }
                Ok(MitigationEvent::Noted)
            }
            Annotation::Claim(force) => {
                unless_others(next, actor, *force)?;
                if next.claimed.as_ref().is_none_or(|claimed| claimed.by != *actor) {
                    next.claimed = Some(Box::new(Claimed {
                        by: actor.as_str().into(),
                        at: self.now,
                    }));
                }
                Ok(MitigationEvent::Updated)
            }
            Annotation::Release(force) => {
                unless_others(next, actor, *force)?;
                next.claimed = None;
                Ok(MitigationEvent::Updated)
            }
        }
    }
}

fn unless_others(mitigation: &Mitigation, actor: &str, force: bool) -> Result<(), Box<Problem>> {
    match &mitigation.claimed {
        Some(claimed) if claimed.by != actor && !force => Err(Box::new(Problem::new(
            Code::ConflictClaimed,
            format!(
                "{} works on it since {}: ask there, or say force",
                claimed.by, claimed.at
            ),
        ))),
        Some(_) | None => Ok(()),
    }
}
