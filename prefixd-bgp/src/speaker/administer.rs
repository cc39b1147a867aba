//! What an operator can do to one neighbour while the others go on.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::{Duration, Instant};
use tracing::info;

use super::{Speaker, UnknownNeighbor};
use crate::flowspec::{Family, NlriKey};
use crate::history::{HistoryEntry, Occurrence};
use crate::mrt::{Busy, Capture};
use crate::rib::{Parked, Remembered};
use crate::shared::NeighborShared;
use crate::status::{Admin, LOG, clean};

impl Speaker {
    /// Takes every rule from the neighbour, closes its session with Cease/2 and this text (RFC 9003, cut to 128 bytes),
    /// and makes and takes no other until [`Speaker::enable`]. What it should hold is kept. Before [`Speaker::open`] it
    /// means that no session is made at all. It stays so over [`Speaker::reconfigure`], but not over a new start: the
    /// owner has to remember it. Never waits; once more only changes the text that is shown.
    ///
    /// # Errors
    ///
    /// [`UnknownNeighbor`].
    pub fn disable(&self, neighbor: &str, text: &str) -> Result<(), UnknownNeighbor> {
        let shared = self.shared(neighbor)?;
        let text: Arc<str> = clean(text).into();
        shared.control.send_modify(|control| {
            let since = match control.admin {
                Admin::Enabled => Instant::now(),
                Admin::Disabled { since, .. } => since,
            };
            control.admin = Admin::Disabled {
                since,
                text: text.clone(),
            };
            shared.rib().suspend(true);
        });
        if let Some(seat) = shared.seat() {
            // Others must not wait for it.
            seat.step_aside();
        }
        shared.changed.send_replace(());
        shared.remember(Occurrence::Disabled { text });
        Ok(())
    }

    /// Lets a disabled neighbour have sessions again, at once and whatever failed before, with everything it should
    /// hold. Nothing happens to one that is not disabled.
    ///
    /// # Errors
    ///
    /// [`UnknownNeighbor`].
    pub fn enable(&self, neighbor: &str) -> Result<(), UnknownNeighbor> {
        let shared = self.shared(neighbor)?;
        let changed = shared.control.send_if_modified(|control| {
            let disabled = control.admin.is_disabled();
            control.admin = Admin::Enabled;
            shared.rib().suspend(false);
            disabled
        });
        if changed {
            info!(target: LOG, neighbor, "enabled by order");
            shared.changed.send_replace(());
            shared.remember(Occurrence::Enabled);
        }
        Ok(())
    }

    /// Closes the session with Cease/4 and this text, and makes it again at once, also if the neighbour is held down. A
    /// bound that a Cease/1 has set is forgotten. A disabled neighbour stays disabled.
    ///
    /// # Errors
    ///
    /// [`UnknownNeighbor`].
    pub fn reset(&self, neighbor: &str, text: &str) -> Result<(), UnknownNeighbor> {
        let shared = self.shared(neighbor)?;
        let text: Arc<str> = clean(text).into();
        if shared.rib().lift_bound() {
            shared.changed.send_replace(());
        }
        shared.remember(Occurrence::Reset { text: text.clone() });
        shared.control.send_modify(|control| {
            control.resets += 1;
            control.reset_text = text;
        });
        Ok(())
    }

    /// Sends a family, or everything, again without touching the session; framed as a refresh where that was agreed on
    /// (RFC 7313), so that the router drops what it should not hold. False if there is no session: everything is sent
    /// when it comes up.
    ///
    /// # Errors
    ///
    /// [`UnknownNeighbor`].
    pub fn resend(&self, neighbor: &str, family: Option<Family>) -> Result<bool, UnknownNeighbor> {
        let shared = self.shared(neighbor)?;
        let sent = shared.rib().resend(family, Instant::now());
        if sent {
            info!(target: LOG, neighbor, ?family, "the rules are sent again by order");
            shared.remember(Occurrence::Resent(family));
            shared.changed.send_replace(());
        }
        Ok(sent)
    }

