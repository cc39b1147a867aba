//! What operators order of single neighbours.

use super::{Announcer, Neighbor, compile};
use crate::policy::{PeerChange, PeerWhat, State};
use prefixd_api::family::AfiSafi;
use prefixd_api::feed::FeedBody;
use prefixd_api::resource::PeerState;
use prefixd_bgp::Delivery;
use prefixd_bgp::flowspec::NlriKey;
use std::collections::BTreeSet;
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
            PeerWhat::Resent { family } => speaker.resend(neighbor, family.map(compile::family)).map(drop),
            PeerWhat::Released { nlri: None } => speaker.release(neighbor, None).map(drop),
            PeerWhat::Released { nlri: Some(nlri) } => self
                .held_back(neighbor, nlri)
                .iter()
                .try_for_each(|key| speaker.release(neighbor, Some(key)).map(drop)),
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
            PeerWhat::Reset | PeerWhat::Resent { .. } | PeerWhat::Released { .. } => return,
        };
        // Nobody may be listening.
        let _ = self.ephemeral.send(FeedBody::PeerChanged {
            neighbor: neighbor.to_string(),
            state,
            reason: Some(reason),
        });
    }

    /// Whether a neighbour is configured for a family.
    #[must_use]
    pub fn has_family(&self, neighbor: &str, family: AfiSafi) -> bool {
        let inner = self.inner();
        let mut neighbors = inner.neighbors.iter();
        let has = |known: &Neighbor| known.plan.families.contains(&compile::family(family));
        neighbors.any(|known| &*known.name == neighbor && has(known))
    }

    /// The rules with these bytes that a neighbour is not told because its session ended: parked, or like parked ones. One
    /// NLRI may be a rule of either family.
    #[must_use]
    pub fn held_back(&self, neighbor: &str, nlri: &str) -> Vec<NlriKey> {
        let parked = self.speaker.parked(neighbor).unwrap_or_default();
        let routes = self.speaker.adj_rib_out(neighbor).unwrap_or_default();
        let by_shape = routes
            .into_iter()
            .filter(|route| matches!(route.delivery, Delivery::Quarantined(_)))
            .map(|route| route.key);
        let keys: BTreeSet<NlriKey> = parked
            .into_iter()
            .map(|(key, _)| key)
            .chain(by_shape)
            .filter(|key| key.to_string().eq_ignore_ascii_case(nlri))
            .collect();
        keys.into_iter().collect()
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
