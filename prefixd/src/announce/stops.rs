//! Neighbours at which a person stopped announcing: in panic they get no rules, on hold nothing new.

use super::announcements::Standing;
use super::converge::Unexplained;
use super::groups::Group;
use super::{Announcer, Inner, Neighbor};
use crate::policy::State;
use prefixd_api::control::{Stop, Stopped};
use prefixd_api::resource::AnnouncementState;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

impl Announcer {
    /// These are stopped now, and no others. What a panic is about is taken back at once.
    pub fn stop_neighbors(&self, stopped: BTreeMap<Arc<str>, Arc<Stopped>>, state: &State) {
        let mut inner = self.inner();
        if inner.stopped == stopped {
            return;
        }
        inner.stopped = stopped;
        inner.regroup();
        self.align(&mut inner, state, Unexplained::Overlap);
        inner.owe_telling_all();
    }

    /// Why each stopped neighbour is not told what it would be told otherwise.
    pub(super) fn stopped_neighbors(&self) -> HashMap<Arc<str>, Standing> {
        let inner = self.inner();
        let of = |(name, stopped): (&Arc<str>, &Arc<Stopped>)| (Arc::clone(name), why(stopped));
        inner.stopped.iter().map(of).collect()
    }
}

impl Neighbor {
    /// Whether any rules go to it.
    pub(super) fn gets_rules(&self, stopped: &BTreeMap<Arc<str>, Arc<Stopped>>) -> bool {
        self.enforce
            && stopped
                .get(&self.name)
                .is_none_or(|stopped| stopped.state != Stop::Panic)
    }
}

impl Inner {
    pub(super) fn gets_rules(&self, neighbor: &Neighbor) -> bool {
        neighbor.gets_rules(&self.stopped)
    }

    /// Puts every neighbour into its group.
    pub(super) fn regroup(&mut self) {
        let before = std::mem::take(&mut self.groups);
        self.groups = Group::of(&self.neighbors, &self.stopped, before);
    }

    pub(super) fn forget_compiled(&mut self) {
        self.groups.iter_mut().for_each(Group::forget_compiled);
    }
}

fn why(stopped: &Stopped) -> Standing {
    let Stopped {
        scope,
        state,
        reason,
        set_by,
        set_at,
        ..
    } = stopped;
    let text = format!(
        "{set_by} said {state} for {scope} at {set_at} ({reason}); {} ends that",
        scope.resume()
    );
    (AnnouncementState::Refused, Some(text))
}
