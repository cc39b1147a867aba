//! What the speaker finds out of rules that end sessions, on its way into the store.

use super::run::Engine;
use crate::policy::Command;
use std::sync::Arc;

impl Engine {
    /// Records what has changed, as soon as a session was lost and once a second: rules are released by time as well. What
    /// is read while an order to release is on its way would undo it, so it is read after that.
    pub(super) fn look_at_quarantine(&mut self) {
        if !self.looks_at_quarantine || self.is_releasing() {
            return;
        }
        self.looks_at_quarantine = false;
        for (neighbor, memory) in self.parts.announcer.changed_memories() {
            let memory = Arc::new(memory);
            self.own.push_back(Command::Remember { neighbor, memory });
        }
    }
}
