//! What neighbours ended their sessions over: from the speaker to the record, and back at a start.

use super::Announcer;
use crate::policy::{
    ParkedFor, ParkedRule, ParkedShape, Parking, PeerBound, PeerKinds, PeerMemory, SessionEnd, State,
    TriedKind,
};
use prefixd_api::time::Timestamp;
use prefixd_bgp::flowspec::NlriKey;
use prefixd_bgp::{
    Loss, NotificationInfo, Parked, Remembered, RememberedBound, RememberedKinds, RememberedRule, Shape,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tracing::{info, warn};

impl Announcer {
    /// What is known of the neighbours of whom something else is known than when this was last asked.
    pub fn changed_memories(&self) -> Vec<(Arc<str>, PeerMemory)> {
        let mut inner = self.inner();
        let names: Vec<Arc<str>> = inner
            .neighbors
            .iter()
            .map(|known| Arc::clone(&known.name))
            .collect();
        let mut changed = Vec::new();
        for name in names {
            let seen = inner.memories.get(&name).copied().unwrap_or_default();
            if self
                .speaker
                .memory_version(&name)
                .is_none_or(|version| version == seen)
            {
                continue;
            }
            if let Some((version, remembered)) = self.speaker.remembered(&name) {
                changed.push((Arc::clone(&name), self.memory(&remembered)));
                inner.memories.insert(name, version);
            }
        }
        changed
    }

    /// Sees to it that neighbours are not told what ended their sessions before a start; of all neighbours, or of those
    /// that a reload has added. To be called before they are told anything.
    pub fn remember(&self, state: &State, added: Option<&[Arc<str>]>) {
        for (neighbor, memory) in &state.quarantined {
            let is_meant = added.is_none_or(|added| added.contains(neighbor));
            if !is_meant || self.speaker.remember(neighbor, self.remembered(memory)).is_err() {
                continue;
            }
            let known = self.speaker.remembered(neighbor);
            // What else is known than is recorded is recorded at the next look.
            if let Some((version, _)) = known.filter(|(_, known)| kinds(known) == memory.kinds) {
                self.inner().memories.insert(Arc::clone(neighbor), version);
            }
            let rules = memory.rules.iter().filter(|rule| rule.held).count();
            if rules > 0 {
                info!(%neighbor, rules, "rules that ended its session stay held back");
            }
            if let Some(bound) = &memory.bound {
                let families = &bound.families;
                info!(%neighbor, total = bound.total, ?families, "it ended a session over the number of rules, and is told no more than this");
            }
        }
    }

    fn memory(&self, remembered: &Remembered) -> PeerMemory {
        let rule = |rule: &RememberedRule| ParkedRule {
            nlri: rule.key.to_string(),
            afi_safi: rule.key.family().to_string(),
            shape: rule.shape.to_string(),
            held: rule.held,
            parking: self.parking(&rule.parked),
        };
        let shapes = remembered.shapes.iter();
        PeerMemory {
            hold_seconds: remembered.hold.as_secs(),
            rules: remembered.rules.iter().map(rule).collect(),
            shapes: shapes
                .map(|(shape, parked)| ParkedShape {
                    shape: shape.to_string(),
                    parking: self.parking(parked),
                })
                .collect(),
            kinds: kinds(remembered),
            bound: remembered.bound.as_ref().map(|bound| PeerBound {
                total: bound.total,
                families: bound
                    .families
                    .iter()
                    .map(|(family, rules)| (family.to_string(), *rules))
                    .collect(),
                until: bound.until.map(|until| self.at(until)),
                guesses: bound.guesses,
            }),
        }
    }

    /// What a newer version wrote and this one cannot read is left out, and said.
    fn remembered(&self, memory: &PeerMemory) -> Remembered {
        let rule = |rule: &ParkedRule| {
            Some(RememberedRule {
                key: NlriKey::from_hex(rule.afi_safi.parse().ok()?, &rule.nlri)?,
                shape: shape(&rule.shape)?,
                parked: self.parked(&rule.parking, false),
                held: rule.held,
            })
        };
        let of_shape = |one: &ParkedShape| Some((shape(&one.shape)?, self.parked(&one.parking, true)));
        Remembered {
            hold: Duration::from_secs(memory.hold_seconds),
            rules: memory.rules.iter().filter_map(rule).collect(),
            shapes: memory.shapes.iter().filter_map(of_shape).collect(),
            kinds: memory.kinds.as_ref().map(remembered_kinds),
            bound: memory.bound.as_ref().map(|bound| RememberedBound {
                total: bound.total,
                families: bound
                    .families
                    .iter()
                    .filter_map(|(family, rules)| Some((family.parse().ok()?, *rules)))
                    .collect(),
                until: bound.until.map(|until| self.moment(until)),
                guesses: bound.guesses,
            }),
        }
    }

    fn parking(&self, parked: &Parked) -> Parking {
        let text = |info: &NotificationInfo| (info.code, info.subcode, info.text.clone());
        let why = match &parked.why {
            Loss::NotificationReceived(info) => {
                let (code, subcode, text) = text(info);
                SessionEnd::Received { code, subcode, text }
            }
            Loss::NotificationSent(info) => {
                let (code, subcode, text) = text(info);
                SessionEnd::Sent { code, subcode, text }
            }
            Loss::ConnectionLost { detail } | Loss::ConnectFailed { detail } => SessionEnd::Lost {
                detail: detail.clone(),
            },
            // No rule is parked for these.
            other @ (Loss::ConnectTimeout | Loss::TaskFailed) => SessionEnd::Lost {
                detail: other.to_string(),
            },
        };
        Parking {
            since: self.at(parked.since),
            until: self.at(parked.until),
            times: parked.times,
            why,
        }
    }

    fn parked(&self, parking: &Parking, by_shape: bool) -> Arc<Parked> {
        let info = |code: &u8, subcode: &u8, text: &Option<String>| {
            NotificationInfo::new(*code, *subcode, text.as_deref())
        };
        Arc::new(Parked {
            since: self.moment(parking.since),
            until: self.moment(parking.until),
            times: parking.times,
            why: match &parking.why {
                SessionEnd::Received { code, subcode, text } => {
                    Loss::NotificationReceived(info(code, subcode, text))
                }
                SessionEnd::Sent { code, subcode, text } => Loss::NotificationSent(info(code, subcode, text)),
                SessionEnd::Lost { detail } => Loss::ConnectionLost {
                    detail: detail.clone(),
                },
            },
            by_shape,
        })
    }

    /// A time of the engine's clock on the monotonic one, also of one that is past.
    fn moment(&self, at: Timestamp) -> Instant {
        let (now, here) = (self.clock.now(), Instant::now());
        let (ahead, ago) = (at.since(now), now.since(at));
        here.checked_sub(ago).unwrap_or(here) + ahead
    }
}

fn shape(text: &str) -> Option<Shape> {
    let shape = text.parse();
    shape
        .map_err(|error| warn!(%error, "a kind of rule that was held back is tried again"))
        .ok()
}

fn kinds(remembered: &Remembered) -> Option<PeerKinds> {
    let kinds = remembered.kinds.as_ref()?;
    let tried = kinds.tried.iter().map(|tried| TriedKind {
        kind: tried.kind.to_string(),
        first: tried.first.to_string(),
        told: tried.told,
    });
    let parked = kinds.parked.iter().map(|(key, first)| ParkedFor {
        nlri: key.to_string(),
        afi_safi: key.family().to_string(),
        first: first.to_string(),
    });
    Some(PeerKinds {
        group: kinds.group.to_string(),
        kept: kinds.kept.iter().map(Shape::to_string).collect(),
        tried: tried.collect(),
        parked: parked.collect(),
    })
}

fn remembered_kinds(kinds: &PeerKinds) -> RememberedKinds {
    let tried = kinds.tried.iter().filter_map(|tried| {
        Some(prefixd_bgp::TriedKind {
            kind: shape(&tried.kind)?,
            first: tried.first.as_str().into(),
            told: tried.told,
        })
    });
    let parked = kinds.parked.iter().filter_map(|parked| {
        let key = NlriKey::from_hex(parked.afi_safi.parse().ok()?, &parked.nlri)?;
        Some((key, parked.first.as_str().into()))
    });
    RememberedKinds {
        group: kinds.group.as_str().into(),
        kept: kinds.kept.iter().filter_map(|kind| shape(kind)).collect(),
        tried: tried.collect(),
        parked: parked.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::two;
    use super::*;
    use prefixd_bgp::flowspec::Family;
    use std::time::Duration;

    #[test]
    fn what_was_found_out_of_kinds_comes_back_as_it_was_recorded() {
        let shape = |action: &str| format!("ipv4-flowspec 000a 0 0 {action}");
        let recorded = PeerKinds {
            group: "generic".to_owned(),
            kept: [shape("discard"), shape("mark")].into(),
            tried: vec![TriedKind {
                kind: shape("rate-bytes"),
                first: "edge1".to_owned(),
                told: true,
            }],
            parked: vec![ParkedFor {
                nlri: "060120cb007101".to_owned(),
                afi_safi: Family::Ipv4.to_string(),
                first: "edge1".to_owned(),
            }],
        };
        let known = |recorded: &PeerKinds| Remembered {
            kinds: Some(remembered_kinds(recorded)),
            ..Remembered::default()
        };
        assert_eq!(kinds(&known(&recorded)), Some(recorded.clone()));
        assert_eq!(kinds(&Remembered::default()), None);
        // What a newer version wrote costs only itself.
        let newer = PeerKinds {
            kept: ["of another kind".to_owned(), shape("mark")].into(),
            ..recorded
        };
        assert_eq!(kinds(&known(&newer)).unwrap().kept, [shape("mark")].into());
    }

    #[tokio::test]
    async fn what_is_recorded_is_what_the_speaker_knew_and_comes_back_before_the_next_rules() {
        let announcer = two();
        let now = announcer.clock.now();
        let parking = |why| Parking {
            since: now.saturating_sub(Duration::from_secs(3600)),
            until: now.saturating_add(Duration::from_secs(3600)),
            times: 2,
            why,
        };
        let received = SessionEnd::Received {
            code: 3,
            subcode: 9,
            text: Some("no".to_owned()),
        };
        let shape = "ipv4-flowspec 000a 0 0 discard".to_owned();
        let rule = |nlri: &str, why| ParkedRule {
            nlri: nlri.to_owned(),
            afi_safi: Family::Ipv4.to_string(),
            shape: shape.clone(),
            held: true,
            parking: parking(why),
        };
        let lost = SessionEnd::Lost {
            detail: "reset".to_owned(),
        };
        let memory = PeerMemory {
            hold_seconds: 30,
            rules: vec![
                rule("060120cb007101", received.clone()),
                rule("060120cb007102", lost),
            ],
            shapes: vec![ParkedShape {
                shape: shape.clone(),
                parking: parking(SessionEnd::Sent {
                    code: 4,
                    subcode: 0,
                    text: None,
                }),
            }],
            kinds: None,
            bound: Some(PeerBound {
                total: None,
                families: [(Family::Ipv4.to_string(), 9)].into(),
                until: Some(now.saturating_add(Duration::from_secs(3600))),
                guesses: 1,
            }),
        };
        let mut state = State::default();
        state.quarantined.insert("a".into(), Arc::new(memory.clone()));
        state.quarantined.insert("gone".into(), Arc::new(memory.clone()));
        announcer.remember(&state, None);
        assert!(announcer.changed_memories().is_empty(), "it is recorded already");
        let parked = announcer.peer_detail("a").unwrap().parked;
        assert_eq!(parked.len(), 2);
        let refused = parked.iter().find(|one| one.nlri == "060120cb007101").unwrap();
        assert!(
            refused.why.contains("3/9") && refused.why.contains("no"),
            "{parked:?}"
        );

        announcer
            .speaker
            .release("a", Some(&announcer.held_back("a", "060120cb007101")[0]))
            .unwrap();
        let changed = announcer.changed_memories();
        assert_eq!(changed.len(), 1);
        let (name, after) = &changed[0];
        let held: Vec<_> = after.rules.iter().map(|rule| rule.held).collect();
        assert_eq!((&**name, held), ("a", vec![false, true]));
        let (is, was) = (after.bound.as_ref().unwrap(), memory.bound.as_ref().unwrap());
        assert_eq!((&is.families, is.total, is.guesses), (&was.families, None, 1));
        let (is, was) = (is.until.unwrap(), was.until.unwrap());
        assert!(is.since(was) + was.since(is) < Duration::from_secs(1));
        // Nothing is rounded but the time between the two clocks.
        let (is, was) = (&after.rules[1].parking, &memory.rules[1].parking);
        assert_eq!((&is.why, is.times), (&was.why, was.times));
        assert!(is.since.since(was.since) + was.since.since(is.since) < Duration::from_secs(1));
        assert!(is.until.since(was.until) + was.until.since(is.until) < Duration::from_secs(1));
        assert!(announcer.changed_memories().is_empty());
    }
}
