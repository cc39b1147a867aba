//! What the loss of a session means for the rules, carried out and said.

use tokio::time::{Duration, Instant};
use tracing::warn;

use super::Peer;
use crate::history::Occurrence;
use crate::status::{LOG, Loss};

impl Peer {
    /// The rules that may have ended the session are told again one after the other; one that surely has is parked.
    pub(super) fn suspect(&mut self, loss: &Loss, data: &[u8], now: Instant) {
        let hold = {
            let observed = self.shared.observed();
            let session = observed.session.as_ref();
            session.map_or(Duration::ZERO, |session| session.hold_time)
        };
        let lost = self.shared.rib().session_lost(loss, data, hold, now);
        for (rule, parked) in lost.parked {
            let hours = (parked.until - parked.since).as_secs() / 3600;
            warn!(target: LOG, neighbor = %self.name, %rule, hours, times = parked.times, reason = %parked.why,
                "this rule ended the session and is held back from this router; the others are sent again");
            self.shared.remember(Occurrence::Parked { rule, parked });
        }
        if lost.suspects > 0 {
            let rules = lost.suspects;
            warn!(target: LOG, neighbor = %self.name, rules,
                "one of the last rules may have ended the session; they are tried one after the other when the others are sent");
            self.shared.remember(Occurrence::Probation { rules });
        }
        if lost.excused {
            self.machine.excuse(now);
        }
    }
}
