//! The rows of a batch: one for each object, as its last effect leaves it.

use super::Batch;
use crate::policy::{Effect, PeerWhat, Trace};
use crate::store::prefix::Range;
use ipnet::IpNet;
use prefixd_api::event::StoredEvent;
use prefixd_api::ids::{EventId, MitigationId};
use prefixd_api::mitigation::{Group, Mitigation, Scope, Suppression};
use prefixd_api::peer::PeerDisabled;
use prefixd_api::resource::SafelistEntry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// What a batch writes, bodies as JSON.
pub(super) struct Rows<'a> {
    pub(super) events: Vec<EventRow<'a>>,
    pub(super) groups: Vec<GroupRow<'a>>,
    pub(super) mitigations: Vec<MitigationRow<'a>>,
    pub(super) suppressed: Vec<(&'a Suppression, String)>,
    pub(super) unsuppressed: Vec<&'a Scope>,
    pub(super) safelist_added: Vec<(Range, String)>,
    pub(super) safelist_removed: Vec<Range>,
    pub(super) peers_disabled: Vec<(&'a str, String)>,
    pub(super) peers_enabled: Vec<&'a str>,
}

pub(super) struct EventRow<'a> {
    pub(super) event: &'a StoredEvent,
    pub(super) body: Arc<str>,
    pub(super) why: String,
}

pub(super) struct GroupRow<'a> {
    pub(super) group: &'a Group,
    pub(super) body: String,
}

pub(super) struct MitigationRow<'a> {
    pub(super) mitigation: &'a Mitigation,
    pub(super) body: Arc<str>,
    /// A trace of its own. With neither this nor `why_event` the stored trace stays.
    pub(super) why: Option<String>,
    /// The event whose trace explains it.
    pub(super) why_event: Option<EventId>,
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
    object: Option<&'a Arc<str>>,
    why: Option<&'a Arc<Trace>>,
    is_new: bool,
}

impl<'a> Rows<'a> {
    pub(super) fn of(batch: &Batch<'a>) -> Result<Self, serde_json::Error> {
        let effects = batch.effects;
        let mut events = Vec::with_capacity(effects.len());
        let mut groups = Last::with_capacity(effects.len());
        let mut changes: Last<MitigationId, Change<'a>> = Last::with_capacity(effects.len());
        let mut suppressions: Last<&Scope, Option<&Suppression>> = Last::with_capacity(0);
        let mut safelist: Last<IpNet, Option<&SafelistEntry>> = Last::with_capacity(0);
        let mut peers: BTreeMap<&str, Option<&PeerDisabled>> = BTreeMap::new();
        let mut by_trace: HashMap<*const Trace, EventId> = HashMap::with_capacity(effects.len());
        for (place, effect) in effects.iter().enumerate() {
            let object = batch.objects.get(place).and_then(Option::as_ref);
            match effect {
                Effect::Event(event, why) => {
                    by_trace.insert(Arc::as_ptr(why), event.event_id);
                    events.push(EventRow {
                        event,
                        body: written(object, event)?,
                        why: serde_json::to_string(why)?,
                    });
                }
                Effect::Group(group) => {
                    groups.put(group.group_id, &**group);
                }
                Effect::Mitigation {
                    before, after, why, ..
                } => {
                    let mut change = Change {
                        after,
                        object,
                        why: why.as_ref(),
                        is_new: before.is_none(),
                    };
                    if let Some(earlier) = changes.put(after.mitigation_id, change) {
                        change.why = change.why.or(earlier.why);
                        change.is_new |= earlier.is_new;
                        changes.put(after.mitigation_id, change);
                    }
                }
                Effect::Suppressed(suppression) => {
                    suppressions.put(&suppression.scope, Some(&**suppression));
                }
                Effect::Unsuppressed(scope) => {
                    suppressions.put(scope, None);
                }
                Effect::SafelistAdded(entry) => {
                    safelist.put(entry.prefix, Some(&**entry));
                }
                Effect::SafelistRemoved { prefix, .. } => {
                    safelist.put(*prefix, None);
                }
                Effect::Peer(change) => match &change.what {
                    PeerWhat::Disabled(disabled) => {
                        peers.insert(&change.neighbor, Some(&**disabled));
                    }
                    PeerWhat::Enabled => {
                        peers.insert(&change.neighbor, None);
                    }
                    // They last no longer than the session: the journal has them.
                    PeerWhat::Reset | PeerWhat::Resent | PeerWhat::Released { .. } => {}
                },
            }
        }
        let mut rows = Self {
            events,
            groups: groups.into_values().map(GroupRow::of).collect::<Result<_, _>>()?,
            mitigations: changes
                .into_values()
                .map(|change| MitigationRow::of(change, &by_trace))
                .collect::<Result<_, _>>()?,
            suppressed: Vec::new(),
            unsuppressed: Vec::new(),
            safelist_added: Vec::new(),
            safelist_removed: Vec::new(),
            peers_disabled: Vec::new(),
            peers_enabled: Vec::new(),
        };
        let scopes: Vec<_> = suppressions
            .places
            .iter()
            .map(|(scope, place)| (*scope, *place))
            .collect();
        for (scope, place) in scopes {
            match suppressions.values[place] {
                Some(Some(suppression)) => {
                    rows.suppressed
                        .push((suppression, serde_json::to_string(suppression)?));
                }
                _ => rows.unsuppressed.push(scope),
            }
        }
        for (prefix, place) in &safelist.places {
            match safelist.values[*place] {
                Some(Some(entry)) => {
                    rows.safelist_added
                        .push((Range::of(*prefix), serde_json::to_string(entry)?));
                }
                _ => rows.safelist_removed.push(Range::of(*prefix)),
            }
        }
        for (neighbor, disabled) in peers {
            match disabled {
                Some(disabled) => {
                    let body = serde_json::to_string(disabled)?;
                    rows.peers_disabled.push((neighbor, body));
                }
                None => rows.peers_enabled.push(neighbor),
            }
        }
        Ok(rows)
    }

    /// Whether the batch touches only what detectors' events touch.
    pub(super) fn is_plain(&self) -> bool {
        self.suppressed.is_empty()
            && self.unsuppressed.is_empty()
            && self.safelist_added.is_empty()
            && self.safelist_removed.is_empty()
            && self.peers_disabled.is_empty()
            && self.peers_enabled.is_empty()
    }
}

fn written(object: Option<&Arc<str>>, value: &impl serde::Serialize) -> Result<Arc<str>, serde_json::Error> {
    object.map_or_else(
        || serde_json::to_string(value).map(Arc::from),
        |json| Ok(Arc::clone(json)),
    )
}

impl<'a> GroupRow<'a> {
    fn of(group: &'a Group) -> Result<Self, serde_json::Error> {
        Ok(Self {
            group,
            body: serde_json::to_string(group)?,
        })
    }
}

impl<'a> MitigationRow<'a> {
    fn of(change: Change<'a>, by_trace: &HashMap<*const Trace, EventId>) -> Result<Self, serde_json::Error> {
        let mitigation = change.after;
        let shared = change
            .why
            .and_then(|why| by_trace.get(&Arc::as_ptr(why)).copied());
        let (why, why_event) = match (change.why, shared) {
            // The event of this batch holds the same trace: it is stored once.
            (Some(_), Some(event)) => (None, Some(event)),
            (Some(why), None) => (Some(serde_json::to_string(why)?), None),
            (None, _) if change.is_new => (None, mitigation.triggering_event_id),
            (None, _) => (None, None),
        };
        Ok(Self {
            mitigation,
            body: written(change.object, mitigation)?,
            why,
            why_event,
        })
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