    /// Tries a rule that is held back because it ended the session, or all of them, again now: alone, when the router
    /// has everything else. Says how many rules were held back that are not any more; what was parked and is not wanted
    /// at the moment is forgotten too.
    ///
    /// # Errors
    ///
    /// [`UnknownNeighbor`].
    pub fn release(&self, neighbor: &str, rule: Option<&NlriKey>) -> Result<usize, UnknownNeighbor> {
        let shared = self.shared(neighbor)?;
        let released = shared.rib().release(rule);
        info!(target: LOG, neighbor, ?rule, released, "parked rules are released by order");
        shared.remember(Occurrence::Released(rule.cloned()));
        shared.changed.send_replace(());
        Ok(released)
    }

    /// The rules that are held back from a neighbour because they ended its session, wanted at the moment or not; the
    /// one that is tried first comes first. `None` for an unknown neighbour.
    #[must_use]
    pub fn parked(&self, neighbor: &str) -> Option<Vec<(NlriKey, Arc<Parked>)>> {
        let shared = self.shared(neighbor).ok()?;
        let parked = shared.rib().parked();
        Some(parked)
    }

    /// How often what [`Speaker::remembered`] tells of a neighbour has changed; `None` for an unknown one. Cheap.
    #[must_use]
    pub fn memory_version(&self, neighbor: &str) -> Option<u64> {
        let version = self.shared(neighbor).ok()?.rib().memory_version();
        Some(version)
    }

    /// What a neighbour ended sessions over, for a process that comes after this one, and how often that has changed.
    /// `None` for an unknown neighbour.
    #[must_use]
    pub fn remembered(&self, neighbor: &str) -> Option<(u64, Remembered)> {
        let remembered = self.shared(neighbor).ok()?.rib().remembered();
        Some(remembered)
    }

    /// Goes on from what a process before this one knew of a neighbour: what was parked is not told, and what one of its
    /// group was trying is told to the others no sooner. To be called before the sessions begin; later what was tried counts
    /// for nothing. What is known here already stays as it is.
    ///
    /// # Errors
    ///
    /// [`UnknownNeighbor`].
    pub fn remember(&self, neighbor: &str, remembered: Remembered) -> Result<(), UnknownNeighbor> {
        let (shared, now) = (self.shared(neighbor)?, Instant::now());
        let mut remembered = remembered;
        let kinds = remembered.kinds.take();
        if !self.inner.open.load(Ordering::SeqCst)
            && let Some((seat, kinds)) = shared.seat().zip(kinds)
        {
            seat.restore(kinds, now);
        }
        shared.rib().remember(remembered, now);
        // Its task must know when the first of them is released.
        shared.deadline_moved.notify_one();
        Ok(())
    }

    /// What a neighbour and we say to each other from now on, for so long at most, as MRT records.
    ///
    /// # Errors
    ///
    /// [`UnknownNeighbor`]; inside, [`Busy`] while another capture of it goes on.
    pub fn capture(&self, neighbor: &str, lasts: Duration) -> Result<Result<Capture, Busy>, UnknownNeighbor> {
        let shared = self.shared(neighbor)?;
        let peer_asn = shared.config().peer_asn;
        let local_asn = self.inner.config.local_asn;
        Ok(shared.tap.open(lasts, Instant::now(), local_asn, peer_asn))
    }

    /// The last things that happened to a neighbour, the oldest first; `None` for an unknown neighbour.
    #[must_use]
    pub fn history(&self, neighbor: &str) -> Option<Vec<HistoryEntry>> {
        let shared = self.shared(neighbor).ok()?;
        let entries = shared.observed().history.entries();
        Some(entries)
    }

    fn shared(&self, neighbor: &str) -> Result<Arc<NeighborShared>, UnknownNeighbor> {
        self.inner
            .neighbors()
            .get(neighbor)
            .map(|handle| handle.shared.clone())
            .ok_or_else(|| UnknownNeighbor(neighbor.into()))
    }
}
