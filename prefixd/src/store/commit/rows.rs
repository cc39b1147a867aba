//! The rows of a batch: one for each object, as its last effect leaves it.

use super::{Batch, Written};
use crate::policy::{Effect, PeerWhat, Trace};
use crate::store::answers::Kept;
use crate::store::prefix::Range;
use ipnet::IpNet;
use prefixd_api::event::StoredEvent;
use prefixd_api::ids::{EventId, MitigationId};
use prefixd_api::mitigation::{Group, Mitigation, Scope, Suppression};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use uuid::Uuid;

/// What a batch writes.
pub(super) struct Rows<'a> {
    pub(super) events: Vec<EventRow<'a>>,
    pub(super) groups: Vec<GroupRow<'a>>,
    pub(super) mitigations: Vec<MitigationRow<'a>>,
    pub(super) suppressed: Vec<(&'a Suppression, &'a str)>,
    pub(super) unsuppressed: Vec<&'a Scope>,
    pub(super) safelist_added: Vec<(Range, &'a str)>,
    pub(super) safelist_removed: Vec<Range>,
    pub(super) peers_disabled: Vec<(&'a str, &'a str)>,
    pub(super) peers_enabled: Vec<&'a str>,
    pub(super) parked: Vec<(&'a str, &'a str)>,
    pub(super) none_parked: Vec<&'a str>,
    pub(super) unconfirmed: Vec<(Uuid, &'a str)>,
    pub(super) confirmed: Vec<Uuid>,
    pub(super) held: Vec<(Cow<'a, str>, &'a str)>,
    pub(super) let_go: Vec<Cow<'a, str>>,
    pub(super) kept: &'a [Kept],
}

/// The breaker's name among what holds announcing back; no scope of a person's word is called so.
pub(in crate::store) const BREAKER: &str = "breaker";
/// What the name of a paused detector begins with there.
pub(in crate::store) const SOURCE: &str = "source:";
/// What the name of a suppressed prefix or source begins with there.
pub(in crate::store) const SUPPRESSION: &str = "suppression:";

pub(super) struct EventRow<'a> {
    pub(super) event: &'a StoredEvent,
    pub(super) body: &'a str,
    pub(super) why: &'a str,
}

pub(super) struct GroupRow<'a> {
    pub(super) group: &'a Group,
    pub(super) body: &'a str,
}

pub(super) struct MitigationRow<'a> {
    pub(super) mitigation: &'a Mitigation,
    pub(super) body: &'a str,
    /// A trace of its own. With neither this nor `why_event` the stored trace stays.
    pub(super) why: Option<&'a str>,
    /// The event whose trace explains it.
    pub(super) why_event: Option<EventId>,
    /// It has a row, and nothing that an index holds changes: it was live and is, or had ended before.
    pub(super) keeps_place: bool,
}

/// Of several effects on one key the last, at the place of the last: what ends a scope's mitigation stays before
/// what begins its successor.
struct Last<K, V> {
    places: HashMap<K, usize>,
    values: Vec<Option<V>>,
}

impl<K: std::hash::Hash + Eq, V> Last<K, V> {
    fn with_capacity(capacity: usize) -> Self {
        Self {
            places: HashMap::with_capacity(capacity),
            values: Vec::with_capacity(capacity),
        }
    }

    fn put(&mut self, key: K, value: V) -> Option<V> {
        let place = self.values.len();
        self.values.push(Some(value));
        self.places
            .insert(key, place)
            .and_then(|before| self.values[before].take())
    }

    fn into_values(self) -> impl Iterator<Item = V> {
        self.values.into_iter().flatten()
    }
}

#[derive(Clone, Copy)]
struct Change<'a> {
    after: &'a Mitigation,
    body: &'a str,
    why: Option<(&'a Arc<Trace>, Option<&'a str>)>,
    is_new: bool,
    /// Whether it was live before the batch.
    was_live: bool,
}

