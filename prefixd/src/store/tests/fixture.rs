//! What a daemon commits for an attack: an event, its group, a mitigation, and their journal entries.

use super::{Batch, Effect, Head, MitigationEvent, Trace, Writer, Written};
use prefixd_api::event::{EventAction, StoredEvent};
use prefixd_api::ids::{EventId, GroupId, MitigationId};
use prefixd_api::mitigation::{Group, Mitigation, MitigationStatus};
use prefixd_api::time::Timestamp;
use serde_json::json;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

pub(crate) const POP: &str = "iad1";

/// The start of the story's time.
pub(crate) const START: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);

pub(crate) fn host(number: u32) -> IpAddr {
    Ipv4Addr::from(0x0a00_0000 + number).into()
}

/// One attack as it is first reported.
#[derive(Clone)]
pub(crate) struct Attack {
    pub(crate) event: Arc<StoredEvent>,
    pub(crate) why: Arc<Trace>,
    pub(crate) group: Arc<Group>,
    pub(crate) mitigation: Arc<Mitigation>,
}

impl Attack {
    pub(crate) fn new(victim: IpAddr, vector: &str, at: Timestamp) -> Self {
        let (event_id, group_id, mitigation_id) = (EventId::new(), GroupId::new(), MitigationId::new());
        let later = at.saturating_add(std::time::Duration::from_secs(300));
        let claim = json!({
            "source": "fastnetmon", "event_id": format!("fnm-{mitigation_id}"), "kind": "event", "since": at,
            "last_report_at": at, "lives_until": later, "confidence": 0.95, "bps": 1_200_000_000u64, "pps": 800_000,
            "dst_ports": [27015, 27016], "src_ports": [53],
        });
        let event = json!({
            "event_id": event_id, "external_event_id": format!("fnm-{mitigation_id}"), "source": "fastnetmon",
            "actor": "token:fastnetmon", "pop": POP, "action": EventAction::Ban, "victim_ip": victim,
            "vector": vector, "bps": 1_200_000_000u64, "pps": 800_000, "confidence": 0.95, "protocol": 17,
            "top_dst_ports": [27015, 27016], "top_src_ports": [53], "timestamp": at, "received_at": at,
            "outcome": "accepted", "reason": "policed at 5 Mbit/s by udp_flood_police_first",
            "mitigation_id": mitigation_id, "group_id": group_id,
        });
        let steps: Vec<_> = (0..8)
            .map(|step| json!({"quota_customer": {"customer_id": "acme", "active": step, "max": 500}}))
            .collect();
        let why = json!({
            "decided_at": at, "outcome": "accepted", "summary": "policed at 5 Mbit/s", "reasons": steps,
        });
        let group = json!({
            "group_id": group_id, "pop": POP, "scope": {"victim": victim, "vector": vector}, "claims": [claim],
            "confidence": 0.95, "opened_at": at, "last_event_at": at, "closed_at": null, "starts": [at],
            "filtered_since": at, "last_ban_at": at,
        });
        let mitigation = json!({
            "mitigation_id": mitigation_id, "revision": 1, "status": "active", "customer_id": "acme",
            "service_id": "game", "pop": POP, "victim_ip": victim, "vector": vector, "action_type": "police",
            "rate_bps": 5_000_000, "rules": [{"match": {"dst_prefix": format!("{victim}/{}", if victim.is_ipv4() { 32 } else { 128 }),
            "protocols": [17], "dst_ports": ["27015", "27016"]}, "action_type": "police", "rate_bps": 5_000_000}],
            "claims": [claim], "ending_since": null, "ends_at": null, "enforced": true, "external_ref": null,
            "observed": {"bps": 1_200_000_000u64, "pps": 800_000}, "previous_id": null,
            "playbook": "udp_flood_police_first", "step": 1, "confidence": 0.95, "severity": "high",
            "created_at": at, "updated_at": at, "expires_at": later, "ttl_seconds": 300, "advertised_at": null,
            "evidence_since": at, "evidence_at": at, "ended_at": null, "ended_by": null, "end_reason": null,
            "end_note": null, "origin": {"kind": "event", "actor": "token:fastnetmon"}, "group_id": group_id,
            "triggering_event_id": event_id, "last_event_id": event_id, "acknowledged_at": null,
            "acknowledged_by": null, "why_summary": "policed at 5 Mbit/s by udp_flood_police_first",
        });
        Self {
            event: Arc::new(serde_json::from_value(event).unwrap()),
            why: Arc::new(serde_json::from_value(why).unwrap()),
            group: Arc::new(serde_json::from_value(group).unwrap()),
            mitigation: Arc::new(serde_json::from_value(mitigation).unwrap()),
        }
    }

    /// What its first report changes.
    pub(crate) fn effects(&self) -> [Effect; 3] {
        [
            Effect::Event(Arc::clone(&self.event), Arc::clone(&self.why)),
            Effect::Group(Arc::clone(&self.group)),
            Effect::Mitigation {
                what: MitigationEvent::Created,
                actor: "token:fastnetmon".to_owned(),
                before: None,
                after: Arc::clone(&self.mitigation),
                said: None,
                why: Some(Arc::clone(&self.why)),
            },
        ]
    }

    /// Its end by an operator.
    pub(crate) fn withdrawal(&self, at: Timestamp) -> Effect {
        let mut after = Mitigation::clone(&self.mitigation);
        after.revision += 1;
        after.status = MitigationStatus::Withdrawn;
        after.updated_at = at;
        after.ended_at = Some(at);
        after.ended_by = Some("anna".into());
        Effect::Mitigation {
            what: MitigationEvent::Withdrawn,
            actor: "anna".to_owned(),
            before: Some(Arc::clone(&self.mitigation)),
            after: Arc::new(after),
            said: None,
            why: None,
        }
    }
}

/// What decisions make durable, on a chain.
pub(crate) fn batch(head: Head, at: Timestamp, decisions: &[Vec<Effect>]) -> Arc<Batch> {
    let mut writer = Writer::new(POP.into(), head);
    let mut all = Vec::new();
    for effects in decisions {
        let written = Written::all(effects).unwrap();
        writer.append_effects(at, effects, &written).unwrap();
        all.extend(written);
    }
    Arc::new(Batch {
        pop: POP.into(),
        effects: decisions.concat(),
        written: all,
        kept: Vec::new(),
        entries: writer.into_entries(),
    })
}
