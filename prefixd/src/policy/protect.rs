//! Adding to the safelist and removing from it.

use super::command::{LearnSafelist, SafelistAdd};
use super::effect::{Decision, Effect, Outcome};
use super::reason::Reason;
use super::trace::Notes;
use super::turn::{Turn, refused, refused_with};
use crate::journal::DAEMON;
use ipnet::IpNet;
use prefixd_api::mitigation::{EndReason, Mitigation};
use prefixd_api::problem::{Code, FieldError, Problem};
use prefixd_api::resource::{SafelistAnswer, SafelistEntry, SafelistOrigin};
use std::collections::HashSet;
use std::sync::Arc;

/// Prefixes shorter than these take many victims at once: the operator says how many are expected.
const COUNTED_BELOW_V4: u8 = 24;
const COUNTED_BELOW_V6: u8 = 48;

impl Turn<'_> {
    /// Protects a prefix and withdraws every mitigation it overlaps.
    pub(super) fn safelist_add(mut self, command: &SafelistAdd) -> Decision {
        let prefix = command.prefix;
        if let Some(error) = self.bad_entry(command) {
            return refused(Problem::new(Code::RequestField, error.message.clone()).with_errors(vec![error]));
        }
        if let Some(owned) = self.policy.safelist.get(&prefix) {
            let detail = format!(
                "{prefix} is protected by the configuration already ({})",
                owned.reason
            );
            return refused_with(Code::ConflictConfigOwned, detail);
        }
        let overlapped = self.overlapped(prefix);
        let count = overlapped.len() as u64;
        let is_short = match prefix {
            IpNet::V4(net) => net.prefix_len() < COUNTED_BELOW_V4,
            IpNet::V6(net) => net.prefix_len() < COUNTED_BELOW_V6,
        };
        match command.expect_count {
            Some(expected) if expected != count => {
                let detail = format!("{prefix} would withdraw {count} mitigations, not {expected}");
                return refused_with(Code::ConflictExpectCount, detail);
            }
            None if is_short => {
                let detail = format!(
                    "{prefix} is wide and would withdraw {count} mitigations: repeat it with expect_count {count}"
                );
                return refused_with(Code::ConflictExpectCount, detail);
            }
            Some(_) | None => {}
        }
        let entry = SafelistEntry {
            prefix,
            reason: command.reason.clone(),
            origin: SafelistOrigin::Api,
            created_by: Some(command.actor.clone()),
            created_at: Some(self.now),
            expires_at: command.expires_at,
        };
        self.effects.push(Effect::SafelistAdded(Arc::new(entry.clone())));
        for live in &overlapped {
            self.yield_to(&entry, live, &command.actor);
        }
        let answer = SafelistAnswer {
            entry,
            withdrawn: count,
        };
        self.done(Outcome::SafelistAdded(answer))
    }

    /// What was decided at another POP holds here as well. What is known already, because this daemon did it or the
    /// store was read before, is passed over.
    pub(super) fn safelist_learn(mut self, learned: &LearnSafelist) -> Decision {
        let mut yielded = HashSet::new();
        for entry in &learned.added {
            if self.state.safelist.get(&entry.prefix) == Some(entry) {
                continue;
            }
            self.effects.push(Effect::SafelistLearned(Arc::clone(entry)));
            let actor = entry.created_by.as_deref().unwrap_or(DAEMON);
            for live in self.overlapped(entry.prefix) {
                if yielded.insert(live.mitigation_id) {
                    self.yield_to(entry, &live, actor);
                }
            }
        }
        for entry in &learned.removed {
            if self.state.safelist.get(&entry.prefix) == Some(entry) {
                self.effects
                    .push(Effect::SafelistForgotten { prefix: entry.prefix });
            }
        }
        self.done(Outcome::Settled)
    }

    fn overlapped(&self, prefix: IpNet) -> Vec<Arc<Mitigation>> {
        let live = self.state.mitigations.values();
        live.filter(|live| overlaps(prefix, live.victim_ip.prefix()))
            .map(Arc::clone)
            .collect()
    }

    /// Ends a mitigation that an entry overlaps.
    fn yield_to(&mut self, entry: &SafelistEntry, live: &Arc<Mitigation>, actor: &str) {
        let because = Reason::Safelisted {
            victim: live.victim_ip.prefix(),
            prefix: entry.prefix,
            reason: entry.reason.clone(),
            origin: SafelistOrigin::Api,
        };
        let (ended, summary) = (Mitigation::clone(live), because.to_string());
        let mut notes = Notes::default();
        notes.note(because);
        let trace = notes.conclude(self.now, "withdrawn", summary.clone());
        self.end(live, ended, EndReason::Safelisted, actor, summary);
        self.explain_last(trace);
    }

    fn bad_entry(&self, command: &SafelistAdd) -> Option<FieldError> {
        let prefix = command.prefix;
        if prefix.prefix_len() == 0 {
            return Some(FieldError::new(
                "prefix",
                format!("{prefix} would protect everything, so nothing could be mitigated"),
            ));
        }
        if prefix != prefix.trunc() {
            return Some(FieldError::new(
                "prefix",
                format!("{prefix} has host bits; the prefix is {}", prefix.trunc()),
            ));
        }
        let expired = command.expires_at.is_some_and(|at| at <= self.now);
        expired.then(|| FieldError::new("expires_at", "is in the past"))
    }

    /// Removes an entry that was added; nothing comes back by that.
    pub(super) fn safelist_remove(mut self, prefix: IpNet, actor: &str) -> Decision {
        if self
            .state
            .safelist
            .get(&prefix)
            .is_some_and(|entry| !entry.is_over(self.now))
        {
            self.effects.push(Effect::SafelistRemoved {
                prefix,
                actor: actor.to_owned(),
            });
            return self.done(Outcome::SafelistRemoved);
        }
        match self.policy.safelist.get(&prefix) {
            Some(entry) => refused_with(
                Code::ConflictConfigOwned,
                format!(
                    "{prefix} belongs to the configuration ({}): change it there and reload",
                    entry.reason
                ),
            ),
            None => refused_with(Code::NotFound, format!("{prefix} is not on the safelist")),
        }
    }
}

fn overlaps(a: IpNet, b: IpNet) -> bool {
    a.contains(&b) || b.contains(&a)
}