impl<'a> Rows<'a> {
    pub(super) fn of(batch: &'a Batch) -> Self {
        let capacity = batch.effects.len();
        let mut events = Vec::with_capacity(capacity);
        let mut groups = Last::with_capacity(capacity);
        let mut changes: Last<MitigationId, Change<'a>> = Last::with_capacity(capacity);
        let mut suppressions: Last<&Scope, Option<(&Suppression, &str)>> = Last::with_capacity(0);
        let mut safelist: Last<IpNet, Option<&str>> = Last::with_capacity(0);
        let mut peers: BTreeMap<&str, Option<&str>> = BTreeMap::new();
        let mut unconfirmed: BTreeMap<Uuid, Option<&str>> = BTreeMap::new();
        let mut quarantined: BTreeMap<&str, Option<&str>> = BTreeMap::new();
        let mut control: BTreeMap<Cow<'a, str>, Option<&str>> = BTreeMap::new();
        let mut by_trace: HashMap<*const Trace, EventId> = HashMap::with_capacity(capacity);
        for (effect, Written { body, why: text }) in batch.effects.iter().zip(&batch.written) {
            match effect {
                Effect::Event(event, trace) => {
                    by_trace.insert(Arc::as_ptr(trace), event.event_id);
                    let why = text.as_deref().unwrap_or_default();
                    events.push(EventRow { event, body, why });
                }
                Effect::Group(group) => {
                    groups.put(group.group_id, GroupRow { group, body });
                }
                Effect::Mitigation {
                    before, after, why, ..
                } => {
                    let mut change = Change {
                        after,
                        body,
                        why: why.as_ref().map(|trace| (trace, text.as_deref())),
                        is_new: before.is_none(),
                        was_live: before.as_ref().is_some_and(|before| before.status.is_live()),
                    };
                    if let Some(earlier) = changes.put(after.mitigation_id, change) {
                        change.why = change.why.or(earlier.why);
                        change.is_new |= earlier.is_new;
                        change.was_live = earlier.was_live;
                        changes.put(after.mitigation_id, change);
                    }
                }
                Effect::Suppressed(suppression) => {
                    suppressions.put(&suppression.scope, Some((&**suppression, body)));
                }
                Effect::Unsuppressed { scope, .. } => {
                    suppressions.put(scope, None);
                }
                Effect::WideSuppressed(suppression) => {
                    let name = format!("{SUPPRESSION}{}", suppression.suppression_id);
                    control.insert(name.into(), Some(body));
                }
                Effect::WideUnsuppressed { suppression, .. } => {
                    let name = format!("{SUPPRESSION}{}", suppression.suppression_id);
                    control.insert(name.into(), None);
                }
                Effect::Unconfirmed(waits) => {
                    unconfirmed.insert(waits.ended.mitigation_id.0, Some(body));
                }
                Effect::Confirmed { mitigation, .. } => {
                    unconfirmed.insert(mitigation.0, None);
                }
                Effect::SafelistAdded(entry) => {
                    safelist.put(entry.prefix, Some(body));
                }
                Effect::SafelistRemoved { prefix, .. } => {
                    safelist.put(*prefix, None);
                }
                // The daemon that did it has written the row.
                Effect::SafelistLearned(_) | Effect::SafelistForgotten { .. } => {}
                Effect::Quarantine(change) => {
                    quarantined.insert(&change.neighbor, Some(&**body).filter(|body| !body.is_empty()));
                }
                Effect::Breaker(change) => {
                    control.insert(BREAKER.into(), change.after.as_ref().map(|_| &**body));
                }
                Effect::Source(change) => {
                    control.insert(
                        format!("{SOURCE}{}", change.source).into(),
                        change.after.as_ref().map(|_| &**body),
                    );
                }
                Effect::Control(change) => {
                    control.insert(
                        change.scope.to_string().into(),
                        change.after.as_ref().map(|_| &**body),
                    );
                }
                Effect::Peer(change) => match &change.what {
                    PeerWhat::Disabled(_) => {
                        peers.insert(&change.neighbor, Some(body));
                    }
                    PeerWhat::Enabled => {
                        peers.insert(&change.neighbor, None);
                    }
                    // They last no longer than the session: the journal has them.
                    PeerWhat::Reset | PeerWhat::Resent { .. } | PeerWhat::Released { .. } => {}
                },
            }
        }
        let mut rows = Self {
            events,
            groups: groups.into_values().collect(),
            mitigations: changes
                .into_values()
                .map(|change| MitigationRow::of(change, &by_trace))
                .collect(),
            suppressed: Vec::new(),
            unsuppressed: Vec::new(),
            safelist_added: Vec::new(),
            safelist_removed: Vec::new(),
            peers_disabled: Vec::new(),
            peers_enabled: Vec::new(),
            parked: Vec::new(),
            none_parked: Vec::new(),
            unconfirmed: Vec::new(),
            confirmed: Vec::new(),
            held: Vec::new(),
            let_go: Vec::new(),
            kept: &batch.kept,
        };
        for (scope, place) in &suppressions.places {
            match suppressions.values[*place] {
                Some(Some(suppression)) => rows.suppressed.push(suppression),
                _ => rows.unsuppressed.push(scope),
            }
        }
        for (prefix, place) in &safelist.places {
            match safelist.values[*place] {
                Some(Some(body)) => rows.safelist_added.push((Range::of(*prefix), body)),
                _ => rows.safelist_removed.push(Range::of(*prefix)),
            }
        }
        for (id, waits) in unconfirmed {
            match waits {
                Some(body) => rows.unconfirmed.push((id, body)),
                None => rows.confirmed.push(id),
            }
        }
        for (name, held) in control {
            match held {
                Some(body) => rows.held.push((name, body)),
                None => rows.let_go.push(name),
            }
        }
        for (neighbor, disabled) in peers {
            match disabled {
                Some(body) => rows.peers_disabled.push((neighbor, body)),
                None => rows.peers_enabled.push(neighbor),
            }
        }
        for (neighbor, memory) in quarantined {
            match memory {
                Some(body) => rows.parked.push((neighbor, body)),
                None => rows.none_parked.push(neighbor),
            }
        }
        rows
    }

