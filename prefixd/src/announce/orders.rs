//! What operators order of single neighbours.

use super::Announcer;
use crate::policy::{PeerChange, PeerWhat, State};
use prefixd_api::feed::FeedBody;
use prefixd_api::resource::PeerState;
use std::sync::Arc;
use tracing::{info, warn};

impl Announcer {
    /// Carries out an order that is durable.
    pub fn obey(&self, change: &PeerChange) {
        let PeerChange {
            neighbor,
            what,
            actor,
            reason,
        } = change;
        let speaker = &self.speaker;
        let done = match what {
            PeerWhat::Disabled(disabled) => {
                self.inner()
                    .disabled
                    .insert(Arc::clone(neighbor), Arc::clone(disabled));
                speaker.disable(neighbor, reason)
            }
            PeerWhat::Enabled => {
                self.inner().disabled.remove(neighbor);
                speaker.enable(neighbor)
            }
            PeerWhat::Reset => speaker.reset(neighbor, reason),
            PeerWhat::Resent => speaker.resend(neighbor, None).map(drop),
        };
        let order = what.order().as_str();
        match done {
            Ok(()) => info!(%neighbor, order, actor, reason, "an operator ordered this of a neighbour"),
            Err(error) => {
                warn!(%error, order, actor, "a reload has removed the neighbour that an operator gave an order to");
                return;
            }
        }
        let (state, reason) = match what {
            // Its rules are being taken back; the end of the session is told when it comes.
            PeerWhat::Disabled(_) if speaker.is_established(neighbor) => return,
            PeerWhat::Disabled(_) => (PeerState::Disabled, format!("disabled by {actor}: {reason}")),
            PeerWhat::Enabled => (PeerState::Connect, format!("enabled by {actor}: {reason}")),
            PeerWhat::Reset | PeerWhat::Resent => return,
        };
        // Nobody may be listening.
        let _ = self.ephemeral.send(FeedBody::PeerChanged {
            neighbor: neighbor.to_string(),
            state,
            reason: Some(reason),
        });
    }

    /// Sees to it that neighbours which were disabled before a start or a reload get no session.
    pub fn keep_disabled(&self, state: &State) {
        for (neighbor, disabled) in &state.disabled {
            let status = self.speaker.peer(neighbor);
            if status.is_some_and(|status| !status.admin.is_disabled()) {
                // It was there a moment ago, and only this task removes any.
                let _ = self.speaker.disable(neighbor, &disabled.reason);
                info!(%neighbor, by = disabled.disabled_by, reason = disabled.reason, "stays disabled");
            }
        }
        self.inner().disabled = state
            .disabled
            .iter()
            .map(|(neighbor, disabled)| (Arc::clone(neighbor), Arc::clone(disabled)))
            .collect();
    }
}
