//! Orders to a neighbour.

use super::command::PeerCommand;
use super::effect::{Decision, Effect, Outcome, PeerChange, PeerWhat};
use super::turn::{Turn, refused_with};
use prefixd_api::peer::{PeerDisabled, PeerOrder};
use prefixd_api::problem::Code;
use std::sync::Arc;

impl Turn<'_> {
    /// What is ordered twice is recorded twice, except enabling: what is enabled already has nothing to record.
    pub(super) fn peer(mut self, command: &PeerCommand) -> Decision {
        let disabled = self.state.disabled.get(command.neighbor.as_str());
        let what = match (command.order, disabled) {
            (PeerOrder::Disable, before) => PeerWhat::Disabled(Arc::new(PeerDisabled {
                neighbor: command.neighbor.clone(),
                reason: command.reason.clone(),
                disabled_by: command.actor.clone(),
                disabled_at: before.map_or(self.now, |before| before.disabled_at),
            })),
            (PeerOrder::Enable, Some(_)) => PeerWhat::Enabled,
            (PeerOrder::Enable, None) => {
                return self.done(Outcome::PeerOrdered);
            }
            (PeerOrder::Reset | PeerOrder::Resend, Some(disabled)) => {
                let PeerDisabled {
                    neighbor,
                    reason,
                    disabled_by,
                    disabled_at,
                } = &**disabled;
                return refused_with(
                    Code::ConflictDisabled,
                    format!(
                        "{neighbor} is disabled by {disabled_by} since {disabled_at} ({reason}) and has no session; \
                         enable it to bring it back"
                    ),
                );
            }
            (PeerOrder::Reset, None) => PeerWhat::Reset,
            (PeerOrder::Resend, None) => PeerWhat::Resent {
                family: command.family,
            },
            (PeerOrder::Release, _) => PeerWhat::Released {
                nlri: command.nlri.clone(),
            },
        };
        let neighbor: Arc<str> = command.neighbor.as_str().into();
        let released = match &what {
            PeerWhat::Released { nlri } => {
                let known = self.state.quarantined.get(&neighbor);
                known.map(|memory| Arc::new(memory.released(nlri.as_deref())))
            }
            _ => None,
        };
        self.effects.push(Effect::Peer(PeerChange {
            neighbor: Arc::clone(&neighbor),
            what,
            actor: command.actor.clone(),
            reason: command.reason.clone(),
        }));
        let changed = released.and_then(|after| self.quarantine_changed(&neighbor, &after, &command.actor));
        self.effects.extend(changed);
        self.done(Outcome::PeerOrdered)
    }
}