    /// Whether the batch touches only what detectors' events touch.
    pub(super) fn is_plain(&self) -> bool {
        self.suppressed.is_empty()
            && self.unsuppressed.is_empty()
            && self.safelist_added.is_empty()
            && self.safelist_removed.is_empty()
            && self.peers_disabled.is_empty()
            && self.peers_enabled.is_empty()
            && self.parked.is_empty()
            && self.none_parked.is_empty()
            && self.unconfirmed.is_empty()
            && self.confirmed.is_empty()
            && self.held.is_empty()
            && self.let_go.is_empty()
            && self.kept.is_empty()
    }
}

impl<'a> MitigationRow<'a> {
    fn of(change: Change<'a>, by_trace: &HashMap<*const Trace, EventId>) -> Self {
        let mitigation = change.after;
        let (why, why_event) = match change.why {
            // The event of this batch holds the same trace: it is stored once.
            Some((trace, text)) => match by_trace.get(&Arc::as_ptr(trace)) {
                Some(event) => (None, Some(*event)),
                None => (text, None),
            },
            None if change.is_new => (None, mitigation.triggering_event_id),
            None => (None, None),
        };
        Self {
            mitigation,
            body: change.body,
            why,
            why_event,
            keeps_place: !change.is_new && change.was_live == mitigation.status.is_live(),
        }
    }

    pub(super) fn is_live(&self) -> i16 {
        self.mitigation.status.is_live().into()
    }

    /// When it ended; an ended one without a time would never be pruned.
    pub(super) fn ended_at(&self) -> Option<i64> {
        let mitigation = self.mitigation;
        let ended =
            (!mitigation.status.is_live()).then(|| mitigation.ended_at.unwrap_or(mitigation.updated_at));
        ended.map(prefixd_api::time::Timestamp::as_micros)
    }
}
